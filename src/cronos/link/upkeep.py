"""The upkeep of one credential: when it is renewed, how tries go on, and what a person is told.

What is due is decided by wall time, or by the time since boot where that is sooner: a clock that
was set back lets no certificate run out in the eyes of others. Set ahead, it renews too early, and
no certificate is made to end before the one that stands. A node that signs with another key than
its certificates bind is due at once.
"""

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, Final, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from cronos.config import Section
from cronos.crypto.lifecycle import due, life_ahead, renewal_ns
from cronos.crypto.pki.chain import Identity
from cronos.crypto.pki.profile import LIFE_NS, bound_hash
from cronos.crypto.pki.requests import Bound
from cronos.errors import CronosError, DeniedError, InputError
from cronos.link.enrolment import Renewing, renew
from cronos.ports import Clock, Egress
from cronos.types import Now

_S_NS: Final = 1_000_000_000
_MOST_DOUBLINGS: Final = 16

Address = Annotated[str, Meta(min_length=3, max_length=260)]
Folder = Annotated[str, Meta(pattern="^/", max_length=1024)]
# What a look found: no certificates, young ones, ones that are still due, or those just made.
Step = Literal["absent", "young", "due", "renewed"]
Binding: TypeAlias = Callable[[], AbstractContextManager[Bound | None]]


class Report(Protocol):
    """Where events go: level, event, and what belongs to it; the shape of `Log.write`."""

    def __call__(self, level: str, event: str, /, **more: object) -> None:
        """Write one event down."""
        ...


class Kept(Renewing, Protocol):
    """A credential that is kept somewhere and may be changed there by others."""

    def stamp(self) -> tuple[int, ...]:
        """Give what changes whenever the credential does; empty while there is none."""
        ...

    def own(self) -> Identity:
        """Say who the credential says this is."""
        ...


class RenewalConfig(Section, frozen=True):
    """What it renews, how often it looks, and how it goes on when nobody answers.

    Attributes:
        addresses: further enrolment services, tried in turn after the join token's.
        folders: of services, as `cronos pki issue --service` wrote them; renewed like the node.
        check_s: how often it looks whether something is due.
        lists_s: how often revocation lists are fetched.
        retry_s: the pause after the first try that failed; it doubles with each.
        retry_most_s: the longest pause.
    """

    addresses: Annotated[tuple[Address, ...], Meta(max_length=8)] = ()
    folders: Annotated[tuple[Folder, ...], Meta(max_length=64)] = ()
    check_s: Annotated[int, Meta(ge=1, le=3600)] = 60
    lists_s: Annotated[int, Meta(ge=60, le=86_400)] = 3600
    retry_s: Annotated[int, Meta(ge=1, le=3600)] = 30
    retry_most_s: Annotated[int, Meta(ge=1, le=21_600)] = 900


class Chore:
    """One thing to be done again and again: when next, and how often it failed since it worked."""

    def __init__(self) -> None:
        self.failures = 0
        self.next_ns = 0
        self.trouble = ""

    def done(self, next_ns: int) -> None:
        """Do it again from `next_ns` on, by boot time."""
        self.failures, self.trouble, self.next_ns = 0, "", next_ns

    def failed(self, why: CronosError, now_ns: int, config: RenewalConfig) -> None:
        """Do it again after a pause that grows with each failure."""
        doubled = config.retry_s << min(self.failures, _MOST_DOUBLINGS)
        self.failures += 1
        self.trouble = why.sentence
        self.next_ns = now_ns + min(doubled, config.retry_most_s) * _S_NS

    def tries(self) -> str:
        """Tell how often it has failed; empty while it works."""
        if not self.failures:
            return ""
        return f"{self.failures} tries in a row have failed; the last: {self.trouble}"


class Held(msgspec.Struct, frozen=True):
    """The certificates that stand, since when this process has known them, and for how long."""

    holder: Kept
    identity: Identity
    stamp: tuple[int, ...]
    since_boot_ns: int
    life_ns: int


class Upkeep:
    """Looks after one credential: the node's own, or a service's folder.

    Args:
        config: see `RenewalConfig`.
        clock: the time.
        egress: the gate that each call passes.
        opened: opens the credential; called when it first looks, and again until it opens.
        bound: gives the signing key that the certificates bind, for the time of one renewal.
        report: told what happened.
        addresses: gives the enrolment services to try; empty text is where it was joined.
        folder: of a service; goes with every report.
    """

    def __init__(  # noqa: PLR0913 - the ports that it needs, each injected by its name
        self,
        config: RenewalConfig,
        *,
        clock: Clock,
        egress: Egress,
        opened: Callable[[], Kept],
        bound: Binding,
        report: Report,
        addresses: Callable[[], tuple[str, ...]],
        folder: str = "",
    ) -> None:
        self.renewal = Chore()
        self.held: Held | None = None
        self._config = config
        self._clock = clock
        self._egress = egress
        self._opened = opened
        self._bound = bound
        self._report = report
        self._addresses = addresses
        self._folder = folder
        self._about = {"folder": folder} if folder else {}
        self._holder: Kept | None = None
        self._told_end = ""

    def look(self, now: Now) -> Held | None:
        """Learn which certificates stand; they are read only when their file has changed."""
        try:
            if self._holder is None:
                self._holder = self._opened()
            self._learn(self._holder, now)
        except CronosError as error:
            if self.renewal.trouble != error.sentence:
                self.tell("error", error.code, detail=error.sentence, remedy=error.remedy)
            self.renewal.trouble = error.sentence
            self.held = None
        return self.held

    def _learn(self, holder: Kept, now: Now) -> None:
        stamp = holder.stamp()
        if stamp and (self.held is None or self.held.stamp != stamp):
            own = holder.own()
            self.held = Held(holder, own, stamp, now.boot_ns, LIFE_NS[own.kind])
            self.renewal.done(0)
        elif not stamp and self._folder:  # a node may join later; a folder was named by a person
            raise InputError(
                "crypto.missing_file",
                f"There are no certificates in {self._folder}.",
                "Name a folder that `cronos pki issue --service NAME` wrote, or issue a new one.",
            )
        elif not stamp:
            self.held = None

    def step(self) -> Step:
        """Renew if it is due and no pause is on; blocks for as long as the network does."""
        now = self._clock.now()
        held = self.look(now)
        if held is None:
            return "absent"
        self._tell_end(held, now)
        if not self._is_due(held, now):
            return "young"
        if now.boot_ns >= self.renewal.next_ns and self._renew(held):
            return "renewed"
        return "due"

    def attempt(self, chore: Chore, event: str, one: Callable[[str], None]) -> bool:
        """Do a chore with each enrolment service in turn, until one of them serves.

        If none does, that one denied it is told before that another was not there.
        """
        why: CronosError = InputError(
            "link.no_enrolment_service",
            "No enrolment service is known here.",
            "Name one with `addresses` under [plugin.certificate-renewal].",
        )
        for address in self._addresses():
            try:
                one(address)
            except CronosError as error:
                if isinstance(error, DeniedError) or not isinstance(why, DeniedError):
                    why = error
            else:
                return True
        chore.failed(why, self._clock.now().boot_ns, self._config)
        self.tell("warning", event, code=why.code, detail=why.sentence, tries=chore.failures)
        return False

    def health(self) -> str:
        """Give ``ok``, or a sentence on what is wrong; empty where there are no certificates."""
        if self.held is None:
            return self.renewal.trouble
        end = moment(self.held.identity.not_after_ns)
        if self._clock.now().wall_ns >= self.held.identity.not_after_ns:
            return (
                f"The certificates ended at {end}: no link is made until an authority renews them "
                f"within its grace. {self.renewal.tries()}"
            ).rstrip()
        if self.renewal.failures:
            return f"The certificates end at {end}. {self.renewal.tries()}"
        return "ok"

    def tell(self, level: str, event: str, **more: object) -> None:
        """Report what happened, and to which folder."""
        self._report(level, event, **self._about, **more)

    def _is_due(self, held: Held, now: Now) -> bool:
        known_ns = now.boot_ns - held.since_boot_ns
        by_wall = due(held.identity.not_after_ns, held.life_ns, now.wall_ns)
        return by_wall or known_ns >= renewal_ns(held.life_ns) or self._rotated(held)

    def _rotated(self, held: Held) -> bool:
        """Say whether the node signs with another key than its certificates bind.

        Until they do, what it signs proves nothing to its peers: it cannot wait.
        """
        if self._folder:
            return False
        try:
            with self._bound() as bound:
                return bound is not None and bound_hash(bound.public) != held.identity.mldsa_hash
        except CronosError:
            return False  # the renewal itself will tell, when it is due

    def _renew(self, held: Held) -> bool:
        def one(address: str) -> None:
            with self._bound() as bound:
                renew(held.holder, self._clock, self._egress, bound, address)

        if not self.attempt(self.renewal, "pki.renewal_failed", one):
            return False
        now = self._clock.now()
        young = self.look(now)
        # An issuer near its own end makes short lives: no renewal follows on another's heels.
        self.renewal.done(now.boot_ns + self._config.retry_most_s * _S_NS)
        if young is not None:
            ends_ns = young.identity.not_after_ns
            life_ns = life_ahead(ends_ns, young.life_ns, now.wall_ns)
            self.held = msgspec.structs.replace(young, life_ns=life_ns)
            end = moment(ends_ns)
            self.tell("info", "pki.renewed", serial=young.identity.serial, ends=end)
        return True

    def _tell_end(self, held: Held, now: Now) -> None:
        """Report once that the certificates have ended: from here on there is only grace."""
        identity = held.identity
        if now.wall_ns >= identity.not_after_ns and self._told_end != identity.serial:
            self._told_end = identity.serial
            ended = moment(identity.not_after_ns)
            self.tell("error", "pki.grace_began", serial=identity.serial, ended=ended)


def moment(wall_ns: int) -> str:
    """Write a time in ISO 8601, UTC, in seconds."""
    shown = dt.datetime.fromtimestamp(wall_ns // _S_NS, dt.UTC)
    return shown.isoformat().replace("+00:00", "Z")
