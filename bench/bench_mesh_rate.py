"""Messages a second between two processes, and how long one takes at 10,000 a second.

256 bytes, mutual TLS 1.3 with P-384 certificates, both processes on one machine. Ours is
`GrpcMesh.send` to its receiver's callback, session, credits and acknowledgements included. Beside
it, in the same rounds: a bare gRPC stream that carries MessagePack arrays of as many messages as
one of our batches holds (228) and of 64, unpacked and counted at the other end; and NATS core with
the same certificates, where `nats-server` is there. Nothing is stored anywhere.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import importlib
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from mesh_nodes import MESSAGE_BYTES, Carried, Child, child_of, domain, given, node, run
from report import Report, quantile

from cronos.crypto.pki.names import host_name
from cronos.link.freeports import free_ports
from cronos.mesh.streams_tls import grpc_library
from cronos.types import Lane

NATS_SERVER = str(Path(sys.executable).parent / "nats-server")
ROUNDS = int(os.environ.get("MESH_BENCH_ROUNDS", "5"))
MESSAGES = 300_000
PACED_S = 2.0
PER_S = 10_000
# 64 KiB of 256 bytes and what each is counted for beside.
BATCH = 228
METHOD = "/bench/Stream"
ENCODE = msgspec.msgpack.Encoder().encode
DECODE = msgspec.msgpack.Decoder(list[bytes]).decode


class Count:
    """Counts what comes, from the first message on; latencies where a message carries its time."""

    def __init__(self, expected: int) -> None:
        self.expected, self.came, self.first = expected, 0, 0
        self.delays: list[int] = []
        self.done = asyncio.Event()

    def take(self, data: bytes) -> None:
        """Count a message."""
        now = time.monotonic_ns()
        if not self.came:
            self.first, self.cpu = now, time.process_time()
        self.came += 1
        if data[0]:
            self.delays.append(now - int.from_bytes(data[:8], "big"))
        if self.came == self.expected:
            self.seconds = (now - self.first) / 1e9
            self.cpu = time.process_time() - self.cpu
            self.done.set()

    def result(self) -> str:
        """Give p50, p99 and longest in us; or rate and CPU time for each."""
        if self.delays:
            micros = [delay / 1e3 for delay in self.delays]
            return f"{quantile(micros, 0.5)} {quantile(micros, 0.99)} {max(micros)}"
        return f"{self.came / self.seconds} {self.cpu / self.came * 1e6}"


def stamped() -> bytes:
    """Give a message that carries the time; its first byte is not zero."""
    return (time.monotonic_ns() | 1 << 63).to_bytes(8, "big") + bytes(MESSAGE_BYTES - 8)


class Count63(Count):
    """Takes the marking bit off the time again."""

    def take(self, data: bytes) -> None:
        """Count a message; time one that is marked."""
        if data[0]:
            at = int.from_bytes(data[:8], "big") & ((1 << 63) - 1)
            data = at.to_bytes(8, "big") + data[8:]
            now = time.monotonic_ns()
            self.came += 1
            self.delays.append(now - at)
            if self.came == self.expected:
                self.done.set()
            return
        super().take(data)


async def paced(send: Any) -> None:
    """Call `send` for each message that is due, `PER_S` a second."""
    began, sent = time.monotonic(), 0
    while sent < PER_S * PACED_S:
        due = min(int((time.monotonic() - began) * PER_S) + 1, int(PER_S * PACED_S))
        while sent < due:
            await send(stamped())
            sent += 1
        await asyncio.sleep(0.001)


# --- ours -----------------------------------------------------------------------------------


async def ours_receiving() -> None:
    packed, expected = given()
    count = Count63(expected)

    async def receive(_peer: str, _lane: Lane, data: bytes) -> None:
        count.take(data)

    mesh = node("beta", packed)
    await mesh.start(receive, lambda _peer, _up: None)
    print(mesh.address, flush=True)
    await count.done.wait()
    print(count.result(), flush=True)
    await asyncio.sleep(60)


async def ours(packed: dict[str, bytes], expected: int, work: Any) -> str:
    child = Child(__file__, "ours", (packed["beta"], expected))
    address = child.line()
    linked = asyncio.Event()
    mesh = node("alpha", packed["alpha"])

    async def receive(_peer: str, _lane: Lane, _data: bytes) -> None:
        return

    await mesh.start(receive, lambda _peer, _up: linked.set())
    mesh.connect("beta", address)
    await linked.wait()
    await work(functools.partial(mesh.send, "beta", Lane.BULK))
    try:
        return await asyncio.to_thread(child.line)
    finally:
        child.end()
        await mesh.stop()


# --- a bare gRPC stream ---------------------------------------------------------------------


async def bare_receiving() -> None:
    packed, expected = given()
    grpc = grpc_library()
    held = Carried("beta", packed).credential
    count = Count63(expected)

    async def serve(_requests: Any, context: Any) -> None:
        while (data := await context.read()) is not grpc.aio.EOF:
            for message in DECODE(data):
                count.take(message)

    class Methods:
        def service(self, _details: Any) -> Any:
            return grpc.stream_stream_rpc_method_handler(serve)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(),))
    pair = (held.key_pem("p-384"), held.chain_pem("p-384"))
    credentials = grpc.ssl_server_credentials([pair], held.root_pem("p-384"), True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(port, flush=True)
    await count.done.wait()
    print(count.result(), flush=True)
    await asyncio.sleep(60)


async def bare(packed: dict[str, bytes], expected: int, work: Any) -> str:
    child = Child(__file__, "bare", (packed["beta"], expected))
    port = child.line()
    grpc = grpc_library()
    held = Carried("alpha", packed["alpha"]).credential
    credentials = grpc.ssl_channel_credentials(
        held.root_pem("p-384"), held.key_pem("p-384"), held.chain_pem("p-384")
    )
    name = host_name("plant.example", "node", "beta")
    channel = grpc.aio.secure_channel(
        f"127.0.0.1:{port}", credentials, options=[("grpc.ssl_target_name_override", name)]
    )
    call = channel.stream_stream(METHOD)()
    await call.wait_for_connection()
    await work(call)
    try:
        return await asyncio.to_thread(child.line)
    finally:
        child.end()
        await channel.close()


def flooding_bare(batch: int) -> Any:
    async def work(call: Any) -> None:
        for first in range(0, MESSAGES, batch):
            await call.write(ENCODE([bytes(MESSAGE_BYTES)] * min(batch, MESSAGES - first)))

    return work


async def paced_bare(call: Any) -> None:
    """Send what is due together in one write: what a bare stream would have to do by itself."""
    began, sent, every = time.monotonic(), 0, int(PER_S * PACED_S)
    while sent < every:
        due = min(int((time.monotonic() - began) * PER_S) + 1, every)
        if due > sent:
            await call.write(ENCODE([stamped() for _ in range(due - sent)]))
            sent = due
        await asyncio.sleep(0.001)


async def flood(send: Any) -> None:
    data = bytes(MESSAGE_BYTES)
    for _ in range(MESSAGES):
        await send(data)


# --- NATS core ------------------------------------------------------------------------------


def plain_certificate(folder: Path) -> None:
    """Make a P-384 certificate that signs itself: Go reads no object identifiers like ours."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA384())
    )
    (folder / "pem").write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


@contextlib.contextmanager
def nats_server() -> Iterator[tuple[int, str]]:
    """Run a server that demands certificates; gives its port and the file with the one for all."""
    with tempfile.TemporaryDirectory(prefix="cronos-nats-") as path:
        plain_certificate(Path(path))
        (port,) = free_ports(1)
        pem = f"{path}/pem"
        Path(path, "conf").write_text(
            f"listen: 127.0.0.1:{port}\nmax_pending: 256MB\n"
            f'tls {{ cert_file: "{pem}", key_file: "{pem}", ca_file: "{pem}", verify: true }}\n'
        )
        server = subprocess.Popen([NATS_SERVER, "-c", f"{path}/conf"], stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.02)
            yield port, pem
        finally:
            server.terminate()
            server.wait()


async def nats_client(port: int, pem: str) -> Any:
    nats = importlib.import_module("nats")
    context = ssl.create_default_context(cafile=pem)
    context.load_cert_chain(pem)
    return await nats.connect(
        f"tls://127.0.0.1:{port}",
        tls=context,
        tls_hostname="localhost",
        pending_size=256 << 20,
        allow_reconnect=False,
    )


async def nats_receiving() -> None:
    expected, port, pem = given()
    client = await nats_client(port, pem)
    count = Count63(expected)

    async def take(message: Any) -> None:
        count.take(message.data)

    await client.subscribe("m", cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.flush()
    print("ready", flush=True)
    await count.done.wait()
    print(count.result(), flush=True)
    await asyncio.sleep(60)


async def nats_core(expected: int, work: Any) -> str:
    with nats_server() as (port, pem):
        child = Child(__file__, "nats", (expected, port, pem))
        child.line()
        client = await nats_client(port, pem)
        sent = 0

        async def send(data: bytes) -> None:
            nonlocal sent
            await client.publish("m", data)
            sent += 1
            if sent % 256 == 0:
                await asyncio.sleep(0)

        await work(send)
        await client.flush(60)
        try:
            return await asyncio.to_thread(child.line)
        finally:
            child.end()
            await client.close()


CHILDREN = {"ours": ours_receiving, "bare": bare_receiving, "nats": nats_receiving}


def rates(packed: dict[str, bytes], with_nats: bool, report: Report) -> None:
    ways = {"GrpcMesh, bulk": lambda: ours(packed, MESSAGES, flood)}
    for batch in (64, BATCH):
        ways[f"bare gRPC stream, {batch} a batch"] = functools.partial(
            bare, packed, MESSAGES, flooding_bare(batch)
        )
    if with_nats:
        ways["NATS core"] = lambda: nats_core(MESSAGES, flood)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            cpu = time.process_time()
            rate, theirs = (float(one) for one in run(way()).split())
            cpu = (time.process_time() - cpu) / MESSAGES * 1e6
            found[name].append((rate, cpu + theirs))
    for name, rounds in found.items():
        must = "250,000" if name.startswith("GrpcMesh") else ""
        report.add(name, [rate for rate, _ in rounds], "msg/s", MESSAGES, must)
    for name, rounds in found.items():
        report.add(f"{name}, CPU of both", [cpu for _, cpu in rounds], "us/msg", MESSAGES)
    pairs = zip(*list(found.values())[0:3:2], strict=True)
    report.add("ours / bare, 228 a batch", [a[0] / b[0] for a, b in pairs], "ratio", ROUNDS, "0.9")


def latencies(packed: dict[str, bytes], with_nats: bool, report: Report) -> None:
    n = int(PER_S * PACED_S)
    ways = {"GrpcMesh": lambda: run(ours(packed, n, paced))}
    ways["bare gRPC stream"] = lambda: run(bare(packed, n, paced_bare))
    if with_nats:
        ways["NATS core"] = lambda: run(nats_core(n, paced))
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            found[name].append([float(one) for one in way().split()])
    for name, rounds in found.items():
        must = "1,000" if name == "GrpcMesh" else ""
        report.add(f"{name} at 10 K/s, p50", [one[0] for one in rounds], "us", n)
        report.add(f"{name} at 10 K/s, p99", [one[1] for one in rounds], "us", n, must)


def main() -> None:
    if what := child_of():
        run(CHILDREN[what]())
        return
    packed = domain("alpha", "beta")
    with_nats = "--no-nats" not in sys.argv and Path(NATS_SERVER).exists()
    report = Report("mesh rate")
    rates(packed, with_nats, report)
    latencies(packed, with_nats, report)
    report.show()
    load = statistics.fmean(os.getloadavg())
    if "--json" not in sys.argv:
        print(f"  load of the machine meanwhile: {load:.1f}")


if __name__ == "__main__":
    main()
