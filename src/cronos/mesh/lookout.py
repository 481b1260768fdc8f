"""Keeps a node entered in a registry, and dials whom it finds there.

A registry that is away, or lies, costs nothing but newcomers: whoever is found shows its
certificate as anybody does, and members that know one another need no registry at all.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from cronos.errors import CronosError
from cronos.link.upkeep import Report
from cronos.mesh.seeds import parse_seed, sound_seeds
from cronos.ports import Registry
from cronos.types import Peer

EVERY_S: Final = 10.0


class Lookout:
    """Enters a node and looks for others, every ten seconds, until it is stopped.

    Args:
        registry: asked in a thread.
        me: gives this node as it is to be entered.
        join: told of seeds that are new; `Swim.join` is one.
        report: told when the registry falls silent, and when it is back.
    """

    def __init__(
        self,
        registry: Registry,
        me: Callable[[], Peer],
        join: Callable[[Sequence[str]], None],
        report: Report,
    ) -> None:
        self._registry = registry
        self._me = me
        self._join = join
        self._report = report
        self._known: set[str] = set()
        self._trouble = ""
        self._stopped = asyncio.Event()

    async def run(self, every_s: float = EVERY_S) -> None:
        """Look until stopped, then withdraw this node."""
        while not self._stopped.is_set():
            await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self._stopped.wait()
        with suppress(CronosError):
            await asyncio.to_thread(self._registry.withdraw, self._me())

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    async def look(self) -> None:
        """Enter this node and dial who is new."""
        me = self._me()
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
        fresh = [seed for seed in sound_seeds(list(found)) if seed not in self._known]
        self._known.update(fresh)
        others = [seed for seed in fresh if parse_seed(seed).name != me.instance]
        if others:
            self._join(others)
