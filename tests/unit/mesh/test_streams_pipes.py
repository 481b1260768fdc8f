"""The first words on a stream: who is let in, who is refused, and what of it is told."""

import asyncio

import pytest
from tests.unit.crypto.pki.plant import Plant
from tests.unit.mesh.grpc_nodes import Node, holder, plant, running

from cronos.crypto.pki.presence import prove
from cronos.errors import DeniedError
from cronos.mesh import streams_pipes
from cronos.mesh.corelog import LONG, Failed
from cronos.mesh.streams_pipes import _CHANNEL
from cronos.mesh.streams_tls import Identities, grpc_library
from cronos.mesh.streams_wire import METHOD, Batch, Hello, decode, encode
from cronos.runtime.world import SystemClock
from cronos.testing.conformance.base import eventually
from cronos.testing.conformance.mesh import Mailbox

_UNLIMITED = [one for one in _CHANNEL if one[0] != "grpc.max_send_message_length"]
_UNLIMITED.append(("grpc.max_send_message_length", -1))
HELLO = Hello(2, "beta", "beta-1", 1, ("", 0), (1 << 20,) * 5, bytes(16))


def with_server(work, **settings):
    async def run():
        node, box = Node("alpha", **settings), Mailbox()
        async with running(node, boxes=[box]):
            await work(node, box)

    asyncio.run(run())


async def said(node, *words, who=None, method=METHOD, name="alpha", most=0):
    """Dial as `who` does and say something; gives status, details and what was answered."""
    grpc = grpc_library()
    known = Identities(who or holder("beta"), SystemClock())
    channel = known.channel(name, f"ipv4:{node.mesh.address}", _UNLIMITED)
    call = channel.stream_stream(method)()
    answers = []
    try:
        for word in words:
            await call.write(word)
        while (data := await asyncio.wait_for(call.read(), 10)) is not grpc.aio.EOF:
            answers.append(data)
            if len(answers) == most:
                call.cancel()
                return None, "", answers
    except grpc.RpcError as error:
        return error.code().name, error.details(), answers
    finally:
        await channel.close()
    return (await call.code()).name, await call.details(), answers


def test_who_greets_well_is_welcomed_with_a_proof():
    async def work(node, box):
        _, _, answers = await said(
            node, encode(HELLO), encode(Batch(1, 0, (0,) * 5, [(0, [b"x"])])), most=2
        )
        assert decode(decode(answers[0]).welcome).instance == "alpha"
        await eventually(lambda: box.arrived("beta") == [b"x"], "It is received.")
        await eventually(lambda: box.links == [("beta", True), ("beta", False)], "And it has left.")

    with_server(work)


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ([b"garbage"], "PERMISSION_DENIED", "no word of the mesh"),
        ([encode(Batch(1, 0, (0,) * 5, []))], "PERMISSION_DENIED", "did not greet"),
        ([encode(Hello(2, "gamma", "s", 1, ("", 0), (0,) * 5, bytes(16)))],
         "PERMISSION_DENIED", "calls itself 'gamma'"),
        ([encode(HELLO), b"\xff" * 100], "PERMISSION_DENIED", "no word of the mesh"),
        ([encode(HELLO), encode(HELLO)], "PERMISSION_DENIED", "middle of a stream"),
        ([encode(HELLO), encode(Batch(1, 9, (0,) * 5, []))], "PERMISSION_DENIED", "never sent"),
        ([bytes(3 << 20)], "RESOURCE_EXHAUSTED", ""),
    ],
    ids=["garbage", "no-greeting", "wrong-name", "garbage-later", "twice", "lies", "too-long"],
)  # fmt: skip
def test_who_breaks_a_rule_is_told_and_ended(words, code, part):
    async def work(node, box):
        found, details, _ = await said(node, *words)
        assert found == code
        assert part in details
        if code == "PERMISSION_DENIED":
            assert node.reports[-1][0] == "warning"
            assert "beta" in node.reports[-1][2]["peer"]
        await eventually(lambda: node.mesh.peers() == (), "It is let go.")

    with_server(work)


def test_a_message_that_was_too_long_is_told_of_those_whose_streams_ended():
    async def work(node, _):
        await said(node, encode(HELLO), b"\xff")
        node.mesh.failed(Failed(LONG, "", 0))
        assert node.reports[-1][2]["peer"] == "beta"
        assert node.reports[-1][2]["detail"].endswith("it was that of beta.")
        node.mesh._calls._ends["gamma"] = SystemClock().now().boot_ns
        node.mesh.failed(Failed(LONG, "", 0))
        assert node.reports[-1][2]["peer"] == ""
        assert node.reports[-1][2]["detail"].endswith("it was that of beta or gamma.")

    with_server(work)


def test_who_was_dialled_and_says_too_much_is_told():
    async def work(node, _):
        class Call:
            async def read(self):
                details = "CLIENT: Received message larger than max (3000000 vs. 2162688)"
                raise grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, (), (), details)

        grpc = grpc_library()
        with pytest.raises(DeniedError, match="larger than max") as caught:
            await streams_pipes.ClientPipe(None, Call(), grpc).read()
        assert caught.value.code == LONG

    with_server(work)


def test_another_method_is_unknown():
    async def work(node, _):
        assert (await said(node, b"x", method="/cronos.Mesh/Other"))[0] == "UNIMPLEMENTED"

    with_server(work)


def test_a_node_too_old_is_refused(monkeypatch):
    async def work(node, _):
        node.mesh._calls._greeter._speaks = 4
        old = Hello(2, "beta", "beta-1", 1, ("", 0), (0,) * 5, bytes(16))
        code, details, _ = await said(node, encode(old))
        assert (code, "speaks version 2" in details) == ("PERMISSION_DENIED", True)

    with_server(work)


def test_a_stream_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(streams_pipes, "GREETING_S", 0.1)

    async def work(node, _):
        code, details, _ = await said(node)
        assert (code, "said nothing" in details) == ("UNAVAILABLE", True)

    with_server(work)


def test_no_peer_has_more_than_four_streams_at_the_greeting():
    async def work(node, _):
        silent = [asyncio.ensure_future(said(node)) for _ in range(4)]
        await eventually(lambda: node.mesh._calls._greeting.get("beta") == 4, "Four of them wait.")
        code, details, _ = await said(node, encode(HELLO))
        assert (code, "stream after stream" in details) == ("PERMISSION_DENIED", True)
        for one in silent:
            one.cancel()
        await asyncio.gather(*silent, return_exceptions=True)
        await eventually(lambda: not node.mesh._calls._greeting, "They are forgotten.")

    with_server(work)


def test_an_operators_and_a_strangers_certificate_are_no_nodes(tmp_path):
    stranger = Plant(tmp_path / "p", domain=plant().trust.domain, clock=SystemClock())
    other = Plant(tmp_path / "o", domain="other.example", clock=SystemClock())

    class Service:
        """A holder whose P-384 certificate is a service's."""

        def __init__(self):
            self.credential = plant().authority.issue("service", "beta", ())

        def membership(self):
            held = holder("beta").membership()
            return type(held)(self.credential, "beta", "")

        def stamp(self):
            return ()

        lists_stamp = stamp

        def revocations(self):
            return holder("beta").revocations()

    async def work(node, _):
        for who in (stranger.joined("beta"), other.joined("beta")):
            assert (await said(node, encode(HELLO), who=who))[0] == "UNAVAILABLE"
        code, _, _ = await said(node, encode(HELLO), who=Service())
        assert code == "PERMISSION_DENIED"
        assert node.reports[-1][1] == "crypto.refused"

    with_server(work)


def test_a_dialler_speaks_only_to_the_name_it_dialled():
    async def work(node, _):
        assert (await said(node, encode(HELLO), name="gamma"))[0] == "UNAVAILABLE"

    with_server(work)


def test_the_dialler_wants_proof_of_the_certificate_that_it_is_shown(monkeypatch):
    """As with a stolen key of a revoked certificate: TLS passes, the proof does not."""

    async def work(node, _):
        dialling, box = Node("beta"), Mailbox()
        async with running(dialling, boxes=[box]):
            dialling.mesh.connect("alpha", node.mesh.address)
            await eventually(lambda: "crypto.refused" in dialling.reports.events(), "Refused.")
            assert box.links == []

    thief = plant().credential("gamma")
    monkeypatch.setattr(Identities, "prove", lambda _self, _held, said: prove(thief, said))
    with_server(work)
