"""How large a finding may be, and what fits into one report.

Findings quote what attackers write, and plug-ins may be anyone's: whatever a detector makes is
cut here, once, so that a report always fits a frame. What is cut ends with an ellipsis; an
entity's value ends with the start of its own SHA-256 instead, so that two long names stay two.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from cronos.types import MAX_FRAME_BYTES, Defect, Entity, Finding, encode

ItemT = TypeVar("ItemT", Finding, Defect)

MAX_VALUE_CHARS: Final = 255
MAX_TITLE_CHARS: Final = 200
MAX_EXPLANATION_CHARS: Final = 2_000
MAX_REFERENCE_CHARS: Final = 300
MAX_REFERENCES: Final = 16
MAX_TECHNIQUES: Final = 32
MAX_SOURCES: Final = 50_000
# Findings, defects, progress and ends may each take this much: half a frame in all.
_PART_BYTES: Final = MAX_FRAME_BYTES // 8
# A whole message of names.
WHOLE_BYTES: Final = MAX_FRAME_BYTES // 2
_NAME_BYTES: Final = 16  # a name's frame and its number
_DIGEST_CHARS: Final = 16


def bounded(finding: Finding) -> Finding:
    """Give the finding with each of its texts and lists cut to what a person can read."""
    return replace(
        finding,
        finding_id=named(finding.finding_id),
        detector=short(finding.detector, MAX_VALUE_CHARS),
        title=short(finding.title, MAX_TITLE_CHARS),
        explanation=short(finding.explanation, MAX_EXPLANATION_CHARS),
        techniques=_all(finding.techniques, MAX_TECHNIQUES),
        actor=_entity(finding.actor),
        target=_entity(finding.target),
        flow=_entity(finding.flow),
        observations=tuple(named(one) for one in finding.observations[:MAX_REFERENCES]),
        references=_all(finding.references, MAX_REFERENCES),
    )


def sendable(finding: Finding) -> Defect | None:
    """Give what to tell instead of a finding that no message can carry, None where it can."""
    try:
        encode(finding)
    except (TypeError, ValueError, OverflowError) as error:
        # A plug-in's mistake: a number beyond 64 bits, half a surrogate pair.
        reason = short(
            f"A finding of {finding.detector!a} cannot be told: {error}", MAX_TITLE_CHARS
        )
        return Defect("scorer", 0, reason, "Report it to the author of the detector.")
    return None


def bounded_defect(defect: Defect) -> Defect:
    """Give the defect with each of its texts cut."""
    return Defect(
        named(defect.source),
        defect.position,
        short(defect.reason, MAX_EXPLANATION_CHARS),
        short(defect.remedy, MAX_EXPLANATION_CHARS),
    )


def short(text: str, most: int) -> str:
    """Cut a text for reading."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def named(value: str) -> str:
    """Cut a name that something is recognised by; two that differ still differ."""
    if len(value) <= MAX_VALUE_CHARS:
        return value
    digest = hashlib.sha256(value.encode(errors="backslashreplace")).hexdigest()[:_DIGEST_CHARS]
    return f"{value[: MAX_VALUE_CHARS - _DIGEST_CHARS - 1]}~{digest}"


def cut(items: Sequence[ItemT], most: int) -> tuple[ItemT, ...]:
    """Give the first items that fit into a report, at least one: `bounded` ones always do."""
    taken: list[ItemT] = []
    size = 0
    for item in items[:most]:
        size += len(encode(item))
        if taken and size > _PART_BYTES:
            break
        taken.append(item)
    return tuple(taken)


def within(names: Sequence[str], most_bytes: int = _PART_BYTES) -> list[str]:
    """Give the first names that fit into a report, at least one."""
    taken: list[str] = []
    size = 0
    for name in names:
        size += len(name.encode()) + _NAME_BYTES
        if taken and size > most_bytes:
            break
        taken.append(name)
    return taken


def newest(table: dict[str, int], most_bytes: int = _PART_BYTES) -> dict[str, int]:
    """Give the last entries of a table that fit into a message.

    An older source is read again from its beginning: what it gave is known already.
    """
    names = within(list(reversed(table)), most_bytes)
    return {name: table[name] for name in reversed(names)}


def _entity(entity: Entity | None) -> Entity | None:
    return None if entity is None else Entity(entity.kind, named(entity.value))


def _all(texts: tuple[str, ...], most: int) -> tuple[str, ...]:
    return tuple(short(one, MAX_REFERENCE_CHARS) for one in texts[:most])
