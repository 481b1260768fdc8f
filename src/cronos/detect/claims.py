"""What every detector needs to make a claim: ids, marks, flows and the weakest voice.

An id derives from detector, source and sequence, never from a counter: the same observation,
redelivered after a crash or batched otherwise, gives the same finding and coalesces.
"""

from collections.abc import Iterable
from typing import Final

from cronos.types import Entity, EntityKind, Observation, Provenance, flow_entity

MAX_MARKS: Final = 16

_STRENGTH: Final = {
    Provenance.SPOOFABLE: 0,
    Provenance.BIDIRECTIONAL: 1,
    Provenance.AUTHENTICATED: 2,
}
_BY_STRENGTH: Final = (Provenance.SPOOFABLE, Provenance.BIDIRECTIONAL, Provenance.AUTHENTICATED)


def strength(provenance: Provenance) -> int:
    """Rank a provenance: 0 spoofable, 1 bidirectional, 2 authenticated."""
    return _STRENGTH[provenance]


def needed(strengths: Iterable[int], count: int) -> Provenance:
    """Give the weakest provenance that a claim on `count` of these observations rests on.

    The strongest `count` are enough to make the claim, so a few forged packets mixed into a
    real scan do not weaken it, and forged packets alone never strengthen one.
    """
    best = sorted(strengths, reverse=True)[: max(count, 1)]
    return _BY_STRENGTH[best[-1]] if best else Provenance.SPOOFABLE


def finding_id(detector: str, observation: Observation, detail: str = "") -> str:
    """Name a finding after what triggered it; `detail` tells two claims on one apart."""
    name = f"{detector}.{detail}" if detail else detector
    return f"{name}:{observation.source}#{observation.seq}"


def mark(observation: Observation) -> str:
    """Name an observation as findings refer to it: ``source#seq``."""
    return f"{observation.source}#{observation.seq}"


def text(observation: Observation, field: str) -> str:
    """Give a normalised field as text, empty where it is unknown."""
    value = observation.fields.get(field)
    return value if isinstance(value, str) else "" if value is None else str(value)


def number(observation: Observation, field: str) -> int | None:
    """Give a normalised field as a whole number, None where it is not one."""
    value = observation.fields.get(field)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def client(observation: Observation) -> str:
    """Give the address that acted, empty where the source does not say."""
    actor = observation.actor
    if actor is not None and actor.kind is EntityKind.ADDRESS:
        return actor.value
    return text(observation, "src_endpoint.ip")


def server(observation: Observation) -> str:
    """Give the address acted upon, empty where the source does not say."""
    target = observation.target
    if target is not None and target.kind is EntityKind.ADDRESS:
        return target.value
    return text(observation, "dst_endpoint.ip")


def flow(observation: Observation) -> Entity | None:
    """Name the flow of an observation, None unless both ends and ports are known."""
    near, far = text(observation, "src_endpoint.ip"), text(observation, "dst_endpoint.ip")
    near_port = number(observation, "src_endpoint.port")
    far_port = number(observation, "dst_endpoint.port")
    if not near or not far or near_port is None or far_port is None:
        return None
    protocol = text(observation, "connection_info.protocol_name") or "tcp"
    return flow_entity(protocol, near, near_port, far, far_port)


def plural(count: int, noun: str) -> str:
    """Count a noun for a sentence."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def span(duration_ns: int) -> str:
    """Say a duration for a sentence: ``820 ms``, ``3.2 s``, ``14 min``."""
    seconds = duration_ns / 1e9
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{round(seconds / 60)} min"
