"""Keeps a node entered in a registry, and dials whom it finds there.

A registry that is away, or lies, costs nothing but newcomers: whoever is found shows its
certificate as anybody does, and members that know one another need no registry at all.

Rule 1: only who is no member yet is dialled, a few at a time; the others are learnt from those.
Rule 2: who was dialled and did not become a member is given up after a minute, and so is one that
the registry lists no more: what a registry makes up takes no room for good. Rule 3: who became a
member is the membership's own to look after.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from cronos.errors import CronosError
from cronos.link.upkeep import Report
from cronos.mesh.seeds import parse_seed, sound_seeds
from cronos.ports import Registry
from cronos.types import Peer

EVERY_S: Final = 10.0
MOST_DIALLED: Final = 8
_PATIENCE: Final = 6
_AGAIN: Final = 12
_WITHDRAW_S: Final = 3.0


class Dialling(NamedTuple):
    """What is done with whom the registry names.

    Attributes:
        me: gives this node as it is to be entered.
        join: dials seeds; `Swim.join` is one.
        members: gives the names of those who are alive and need no dialling.
        release: lets go of the names that were dialled: members now, or nobody.
    """

    me: Callable[[], Peer]
    join: Callable[[Sequence[str]], None]
    members: Callable[[], Collection[str]]
    release: Callable[[Collection[str]], None]


class Lookout:
    """Enters a node and looks for others, every ten seconds, until it is stopped.

    Args:
        registry: asked in a thread.
        dialling: what is done with whom it names.
        report: told when the registry falls silent, and when it is back.
        every_s: how long it waits between two looks.
    """

    def __init__(
        self, registry: Registry, dialling: Dialling, report: Report, every_s: float = EVERY_S
    ) -> None:
        self._registry = registry
        self._dialling = dialling
        self._report = report
        self._every_s = every_s
        # How many looks ago each was dialled; beyond the patience it was given up.
        self._dialled: dict[str, int] = {}
        self._trouble = ""
        self._stopped = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Look until stopped, then withdraw this node."""
        while not self._stopped.is_set():
            await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._stopped.wait()
        with suppress(CronosError):
            await asyncio.to_thread(self._registry.withdraw, self._dialling.me())
        self._ended.set()

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    async def ended(self) -> None:
        """Wait until this node is withdrawn, as long as a service may take for that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_WITHDRAW_S):
                await self._ended.wait()

    async def look(self) -> None:
        """Enter this node and dial who is new."""
        me = self._dialling.me()
        try:
            await asyncio.to_thread(self._registry.enter, me)
            found = await asyncio.to_thread(self._registry.found)
        except CronosError as error:
            if error.code != self._trouble:
                self._report("warning", error.code, detail=error.sentence)
            self._trouble = error.code
            return
        if self._trouble:
            self._report("info", "mesh.registry_back", detail=self._registry.manifest.name)
            self._trouble = ""
        if not self._stopped.is_set():
            self._dial(me.instance, sound_seeds(list(found)))

    def _dial(self, me: str, found: Sequence[str]) -> None:
        members = set(self._dialling.members())
        named = {parse_seed(seed).name: seed for seed in found}
        self._let_go(members, named)
        wanted = [
            seed
            for name, seed in named.items()
            if name and name != me and name not in members and name not in self._dialled
        ]
        room = MOST_DIALLED - sum(1 for looks in self._dialled.values() if looks < _PATIENCE)
        # Where many are listed each node begins with others, so that none is everybody's first.
        turn = sum(me.encode()) % len(wanted) if wanted else 0
        fresh = (wanted[turn:] + wanted[:turn])[: max(0, room)]
        self._dialled.update({parse_seed(seed).name: 0 for seed in fresh})
        if fresh:
            self._dialling.join(fresh)

    def _let_go(self, members: set[str], named: Collection[str]) -> None:
        """Count a look, and let go of who came, who is listed no more, and who never came."""
        for name, looks in list(self._dialled.items()):
            self._dialled[name] = looks + 1
            over = name in members or name not in named
            if over or looks + 1 == _PATIENCE:
                self._dialling.release((name,))
            if over or looks + 1 >= _AGAIN:
                del self._dialled[name]
