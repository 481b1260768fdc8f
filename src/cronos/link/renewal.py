"""The service that keeps a node's certificates young and its revocation lists fresh.

At half their life the certificates are renewed with the present ones, while those go on standing.
When no enrolment service answers, it tries again after pauses that double up to a bound, through
the end of the certificates and beyond: an authority may renew for a stated grace. Everything that
a person should know is reported once it happens, and stands in `health` while it lasts.

What is due is decided by wall time, or by the time since boot where that is sooner: a clock that
was set back lets no certificate run out in the eyes of others.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, ClassVar, Final, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from cronos.config import Section
from cronos.crypto.lifecycle import due, renewal_ns
from cronos.crypto.pki.chain import Identity
from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.profile import LIFE_NS
from cronos.crypto.pki.requests import Bound
from cronos.errors import CronosError
from cronos.link.enrolment import fetch_lists, renew
from cronos.ports import Clock, Egress, Tasks
from cronos.types import Manifest, Now

_S_NS: Final = 1_000_000_000
_MOST_DOUBLINGS: Final = 16

Address = Annotated[str, Meta(min_length=3, max_length=260)]
Binding: TypeAlias = Callable[[], AbstractContextManager[Bound]]


class Report(Protocol):
    """Where events go: level, event, and what belongs to it; the shape of `Log.write`."""

    def __call__(self, level: str, event: str, /, **more: object) -> None:
        """Write one event down."""
        ...


class RenewalConfig(Section, frozen=True):
    """How often it looks, and how it goes on when nobody answers.

    Attributes:
        addresses: further enrolment services, tried in turn after the join token's.
        check_s: how often it looks whether something is due.
        lists_s: how often revocation lists are fetched.
        retry_s: the pause after the first try that failed; it doubles with each.
        retry_most_s: the longest pause.
    """

    addresses: Annotated[tuple[Address, ...], Meta(max_length=8)] = ()
    check_s: Annotated[int, Meta(ge=1, le=3600)] = 60
    lists_s: Annotated[int, Meta(ge=60, le=86_400)] = 3600
    retry_s: Annotated[int, Meta(ge=1, le=3600)] = 30
    retry_most_s: Annotated[int, Meta(ge=1, le=21_600)] = 900


class _Chore:
    """One thing to be done again and again: when next, and how often it failed since it worked."""

    def __init__(self) -> None:
        self.failures = 0
        self.next_ns = 0
        self.trouble = ""

    def done(self, next_ns: int) -> None:
        self.failures, self.trouble, self.next_ns = 0, "", next_ns

    def failed(self, why: CronosError, now_ns: int, config: RenewalConfig) -> None:
        doubled = config.retry_s << min(self.failures, _MOST_DOUBLINGS)
        self.failures += 1
        self.trouble = why.sentence
        self.next_ns = now_ns + min(doubled, config.retry_most_s) * _S_NS


class _Held(msgspec.Struct, frozen=True):
    """The certificates that stand, and since when this process has known them."""

    holder: Holder
    identity: Identity
    stamp: tuple[int, ...]
    since_boot_ns: int


class CertificateRenewal:
    """Renews, and fetches lists; a `Service`.

    Args:
        config: see `RenewalConfig`.
        clock: the time.
        tasks: where its loop runs.
        egress: the gate that each call passes.
        holder: opens the node's credential; called when it first looks.
        bound: gives the signing key that the certificates bind, for the time of one renewal.
        report: told what happened.
    """

    manifest = Manifest(
        name="certificate-renewal",
        summary="Renews the node's certificates at half their life and fetches revocation lists.",
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
        self._opened = holder
        self._bound = bound
        self._report = report
        self._holder: Holder | None = None
        self._held: _Held | None = None
        self._renewal, self._lists = _Chore(), _Chore()
        self._told_end = ""
        self._running = False
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Look for the first time, which asks no network, and go on looking."""
        self._stopping.clear()
        await asyncio.to_thread(self._look, self._clock.now())
        self._running = True
        self._tasks.spawn(self._run(), "certificate-renewal")

    async def stop(self) -> None:
        """Look no more; a try that is under way ends by its own time limits."""
        self._running = False
        self._stopping.set()

    async def health(self) -> str:
        """Give ``ok``, or a sentence on what is wrong."""
        held = self._held
        if not self._running:
            return "The renewal of certificates does not run."
        if held is None:
            return self._renewal.trouble or "This node has joined no trust domain."
        end = _moment(held.identity.not_after_ns)
        if self._clock.now().wall_ns >= held.identity.not_after_ns:
            return (
                f"The certificates ended at {end}: no link is made until an authority renews them "
                f"within its grace. {self._tries(self._renewal)}"
            ).rstrip()
        if self._renewal.failures:
            return f"The certificates end at {end}. {self._tries(self._renewal)}"
        if self._lists.failures:
            return f"Revocation lists are not fetched. {self._tries(self._lists)}"
        return "ok"

    def step(self) -> None:
        """Do what is due by the clock; blocks for as long as the network does."""
        now = self._clock.now()
        held = self._look(now)
        if held is None:
            return
        self._tell_end(held, now)
        if self._is_due(held, now):
            if now.boot_ns >= self._renewal.next_ns:
                self._renew(held)
        elif now.boot_ns >= self._lists.next_ns:
            self._fetch(held)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(self.step)
            except Exception as error:  # noqa: BLE001 - one fault must not end all renewals to come
                self._report("error", "pki.renewal_fault", detail=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._config.check_s)

    def _look(self, now: Now) -> _Held | None:
        """Learn which certificates stand; they are unsealed only when their file has changed."""
        try:
            if self._holder is None:
                self._holder = self._opened()
            stamp = self._holder.stamp()
            if not stamp:
                self._held = None
            elif self._held is None or self._held.stamp != stamp:
                self._held = _Held(self._holder, self._holder.own(), stamp, now.boot_ns)
                self._renewal.done(0)
        except CronosError as error:
            if self._renewal.trouble != error.sentence:
                self._report("error", error.code, detail=error.sentence, remedy=error.remedy)
            self._renewal.trouble = error.sentence
            self._held = None
        return self._held

    def _is_due(self, held: _Held, now: Now) -> bool:
        life_ns = LIFE_NS[held.identity.kind]
        known_ns = now.boot_ns - held.since_boot_ns
        return due(held.identity.not_after_ns, life_ns, now.wall_ns) or known_ns >= renewal_ns(
            life_ns
        )

    def _renew(self, held: _Held) -> None:
        """Renew at the first enrolment service that does it."""

        def one(address: str) -> None:
            with self._bound() as bound:
                renew(held.holder, self._clock, self._egress, bound, address)

        if self._try(self._renewal, "pki.renewal_failed", one):
            now = self._clock.now()
            young = self._look(now)
            # An issuer near its own end makes short lives: no renewal follows on another's heels.
            self._renewal.done(now.boot_ns + self._config.retry_most_s * _S_NS)
            self._lists.done(now.boot_ns + self._config.lists_s * _S_NS)
            if young is not None:
                end = _moment(young.identity.not_after_ns)
                self._report("info", "pki.renewed", serial=young.identity.serial, ends=end)

    def _fetch(self, held: _Held) -> None:
        """Fetch the lists; a rollback is a failure like any other, and told."""

        def one(address: str) -> None:
            lists = fetch_lists(held.holder, self._clock, self._egress, address)
            stale = lists.stale(self._clock.now().wall_ns)
            if stale:
                self._report("warning", "pki.lists_stale", scopes=", ".join(stale))

        if self._try(self._lists, "pki.lists_failed", one):
            self._lists.done(self._clock.now().boot_ns + self._config.lists_s * _S_NS)

    def _try(self, chore: _Chore, event: str, one: Callable[[str], None]) -> bool:
        """Do a chore with each enrolment service in turn, until one of them serves."""
        failures: list[CronosError] = []
        for address in ("", *self._config.addresses):
            try:
                one(address)
            except CronosError as error:
                failures.append(error)
            else:
                return True
        last = failures[-1]
        chore.failed(last, self._clock.now().boot_ns, self._config)
        self._report("warning", event, code=last.code, detail=last.sentence, tries=chore.failures)
        return False

    def _tell_end(self, held: _Held, now: Now) -> None:
        """Report once that the certificates have ended: from here on there is only grace."""
        identity = held.identity
        if now.wall_ns >= identity.not_after_ns and self._told_end != identity.serial:
            self._told_end = identity.serial
            ended = _moment(identity.not_after_ns)
            self._report("error", "pki.grace_began", serial=identity.serial, ended=ended)

    def _tries(self, chore: _Chore) -> str:
        if not chore.failures:
            return ""
        return f"{chore.failures} tries in a row have failed; the last: {chore.trouble}"


def _moment(wall_ns: int) -> str:
    shown = dt.datetime.fromtimestamp(wall_ns // _S_NS, dt.UTC)
    return shown.isoformat().replace("+00:00", "Z")
