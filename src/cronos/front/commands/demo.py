"""`cronos demo`: a Modbus plant is attacked on this machine, and the attack ends, with proof.

Nothing is simulated but the plant's water: the plant, its operator and the attacker are separate
processes that speak Modbus/TCP over loopback; the node, its enforcer and its ledger are the ones
`cronos up` runs. The tap between them needs no privilege.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from cronos import config as configuration
from cronos.config import Config
from cronos.errors import CronosError, UnreachableError
from cronos.front.compose import Node, run_loop, verify_ledger
from cronos.front.layout import Layout
from cronos.front.plant import ATTACKER, OPERATOR, Actor
from cronos.front.result import DemoDocument, DemoStep, IncidentView, LedgerView, print_json
from cronos.link.text import plain

_LEASE_S = 3
_PATIENCE_S = 20.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="keep the ledger there (default: a temporary folder)",
    )
    parser.add_argument(
        "--federated",
        action="store_true",
        help="four nodes: one incident that all confirm, the loss of three, and their return",
    )


def execute(options: argparse.Namespace) -> int:
    """Play the demo; 0 when every step held, 1 when one failed."""
    if options.federated:
        return _federated(options)
    with tempfile.TemporaryDirectory(prefix="cronos-demo-") as folder:
        state = options.state.absolute() if options.state else Path(folder)
        stage = Stage(state, quiet=options.json)
        document = run_loop(stage.play())
    if options.json:
        print_json(document)
    else:
        _conclude(document)
    return 0 if document.passed else 1


def _federated(options: argparse.Namespace) -> int:
    from cronos.front.federated_demo import FederatedStage  # noqa: PLC0415 - only this demo

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    with tempfile.TemporaryDirectory(prefix="cr-") as folder:
        state = options.state.absolute() if options.state else Path(folder)
        document = asyncio.run(FederatedStage(state, say).play())
    if options.json:
        print_json(document)
    else:
        say("\nEvery step held." if document.passed else "\nNot every step held.")
    return 0 if document.passed else 1


class Stage:
    """Plays the demo and keeps what each step showed."""

    def __init__(self, state: Path, *, quiet: bool) -> None:
        self._state = state
        self._quiet = quiet
        self._steps: list[DemoStep] = []

    async def play(self) -> DemoDocument:
        """Play every step; one that fails ends the play."""
        incidents: tuple[IncidentView, ...] = ()
        ledger = LedgerView("", 0, "", "")
        try:
            self._say("A water tank behind Modbus/TCP, its operator, and Cronos between them.")
            async with self._plant() as plant, self._node(plant) as (node, port):
                incidents = await self._attack(node, port)
            ledger = self._verify()
        except CronosError as error:
            self._step(error.sentence, error.remedy, held=False)
        held = all(step.held for step in self._steps) and bool(incidents)
        return DemoDocument(held, tuple(self._steps), incidents, ledger)

    # --- who is there ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _plant(self) -> AsyncGenerator[int]:
        async with self._acting(Actor("server")) as server:
            listening = await server.must("listening", _PATIENCE_S)
            self._step("the plant runs", f"a tank on 127.0.0.1:{listening['port']}", held=True)
            yield int(listening["port"])

    @asynccontextmanager
    async def _acting(self, actor: Actor) -> AsyncGenerator[Actor]:
        await actor.start()
        listening = asyncio.get_running_loop().create_task(actor.listen())
        try:
            yield actor
        finally:
            await actor.end()
            await listening

    @asynccontextmanager
    async def _node(self, plant: int) -> AsyncGenerator[tuple[Node, int]]:
        config = _config(plant)
        layout = Layout(self._state, config.node.instance, session=True)
        try:
            node = Node(config, layout, config.source, live=True)
            try:
                await node.start()
                port = await _until_listening(node)
                workers = ", ".join(sorted(node.workers()))
                self._step("Cronos stands between", f"processes: {workers}", held=True)
                yield node, port
            finally:
                await asyncio.shield(node.stop())
        finally:
            layout.close()

    # --- what happens ----------------------------------------------------------------------------

    async def _attack(self, node: Node, port: int) -> tuple[IncidentView, ...]:
        operator = Actor("operator", "--port", port, "--duration-s", 600)
        attacker = Actor("attacker", "--port", port, "--duration-s", 60, "--period-ms", 5)
        async with self._acting(operator):
            await operator.must("poll", _PATIENCE_S)
            await asyncio.sleep(0.5)
            before = operator.count("poll", ok=True)
            self._step("the operator works", f"{before} polls answered", held=before > 0)
            async with self._acting(attacker):
                incidents = await self._follow(node, attacker)
        polls, failed = operator.count("poll"), operator.count("poll", ok=False)
        unharmed = polls > 0 and failed == 0
        self._step("the operator was unharmed", f"{polls} polls, {failed} failed", held=unharmed)
        return incidents

    async def _follow(self, node: Node, attacker: Actor) -> tuple[IncidentView, ...]:
        self._say(
            f"\nNow {ATTACKER}, which may only read, writes a setpoint that would flood the tank."
        )
        began = await attacker.must("attacks", _PATIENCE_S)
        cut = await attacker.must("cut", _PATIENCE_S)
        writes = attacker.count("write")
        took_ms = (cut["at_boot_ns"] - began["at_boot_ns"]) / 1e6
        shown = f"{took_ms:.1f} ms after it began to write; {writes} writes were answered"
        self._step("the attacker was cut", shown, held=True)
        await attacker.must("refused", _PATIENCE_S)
        self._step("it is not let in again", "its next connection was refused", held=True)
        await _until(node, "confirmed")
        one = await _until(node, "recorded")
        for moment in one.timeline:
            self._say(f"      {moment.moment:<10} {moment.ms:9.3f} ms")
        self._say(f"      why        {plain(one.why, 300)}")
        self._say(f"      done       {plain(one.done.action)}: {plain(one.done.result, 200)}")
        self._say(f"      undo       {plain(one.done.undo, 200)}")
        self._step(
            "the incident is confirmed",
            f"{one.incident_id}, {one.done.cell}: {one.done.disposition}",
            held=one.done.action.endswith("at tap"),
        )
        self._say(f"\nThe isolation is a lease of {_LEASE_S} s; nobody has to remember to end it.")
        again = await attacker.wait_for("connected_again", _LEASE_S + _PATIENCE_S)
        held_s = 0.0 if again is None else (again["at_boot_ns"] - cut["at_boot_ns"]) / 1e9
        self._step("the lease ended by itself", f"the block held for {held_s:.2f} s",
                   held=again is not None and held_s >= _LEASE_S - 0.5)  # fmt: skip
        closed = await _until(node, "closed")
        self._step("the incident is closed", f"its undo was carried out: {closed.done.result}",
                   held=True)  # fmt: skip
        await asyncio.sleep(0.2)
        return node.incidents()

    def _verify(self) -> LedgerView:
        config = Config()
        folder = self._state / config.node.instance / "ledger"
        checkpoint = verify_ledger(folder)
        self._step(
            "the ledger verifies",
            f"{checkpoint.size} records, every hash recomputed, {checkpoint.sealing}",
            held=checkpoint.size > 0,
        )
        return LedgerView(str(folder), checkpoint.size, checkpoint.sealing, checkpoint.head.hex())

    # --- telling ---------------------------------------------------------------------------------

    def _step(self, name: str, shown: str, *, held: bool) -> None:
        self._steps.append(DemoStep(name, shown, held))
        self._say(f"  {'ok ' if held else 'NOT'} {name}: {plain(shown, 300)}")

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)


def _config(plant: int) -> Config:
    """Write the configuration a user would: the tap, the policy, a short lease."""
    server = {
        "address": "127.0.0.1",
        "port": plant,
        "client": [
            {
                "address": OPERATOR,
                "functions": [3, 6],
                "write": [{"table": "holding", "first": 1, "last": 1, "min": 200, "max": 800}],
            },
            # A workstation that may look, but not touch; in the demo it has been taken over.
            {"address": ATTACKER, "functions": [3]},
        ],
    }
    table = {
        "lease": {"default_s": _LEASE_S, "max_s": _LEASE_S},
        "executors": ["tap"],
        "services": ["forwarding-tap"],
        "source": [{"kind": "tap-feed", "sensor": "tap-frames"}],
        "plugin": {
            "forwarding-tap": {
                "upstream_host": "127.0.0.1",
                "upstream_port": plant,
                "protected": [OPERATOR],
            },
            "modbus-policy": {"policy": {"version": 1, "server": [server]}},
        },
    }
    return configuration.parse(json.loads(json.dumps(table)), "the demo's configuration")


async def _until_listening(node: Node) -> int:
    for _ in range(int(_PATIENCE_S / 0.01)):
        port = node.port("forwarding-tap")
        if port is not None:
            return port
        await asyncio.sleep(0.01)
    raise UnreachableError(
        "demo.tap_silent", "The tap did not begin to listen.", "See the log lines above."
    )


async def _until(node: Node, state: str) -> IncidentView:
    """Wait until an incident has been in a state."""
    for _ in range(int(_PATIENCE_S / 0.01)):
        for one in node.incidents():
            if any(step.moment == state for step in one.timeline):
                return one
        await asyncio.sleep(0.01)
    raise UnreachableError(
        "demo.incident_missing",
        f"No incident became {state} within {_PATIENCE_S:g} s.",
        "See the log lines above.",
    )


def _conclude(document: DemoDocument) -> None:
    if document.passed:
        print("\nEvery step held. Read how in docs/architecture.md; run it on your own data with:")
        print("  cronos run SOURCE…")
    else:
        print("\nNot every step held; see the line that says NOT.", file=sys.stderr)
