"""A real RabbitMQ broker of this machine's package, on free ports of loopback, and a client.

It has a node name, a cookie, a database and an epmd of its own, and leaves nothing running.
"""

import contextlib
import json
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
HAS_BROKER = SERVER.exists() and shutil.which("epmd") is not None
ADMIN, PASSWORD = "guest", "guest"  # the broker's own default, which only loopback may use


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Broker:
    """A broker that runs; `call` speaks to its management interface as the administrator."""

    def __init__(self, amqp, management):
        self.amqp = amqp
        self.management = management

    def url(self):
        return f"http://127.0.0.1:{self.management}"

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            self.url() + path,
            None if body is None else json.dumps(body).encode(),
            {
                "Authorization": "Basic " + b64encode(f"{ADMIN}:{PASSWORD}".encode()).decode(),
                "Content-Type": "application/json",
            },
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            data = response.read()
        return json.loads(data) if data else None

    def permissions(self, user):
        held = self.call("GET", f"/api/users/{user}/permissions")
        return sorted((p["vhost"], p["configure"], p["write"], p["read"]) for p in held)

    def add_user(self, name, **vhosts):
        self.call("PUT", f"/api/users/{name}", {"password": "sesame", "tags": ""})
        for vhost, (configure, write, read) in vhosts.items():
            self.call("PUT", f"/api/vhosts/{vhost}")
            given = {"configure": configure, "write": write, "read": read}
            self.call("PUT", f"/api/permissions/{vhost}/{name}", given)


@contextlib.contextmanager
def broker():
    folder = Path(tempfile.mkdtemp(prefix="crq", dir="/tmp"))
    amqp, management, distribution, mapper = free_ports(4)
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{amqp}\n"
        f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n"
    )
    (folder / "plugins").write_text("[rabbitmq_management].\n")
    environment = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "cronos-test@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
    names = subprocess.Popen(
        ["epmd", "-port", str(mapper), "-address", "127.0.0.1"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with (folder / "out").open("wb") as out:
        server = subprocess.Popen(
            [SERVER], env=environment, stdout=out, stderr=out, start_new_session=True
        )
    made = Broker(amqp, management)
    try:
        _until_up(made, server, folder)
        yield made
    finally:
        for process in (server, names):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _until_up(made, server, folder):
    until = time.monotonic() + 90
    while True:
        assert server.poll() is None, (folder / "out").read_text()
        assert time.monotonic() < until, (folder / "out").read_text()
        try:
            made.call("GET", "/api/overview")
            socket.create_connection(("127.0.0.1", made.amqp), 1).close()
        except (OSError, urllib.error.URLError):
            select.select([], [], [], 0.2)
        else:
            return


class Client:
    """A connection by AMQP 0-9-1, as far as `connection.open-ok`; `closed` tells of its end."""

    def __init__(self, port, user, vhost, password="sesame"):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        assert self._method() == (10, 10)
        plain = f"\0{user}\0{password}".encode()
        arguments = struct.pack(">I", 0) + b"\x05PLAIN" + struct.pack(">I", len(plain)) + plain
        self._send(10, 11, arguments + b"\x05en_US")
        assert self._method() == (10, 30)
        self._send(10, 31, struct.pack(">HIH", 2047, 131_072, 0))
        self._send(10, 40, bytes((len(vhost),)) + vhost.encode() + b"\0\0")
        self.opened = self._method() == (10, 41)

    def _send(self, kind, method, arguments):
        payload = struct.pack(">HH", kind, method) + arguments
        self.socket.sendall(struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce")

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                return None
            data += more
        return data

    def _method(self):
        head = self._exactly(7)
        if head is None:
            return None
        _, _, size = struct.unpack(">BHI", head)
        payload = self._exactly(size + 1)
        return None if payload is None else struct.unpack(">HH", payload[:4])

    def closed(self):
        """Wait until the broker closes it, which it says first."""
        self.socket.settimeout(10)
        try:
            told = self._method()
        except ConnectionError:
            return True
        return told in (None, (10, 50))

    def close(self):
        self.socket.close()
