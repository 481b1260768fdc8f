"""Blocks, limits and cuts off in the kernel's packet filter, in a table of its own.

The elements of the table `inet cronos` carry the lease as the kernel's timeout: an effect ends
though every process of ours is dead. What each target means:

* deny an address, a network or a flow: both directions are dropped;
* deny a service (`tcp/198.51.100.2:502`): what is sent to it, and what it answers. It is closed
  for everyone whose packets pass this machine, and for this machine's own clients;
* limit an address: what it sends and is sent beyond a rate is dropped, as one sum;
* deny a segment: what enters or leaves it is dropped; what stays within it passes.

In the hooks input, forward and output; see `cronos.respond.nftrules`. Commands are built from
parsed addresses and numbers, never from text that came from elsewhere.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from cronos.config import Positive, Section
from cronos.errors import UnreachableError
from cronos.respond.libnftables import Nft, NftError
from cronos.respond.nftargets import (
    Element,
    Scalar,
    belongs_to_all,
    element_of,
    packed,
    prefix_set,
    segment_mark,
    target_of,
)
from cronos.respond.nftrules import (
    TABLE,
    is_segment_set,
    prefix_commands,
    segments_of,
    skeleton,
)
from cronos.respond.setelements import SetElements
from cronos.types import (
    Ability,
    Action,
    Blast,
    Entity,
    EntityKind,
    Manifest,
    Operation,
    Outcome,
    Plan,
    Reversal,
    Verb,
    action_id,
)

_POINT: Final = "nftables"
_MS_NS: Final = 1_000_000
_PLAIN: Final = frozenset({"deny4", "deny6", "flow4", "flow6"})
_PLACES: Final = (EntityKind.ADDRESS, EntityKind.NETWORK)
_TRANSACTION: Final = 2000
_RATE: Final = Meta(ge=1, le=1 << 31)


def _no_segments() -> dict[str, tuple[str, ...]]:
    return {}


class NftablesConfig(Section, frozen=True):
    """Bounds of the sets, what a limit lets through, and the segments."""

    max_elements: Positive = 1_048_576
    # Before connection tracking (-200) is too early for some rule sets; -10 precedes filters.
    hook_priority: int = -10
    # What a limited address may send and be sent each second, as one sum.
    limit_rate: Annotated[int, _RATE] = 100
    limit_unit: Literal["packets", "bytes"] = "packets"
    # What it may have saved up.
    limit_burst: Annotated[int, _RATE] = 100
    # The widest networks that may be denied.
    min_prefix_ipv4: Annotated[int, Meta(ge=1, le=32)] = 8
    min_prefix_ipv6: Annotated[int, Meta(ge=1, le=128)] = 32
    # Networks by the name of their segment; the node gives those of `[segments]`.
    segments: dict[str, tuple[str, ...]] = msgspec.field(default_factory=_no_segments)


class _Member(msgspec.Struct, frozen=True):
    """A set's member as the library lists it: with a timeout it is wrapped in `elem`."""

    concat: tuple[Scalar, ...] = ()
    elem: "_Timed | None" = None


class _Timed(msgspec.Struct, frozen=True):
    val: Scalar | _Member


class _Set(msgspec.Struct, frozen=True):
    name: str = ""
    elem: tuple[Scalar | _Member, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    set: _Set = _Set()


class _Listing(msgspec.Struct, frozen=True):
    nftables: tuple[_Entry, ...] = ()


_LISTING: Final = msgspec.json.Decoder(_Listing)

Members = dict[str, dict[str, str]]  # set -> key -> the element's text, timeout and all


def _able(
    kind: EntityKind, openc2: str, blast: Blast, risk: float, efficacy: float, disruption: float
) -> Ability:
    d3fend = "D3-NI" if kind is EntityKind.SEGMENT else "D3-NTF"
    reversal = Reversal.KERNEL
    return Ability(Verb.DENY, kind, openc2, d3fend, reversal, blast, 50, risk, efficacy, disruption)


class NftablesExecutor:
    """Denies and limits what passes this machine; one batch is one transaction.

    Raises:
        InputError: libnftables is not installed, or a segment is not understood.
        DeniedError: this process may not change the packet filter.
    """

    manifest = Manifest(
        _POINT,
        "Drops packets in this machine's kernel: of an address, flow, network, service or segment",
        abilities=(
            _able(EntityKind.ADDRESS, "ipv4_net", Blast.NARROW, 0.40, 0.95, 0.20),
            _able(EntityKind.FLOW, "ipv4_connection", Blast.NARROW, 0.30, 0.50, 0.05),
            # No finding leads to these by itself: a planner or a person does.
            _able(EntityKind.NETWORK, "ipv4_net", Blast.FLEET, 0.80, 0.0, 0.50),
            _able(EntityKind.SERVICE, "ipv4_connection", Blast.SERVICE, 0.70, 0.0, 0.60),
            _able(EntityKind.SEGMENT, "x-cronos:segment", Blast.FLEET, 0.80, 0.0, 0.60),
            replace(
                _able(EntityKind.ADDRESS, "ipv4_net", Blast.NARROW, 0.35, 0.0, 0.10),
                verb=Verb.LIMIT,
            ),
        ),
    )
    config_type: ClassVar[type[Section]] = NftablesConfig

    def __init__(self, config: NftablesConfig) -> None:
        self._config = config
        self._segments = segments_of(config.segments)
        burst = f"burst {config.limit_burst} {config.limit_unit}"
        unit = "" if config.limit_unit == "packets" else f" {config.limit_unit}"
        rate = f" limit rate over {config.limit_rate}{unit}/second {burst}"
        self._rates = {"limit4": rate, "limit6": rate}
        self._prefixes: set[str] = set()  # the sets of networks that are there, with their rules
        self._nft = Nft()
        self._elements = SetElements(TABLE.partition(" ")[2])
        self._set_up()

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Find the set and the element of each target; see `Executor.plan`."""
        return [self._plan(action) for action in actions]

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Add all elements in one transaction; see `Executor.apply`."""
        return self._transact(plans, Operation.APPLY)

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Ask the kernel for exactly these elements, and for the rules; see `Executor.verify`.

        Raises:
            UnreachableError: the kernel does not answer, so nobody can say.
        """
        elements = [element_of(plan.action.target, plan.action.verb) for plan in plans]
        asked: dict[str, dict[bytes, Element]] = {}
        for element in elements:
            if element is not None:
                asked.setdefault(element.set_name, {})[packed(element)] = element
        try:
            # Without its rules an element stops nothing.
            stand = self._elements.stand() if asked else True
            there = {
                (name, key)
                for name, keys in asked.items()
                for key in self._elements.held(name, list(keys))
            }
        except OSError as error:
            raise UnreachableError(
                "respond.nftables_silent",
                f"The packet filter does not say what it holds: {error.strerror}.",
                "See `nft list table inet cronos`, and whether sockets and memory are left.",
            ) from error
        return [
            stand and one is not None and (one.set_name, packed(one)) in there for one in elements
        ]

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Begin the timeouts anew, without a gap; see `Executor.renew`.

        What a limited address had saved up begins anew as well.
        """
        return self._transact(plans, Operation.RENEW)

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Delete the elements; one that is absent already is deleted; see `Executor.undo`."""
        outcomes = self._transact(plans, Operation.UNDO)
        if any(plan.action.target.kind is EntityKind.NETWORK for plan in plans):
            self._tidy()
        return outcomes

    def observe(self) -> frozenset[str]:
        """List the sets and name what is in them; see `Executor.observe`."""
        return frozenset(
            action_id(_POINT, verb, target)
            for one in self._listed()
            for verb, target in self._targets(one)
        )

    def close(self) -> None:
        """Free the library's context and the socket; the table stays, with its leases."""
        self._nft.close()
        self._elements.close()

    def _plan(self, action: Action) -> Plan | Outcome:
        element = element_of(action.target, action.verb)
        if element is None:
            return _said(action, Operation.APPLY, _unable(action), ok=False)
        why = self._objection(action.target, element)
        if why is not None:
            return _said(action, Operation.APPLY, why, ok=False)
        recipe = {"table": TABLE, "set": element.set_name, "element": element.key}
        return Plan(
            action,
            msgspec.json.encode(recipe),
            f"{self._meaning(action)} in table {TABLE}",
            f"nft delete element {TABLE} {element.set_name} {{ {element.key} }}",
            kernel_timeout=True,
        )

    def _objection(self, target: Entity, element: Element) -> str | None:
        """Say why a target that could be written into a set must not be."""
        if target.kind is EntityKind.NETWORK:
            version, length = prefix_set(element.set_name) or (4, 0)
            least = self._config.min_prefix_ipv4 if version == 4 else self._config.min_prefix_ipv6
            if length < least:
                return f"{target.value} is wider than the /{least} that may be denied."
        if target.kind in _PLACES and belongs_to_all(target.value):
            return f"refused: {target.value} is nobody's address: much that others need uses it."
        if self._is_lost(target):
            return f"No segment {target.value} is configured; see `segments`."
        return None

    def _meaning(self, action: Action) -> str:
        target = action.target
        if action.verb is Verb.LIMIT:
            rate = f"{self._config.limit_rate} {self._config.limit_unit}"
            return f"let {target.value} send and be sent at most {rate} a second"
        match target.kind:
            case EntityKind.SEGMENT:
                return f"drop all packets that enter or leave the segment {target.value}"
            case EntityKind.SERVICE:
                return f"drop all packets to {target.value} and its answers"
            case _:
                return f"drop all packets of {target.value}"

    def _set_up(self) -> None:
        """Make table, sets and rules in one transaction, keeping elements that are there."""
        listed = {one.name: one for one in self._listed()}
        used = {name for name, one in listed.items() if prefix_set(name) and one.elem}
        lines = list(skeleton(self._config.max_elements, self._config.hook_priority))
        lines += [line for name in sorted(used) for line in self._prefix_commands(name)]
        lines += [line for one in self._segments.values() for line in one.commands()]
        own = {
            f"segment{version}_{mark:08x}"
            for mark, segment in self._segments.items()
            for version in segment.members
        }
        lines += [
            f"delete set {TABLE} {name}"
            for name in sorted(listed)
            if (prefix_set(name) and name not in used) or (is_segment_set(name) and name not in own)
        ]
        # A segment that is not configured any more is not cut off any more: nor may it look so.
        marks = _marks(listed["segments"]) if "segments" in listed else ()
        lines += [
            f"delete element {TABLE} segments {{ 0x{mark:08x} }}"
            for mark in marks
            if mark not in self._segments
        ]
        self._nft.run("\n".join(lines))
        self._prefixes = used
        self._learn()

    def _prefix_commands(self, set_name: str) -> Iterator[str]:
        return prefix_commands(set_name, self._config.max_elements)

    def _listed(self) -> tuple[_Set, ...]:
        try:
            listing = self._nft.run(f"list sets table {TABLE}")
        except NftError:
            return ()  # the table is gone, and every effect with it
        return tuple(entry.set for entry in _LISTING.decode(listing).nftables if entry.set.name)

    def _tidy(self) -> None:
        """Remove the sets of networks that hold none any more, and their rules."""
        there = {one.name: one for one in self._listed() if prefix_set(one.name)}
        used = {name for name, one in there.items() if one.elem}
        if used == set(there):
            return
        lines = [f"flush chain {TABLE} networks"]
        lines += [f"delete set {TABLE} {name}" for name in sorted(set(there) - used)]
        for name in sorted(used):
            lines += list(self._prefix_commands(name))
        if self._refusal("\n".join(lines), again=False) is None:
            self._prefixes = used
            self._learn()

    def _transact(self, plans: Sequence[Plan], operation: Operation) -> Sequence[Outcome]:
        """Run one transaction per `_TRANSACTION` plans: netlink bounds the length of a message."""
        outcomes: list[Outcome] = []
        for at in range(0, len(plans), _TRANSACTION):
            part = plans[at : at + _TRANSACTION]
            why = self._carry_out(part, operation)
            outcomes += [self._answer(plan, operation, why) for plan in part]
        return outcomes

    def _answer(self, plan: Plan, operation: Operation, why: str | None) -> Outcome:
        if why is None and operation is not Operation.UNDO and self._is_lost(plan.action.target):
            why = f"The segment {plan.action.target.value} is not configured any more."
        detail = why or _done(plan, operation)
        return _said(plan.action, operation, detail, ok=why is None, undo=plan.undo_summary)

    def _is_lost(self, target: Entity) -> bool:
        """Say whether a target is a segment of which no rule speaks any more."""
        if target.kind is not EntityKind.SEGMENT:
            return False
        return segment_mark(target.value) not in self._segments

    def _carry_out(self, plans: Sequence[Plan], operation: Operation) -> str | None:
        """Run a batch; where table or rules were removed, make them again."""
        if operation is Operation.APPLY and self._added_at_once(plans):
            return None
        if operation is not Operation.UNDO and not self._stands():
            try:
                self._set_up()
            except NftError as error:
                return str(error)
        members = self._by_set(plans, operation)
        commands = _COMMANDS[operation](members)
        why = self._refusal(self._sets_for(members) + commands, again=True)
        if why is not None:
            why = self._refusal(self._sets_for(members) + commands, again=False)
        if why is None:
            self._settle({name for name in members if name.startswith("net")})
        return why

    def _added_at_once(self, plans: Sequence[Plan]) -> bool:
        """Add plain addresses and flows without the library; False where that has to do it."""
        members: dict[str, dict[bytes, int]] = {}
        for plan in plans:
            element = element_of(plan.action.target, plan.action.verb)
            if element is None or element.set_name not in _PLAIN:
                return False
            timeout_ms = _timeout_ms(plan.action)
            members.setdefault(element.set_name, {})[packed(element)] = timeout_ms
        try:
            # The second try is for a rule set that others have changed around our own.
            return self._elements.add(members) or (
                self._elements.stand() and self._elements.add(members)
            )
        except OSError:
            return False  # the library has a sentence for it

    def _stands(self) -> bool:
        try:
            return self._elements.stand()
        except OSError:
            return True  # whoever looks at the effect is told

    def _settle(self, prefixes: set[str]) -> None:
        """Note what a transaction of ours has changed, so that another's shows."""
        if prefixes <= self._prefixes:
            self._elements.expect()
            return
        self._prefixes |= prefixes
        self._learn()

    def _learn(self) -> None:
        with contextlib.suppress(OSError):  # then nothing stands until it can be learnt
            self._elements.learn()

    def _sets_for(self, members: Iterable[str]) -> str:
        new = [name for name in members if name.startswith("net") and name not in self._prefixes]
        return "".join(f"{line}\n" for name in new for line in self._prefix_commands(name))

    def _refusal(self, commands: str, *, again: bool) -> str | None:
        """Run commands and give the library's refusal; `again` makes the table anew after one."""
        try:
            self._nft.run(commands)
        except NftError as error:
            if again:
                try:
                    self._set_up()
                except NftError as worse:
                    return str(worse)
            return str(error)
        return None

    def _by_set(self, plans: Iterable[Plan], operation: Operation) -> Members:
        """Give the members of each set, each once: the last plan's lease counts."""
        members: Members = {}
        for plan in plans:
            action = plan.action
            element = element_of(action.target, action.verb)
            lost = operation is not Operation.UNDO and self._is_lost(action.target)
            if element is not None and not lost:
                name, key = element
                text = f"{key}{self._rates.get(name, '')} timeout {_timeout_ms(action)}ms"
                members.setdefault(name, {})[key] = text
        return members

    def _targets(self, listed: _Set) -> Iterator[tuple[Verb, Entity]]:
        """Read the targets out of what the library says of one set."""
        if listed.name == "segments":
            named = (self._segments.get(mark) for mark in _marks(listed))
            yield from ((Verb.DENY, Entity(EntityKind.SEGMENT, s.name)) for s in named if s)
            return
        if is_segment_set(listed.name):
            return
        for member in listed.elem:
            value = _value(member)
            found = target_of(listed.name, value.concat if isinstance(value, _Member) else value)
            if found is not None:
                yield found


def _value(member: Scalar | _Member) -> Scalar | _Member:
    if isinstance(member, _Member) and member.elem is not None:
        return member.elem.val
    return member


def _marks(listed: _Set) -> list[int]:
    values = [_value(member) for member in listed.elem]
    return [value for value in values if isinstance(value, int)]


def _added(members: Members) -> str:
    """Add; a rate that is there is replaced, since it may have been another."""
    limits = {name: texts for name, texts in members.items() if name.startswith("limit")}
    return (_deleted(limits) if limits else "") + "".join(
        f"add element {TABLE} {name} {{ {', '.join(texts.values())} }}\n"
        for name, texts in members.items()
    )


def _deleted(members: Members) -> str:
    """Add, then delete: so the deletion succeeds whether or not the element was there."""
    return "".join(
        f"{verb} element {TABLE} {name} {{ {', '.join(texts)} }}\n"
        for name, texts in members.items()
        for verb in ("add", "delete")
    )


def _renewed(members: Members) -> str:
    """Delete and add within one transaction: older kernels keep a present element's timeout."""
    return _deleted(members) + _added(members)


_COMMANDS: Final = {
    Operation.APPLY: _added,
    Operation.RENEW: _renewed,
    Operation.UNDO: _deleted,
}


def _timeout_ms(action: Action) -> int:
    return max(1, -(-action.lease_ns // _MS_NS))


def _unable(action: Action) -> str:
    return (
        f"nftables cannot {action.verb} {action.target.kind} {action.target.value}: it denies "
        "addresses, networks, segments and TCP or UDP flows and services, and limits addresses, "
        "in canonical spelling."
    )


def _done(plan: Plan, operation: Operation) -> str:
    target, lease_s = plan.action.target.value, plan.action.lease_ns / 1e9
    if operation is Operation.UNDO:
        return f"{target} passes again."
    done = "limited" if plan.action.verb is Verb.LIMIT else "dropped"
    return f"{target} is {done} for {lease_s:.1f} s."


def _said(
    action: Action, operation: Operation, detail: str, *, ok: bool, undo: str = ""
) -> Outcome:
    return Outcome(
        action.action_id,
        action.incident_id,
        operation,
        ok=ok,
        verified=False,
        detail=detail,
        undo=undo,
    )
