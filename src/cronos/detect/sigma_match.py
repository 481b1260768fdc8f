"""Sigma detections as closures: fields, modifiers, lists, maps and keywords.

Each part becomes a `Node`: a check on an event, the fields it reads, and where possible its
*anchors*: exact values of which one must be there for the check to hold. The index asks only
rules whose anchor an event carries; what has no anchor is always asked.

Source: Sigma specification 2.0, "Detection" and "Modifiers".
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from cronos.detect.sigma_event import Event, is_list, is_map
from cronos.detect.sigma_modifiers import Refused, keyword, predicate

Check = Callable[[Event], bool]
Anchor = tuple[str, str]  # field, lower-case value or last part of a path

_MAX_VALUES: Final = 20_000


class Node(NamedTuple):
    """A compiled part of a rule."""

    check: Check
    anchors: frozenset[Anchor] | None = None
    fields: tuple[str, ...] = ()


def compile_detection(detection: Any) -> Node:
    """Compile a search identifier: a map, a list of maps, or keywords.

    Raises:
        Refused: a modifier or a shape that this matcher does not know.
    """
    if is_map(detection):
        return conjunction([_item(str(key), value) for key, value in detection.items()])
    if isinstance(detection, str | int | float):
        return Node(keyword(detection))
    if is_list(detection):
        return disjunction([compile_detection(part) for part in detection])
    message = f"a detection of type {type(detection).__name__}"
    raise Refused(message)


def conjunction(nodes: Sequence[Node]) -> Node:
    """Hold where all hold; the most selective anchors will do."""
    if not nodes:
        message = "an empty detection"
        raise Refused(message)
    if len(nodes) == 1:
        return nodes[0]
    # Values are more telling than numbers of kinds: prefer fewer anchors, then the earlier.
    anchors = min((n.anchors for n in nodes if n.anchors is not None), key=len, default=None)
    first, *rest = (node.check for node in nodes)
    if len(rest) == 1:
        return Node(_both(first, rest[0]), anchors, _fields(nodes))
    checks = (first, *rest)

    def every(event: Event) -> bool:
        for check in checks:  # noqa: SIM110 - a generator costs twice as much here
            if not check(event):
                return False
        return True

    return Node(every, anchors, _fields(nodes))


def disjunction(nodes: Sequence[Node]) -> Node:
    """Hold where one holds; anchors are of use only where each has some."""
    if not nodes:
        message = "an empty list"
        raise Refused(message)
    if len(nodes) == 1:
        return nodes[0]
    anchors: frozenset[Anchor] | None = frozenset()
    for node in nodes:
        anchors = None if anchors is None or node.anchors is None else anchors | node.anchors
    checks = tuple(node.check for node in nodes)

    def some(event: Event) -> bool:
        for check in checks:  # noqa: SIM110 - a generator costs twice as much here
            if check(event):
                return True
        return False

    return Node(some, anchors, _fields(nodes))


def negation(node: Node) -> Node:
    """Hold where it does not; nothing need be there, so there is no anchor."""
    return Node(_not(node.check), None, ())


def _both(first: Check, second: Check) -> Check:
    return lambda event: first(event) and second(event)


def _not(check: Check) -> Check:
    return lambda event: not check(event)


def _fields(nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(field for node in nodes for field in node.fields))


def _item(key: str, value: Any) -> Node:
    field, *modifiers = key.split("|")
    values = value if is_list(value) else [value]
    if len(values) > _MAX_VALUES:
        message = f"more than {_MAX_VALUES} values"
        raise Refused(message)
    every = "all" in modifiers
    modifiers = [name for name in modifiers if name != "all"]
    if not field:
        nodes = [Node(keyword(one, tuple(modifiers))) for one in values]
    else:
        nodes = [predicate_node(field, tuple(modifiers), one) for one in values]
    return conjunction(nodes) if every else disjunction(nodes)


def predicate_node(field: str, modifiers: tuple[str, ...], value: Any) -> Node:
    """Compile one field, its modifiers and one value."""
    compiled = predicate(field, modifiers, value)
    anchors = frozenset((field, text) for text in compiled.anchors) if compiled.anchors else None
    return Node(compiled.check, anchors, (field,))
