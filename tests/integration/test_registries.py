"""Nodes that know nobody find one another through a real etcd; who is gone is listed no more."""

import asyncio

import pytest
from tests.integration.mesh_nodes import WholeNode, until
from tests.unit.mesh.test_registry_etcd import etcd

from cronos.link.egress import EgressGate
from cronos.mesh.registry_etcd import EtcdConfig, EtcdRegistry

__all__ = ["etcd"]

pytestmark = [pytest.mark.net, pytest.mark.slow]
NAMES = ("node-1", "node-2", "node-3", "node-4")


def registry(url, ttl_s=4):
    return EtcdRegistry(EtcdConfig(url=url, prefix="/cronos/four/", ttl_s=ttl_s), EgressGate())


def test_four_nodes_without_a_seed_meet_and_one_that_was_killed_is_out_when_its_lease_ends(etcd):
    async def story():
        nodes = [WholeNode(name) for name in NAMES]
        try:
            for node in nodes:
                await node.start(registry=registry(etcd), looking_s=0.5)
            await until(lambda: all(len(node.sees()) == 3 for node in nodes))
            asked = registry(etcd)
            listed = await asyncio.to_thread(asked.found)
            assert listed == tuple(f"{one.name}@{one.address}" for one in nodes)
            *others, killed = nodes
            await killed.vanish()
            await until(lambda: all(len(node.sees()) == 2 for node in others))
            for _ in range(40):
                if len(await asyncio.to_thread(asked.found)) == 3:
                    break
                await asyncio.sleep(0.25)
            assert f"{killed.name}@{killed.address}" not in await asyncio.to_thread(asked.found)
            await killed.start(registry=registry(etcd), looking_s=0.5)
            await until(lambda: all(len(node.sees()) == 3 for node in nodes))
            for node in nodes:
                await node.stop()
            assert await asyncio.to_thread(asked.found) == ()
            return [node.reports.events() for node in nodes]
        finally:
            for node in nodes:
                node.forget()

    events = asyncio.run(story())
    assert all("mesh.blamed" not in one for one in events)
