"""Two nodes over several short lives of their certificates: nothing is lost, grace is bounded."""

import asyncio
import contextlib

import pytest
from tests.integration.mesh_nodes import WholeNode, until
from tests.integration.test_enrolment import serving
from tests.unit.crypto.pki.plant import Plant
from tests.unit.mesh.mail import bulletin

from cronos.crypto.pki import profile
from cronos.crypto.pki.names import NODE
from cronos.link.egress import EgressGate
from cronos.link.renewal import CertificateRenewal
from cronos.link.upkeep import RenewalConfig
from cronos.runtime.world import SystemClock
from cronos.types import Bulletin, Publish

pytestmark = [pytest.mark.net, pytest.mark.slow]
NS = 1_000_000_000
LIFE_S, LIVES, GRACE_S = 8, 3, 2
NAMES = ("north", "east")


def renewal(node, address):
    """The service that renews a node, told to try again at once."""

    @contextlib.contextmanager
    def bound():
        yield node.keys.bound

    return CertificateRenewal(
        RenewalConfig(addresses=(address,), check_s=1, retry_s=1, retry_most_s=1),
        clock=node.clock,
        tasks=node.tasks,
        egress=EgressGate(),
        holder=lambda: node.holder,
        bound=bound,
        report=node.reports,
    )


def heard(node, origin):
    return {one.sequence for one in node.told if isinstance(one, Bulletin) and one.origin == origin}


async def told(nodes, sent):
    """Each tells the other something, for as long as they live through their certificates."""
    one, two = nodes
    one.keys.rotate()  # its certificate binds the key of before, until it is renewed
    serials = {node.name: {node.holder.own().serial} for node in nodes}
    while min(map(len, serials.values())) <= LIVES:
        sent += 1
        for node in nodes:
            node.say(Publish(bulletin(node.name, (1 << 32) + sent, name=f"{node.name}-1-b{sent}")))
            serials[node.name].add(node.holder.own().serial)
        await asyncio.sleep(0.05)
    every = {(1 << 32) + n for n in range(1, sent + 1)}
    await until(lambda: heard(one, two.name) == heard(two, one.name) == every)
    return sent


def test_certificates_are_renewed_again_and_again_and_without_an_issuer_grace_ends(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(profile.LIFE_NS, NODE, LIFE_S * NS)
    plant = Plant(tmp_path / "plant", clock=SystemClock())

    async def story():
        nodes = [WholeNode(name, plant.joined(name), grace_s=GRACE_S) for name in NAMES]
        try:
            with serving(plant) as (address, _):
                await nodes[0].start()
                await nodes[1].start(nodes[0].address)
                services = [renewal(node, address) for node in nodes]
                for service in services:
                    await service.start()
                await until(lambda: all(len(node.mesh.peers()) == 1 for node in nodes))
                sent = await told(nodes, 0)
            # Nobody renews them now: the stream that stands goes on through the grace, and no more.
            ends_ns = min(node.holder.own().not_after_ns for node in nodes)
            clock = nodes[0].clock
            await until(lambda: clock.now().wall_ns >= ends_ns + NS // 2)
            linked_in_grace = [len(node.mesh.peers()) for node in nodes]
            await until(lambda: all(node.mesh.peers() == () for node in nodes), LIFE_S + 10)
            past_s = (clock.now().wall_ns - ends_ns) / NS
            await until(
                lambda: all("pki.grace_began" in node.reports.events() for node in nodes), LIFE_S
            )
            for service in services:
                await service.stop()
            for node in nodes:
                await node.stop()
            return sent, linked_in_grace, past_s, [node.reports for node in nodes]
        finally:
            for node in nodes:
                node.forget()

    sent, linked_in_grace, past_s, reports = asyncio.run(story())
    assert sent > 50
    assert linked_in_grace == [1, 1]
    assert past_s >= GRACE_S
    assert "mesh.unproven_key" in reports[1].events()
    for one in reports:
        assert one.events().count("pki.renewed") >= LIVES
        assert {"mesh.forged", "mesh.false_key", "mesh.blamed"}.isdisjoint(one.events())
