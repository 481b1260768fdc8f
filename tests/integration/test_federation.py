"""Four real node processes: one incident that all confirm, the loss of three, and their return."""

import asyncio
import os
import signal

import pytest
from tests.integration.product import cronos, remove, short_folder

from cronos.front import federated_demo
from cronos.front.federated import Federation
from cronos.front.federated_demo import FederatedStage
from cronos.front.plant import ATTACKER, Actor
from cronos.runtime.world import SystemClock

pytestmark = [pytest.mark.slow, pytest.mark.net]


def test_every_step_of_the_federated_demo_holds():
    pytest.importorskip("pymodbus", reason="the extra `demo` is not installed")
    folder = short_folder()
    try:
        done = cronos("demo", "--federated", "--state", folder / "s", "--json", timeout_s=300)
    finally:
        remove(folder)
    document = done.document

    assert [step["name"] for step in document["steps"] if not step["held"]] == []
    assert done.code == 0
    assert document["passed"] is True
    assert document["view"] == 4
    assert len(document["ledgers"]) == 4
    assert all(ledger["records"] > 10 for ledger in document["ledgers"])
    assert {"three are killed", "it defends alone", "they have caught up"} <= {
        step["name"] for step in document["steps"]
    }


async def killed_mesh(folder):
    """Two nodes; the mesh process of one is killed, and an attack comes before it is back."""
    stage = FederatedStage(folder, lambda _line: None)
    async with stage._acting(Actor("server")) as server:
        plant = int((await server.must("listening", 30))["port"])
        table = {**federated_demo._table(plant), "deadlines": {"confirming_ms": 60_000}}
        federation = Federation(folder, table, SystemClock())
        await asyncio.to_thread(federation.prepare)
        try:
            for name in ("north", "east"):
                await federation.start(name)
            await federation.ready("north", "east", view=2)
            before = (await federation.node("north", "status"))["workers"]["mesh"]
            os.kill(before, signal.SIGKILL)
            incident = await stage._attacked(federation, "north", ATTACKER)
            told = await stage._known(federation, "east", ATTACKER, "confirmed")
            status = await federation.node("north", "status")
            await federation.ready("north", "east", view=2)
            return before, incident, told, status, await federation.mesh("north")
        finally:
            await federation.stop(whole=True)


def test_what_was_isolated_while_the_mesh_process_was_dead_is_told_when_it_is_back():
    pytest.importorskip("pymodbus", reason="the extra `demo` is not installed")
    folder = short_folder()
    try:
        before, incident, told, status, mesh = asyncio.run(killed_mesh(folder))
    finally:
        remove(folder)

    assert status["workers"]["mesh"] != before
    assert incident["done"]["action"] == f"deny address {ATTACKER} at tap"
    assert told["detectors"] == ["peer:north"]
    assert told["view"] == 0
    assert [peer.instance for peer in mesh.peers if peer.linked] == ["east"]
    assert mesh.records["acknowledged"] >= mesh.records["replicated"]
