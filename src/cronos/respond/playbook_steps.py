"""What a playbook is once it has been read: steps, targets by name, and when it applies.

Three words to know: a `Step` is a node of a graph without cycles, a `Wanted` is what an action
step wants done, a `Playbook` holds both. All are immutable. Whatever format a playbook came in,
this is what is carried out and what is written out again.
"""

from typing import Final, TypeAlias

import msgspec

from cronos.respond.cacao_condition import Condition
from cronos.types import Entity, EntityKind, Verb

MAX_STEPS: Final = 256
MAX_NESTING: Final = 8
MAX_BRANCHES: Final = 16
MAX_ITERATIONS: Final = 16
DEFAULT_ITERATIONS: Final = 4
# Names the entities of an incident: who acts, what is attacked, and whatever is of one kind.
ROLES: Final = ("actor", "target")


class Wanted(msgspec.Struct, frozen=True):
    """An action in the playbook's words: `verb` to the entity that `variable` names, or `literal`.

    `variable` is ``actor``, ``target`` or the name of a kind (``flow``: the incident's first one);
    what it names must be of one of `kinds`. `openc2` is the name of the OpenC2 target. `point` is
    the only enforcement point that may serve, "" is any.
    """

    verb: Verb
    openc2: str
    kinds: tuple[EntityKind, ...]
    variable: str = ""
    literal: Entity | None = None
    point: str = ""


class Start(msgspec.Struct, frozen=True):
    """Where a workflow begins."""

    then: str


class End(msgspec.Struct, frozen=True):
    """Where a workflow, or one branch of it, ends."""


class Act(msgspec.Struct, frozen=True):
    """Propose an action, and go on by what becomes of it; "" ends the branch."""

    wanted: Wanted
    agent: str
    on_success: str
    on_failure: str


class Manual(msgspec.Struct, frozen=True):
    """Ask a person whether the action of `then` may be carried out; no, or silence, ends it all."""

    question: str
    agent: str
    then: str


class If(msgspec.Struct, frozen=True):
    """Take one branch or the other, then go on."""

    condition: Condition
    on_true: str
    on_false: str
    then: str


class While(msgspec.Struct, frozen=True):
    """Repeat a branch while a condition holds, at most `most` times, then go on."""

    condition: Condition
    on_true: str
    most: int
    then: str


class Parallel(msgspec.Struct, frozen=True):
    """Take all branches; go on once each has ended."""

    branches: tuple[str, ...]
    then: str


Kind: TypeAlias = Start | End | Act | Manual | If | While | Parallel


class Step(msgspec.Struct, frozen=True):
    """A node of the graph, with what it says to people."""

    step_id: str
    kind: Kind
    name: str = ""
    description: str = ""


class Agent(msgspec.Struct, frozen=True):
    """Who carries a step out: an enforcement point by its name, ``cronos``, or people."""

    agent_id: str
    type: str
    name: str
    category: tuple[str, ...] = ()


class Applies(msgspec.Struct, frozen=True):
    """Which incidents a playbook is for: all that is stated must be met.

    A technique covers its sub-techniques. `labels` are what the asset model says of the target:
    its classes of data, and ``legacy``.
    """

    techniques: tuple[str, ...]
    labels: tuple[str, ...] = ()
    min_severity: int = 1
    min_confidence: float = 0.0
    actor_kinds: tuple[str, ...] = ()
    target_kinds: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()


class Playbook(msgspec.Struct, frozen=True):
    """A playbook that was understood whole. `about` is what is said of it, as canonical JSON."""

    playbook_id: str
    name: str
    start: str
    steps: dict[str, Step]
    agents: tuple[Agent, ...]
    applies: Applies
    about: str
    priority: int = 0


def following(kind: Kind) -> tuple[str, ...]:
    """Give the steps that a step leads to, branches first."""
    found: tuple[str, ...] = ()
    match kind:
        case Start(then) | Manual(_, _, then):
            found = (then,)
        case End():
            pass
        case Act(_, _, on_success, on_failure):
            found = (on_success, on_failure)
        case If(_, on_true, on_false, then):
            found = (on_true, on_false, then)
        case While(_, on_true, _, then):
            found = (on_true, then)
        case Parallel(branches, then):
            found = (*branches, then)
    return tuple(one for one in found if one)


def branches_of(kind: Kind) -> tuple[str, ...]:
    """Give where the branches of a step begin; () where it has none."""
    match kind:
        case If(_, on_true, on_false, _):
            return tuple(one for one in (on_true, on_false) if one)
        case While(_, on_true):
            return (on_true,)
        case Parallel(branches):
            return branches
        case _:
            return ()
