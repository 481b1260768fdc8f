"""The demo's cast: a Modbus plant, its operator and an attacker, each a process of its own."""

import asyncio
import json
import sys
from typing import Any, Final

from cronos.errors import UnreachableError

OPERATOR: Final = "127.0.0.2"
ATTACKER: Final = "127.0.0.66"
_END_S: Final = 5.0


class Actor:
    """One process of `cronos.testing.plant`, and what it has told so far."""

    def __init__(self, role: str, *arguments: object) -> None:
        self.role = role
        self.told: list[dict[str, Any]] = []
        self._arguments = [str(one) for one in arguments]
        self._process: asyncio.subprocess.Process | None = None
        self._more = asyncio.Event()

    async def start(self) -> None:
        """Start the process."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cronos.testing.plant", self.role),
            *self._arguments,
            stdout=asyncio.subprocess.PIPE,
        )

    async def listen(self) -> None:
        """Take what it tells, until it ends."""
        if self._process is None or self._process.stdout is None:
            return
        async for line in self._process.stdout:
            self.told.append(json.loads(line))
            self._more.set()
        self.told.append({"event": "ended"})
        self._more.set()

    def find(self, event: str) -> dict[str, Any] | None:
        """Give the first time it told of an event."""
        return next((one for one in self.told if one["event"] == event), None)

    def count(self, event: str, **facts: object) -> int:
        """Count how often it told of an event with these facts."""
        return sum(
            one["event"] == event and all(one.get(key) == value for key, value in facts.items())
            for one in self.told
        )

    async def wait_for(self, event: str, timeout_s: float) -> dict[str, Any] | None:
        """Wait until it tells of an event; None when it does not in time, or has ended."""
        try:
            async with asyncio.timeout(timeout_s):
                while (found := self.find(event)) is None:
                    if self.find("ended"):
                        return None
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            return None
        return found

    async def must(self, event: str, timeout_s: float) -> dict[str, Any]:
        """Wait for an event that has to come.

        Raises:
            UnreachableError: it did not.
        """
        found = await self.wait_for(event, timeout_s)
        if found is None:
            raise UnreachableError(
                "demo.actor_silent",
                f"The {self.role} did not say `{event}` within {timeout_s:g} s.",
                "Is the extra `demo` installed, and are processes and loopback allowed here?",
            )
        return found

    async def end(self) -> None:
        """Stop the process."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_S)
        except TimeoutError:
            process.kill()
            await process.wait()
