"""Real NATS servers on free ports of loopback: one, or a cluster of three; every write synced."""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cronos.link.freeports import free_ports

SERVER = Path(sys.executable).parent / "nats-server"
HAS_NATS = SERVER.exists()


class Cluster:
    """Servers by number; each can be killed and started again on its folder."""

    def __init__(self, folder, size, tls=""):
        self.folder = folder
        self.ports = free_ports(size)
        self.processes = [None] * size
        routes = free_ports(size)
        for n, port in enumerate(self.ports):
            cluster = ""
            if size > 1:
                others = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
                cluster = (
                    f"cluster {{ name: c, listen: 127.0.0.1:{routes[n]}, routes: [{others}] }}"
                )
            store = f'jetstream {{ store_dir: "{folder}/{n}", sync_interval: always }}'
            (folder / f"{n}.conf").write_text(
                f"server_name: n{n}\nlisten: 127.0.0.1:{port}\nmax_payload: 2MB\n"
                f"{store}\n{cluster}\n{tls}"
            )
            self.start(n)
        for port in self.ports:
            _until_open(port)

    @property
    def addresses(self):
        return tuple(f"127.0.0.1:{port}" for port in self.ports)

    def start(self, n):
        log = (self.folder / f"{n}.log").open("ab")
        command = [SERVER, "-c", self.folder / f"{n}.conf"]
        self.processes[n] = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()

    def kill(self, n):
        self.processes[n].kill()
        self.processes[n].wait()

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def nats_servers(size=1, tls=""):
    folder = Path(tempfile.mkdtemp(prefix="crn", dir="/tmp"))
    cluster = Cluster(folder, size, tls)
    try:
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


def _until_open(port):
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise AssertionError("nats-server did not start")
