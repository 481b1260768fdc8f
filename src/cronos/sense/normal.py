"""What all log sensors share: addresses, entities, times and the limits of trust.

An address is checked and brought into its one spelling before it becomes an entity: what leaves
here may end in a packet filter. Text that is no address names nobody.
"""

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

from cronos.types import Entity, EntityKind, Provenance

MAX_FIELD_CHARS: Final = 8192
_MAX_NAME_CHARS: Final = 255
_MAX_ADDRESS_CHARS: Final = 64
_CACHED: Final = 1 << 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND: Final = (1 << 63) // 1_000_000_000
_ORDER: Final = (Provenance.SPOOFABLE, Provenance.BIDIRECTIONAL, Provenance.AUTHENTICATED)


@lru_cache(_CACHED)
def _address(text: str) -> Entity | None:
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_unspecified:
        return None
    return Entity(EntityKind.ADDRESS, str(parsed))


def address(value: object) -> Entity | None:
    """Give the address that `value` spells, or None; zone and IPv4 mapping are taken off."""
    if isinstance(value, str) and len(value) <= _MAX_ADDRESS_CHARS:
        return _address(value)
    return None


@lru_cache(_CACHED)
def _host(text: str) -> Entity:
    return Entity(EntityKind.HOST, text.lower())


def host(value: object) -> Entity | None:
    """Give the host that `value` names, or None for an empty, absent or overlong name."""
    if isinstance(value, str) and 0 < len(value) <= _MAX_NAME_CHARS and value != "-":
        return _host(value)
    return None


def user(name: object, domain: object = None) -> Entity | None:
    r"""Give the user that `name` (and `domain`) spells, as ``DOMAIN\name``; "-" is nobody."""
    if not isinstance(name, str) or name in ("", "-") or len(name) > _MAX_NAME_CHARS:
        return None
    if isinstance(domain, str) and domain not in ("", "-") and len(domain) <= _MAX_NAME_CHARS:
        return Entity(EntityKind.USER, f"{domain}\\{name}")
    return Entity(EntityKind.USER, name)


def port(value: object) -> int | None:
    """Give a port number in 0..65535 written as a number or as text, or None."""
    number = integer(value)
    return number if number is not None and 0 <= number <= 65535 else None


def integer(value: object) -> int | None:
    """Give a 64-bit integer written as a number, in decimal or as ``0x…``, or None."""
    if isinstance(value, int):
        return value if -(1 << 63) <= value < (1 << 63) else None
    if isinstance(value, float) and value.is_integer() and abs(value) < (1 << 53):
        return int(value)
    if isinstance(value, str) and len(value) <= 20 and "_" not in value:
        try:
            return integer(int(value, 16 if value[:2] in ("0x", "0X") else 10))
        except ValueError:
            return None
    return None


def text(value: object) -> str | None:
    """Give non-empty text, cut to a field's length, or None; "-" is an empty field."""
    if isinstance(value, str) and value and value != "-":
        return value if len(value) <= MAX_FIELD_CHARS else value[:MAX_FIELD_CHARS]
    return None


def time_ns(value: object) -> int:
    """Give Unix nanoseconds from ISO 8601 text or an epoch in seconds; 0 when it is neither.

    Text without a zone is UTC. Text is read to the microsecond, which is what it carries.
    """
    if isinstance(value, str):
        return _iso_ns(value)
    if isinstance(value, int | float) and 0 <= value < _LAST_SECOND:
        return int(value * 1_000_000) * 1_000
    return 0


def _iso_ns(stamp: str) -> int:
    try:
        moment = datetime.fromisoformat(stamp)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - _EPOCH
    except (ValueError, OverflowError):
        return _epoch_text_ns(stamp)
    # A date before 1970 or after 2262 is a broken clock, and would not fit 64 bits.
    seconds = since.days * 86_400 + since.seconds
    if not 0 <= seconds < _LAST_SECOND:
        return 0
    return (seconds * 1_000_000 + since.microseconds) * 1_000


def _epoch_text_ns(stamp: str) -> int:
    whole, _, fraction = stamp.partition(".")
    if len(stamp) > 32 or not (whole + fraction).isascii() or not (whole + fraction).isdigit():
        return 0
    seconds = int(whole or "0")
    return seconds * 1_000_000_000 + int(f"{fraction:0<9.9}") if seconds < _LAST_SECOND else 0


def weakest(*claims: Provenance) -> Provenance:
    """Give the least trusted of several provenances."""
    return min(claims, key=_ORDER.index)


def capped(ceiling: Provenance) -> dict[Provenance, Provenance]:
    """Map what a format justifies to what remains of it under the transport's `ceiling`."""
    return {claim: weakest(claim, ceiling) for claim in Provenance}


def part(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Give a nested object, or an empty one where it is absent or something else."""
    value = record.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
