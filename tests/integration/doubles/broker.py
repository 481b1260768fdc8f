"""A real RabbitMQ broker of this machine's package, on free ports of loopback, and a client.

It has a node name, a cookie, a database and an epmd of its own, and leaves nothing running.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

from cronos.link.freeports import free_ports

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
HAS_BROKER = SERVER.exists() and shutil.which("epmd") is not None
ADMIN, PASSWORD = "guest", "guest"  # the broker's own default, which only loopback may use


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


class Server:
    """The process of one broker, on its own folder: it can be killed and started again."""

    def __init__(self, folder, name, mapper, ports, more=""):
        self.folder, self.name = folder, name
        amqp, management, distribution = ports
        self.broker = Broker(amqp, management)
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{amqp}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n{more}"
        )
        (folder / "plugins").write_text("[rabbitmq_management].\n")
        # The cookie is of this test alone, and of all that make one cluster.
        cookie = folder / ".erlang.cookie"
        cookie.write_text("ofthistestalone")
        cookie.chmod(0o400)
        self.environment = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
            ),
        }
        self.process = None
        self.start()

    def start(self):
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [SERVER], env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def until_up(self):
        _until_up(self.broker, self.process, self.folder)

    def kill(self):
        """End it as a power cut would, without a word: the shell around it, and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def brokers(names, more=lambda _folder, _names: ""):
    """Start brokers side by side, or one cluster of them; `more` is their configuration."""
    folder = Path(tempfile.mkdtemp(prefix="crq", dir="/tmp"))
    mapper, *ports = free_ports(1 + 3 * len(names))
    mapping = subprocess.Popen(
        ["epmd", "-port", str(mapper), "-address", "127.0.0.1"],
        env={"PATH": "/usr/bin:/bin"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    servers = []
    try:
        for n, name in enumerate(names):
            own = folder / str(n)
            own.mkdir()
            servers.append(Server(own, name, mapper, ports[3 * n : 3 * n + 3], more(own, names)))
        for server in servers:
            server.until_up()
        yield servers
    finally:
        for server in servers:
            server.end()
        mapping.terminate()
        mapping.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def broker(more=lambda _folder, _names: ""):
    with brokers(["cronos-test@localhost"], more) as (server,):
        yield server.broker


def clustered(_folder, names):
    """Let brokers that start make one cluster."""
    told = "".join(f"cluster_formation.classic_config.nodes.{n} = {one}\n"
                   for n, one in enumerate(names, 1))  # fmt: skip
    return (
        "cluster_formation.peer_discovery_backend = classic_config\n"
        "cluster_formation.target_cluster_size_hint = 3\n"
        f"cluster_partition_handling = pause_minority\n{told}"
    )


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
