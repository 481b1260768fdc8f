"""Where a running node hears people: its control socket and its kill switch.

Both are of the reflex process. The switch is looked at ten times a second, so that a file which
somebody touches stops the kernel as it stops the enforcer, which looks for itself.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from cronos.config import Config
from cronos.front import membership
from cronos.front.desk import Desk
from cronos.front.layout import Layout
from cronos.front.plugins import load
from cronos.link.asking import SOCKET_NAME
from cronos.link.clerk import Clerk
from cronos.link.control import ControlServer
from cronos.link.killswitch import FILE_NAME, KillSwitch
from cronos.ports import Clock, Tasks
from cronos.types import Kill

_LOOK_S: Final = 0.1


class Reception:
    """Serves the control socket and watches the kill switch, from `start` to `stop`.

    Args:
        config: of the node.
        layout: where it keeps what it keeps.
        desk: what it does for people.
        clock: the time.
        kill: gives the kernel a change of the switch.
        report: hears what a person should know.
    """

    def __init__(
        self,
        config: Config,
        layout: Layout,
        desk: Desk,
        clock: Clock,
        kill: Callable[[Kill], None],
        report: Callable[[str], None],
    ) -> None:
        self._switch = KillSwitch(layout.state / FILE_NAME, layout.home / "kill", report)
        self._kill = kill
        # Built now: an order that was signed before it is there is not believed.
        known = membership.known_of(config, layout.state, clock)
        authority: Any = load("entry", "operators")(known, config.node.instance, clock)
        clerk = Clerk(desk, self._switch, clock)
        self._server = ControlServer(layout.run / SOCKET_NAME, clerk, authority, report)

    async def start(self, tasks: Tasks) -> None:
        """Begin to serve and to watch.

        Raises:
            InputError: the socket cannot be made.
        """
        self.look()
        await self._server.start()
        tasks.spawn(self._watch(), "kill-switch")

    async def stop(self) -> None:
        """End; more than once is harmless."""
        await self._server.stop()

    def look(self) -> None:
        """Give the kernel what the switch says, if that is new."""
        change = self._switch.poll()
        if change is not None:
            self._kill(change)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()
