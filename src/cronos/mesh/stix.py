"""Shared intelligence as STIX 2.1 indicators: what, how long it counts, and whose word it is.

One indicator for each isolation that is in force: the pattern names the attacking address, network,
host or user; `valid_until` is the bulletin's time to live, never longer; `created_by_ref` is the
node that saw it, `confidence` what it said. Ids are derived (UUID version 5), so that the same
bulletin is the same indicator wherever it is written down.

Source: STIX Version 2.1, OASIS Standard, 2.9, 3.2, 4.5 and 4.7; UUIDs: RFC 9562 section 5.5.
"""

import datetime as dt
import hashlib
import ipaddress
import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from cronos.types import Bulletin, Entity, EntityKind

# The namespace of all ids made here: itself derived, from the name of this project's schema.
_NAMESPACE: Final = hashlib.sha1(b"cronos.indicators/1", usedforsecurity=False).digest()[:16]
# TLP:GREEN, as STIX 2.1 section 7.2.1.4 fixes it: for the community, not for the public.
_GREEN: Final = "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"
_MAX_TEXT: Final = 200


class Shared(msgspec.Struct, frozen=True):
    """A bulletin that counts: since when and until when, by this node's clock."""

    bulletin: Bulletin
    from_wall_ns: int
    until_wall_ns: int


def bundle(shared: Iterable[Shared], now_wall_ns: int) -> dict[str, Any]:
    """Give a STIX bundle of what still counts; what no pattern can name is left out."""
    objects: dict[str, dict[str, Any]] = {}
    for one in shared:
        actor = one.bulletin.actor
        pattern = pattern_of(actor) if actor is not None else ""
        if pattern and one.until_wall_ns > now_wall_ns:
            author = _author(one)
            objects.setdefault(author["id"], author)
            indicator = _indicator(one, pattern, author["id"])
            objects[indicator["id"]] = indicator
    named = json.dumps(sorted(objects)).encode()
    return {"type": "bundle", "id": f"bundle--{_uuid(named)}", "objects": list(objects.values())}


def pattern_of(entity: Entity) -> str:
    """Give the pattern that finds an entity; "" where STIX has no word for it."""
    value = _quoted(entity.value)
    match entity.kind:
        case EntityKind.ADDRESS | EntityKind.NETWORK:
            try:
                version = ipaddress.ip_network(entity.value, strict=False).version
            except ValueError:
                return ""
            sign = "=" if entity.kind is EntityKind.ADDRESS else "ISSUBSET"
            return f"[ipv{version}-addr:value {sign} {value}]"
        case EntityKind.HOST:
            return f"[domain-name:value = {value}]"
        case EntityKind.USER:
            return f"[user-account:account_login = {value}]"
        case _:
            return ""


def _indicator(one: Shared, pattern: str, author: str) -> dict[str, Any]:
    bulletin = one.bulletin
    since = _time(one.from_wall_ns)
    references = [
        {"source_name": "mitre-attack", "external_id": technique}
        for technique in bulletin.techniques
    ]
    references.append({"source_name": "cronos", "external_id": bulletin.incident_id[:_MAX_TEXT]})
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{_uuid(f'bulletin/{bulletin.origin}/{bulletin.bulletin_id}'.encode())}",
        "created_by_ref": author,
        "created": since,
        "modified": since,
        "name": f"Isolated by {bulletin.origin}"[:_MAX_TEXT],
        "indicator_types": ["malicious-activity"],
        "pattern": pattern,
        "pattern_type": "stix",
        "pattern_version": "2.1",
        "valid_from": since,
        "valid_until": _time(one.until_wall_ns),
        "confidence": round(min(max(bulletin.confidence, 0.0), 1.0) * 100),
        "external_references": references,
        "object_marking_refs": [_GREEN],
    }


def _author(one: Shared) -> dict[str, Any]:
    origin = one.bulletin.origin
    # When a node was first heard of is nobody's business: its identity is as old as the project's.
    since = _time(0)
    return {
        "type": "identity",
        "spec_version": "2.1",
        "id": f"identity--{_uuid(b'node/' + origin.encode())}",
        "created": since,
        "modified": since,
        "name": origin[:_MAX_TEXT],
        "identity_class": "system",
        "object_marking_refs": [_GREEN],
    }


def _uuid(name: bytes) -> str:
    """Derive a UUID of version 5."""
    digest = bytearray(hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _time(wall_ns: int) -> str:
    moment = dt.datetime.fromtimestamp(wall_ns / 1e9, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
