"""Adaptive learning: known protocols first, unknown ones in the background, failures as candidates.

    a flow's messages
      |- its service is remembered, and the profile still takes them: a cache hit
      |- a stored profile takes them: known, and remembered
      |- nothing is to be learnt of its service (encrypted): remembered too
      |- else kept until there are enough, then learnt in the background: a candidate

Rule 1: nothing is promoted by itself. A *new* protocol's first version may be put into use by a
policy that the operator states (`promote_first`) and if its parser was proved; a version that
failed parses gave rise to waits for an operator.
Rule 2: every buffer has its bound, whatever strangers send.
"""

import enum
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from cronos.discover import ir
from cronos.discover.cache import CAPACITY, TTL_NS, TtlCache
from cronos.discover.child import Ask, LearnAsk
from cronos.discover.interpreter import Interpreter, Parsed
from cronos.discover.jobs import Answer
from cronos.discover.learned import Learned, Verdict
from cronos.discover.matching import Matcher
from cronos.discover.messages import Message, Service
from cronos.discover.model import Limits
from cronos.discover.profile import Profile, named
from cronos.discover.report import profile_of
from cronos.errors import DeniedError
from cronos.ports import Clock, Metrics

_NOTHING_TO_LEARN: Final = ""
_LEARNT_UNUSED: Final = "?"  # no profile has such a name
_UNUSED: Final = (_NOTHING_TO_LEARN, _LEARNT_UNUSED)
_STILL_TAKEN: Final = 0.5
_MAX_PENDING_SERVICES: Final = 1_000
_MAX_PENDING_BYTES: Final = 64 << 20
_KEPT_MESSAGES: Final = 1_000
_KEPT_BYTES: Final = 1 << 20
_NOTE_EVERY: Final = 1_000
# Besides its payload, what a message costs in memory.
_MESSAGE_BYTES: Final = 400
_MAX_RUNNING_BYTES: Final = 64 << 20
# Strangers speak as many protocols as they like: so many names may wait for an operator, and so
# many be in use before none is put there without anybody's word.
_MAX_UNUSED: Final = 100
_MAX_PROMOTED: Final = 100
# How long after a profile was learnt from failures before it is again; doubled every time.
_REFINED_NS: Final = 60_000_000_000
_MAX_REFINED_NS: Final = 24 * 3_600_000_000_000


class Policy(msgspec.Struct, frozen=True):
    """When something is learnt, and what may be put into use without asking."""

    promote_first: bool = False
    least_messages: int = 64
    """Before a service is learnt."""
    least_failures: int = 100
    """Before a profile's failed parses are learnt from."""
    failing_share: float = 0.02
    """Share of a profile's messages that must fail for it."""
    limits: Limits = Limits()


class How(enum.StrEnum):
    """What became of a flow."""

    CACHED = "cached"
    KNOWN = "known"
    OPAQUE = "opaque"
    """Nothing can be learnt of it."""
    WAITING = "waiting"
    """Kept until there is enough to learn from."""
    LEARNING = "learning"


class Seen(NamedTuple):
    """What became of a flow's messages."""

    how: How
    profile: str = ""
    parsed: int = 0
    failed: int = 0


class Queue(Protocol):
    """Where discoveries are carried out; see `cronos.discover.jobs.Jobs`."""

    def submit(self, ask: Ask) -> int:
        """Queue an ask and give its number."""
        ...

    def step(self, timeout_s: float) -> None:
        """Go on with what runs."""
        ...

    def answer(self, number: int) -> Answer | None:
        """Give an answer once."""
        ...


class Profiles(Protocol):
    """Where profiles lie: a `ProfileStore`, or one that is opened when it is asked."""

    def names(self) -> tuple[str, ...]:
        """Give the names there are, sorted."""
        ...

    def actives(self) -> dict[str, Profile]:
        """Give the active version of each name that has one."""
        ...

    def add(self, profile: Profile) -> Profile:
        """Store a candidate."""
        ...

    def promote(self, name: str, version: int) -> Profile:
        """Put a version into use."""
        ...

    def note(self, name: str, version: int, *, parsed: int, failed: int) -> None:
        """Add to what a version parsed and failed."""
        ...


class _Buffer:
    """The latest messages, bounded by number and bytes."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self._payload = 0

    @property
    def bytes(self) -> int:
        """What they cost in memory."""
        return self._payload + _MESSAGE_BYTES * len(self.messages)

    def add(self, message: Message) -> int:
        """Keep a message; give by how many bytes this has grown."""
        before = self.bytes
        self.messages.append(message)
        self._payload += len(message.payload)
        while len(self.messages) > _KEPT_MESSAGES or self._payload > _KEPT_BYTES:
            self._payload -= len(self.messages.popleft().payload)
        return self.bytes - before


class _Use:
    """A profile in use: its parser, how it does, and what it was last given."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.parser = Interpreter(profile.grammar)
        self.parsed = 0
        self.failed = 0
        self.noted = 0
        self.taken = _Buffer()
        self.refused = _Buffer()
        self.refining = False
        self.refined_ns = 0
        self.wait_ns = 0


class _Trial(NamedTuple):
    """A service whose parser was not proved: how many messages it is learnt from next."""

    least: int
    name: str


class _Running(NamedTuple):
    """A discovery in the queue: of a new service, or from the failures of a profile."""

    service: Service
    refines: str
    bytes: int


class Library:
    """The profiles of a node, and what is learnt beside them; used by one thread.

    Args:
        store: where profiles lie.
        queue: where discoveries are carried out.
        clock: ages what is remembered.
        metrics: counts ``discover.flows`` by what became of them, and the hit rate.
        policy: when something is learnt and put into use.
    """

    def __init__(
        self,
        store: Profiles,
        queue: Queue,
        clock: Clock,
        metrics: Metrics,
        policy: Policy | None = None,
    ) -> None:
        self._store = store
        self._queue = queue
        self._clock = clock
        self._metrics = metrics
        self._policy = policy or Policy()
        self._cache: TtlCache[str] = TtlCache(CAPACITY, TTL_NS)
        self._uses: dict[str, _Use] = {}
        self._matcher = Matcher({})
        self._pending: OrderedDict[str, _Buffer] = OrderedDict()
        self._pending_bytes = 0
        self._wanted: TtlCache[_Trial] = TtlCache(CAPACITY, TTL_NS)
        self._running: dict[int, _Running] = {}
        self._unused: frozenset[str] = frozenset()
        self._counts = dict.fromkeys(How, 0)
        self.reload()

    @property
    def hit_rate(self) -> float:
        """Share of flows that needed no learning, of those of which anything can be learnt."""
        hits = self._counts[How.CACHED] + self._counts[How.KNOWN]
        total = hits + self._counts[How.WAITING] + self._counts[How.LEARNING]
        return hits / total if total else 0.0

    @property
    def counts(self) -> dict[How, int]:
        """Flows by what became of them."""
        return dict(self._counts)

    @property
    def learning(self) -> int:
        """How many discoveries run or wait."""
        return len(self._running)

    @property
    def unused(self) -> int:
        """How many names the store has of which no version is in use."""
        return len(self._unused)

    def reload(self) -> None:
        """Take up what the store has in use now: after a promotion, or another program's change."""
        actives = self._store.actives()
        for name in [*self._uses]:
            if actives.get(name) != self._uses[name].profile:
                self._note(self._uses.pop(name))
                self._cache.drop_value(name)
        for name, profile in actives.items():
            if name not in self._uses:
                self._uses[name] = _Use(profile)
                for service in profile.services:
                    self._cache.drop(service)
        grammars: dict[str, bytes | ir.Grammar] = {
            name: use.profile.grammar for name, use in self._uses.items()
        }
        usual = {name: use.profile.bits_per_byte for name, use in self._uses.items()}
        self._spoken: dict[str, set[str]] = {}
        for name, use in self._uses.items():
            for service in use.profile.services:
                self._spoken.setdefault(service, set()).add(name)
        self._matcher = Matcher(grammars, usual)
        self._unused = frozenset(self._store.names()) - self._uses.keys()

    def flow(self, service: str, messages: Sequence[Message]) -> Seen:
        """Take the next messages of a flow to a service, such as ``tcp/502 10.0.0.1``."""
        seen = self._seen(service, messages)
        self._counts[seen.how] += 1
        self._metrics.count(f"discover.flows.{seen.how}")
        self._metrics.gauge("discover.hit_rate", self.hit_rate)
        return seen

    def _seen(self, service: str, messages: Sequence[Message]) -> Seen:
        now_ns = self._clock.now().boot_ns
        remembered = self._cache.get(service, now_ns)
        own = self._spoken.get(service, ())
        if remembered in _UNUSED:
            # Nothing is to be learnt of it; or its candidate waits for an operator, or nothing came
            # of it: not again before it ages. Others at its port may speak what is known.
            match = self._matcher.match(messages, own)
            if match is not None:
                return self._taken(How.KNOWN, match.name, messages)
            return Seen(How.OPAQUE if remembered == _NOTHING_TO_LEARN else How.WAITING)
        if remembered in self._uses:
            seen = self._taken(How.CACHED, remembered, messages)
            if seen.parsed >= _STILL_TAKEN * len(messages):
                return seen
        self._cache.drop(service)
        match = self._matcher.match(messages, own)
        if match is not None:
            self._cache.put(service, match.name, now_ns)
            return self._taken(How.KNOWN, match.name, messages)
        return self._unknown(service, messages)

    def _taken(self, how: How, name: str, messages: Sequence[Message]) -> Seen:
        use = self._uses[name]
        parsed = 0
        for message in messages:
            if isinstance(use.parser.parse(message.payload, message.direction), Parsed):
                parsed += 1
                use.taken.add(message)
            else:
                use.refused.add(message)
        use.parsed += parsed
        use.failed += len(messages) - parsed
        if use.parsed + use.failed - use.noted >= _NOTE_EVERY:
            self._note(use)
        self._refine(use)
        return Seen(how, name, parsed, len(messages) - parsed)

    def _note(self, use: _Use) -> None:
        """Write down how a profile did; its own counts begin anew."""
        if use.parsed + use.failed:
            one = use.profile
            self._store.note(one.name, one.version, parsed=use.parsed, failed=use.failed)
        use.parsed = use.failed = use.noted = 0

    def _refine(self, use: _Use) -> None:
        """Learn from failures in the background, beside what still parses: a candidate."""
        failures, taken = use.refused.messages, use.taken.messages
        share = len(failures) / max(1, len(failures) + len(taken))
        policy = self._policy
        now_ns = self._clock.now().boot_ns
        if use.refining or now_ns - use.refined_ns < use.wait_ns:
            return
        if len(failures) < policy.least_failures or share < policy.failing_share:
            return
        messages = sorted([*failures, *taken], key=lambda message: message.ts)
        names = use.profile.services
        service = Service(names[0] if names else use.profile.name, tuple(messages))
        use.refining = self._submit(service, use.profile.name)
        if use.refining:
            use.refused = _Buffer()
            use.refined_ns = now_ns
            use.wait_ns = min(_MAX_REFINED_NS, max(_REFINED_NS, 2 * use.wait_ns))

    def _unknown(self, service: str, messages: Sequence[Message]) -> Seen:
        if any(running.service.name == service for running in self._running.values()):
            return Seen(How.LEARNING)
        trial = self._wanted.get(service, self._clock.now().boot_ns)
        if trial is None and len(self._unused) + len(self._running) >= _MAX_UNUSED:
            self._forget_pending(service)
            return Seen(How.WAITING)  # until an operator promotes or forgets some
        buffer = self._pending.setdefault(service, _Buffer())
        self._pending.move_to_end(service)
        for message in messages:
            self._pending_bytes += buffer.add(message)
        self._bound_pending()
        if len(buffer.messages) < (trial.least if trial else self._policy.least_messages):
            return Seen(How.WAITING)
        if not self._submit(Service(service, tuple(buffer.messages)), ""):
            return Seen(How.WAITING)
        self._forget_pending(service)
        return Seen(How.LEARNING)

    def _bound_pending(self) -> None:
        while len(self._pending) > 1 and (
            len(self._pending) > _MAX_PENDING_SERVICES or self._pending_bytes > _MAX_PENDING_BYTES
        ):
            self._forget_pending(next(iter(self._pending)))

    def _forget_pending(self, service: str) -> None:
        buffer = self._pending.pop(service, None)
        self._pending_bytes -= buffer.bytes if buffer else 0

    def _submit(self, service: Service, refines: str) -> bool:
        cost = sum([len(message.payload) + _MESSAGE_BYTES for message in service.messages])
        held = sum([running.bytes for running in self._running.values()])
        if self._running and held + cost > _MAX_RUNNING_BYTES:
            return False
        try:
            number = self._queue.submit(LearnAsk(service, self._policy.limits))
        except DeniedError:
            return False  # the queue is full: its messages wait, and are asked about again
        self._running[number] = _Running(service, refines, cost)
        return True

    def step(self, timeout_s: float = 0.0) -> tuple[Profile, ...]:
        """Go on with what is learnt; give the versions that were stored."""
        self._queue.step(timeout_s)
        stored: list[Profile] = []
        for number in list(self._running):
            answer = self._queue.answer(number)
            if answer is None:
                continue
            running = self._running.pop(number)
            new = self._answered(running, answer)
            if new is not None:
                stored.append(new)
        return tuple(stored)

    def _answered(self, running: _Running, answer: Answer) -> Profile | None:
        use = self._uses.get(running.refines)
        if use is not None:
            use.refining = False
        now = self._clock.now()
        service = running.service.name
        trial = None if running.refines else self._wanted.get(service, now.boot_ns)
        if not running.refines:
            self._cache.put(service, _LEARNT_UNUSED, now.boot_ns)
        if not isinstance(answer, Learned):
            self._metrics.count("discover.failed")
            return None
        name = running.refines or (trial.name if trial else self._new_name(service))
        profile = profile_of(running.service, answer, name, now.wall_ns)
        if profile is None:
            if answer.verdict in (Verdict.ENCRYPTED, Verdict.EMPTY):
                self._cache.put(service, _NOTHING_TO_LEARN, now.boot_ns)
            return None
        stored = self._store.add(profile)
        self._metrics.count("discover.learned")
        proved = answer.validation is not None and answer.validation.passed
        self._unused |= {stored.name} - self._uses.keys()
        room = len(self._uses) < _MAX_PROMOTED
        if self._policy.promote_first and not running.refines and proved and room:
            stored = self._store.promote(stored.name, stored.version)
            self.reload()
            self._cache.drop(service)
        elif not proved and not running.refines:
            self._try_again(running.service, stored.name)
        return stored

    def _try_again(self, service: Service, name: str) -> None:
        """Learn a service once more, from twice as many messages, while so many may be kept."""
        least = 2 * len(service.messages)
        if least > _KEPT_MESSAGES:
            return
        self._wanted.put(service.name, _Trial(least, name), self._clock.now().boot_ns)
        self._cache.drop(service.name)
        buffer = self._pending.setdefault(service.name, _Buffer())
        for message in service.messages:
            self._pending_bytes += buffer.add(message)
        self._bound_pending()

    def _new_name(self, service: str) -> str:
        """Name a new protocol after its service; one of that name may be another protocol."""
        name, number = named(service), 1
        taken = set(self._store.names())
        self._unused = frozenset(taken - self._uses.keys())
        while (chosen := name if number == 1 else f"{name[:56]}_{number}") in taken:
            number += 1
        return chosen

    def close(self) -> None:
        """Write down how every profile did."""
        for use in self._uses.values():
            self._note(use)
