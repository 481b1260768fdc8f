"""How long a threat takes to a peer: when nothing else flows, and while bulk fills the link.

A bulletin of 256 bytes, 200 a second on the lane `threat`, from its sender's `send` to its
receiver's callback, two processes on one machine; first alone, then while a task of the same
process sends messages of 256 bytes on `bulk` without a pause. Beside it, in the same rounds: the
same bulletins and the same bulk on one bare gRPC stream, which knows no lanes.
"""

import asyncio
import os
import time
from typing import Any

import msgspec
from bench_mesh_rate import METHOD, stamped
from mesh_nodes import MESSAGE_BYTES, Carried, Child, child_of, domain, given, node, run
from report import Report, quantile

from cronos.crypto.pki.names import host_name
from cronos.mesh.streams_tls import grpc_library
from cronos.types import Lane

ROUNDS = int(os.environ.get("MESH_BENCH_ROUNDS", "5"))
SECONDS = 2.0
PER_S = 200
BATCH = 228
ENCODE = msgspec.msgpack.Encoder().encode
DECODE = msgspec.msgpack.Decoder(list[bytes]).decode


class Delays:
    """Takes what comes; ends with the last bulletin."""

    def __init__(self) -> None:
        self.bulk, self.delays, self.began = 0, [], 0
        self.done = asyncio.Event()

    def take(self, data: bytes) -> None:
        """Count bulk, time bulletins."""
        if not data[0]:
            self.bulk += 1
            return
        now = time.monotonic_ns()
        self.began = self.began or now
        self.delays.append(now - (int.from_bytes(data[:8], "big") & ((1 << 63) - 1)))
        if len(self.delays) == int(PER_S * SECONDS):
            self.rate = self.bulk / ((now - self.began) / 1e9)
            self.done.set()

    def result(self) -> str:
        """Give p50, p99 and longest in ms, and the rate of bulk meanwhile."""
        millis = [delay / 1e6 for delay in self.delays]
        return f"{quantile(millis, 0.5)} {quantile(millis, 0.99)} {max(millis)} {self.rate}"


async def bulletins(send: Any) -> None:
    began = time.monotonic()
    for n in range(int(PER_S * SECONDS)):
        await asyncio.sleep(max(0.0, began + n / PER_S - time.monotonic()))
        await send(stamped())


async def ours_receiving() -> None:
    count = Delays()

    async def receive(_peer: str, _lane: Lane, data: bytes) -> None:
        count.take(data)

    mesh = node("beta", given())
    await mesh.start(receive, lambda _peer, _up: None)
    print(mesh.address, flush=True)
    await count.done.wait()
    print(count.result(), flush=True)
    await asyncio.sleep(60)


async def ours(packed: dict[str, bytes], loaded: bool) -> str:
    child = Child(__file__, "ours", packed["beta"])
    linked, mesh = asyncio.Event(), node("alpha", packed["alpha"], drain_s=0)

    async def receive(_peer: str, _lane: Lane, _data: bytes) -> None:
        return

    async def flood() -> None:
        data = bytes(MESSAGE_BYTES)
        while True:
            await mesh.send("beta", Lane.BULK, data)

    await mesh.start(receive, lambda _peer, _up: linked.set())
    mesh.connect("beta", child.line())
    await linked.wait()
    flooding = asyncio.create_task(flood()) if loaded else None
    await asyncio.sleep(0.2)
    await bulletins(lambda data: mesh.send("beta", Lane.THREAT, data))
    try:
        return await asyncio.to_thread(child.line)
    finally:
        if flooding is not None:
            flooding.cancel()
        child.end()
        await mesh.stop()


async def bare_receiving() -> None:
    grpc = grpc_library()
    held = Carried("beta", given()).credential
    count = Delays()

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


async def bare(packed: dict[str, bytes], loaded: bool) -> str:
    child = Child(__file__, "bare", packed["beta"])
    grpc = grpc_library()
    held = Carried("alpha", packed["alpha"]).credential
    credentials = grpc.ssl_channel_credentials(
        held.root_pem("p-384"), held.key_pem("p-384"), held.chain_pem("p-384")
    )
    name = host_name("plant.example", "node", "beta")
    options = [("grpc.ssl_target_name_override", name)]
    channel = grpc.aio.secure_channel(f"127.0.0.1:{child.line()}", credentials, options=options)
    call = channel.stream_stream(METHOD)()
    await call.wait_for_connection()
    turn = asyncio.Lock()

    async def send(*messages: bytes) -> None:
        async with turn:
            await call.write(ENCODE(list(messages)))

    async def flood() -> None:
        batch = [bytes(MESSAGE_BYTES)] * BATCH
        while True:
            await send(*batch)

    flooding = asyncio.create_task(flood()) if loaded else None
    await asyncio.sleep(0.2)
    await bulletins(send)
    try:
        return await asyncio.to_thread(child.line)
    finally:
        if flooding is not None:
            flooding.cancel()
        child.end()
        await channel.close()


CHILDREN = {"ours": ours_receiving, "bare": bare_receiving}


def main() -> None:
    if what := child_of():
        run(CHILDREN[what]())
        return
    packed = domain("alpha", "beta")
    found: dict[str, list[list[float]]] = {}
    for _ in range(ROUNDS):
        for name, way in (("GrpcMesh", ours), ("bare gRPC stream", bare)):
            for loaded in (False, True):
                about = f"{name}, {'under bulk' if loaded else 'idle'}"
                took = [float(one) for one in run(way(packed, loaded)).split()]
                found.setdefault(about, []).append(took)
    report, n = Report("mesh lanes"), int(PER_S * SECONDS)
    for about, rounds in found.items():
        must = "10" if about.startswith("GrpcMesh") else ""
        report.add(f"{about}, p50", [one[0] for one in rounds], "ms", n)
        report.add(f"{about}, p99", [one[1] for one in rounds], "ms", n, must)
        report.add(f"{about}, longest", [one[2] for one in rounds], "ms", n)
        if "bulk" in about:
            report.add(f"{about}, bulk", [one[3] for one in rounds], "msg/s", n)
    report.show()


if __name__ == "__main__":
    main()
