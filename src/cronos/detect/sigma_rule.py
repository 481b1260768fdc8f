"""Read Sigma rules from YAML, and compile them.

Rules are other people's files: size, nesting and aliases are bounded before anything is built,
because the parser would follow them off its stack, or multiply them into memory.

Source: Sigma specification 2.0, "Rules".
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import yaml

from cronos.detect import sigma_source
from cronos.detect.attack import technique
from cronos.detect.sigma_condition import compile_condition
from cronos.detect.sigma_event import Event, is_list, is_map
from cronos.detect.sigma_match import Node, compile_detection, disjunction
from cronos.detect.sigma_modifiers import Refused
from cronos.detect.sigma_source import LogSource

MAX_RULE_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 24
_MAX_EVENTS: Final = 200_000
_MAX_TEXT_CHARS: Final = 512

LEVELS: Final = ("informational", "low", "medium", "high", "critical")

# How often a file's rules of a level named a true technique, on 66 recorded attacks; the level is
# what a rule claims, this is what was found. No level may act alone.
CONFIDENCE_BY_LEVEL: Final = {
    "informational": 0.05,
    "low": 0.14,
    "medium": 0.29,
    "high": 0.30,
    "critical": 0.50,
}
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


# What the builder raises where a tag does not fit its text, as in `!!bool x`.
_MISTAGGED: Final = (AttributeError, KeyError, IndexError, TypeError)
_MAX_NUMBER_CHARS: Final = 64


class _Loader(yaml.CSafeLoader):
    """Refuses numbers of any length: `0xfff…` and `59:59:59:…` grow beyond what can be written."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Build an integer of at most 64 characters."""
        _require_short(node)
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Build a number of at most 64 characters."""
        _require_short(node)
        return super().construct_yaml_float(node)


def _require_short(node: yaml.ScalarNode) -> None:
    if len(str(node.value)) > _MAX_NUMBER_CHARS:
        message = f"a number of more than {_MAX_NUMBER_CHARS} characters"
        raise Refused(message)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


class Rule(NamedTuple):
    """A rule made ready."""

    rule_id: str
    title: str
    level: str
    confidence: float
    source: LogSource
    node: Node
    techniques: tuple[str, ...]
    references: tuple[str, ...]
    innocent: tuple[str, ...]

    @property
    def severity(self) -> int:
        """Give the level as a number from 1 to 5."""
        return LEVELS.index(self.level) + 1


def read_rule(data: bytes, origin: str, certified: bool = False) -> Rule:
    """Read and compile one rule. Only a certified rule may state its own confidence.

    Raises:
        Refused: it is no rule, too large, nested, or asks for what this matcher does not do.
    """
    document = load_yaml(data)
    if not is_map(document):
        message = "no rule: not a map"
        raise Refused(message)
    table: dict[str, Any] = document
    for kind in ("correlation", "filter", "action"):
        if kind in table:
            message = f"a {kind} rule"
            raise Refused(message)
    if table.get("status") in ("deprecated", "unsupported"):
        message = f"its status, {table['status']}"
        raise Refused(message)
    source = _source(table.get("logsource"))
    level = str(table.get("level", "medium")).lower()
    if level not in LEVELS:
        message = f"the level {clean(level)}"
        raise Refused(message)
    return Rule(
        rule_id=clean(str(table.get("id") or origin)),
        title=clean(str(table.get("title") or origin)),
        level=level,
        confidence=_confidence(table, level, certified),
        source=source,
        node=_by_registry_kind(_compile(table.get("detection")), source),
        techniques=_techniques(table.get("tags")),
        references=_references(table, origin),
        innocent=tuple(clean(str(one)) for one in _list(table.get("falsepositives"))[:4]),
    )


def load_yaml(data: bytes) -> Any:
    """Load one YAML document within bounds.

    Raises:
        Refused: no YAML, aliases, several documents, or too large.
    """
    if len(data) > MAX_RULE_BYTES:
        message = f"a file longer than {MAX_RULE_BYTES} bytes"
        raise Refused(message)
    try:
        text = data.decode("utf-8-sig")
        _bounded(text)
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader, stricter still
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, *_MISTAGGED) as error:
        message = f"no YAML: {clean(str(error))}"
        raise Refused(message) from error


def clean(text: str) -> str:
    """Take control and direction characters out of foreign text, and bound its length."""
    return _UNPRINTABLE.sub(" ", text)[:_MAX_TEXT_CHARS].strip()


def _bounded(text: str) -> None:
    """Walk the events before building: the builder recurses in C, where no limit holds it."""
    depth = documents = 0
    for count, event in enumerate(yaml.parse(text, yaml.CSafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            message = "aliases"
            raise Refused(message)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if depth > _MAX_DEPTH or documents > 1 or count > _MAX_EVENTS:
            message = "several documents, or nesting beyond bounds"
            raise Refused(message)


def _source(value: Any) -> LogSource:
    if not is_map(value):
        message = "no log source"
        raise Refused(message)
    source = LogSource(*(str(value.get(name) or "").lower() for name in LogSource._fields))
    if not sigma_source.supported(source):
        wanted = "/".join(part for part in source if part)
        message = f"the log source {clean(wanted) or 'without a name'}"
        raise Refused(message)
    return source


def _compile(value: Any) -> Node:
    if not is_map(value):
        message = "no detection"
        raise Refused(message)
    table = dict(value)
    conditions = _list(table.pop("condition", None))
    if not conditions or "timeframe" in table:
        message = "a time frame without correlation" if conditions else "no condition"
        raise Refused(message)
    nodes = {str(name): compile_detection(part) for name, part in table.items()}
    return disjunction([compile_condition(str(one), nodes) for one in conditions])


def _by_registry_kind(node: Node, source: LogSource) -> Node:
    kinds = sigma_source.REGISTRY_KINDS.get(source.category)
    if kinds is None:
        return node
    inner = node.check

    def check(event: Event) -> bool:
        return event["EventType"] in kinds and inner(event)

    return node._replace(check=check)


def _confidence(table: Mapping[str, Any], level: str, certified: bool) -> float:
    stated = table.get("confidence")
    if certified and isinstance(stated, float) and 0.0 <= stated <= 1.0:
        return stated
    return CONFIDENCE_BY_LEVEL[level]


def _techniques(tags: Any) -> tuple[str, ...]:
    named = (technique(str(tag)) for tag in _list(tags)[:64])
    return tuple(dict.fromkeys(one for one in named if one is not None))[:16]


def _references(table: Mapping[str, Any], origin: str) -> tuple[str, ...]:
    """Name rule, author and sources: the rules' licence asks for the author in every alert."""
    found = [f"sigma: {clean(str(table.get('id') or origin))}"]
    if author := clean(str(table.get("author") or "")):
        found.append(f"author: {author}")
    found += [clean(str(one)) for one in _list(table.get("references"))[:4]]
    return tuple(found)


def _list(value: Any) -> list[Any]:
    if is_list(value):
        return value
    return [] if value is None else [value]
