"""`cronos demo --federated`: four nodes, one attack that all confirm, and the loss of three.

Real processes on this machine: a Modbus plant with four taps before it, one of each node. What one
node finds all four keep out; three are killed as `kill -9` does; the fourth defends and records
alone, does for all what the others did, and hands it back when they return and have caught up.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from cronos.errors import CronosError, UnreachableError
from cronos.front import plugins
from cronos.front.documents_mesh import FederatedDemoDocument
from cronos.front.federated import NAMES, ROLES, Federation
from cronos.front.plant import ATTACKER, OPERATOR, Actor
from cronos.front.result import DemoStep, LedgerView
from cronos.link.text import plain

SECOND: Final = "127.0.0.67"
_LEASE_S: Final = 120
_PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.02
_LOST: Final = NAMES[:3]
_LEFT: Final = NAMES[3]

Document = dict[str, Any]


class FederatedStage:
    """Plays the demo and keeps what each step showed.

    Args:
        state: the folder of the nodes.
        say: shows a line.
    """

    def __init__(self, state: Path, say: Callable[[str], None]) -> None:
        self._state = state
        self._say = say
        self._steps: list[DemoStep] = []
        self._view = 0
        self._clock = plugins.load("entry", "clock")()

    async def play(self) -> FederatedDemoDocument:
        """Play every step; one that fails ends the play."""
        ledgers: tuple[LedgerView, ...] = ()
        try:
            self._say("A water tank, and four nodes of Cronos between it and the world.")
            async with self._acting(Actor("server")) as server:
                plant = int((await server.must("listening", _PATIENCE_S))["port"])
                federation = Federation(self._state, _table(plant), self._clock)
                try:
                    await self._play(federation)
                finally:
                    await asyncio.shield(federation.stop(whole=True))
            ledgers = self._verify(federation)
        except CronosError as error:
            self._step(error.sentence, error.remedy, held=False)
        held = bool(ledgers) and all(step.held for step in self._steps)
        return FederatedDemoDocument(held, tuple(self._steps), self._view, ledgers)

    async def _play(self, federation: Federation) -> None:
        await asyncio.to_thread(federation.prepare)
        for name in NAMES:
            await federation.start(name)
        await federation.ready(*NAMES, view=len(NAMES))
        where = ", ".join(f"{one.name} {one.address}" for one in federation.fellows.values())
        self._step("four nodes meet", where, held=True)
        await self._confirmed_by_all(federation)
        await self._lose_three(federation)
        await self._return(federation)

    # --- what happens --------------------------------------------------------------------------

    async def _confirmed_by_all(self, federation: Federation) -> None:
        first = NAMES[0]
        incident = await self._attacked(federation, first, ATTACKER)
        self._view = int(incident["view"])
        at = {step["moment"]: step["ms"] for step in incident["timeline"]}
        took = at.get("confirmed", 0.0) - at.get("detected", 0.0)
        self._step(
            "confirmed by all four",
            f"{incident['incident_id']} at {first}: view {self._view} of {len(NAMES)}, "
            f"{took:.1f} ms after it was detected",
            held=self._view == len(NAMES),
        )
        for name in NAMES[1:]:
            await self._kept_out(federation, name, ATTACKER)
        self._step(
            "the others keep it out as well", f"on the word of {first}, each by its own decision",
            held=True,
        )  # fmt: skip

    async def _lose_three(self, federation: Federation) -> None:
        records = await self._records(federation)
        began_ns = self._clock.now().boot_ns
        await federation.kill(*_LOST)
        await self._until(lambda: self._alone(federation), "the last node notices that it is alone")
        took_s = (self._clock.now().boot_ns - began_ns) / 1e9
        self._step("three are killed", f"{_LEFT} sees itself alone after {took_s:.2f} s", held=True)
        status = await federation.node(_LEFT, "status")
        held = set(status["roles"]) == set(ROLES)
        self._step("the last one does it all", f"roles {', '.join(status['roles'])}", held=held)
        await self._kept_out(federation, _LEFT, ATTACKER)
        self._step("no isolation was lost", f"{ATTACKER} is still kept out", held=True)
        incident = await self._attacked(federation, _LEFT, SECOND)
        self._step(
            "it defends alone",
            f"{incident['incident_id']}: {incident['done']['action']}, view {incident['view']}",
            held=incident["view"] == 1,
        )
        more = await self._records(federation) - records
        self._step("it records alone", f"{more} records since", held=more > 0)

    async def _return(self, federation: Federation) -> None:
        began_ns = self._clock.now().boot_ns
        for name in _LOST:
            await federation.start(name)
        await federation.ready(*NAMES, view=len(NAMES))
        took_s = (self._clock.now().boot_ns - began_ns) / 1e9
        self._step("the three return", f"view {len(NAMES)} again after {took_s:.2f} s", held=True)
        for name in _LOST:
            await self._known(federation, name, SECOND)
        self._step(
            "they have caught up", f"each knows of {SECOND}, which only {_LEFT} had seen", held=True
        )
        await self._until(lambda: self._handed_back(federation), "the roles are handed back")
        status = await federation.node(_LEFT, "status")
        self._step("roles are handed back", f"{_LEFT}: {', '.join(status['roles'])}", held=True)

    def _verify(self, federation: Federation) -> tuple[LedgerView, ...]:
        verify = plugins.load("entry", "verify-ledger")
        views: list[LedgerView] = []
        for fellow in federation.fellows.values():
            path = fellow.state / fellow.name / "ledger" / "ledger.db"
            found = verify(path)
            views.append(LedgerView(str(path), found.size, found.sealing, found.head.hex()))
        shown = ", ".join(str(one.records) for one in views)
        self._step("every ledger verifies", f"{shown} records", held=True)
        return tuple(views)

    # --- looking -------------------------------------------------------------------------------

    async def _attacked(self, federation: Federation, name: str, source: str) -> Document:
        """Let an address attack through a node's tap until it is cut; give the incident."""
        self._say(f"\nNow {source}, which may only read, writes through the tap of {name}.")
        port = await self._tap(federation, name)
        attacker = Actor("attacker", "--port", port, "--source", source, "--period-ms", 5)
        async with self._acting(attacker):
            began = await attacker.must("attacks", _PATIENCE_S)
            cut = await attacker.must("cut", _PATIENCE_S)
        took_ms = (cut["at_boot_ns"] - began["at_boot_ns"]) / 1e6
        self._step(f"{name} cuts it", f"{took_ms:.1f} ms after its first write", held=True)
        return await self._known(federation, name, source, "confirmed")

    async def _kept_out(self, federation: Federation, name: str, source: str) -> None:
        port = await self._tap(federation, name)
        found: Document | None = None

        async def tried() -> bool:
            nonlocal found
            knocking = Actor("attacker", "--port", port, "--source", source, "--duration-s", 2)
            async with self._acting(knocking):
                found = await knocking.wait_for("unreachable", 2.0)
            return found is not None and not knocking.count("connected")

        await self._until(tried, f"{name} keeps {source} out")

    async def _known(
        self, federation: Federation, name: str, source: str, moment: str = ""
    ) -> Document:
        found: list[Document] = []

        async def looked() -> bool:
            listed: Document = await federation.node(name, "incidents.list") or {}
            found[:] = [
                one
                for one in listed.get("incidents", ())
                if one["actor"] == f"address {source}"
                and (not moment or any(step["moment"] == moment for step in one["timeline"]))
            ]
            return bool(found)

        await self._until(looked, f"{name} knows of {source}")
        return found[0]

    async def _alone(self, federation: Federation) -> bool:
        seen = await federation.mesh(_LEFT)
        return seen is not None and seen.view == 1

    async def _handed_back(self, federation: Federation) -> bool:
        status = await federation.node(_LEFT, "status")
        return status is not None and set(status["roles"]) == {"defense", "communication"}

    async def _records(self, federation: Federation) -> int:
        status = await federation.node(_LEFT, "status")
        return int(status["metrics"].get("records", 0)) if status else 0

    async def _tap(self, federation: Federation, name: str) -> int:
        path = federation.fellows[name].run / "forwarding-tap.port"
        await self._until(_there(path), f"the tap of {name} listens")
        return int(await asyncio.to_thread(path.read_text, "ascii"))

    async def _until(self, so: Callable[[], Any], what: str) -> None:
        for _ in range(int(_PATIENCE_S / _POLL_S)):
            if await so():
                return
            await asyncio.sleep(_POLL_S)
        raise UnreachableError(
            "demo.not_so", f"It did not come true that {what}.", "See the log lines above."
        )

    @asynccontextmanager
    async def _acting(self, actor: Actor) -> AsyncGenerator[Actor]:
        await actor.start()
        listening = asyncio.get_running_loop().create_task(actor.listen())
        try:
            yield actor
        finally:
            await actor.end()
            await listening

    def _step(self, name: str, shown: str, *, held: bool) -> None:
        self._steps.append(DemoStep(name, shown, held))
        self._say(f"  {'ok ' if held else 'NOT'} {name}: {plain(shown, 300)}")


def _there(path: Path) -> Callable[[], Any]:
    async def looked() -> bool:
        return await asyncio.to_thread(path.exists)

    return looked


def _table(plant: int) -> dict[str, Any]:
    """Write the configuration that the four share: the tap, the policy, a lease."""
    server = {
        "address": "127.0.0.1",
        "port": plant,
        "client": [
            {"address": OPERATOR, "functions": [3, 6]},
            {"address": ATTACKER, "functions": [3]},
            {"address": SECOND, "functions": [3]},
        ],
    }
    table = {
        "lease": {"default_s": _LEASE_S, "max_s": 10 * _LEASE_S},
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
    copied: dict[str, Any] = json.loads(json.dumps(table))
    return copied
