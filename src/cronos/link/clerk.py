"""What people tell a running node, and what it answers: verbs, who may use them, and the words.

A command is a `ControlCall`: a verb and its argument as JSON, and, where an operator signed it,
both once more in the signed order. `Clerk` checks it and hands the kernel's events to the node; it
opens no socket, so that the mesh may come to use it too. Nothing here knows a primitive: who
called was found out before (`cronos.link.people`).

Rule 1: an answer names the exact action that was asked about, by its digest. Rule 2: without a
signature nothing irreversible is approved. Rule 3: to release and to kill is the safe direction,
so whoever runs as the node's own user, or as root, may always do it, signed or not; he could as
well end the processes. To take a kill back is not.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from cronos.errors import DeniedError, InputError
from cronos.link.killswitch import MAX_GENERATION, KillSwitch
from cronos.ports import Clock
from cronos.types import (
    MAX_FRAME_BYTES,
    Answer,
    Audience,
    ControlCall,
    Kill,
    Question,
    Release,
    Verdict,
    digest_of,
)

MAX_PAGE: Final = 200
EVERY_NODE: Final = "*"
_MOST_REPLY_BYTES: Final = MAX_FRAME_BYTES - 4096
_MOST_ARGUMENT_BYTES: Final = 4096
_MOST_PAIRS: Final = 64
_PAIR_NS: Final = 600 * 1_000_000_000

_Id = Annotated[str, Meta(min_length=1, max_length=256)]
_Number = Annotated[int, Meta(ge=0, le=MAX_GENERATION)]


class _Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the arguments."""


class Nothing(_Words, frozen=True):
    """No argument."""


class Page(_Words, frozen=True):
    """Which incidents to list, and how many; the newest come last."""

    which: Literal["all", "open", "waiting"] = "all"
    first: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    count: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE


class About(_Words, frozen=True):
    """One incident."""

    incident: _Id


class Reply(_Words, frozen=True):
    """A person's word on a question; `digest` is that of the action, see `digest_of`."""

    question: _Id
    incident: _Id
    action: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    granted: bool


class Judgement(_Words, frozen=True):
    """What a person made of an incident."""

    incident: _Id
    malicious: bool


class Throw(_Words, frozen=True):
    """The kill switch."""

    generation: _Number
    engaged: bool
    release_all: bool = False


class Caller(NamedTuple):
    """Who called. `alone` says that the node has joined no trust domain and knows no operators."""

    subject: str
    roles: tuple[str, ...]
    signed: bool
    alone: bool


class Rule(NamedTuple):
    """Who may use a verb: operators of these roles, and without a signature the node's own user.

    The latter ``always``, or only while the node is ``alone``.
    """

    roles: frozenset[str]
    unsigned: Literal["always", "alone"]


_ANYONE: Final = frozenset({"analyst", "responder", "manager", "admin"})
_ACTING: Final = frozenset({"responder", "manager", "admin"})
_LEADING: Final = frozenset({"manager", "admin"})
RULES: Final[dict[str, Rule]] = {
    "status": Rule(_ANYONE, "always"),
    "incidents.list": Rule(_ANYONE, "always"),
    "incidents.show": Rule(_ANYONE, "always"),
    "questions.list": Rule(_ANYONE, "always"),
    "approve": Rule(_ANYONE, "alone"),
    "deny": Rule(_ANYONE, "alone"),
    "release": Rule(_ACTING, "always"),
    "verdict": Rule(_ANYONE, "alone"),
    "kill": Rule(_ACTING, "always"),
    "policy.reload": Rule(_LEADING, "alone"),
}
# A question that has gone up to the manager is the manager's, and so is one that pages someone.
ASKED: Final[dict[Audience, frozenset[str]]] = {
    "analyst": _ANYONE,
    "manager": _LEADING,
    "pager": _LEADING,
}

Heard: TypeAlias = Answer | Release | Verdict | Kill


class Desk(Protocol):
    """What a running node does for people; called on its event loop, so none of it may wait."""

    def listing(self, which: str, first: int, count: int) -> tuple[int, Sequence[Any]]:
        """Give how many incidents there are of a kind, and `count` of them from `first` on.

        Each is what JSON can hold; `which` is ``all``, ``open`` or ``waiting``.
        """
        ...

    def shown(self, incident_id: str) -> Any | None:
        """Give one incident with all that is known of it, or None."""
        ...

    def questions(self) -> Sequence[Question]:
        """Give the questions that wait for an answer, the oldest first."""
        ...

    def take(self, heard: Heard) -> None:
        """Give the kernel an event, and the enforcer a `Kill` as well.

        Raises:
            CronosError: it cannot be taken now.
        """
        ...

    def status(self) -> dict[str, Any]:
        """Give how the node stands, as JSON can hold it."""
        ...

    def reload(self, subject: str) -> str:
        """Read policy and playbooks anew because `subject` says so; give a sentence on it.

        Raises:
            CronosError: they do not hold; the old ones stay in force.
        """
        ...


class QuestionView(msgspec.Struct, frozen=True):
    """A question as it is put: what would be done to whom, for how long, and who must say yes."""

    question: str
    incident: str
    audience: str
    persons: int
    text: str
    point: str
    verb: str
    kind: str
    target: str
    lease_s: float
    action: str
    digest: str
    # From when it was put; silence then asks the next audience.
    waits_s: float = 0.0


class _Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: Annotated[int, Meta(ge=1, le=1)]
    node: Annotated[str, Meta(max_length=64)]
    verb: Annotated[str, Meta(max_length=64)]
    argument: Annotated[str, Meta(max_length=_MOST_ARGUMENT_BYTES)]


WordsT = TypeVar("WordsT", bound=_Words)
_SIGNED: Final = msgspec.json.Decoder(_Signed)


def signed_words(node: str, verb: str, argument: bytes) -> bytes:
    """Give what an operator signs: for which node (or `EVERY_NODE`), the verb, its argument."""
    return msgspec.json.encode(_Signed(1, node, verb, argument.decode()))


def read_words(order: bytes) -> tuple[str, str, bytes]:
    """Give node, verb and argument of what was signed.

    Raises:
        DeniedError: it is nothing of the kind.
    """
    try:
        words = _SIGNED.decode(order)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise DeniedError(
            "control.not_an_order",
            "What was signed is no order of this kind.",
            "Give it with the command of this version of Cronos.",
        ) from None
    return words.node, words.verb, words.argument.encode()


def words_of(argument: bytes, kind: type[WordsT]) -> WordsT:
    """Read an argument.

    Raises:
        InputError: it is not one of that kind.
    """
    if len(argument) > _MOST_ARGUMENT_BYTES:
        raise _not_understood(f"it has more than {_MOST_ARGUMENT_BYTES} bytes")
    try:
        return msgspec.json.decode(argument, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_understood(str(error)) from error


class Pairs:
    """Waits for a second person where one alone may not order it; bounded, and not for long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first: dict[bytes, tuple[str, int]] = {}

    def agreed(self, what: bytes, subject: str) -> bool:
        """Say whether another person has ordered exactly this within ten minutes."""
        now = self._clock.now().boot_ns
        self._first = {key: one for key, one in self._first.items() if now - one[1] <= _PAIR_NS}
        first = self._first.get(what)
        if first is None and len(self._first) < _MOST_PAIRS:
            self._first[what] = (subject, now)
        return first is not None and first[0] != subject


class Clerk:
    """Checks what people order, and hands it to the node.

    Args:
        desk: the node.
        switch: the node's own kill switch.
        clock: the time.
    """

    def __init__(self, desk: Desk, switch: KillSwitch, clock: Clock) -> None:
        self._desk = desk
        self._switch = switch
        self._clock = clock
        self._pairs = Pairs(clock)
        self._lesser: dict[str, str] = {}  # by question, who said yes first and leads nobody
        self._verbs: dict[str, Callable[[ControlCall, Caller], Any]] = {
            "status": self._status,
            "incidents.list": self._list,
            "incidents.show": self._show,
            "questions.list": self._ask,
            "approve": self._answer,
            "deny": self._answer,
            "release": self._release,
            "verdict": self._judge,
            "kill": self._kill,
            "policy.reload": self._reload,
        }

    def hear(self, call: ControlCall, caller: Caller, *, afar: bool = False) -> bytes:
        """Do what is asked, and give the answer as JSON.

        Args:
            call: the command.
            caller: who gave it, found out before.
            afar: it came from another machine: then two operators release everything, not one.

        Raises:
            CronosError: it is not understood, not allowed, or cannot be done.
        """
        verb = self._verbs.get(call.verb)
        if verb is None:
            raise InputError(
                "control.unknown_verb",
                f"This node does not understand {call.verb!r:.80}.",
                f"It understands: {', '.join(RULES)}.",
            )
        if afar and not caller.signed:
            raise _unsigned()
        rule = RULES[call.verb]
        _permit(rule.roles, caller, unsigned=rule.unsigned == "always")
        if afar and call.verb == "kill" and words_of(call.argument, Throw).release_all:
            what = call.verb.encode() + call.argument
            if not self._pairs.agreed(what, caller.subject):
                return msgspec.json.encode({"waiting": "a second operator must order the same"})
        return self._fitting(call, verb(call, caller))

    def _fitting(self, call: ControlCall, answer: Any) -> bytes:
        encoded = msgspec.json.encode(answer)
        if len(encoded) > _MOST_REPLY_BYTES:
            raise InputError(
                "control.too_long",
                f"The answer to {call.verb} has {len(encoded)} bytes, more than one frame holds.",
                "Ask for less at a time.",
            )
        return encoded

    def _status(self, call: ControlCall, caller: Caller) -> Any:
        words_of(call.argument, Nothing)
        return {**self._desk.status(), "signed_only": not caller.alone, "kill": self._switched()}

    def _list(self, call: ControlCall, _caller: Caller) -> Any:
        """List what fits one frame; who wants more asks again from where this ended."""
        page = words_of(call.argument, Page)
        total, listed = self._desk.listing(page.which, page.first, page.count)
        rows: list[msgspec.Raw] = []
        room = _MOST_REPLY_BYTES - 256
        for one in listed:
            row = msgspec.json.encode(one)
            room -= len(row) + 1
            if room < 0 and rows:
                break
            rows.append(msgspec.Raw(row))
        return {"total": total, "incidents": rows}

    def _show(self, call: ControlCall, _caller: Caller) -> Any:
        return self._known(words_of(call.argument, About).incident)

    def _ask(self, call: ControlCall, _caller: Caller) -> Any:
        words_of(call.argument, Nothing)
        return {"questions": [_view(one) for one in self._desk.questions()[:MAX_PAGE]]}

    def _answer(self, call: ControlCall, caller: Caller) -> Any:
        words = words_of(call.argument, Reply)
        if words.granted != (call.verb == "approve"):
            raise InputError(
                "control.invalid",
                f"`{call.verb}` says one thing and its argument another.",
                "Use the command of the same version of Cronos as the node.",
            )
        question = next(
            (one for one in self._desk.questions() if one.question_id == words.question), None
        )
        if question is None:
            raise InputError(
                "control.unknown_question",
                f"No question {words.question!r:.80} waits for an answer.",
                "It may have been answered, or have run out: see `cronos incidents --waiting`.",
            )
        _require_same(words, question)
        _permit(ASKED[question.audience], caller)
        if not caller.signed:
            _require_unsigned(question, caller)
        if words.granted:
            self._require_effect(question, caller)
        self._desk.take(
            Answer(
                question.question_id,
                question.incident_id,
                question.action.action_id,
                words.granted,
                caller.subject,
                words.digest,
                call.order,
            )
        )
        return self._known(question.incident_id)

    def _require_effect(self, question: Question, caller: Caller) -> None:
        """Refuse a yes that would come to nothing, so that the question goes on waiting for one.

        Raises:
            DeniedError: the kill switch is engaged, or two have said yes of whom none leads.
        """
        if self._switch.state().engaged:
            raise DeniedError(
                "control.killed",
                "The kill switch is engaged: nothing is carried out, and the question still waits.",
                "Take it back with `cronos kill --off`, and approve then.",
            )
        if question.persons < 2:
            return
        if not _LEADING.isdisjoint(caller.roles):
            self._lesser.pop(question.question_id, None)
            return
        first = self._lesser.setdefault(question.question_id, caller.subject)
        if first != caller.subject:
            raise DeniedError(
                "control.needs_leader",
                f"{first} has approved it already, and of the two one must be a manager or admin.",
                "A manager or admin has to be the second; the question still waits.",
            )
        while len(self._lesser) > _MOST_PAIRS:
            del self._lesser[next(iter(self._lesser))]

    def _release(self, call: ControlCall, caller: Caller) -> Any:
        incident = words_of(call.argument, About).incident
        self._known(incident)
        self._desk.take(Release(incident, caller.subject))
        return self._known(incident)

    def _judge(self, call: ControlCall, caller: Caller) -> Any:
        words = words_of(call.argument, Judgement)
        self._known(words.incident)
        self._desk.take(Verdict(words.incident, caller.subject, words.malicious))
        return self._known(words.incident)

    def _kill(self, call: ControlCall, caller: Caller) -> Any:
        words = words_of(call.argument, Throw)
        if not words.engaged:
            _permit(_ACTING, caller)
        kill = Kill(words.generation, words.engaged, words.release_all, caller.subject)
        taken = self._switch.take(kill, self._clock.now().wall_ns)
        if taken:
            self._desk.take(kill)
        return {"taken": taken, **self._switched()}

    def _reload(self, call: ControlCall, caller: Caller) -> Any:
        words_of(call.argument, Nothing)
        return {"said": self._desk.reload(caller.subject)}

    def _switched(self) -> dict[str, Any]:
        state = self._switch.state()
        return {
            "generation": state.generation,
            "engaged": state.engaged,
            "release_all": state.release_all,
            "subject": state.subject,
        }

    def _known(self, incident_id: str) -> Any:
        shown = self._desk.shown(incident_id)
        if shown is None:
            raise InputError(
                "control.unknown_incident",
                f"This node knows no incident {incident_id!r:.80}.",
                "It lists those it knows with `cronos incidents`; the ledger holds all there were.",
            )
        return shown


def _permit(roles: frozenset[str], caller: Caller, *, unsigned: bool = False) -> None:
    """Refuse who may not; unsigned is heard who may be, or whom nobody could ask to sign.

    Raises:
        DeniedError: the caller holds none of the roles, or signed nothing where that is needed.
    """
    if caller.signed:
        if roles.isdisjoint(caller.roles):
            raise DeniedError(
                "control.role",
                f"{caller.subject} may not order this.",
                f"It takes one of these roles: {', '.join(sorted(roles))}.",
            )
        return
    if not (unsigned or caller.alone):
        raise _unsigned()


def _require_same(words: Reply, question: Question) -> None:
    """Refuse an answer to another question than the one that is asked.

    Raises:
        DeniedError: incident, action or digest differ.
    """
    action = question.action
    digest = digest_of(action)
    asked = (question.incident_id, action.action_id, digest)
    if asked != (words.incident, words.action, words.digest) or question.digest not in ("", digest):
        raise DeniedError(
            "control.other_action",
            "What you approved is not what is asked: the action has changed since.",
            "Look at it again with `cronos incidents --waiting`, and answer anew.",
        )


def _require_unsigned(question: Question, caller: Caller) -> None:
    """Refuse an unsigned answer where the local user, an analyst, may give none.

    Raises:
        DeniedError: two persons have to sign, or the question is another audience's.
    """
    if question.persons > 1:
        raise DeniedError(
            "control.two_persons",
            "This cannot be taken back: two operators have to sign it.",
            "Join a trust domain (`cronos pki join`) and approve with --as CREDENTIAL.",
        )
    if ASKED[question.audience].isdisjoint(caller.roles):
        raise DeniedError(
            "control.role",
            f"{caller.subject} is an analyst here, and this question is for the manager.",
            "Join a trust domain (`cronos pki join`) and answer with --as CREDENTIAL.",
        )


def _not_understood(why: str) -> InputError:
    return InputError(
        "control.invalid",
        f"The argument is not understood: {why}.",
        "Use the command of the same version of Cronos as the node.",
    )


def _unsigned() -> DeniedError:
    return DeniedError(
        "control.unsigned",
        "This node takes that only from an operator who signs it.",
        "Sign it: --as CREDENTIAL (`cronos pki issue --operator` makes one).",
    )


def _view(question: Question) -> QuestionView:
    action = question.action
    return QuestionView(
        question.question_id,
        question.incident_id,
        question.audience,
        question.persons,
        question.text,
        action.enforcement_point,
        action.verb.value,
        action.target.kind.value,
        action.target.value,
        action.lease_ns / 1e9,
        action.action_id,
        digest_of(action),
        question.deadline_ns / 1e9,
    )
