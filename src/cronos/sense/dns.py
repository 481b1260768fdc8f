"""DNS: the question of a message and how it was answered.

Only the header and the first question are read, here and not by dpkt: it follows compression
pointers of every record, which a hostile message makes slow, and nothing of that is needed.

Source: RFC 1035 §4.1; RFC 6895 §2.3 (rcodes).
"""

import struct
from typing import Final

from cronos.types import Scalar

_HEADER: Final = struct.Struct(">HHHHHH")
_MAX_NAME_BYTES: Final = 255
_TYPES: Final = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    10: "NULL",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    35: "NAPTR",
    43: "DS",
    46: "RRSIG",
    48: "DNSKEY",
    64: "SVCB",
    65: "HTTPS",
    251: "IXFR",
    252: "AXFR",
    255: "ANY",
}
_RCODES: Final = (
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
)


def decode_dns(message: bytes) -> dict[str, Scalar]:
    """Give ``query.*`` and, for an answer, ``rcode``; nothing where it is no DNS message."""
    if len(message) < _HEADER.size:
        return {}
    _, flags, questions, _, _, _ = _HEADER.unpack_from(message)
    opcode = flags >> 11 & 15
    if questions != 1 or opcode:
        return {}
    name, at = _name(message)
    if not at or at + 4 > len(message):
        return {}
    (kind,) = struct.unpack_from(">H", message, at)
    fields: dict[str, Scalar] = {
        "query.hostname": name,
        "query.type": _TYPES.get(kind, f"TYPE{kind}"),
    }
    if flags & 0x8000:
        rcode = flags & 15
        fields["rcode"] = _RCODES[rcode] if rcode < len(_RCODES) else f"RCODE{rcode}"
    return fields


def _name(message: bytes) -> tuple[str, int]:
    """Read the first question's name: it and where it ends, 0 if it is none."""
    labels: list[str] = []
    at, limit = _HEADER.size, min(len(message), _HEADER.size + _MAX_NAME_BYTES)
    while at < limit:
        length = message[at]
        if length == 0:
            return ".".join(labels).lower() or ".", at + 1
        if length > 63 or at + 1 + length > limit:  # a pointer has nothing before it to point to
            return "", 0
        label = message[at + 1 : at + 1 + length]
        labels.append("".join(chr(c) if 0x21 <= c < 0x7F else f"\\{c:03d}" for c in label))
        at += 1 + length
    return "", 0
