"""The service that keeps certificates young and the node's revocation lists fresh.

The node's own are renewed at half their life, those in the folders of services after two thirds,
with the present ones, while those go on standing. When no enrolment service answers, it tries again
after pauses that double up to a bound, through the end of the certificates and beyond: an authority
may renew for a stated grace. Everything that a person should know is reported once it happens, and
stands in `health` while it lasts.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from cronos.config import Section
from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.pemfolder import PemFolder
from cronos.errors import CronosError
from cronos.link.enrolment import fetch_lists
from cronos.link.upkeep import Binding, Chore, RenewalConfig, Report, Upkeep
from cronos.ports import Clock, Egress, Tasks
from cronos.types import Manifest

_S_NS: Final = 1_000_000_000


class CertificateRenewal:
    """Renews, and fetches lists; a `Service`.

    Args:
        config: see `RenewalConfig`.
        clock: the time.
        tasks: where its loop runs.
        egress: the gate that each call passes.
        holder: opens the node's credential; called when it first looks.
        bound: gives the signing key that the node's certificates bind, for one renewal.
        report: told what happened.
    """

    manifest = Manifest(
        name="certificate-renewal",
        summary="Renews certificates of the node and of services, and fetches revocation lists.",
        capabilities=("renew",),
    )
    config_type: ClassVar[type[Section]] = RenewalConfig

    def __init__(  # noqa: PLR0913 - the ports that it needs, each injected by its name
        self,
        config: RenewalConfig,
        *,
        clock: Clock,
        tasks: Tasks,
        egress: Egress,
        holder: Callable[[], Holder],
        bound: Binding,
        report: Report,
    ) -> None:
        self._config = config
        self._clock = clock
        self._tasks = tasks
        self._egress = egress
        self._report = report
        self._holder: Holder | None = None
        self._lists = Chore()
        upkeep = functools.partial(Upkeep, config, clock=clock, egress=egress, report=report)

        def opened() -> Holder:
            self._holder = holder()
            return self._holder

        self._node = upkeep(opened=opened, bound=bound, addresses=self._of_node)
        self._folders = {
            folder: upkeep(
                opened=functools.partial(PemFolder, Path(folder), clock),
                bound=contextlib.nullcontext,
                addresses=self._of_folders,
                folder=folder,
            )
            for folder in config.folders
        }
        self._running = False
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Look for the first time, which asks no network, and go on looking."""
        self._stopping.clear()
        await asyncio.to_thread(self._look)
        self._running = True
        self._tasks.spawn(self._run(), "certificate-renewal")

    async def stop(self) -> None:
        """Look no more; a try that is under way ends by its own time limits."""
        self._running = False
        self._stopping.set()

    async def health(self) -> str:
        """Give ``ok``, or a sentence on what is wrong."""
        if not self._running:
            return "The renewal of certificates does not run."
        own = self._node.health()
        if not own and not self._folders:
            return "This node has joined no trust domain."
        if own not in ("", "ok"):
            return own
        for folder, upkeep in self._folders.items():
            found = upkeep.health()
            if found != "ok":
                return f"{folder}: {found or 'There are no certificates.'}"
        if self._lists.failures:
            return f"Revocation lists are not fetched. {self._lists.tries()}"
        return "ok"

    def step(self) -> None:
        """Do what is due by the clock; blocks for as long as the network does.

        A fault with one leaves the others alone, and once it is stopping no other is begun.
        """
        self._apart(self._step_node)
        for folder, upkeep in self._folders.items():
            if self._stopping.is_set():
                return
            self._apart(upkeep.step, folder=folder)

    def _step_node(self) -> None:
        found = self._node.step()
        if found == "renewed":
            self._lists_done()  # they came along
        elif found == "young" and self._clock.now().boot_ns >= self._lists.next_ns:
            self._fetch()

    def _apart(self, call: Callable[[], object], **about: str) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - one fault must not end the renewals of others
            self._report("error", "pki.renewal_fault", **about, detail=type(error).__name__)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            await asyncio.to_thread(self.step)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._config.check_s)

    def _look(self) -> None:
        now = self._clock.now()
        self._apart(functools.partial(self._node.look, now))
        for folder, upkeep in self._folders.items():
            self._apart(functools.partial(upkeep.look, now), folder=folder)

    def _fetch(self) -> None:
        """Fetch the lists; a rollback is a failure like any other, and told."""
        holder = self._holder
        if holder is None:
            return

        def one(address: str) -> None:
            lists = fetch_lists(holder, self._clock, self._egress, address)
            stale = lists.stale(self._clock.now().wall_ns)
            if stale:
                self._report("warning", "pki.lists_stale", scopes=", ".join(stale))

        if self._node.attempt(self._lists, "pki.lists_failed", one):
            self._lists_done()

    def _lists_done(self) -> None:
        self._lists.done(self._clock.now().boot_ns + self._config.lists_s * _S_NS)

    def _of_node(self) -> tuple[str, ...]:
        return ("", *self._config.addresses)

    def _of_folders(self) -> tuple[str, ...]:
        """Give the enrolment services of a folder, which knows none: where the node joined."""
        joined = ""
        with contextlib.suppress(CronosError):  # the node's own trouble is told elsewhere
            if self._holder is not None and self._node.held is not None:
                joined = self._holder.membership().address
        return tuple(address for address in (joined, *self._config.addresses) if address)
