"""Adds elements to sets, asks whether these hold them, and whether the rules that use them stand.

libnftables fetches all that every set holds before it answers for one element: 16 ms for 6,000
elements, after each change. This asks for the elements alone, so that looking at an effect costs
the same however many others are held; and it adds in 11 us what takes the library 60.

Every transaction, whoever's, gives the rule set another generation number. As long as that is the
one expected nobody has touched our rules; else they are counted anew, by chain and handle.

Source: linux/netfilter/nf_tables.h and nfnetlink.h (NFT_MSG_NEWSETELEM, GETSETELEM,
GETGEN, GETRULE; a batch that names a generation is refused under another, whole).
"""

import errno
import functools
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_NETLINK_NETFILTER: Final = 12
# NFNL_SUBSYS_NFTABLES, and NFT_MSG_ GETRULE, GETSETELEM, NEWGEN and GETGEN.
_GET_RULES: Final = 10 << 8 | 7
_NEW_ELEMENTS: Final = 10 << 8 | 12
_BATCH_BEGIN: Final = 16  # NFNL_MSG_BATCH_BEGIN and _END, for the subsystem in the last field
_BATCH_END: Final = 17
_SUBSYSTEM: Final = 10
_CREATE: Final = 0x400
_GET_ELEMENTS: Final = 10 << 8 | 13
_NEW_GENERATION: Final = 10 << 8 | 15
_GET_GENERATION: Final = 10 << 8 | 16
_REQUEST: Final = 0x1
_ACK: Final = 0x4
_DUMP: Final = 0x300
_INTERRUPTED: Final = 0x10  # NLM_F_DUMP_INTR: what was listed changed meanwhile
_ERROR: Final = 2  # NLMSG_ERROR; error 0 is the acknowledgement
_DONE: Final = 3  # NLMSG_DONE
_INET: Final = 1  # NFPROTO_INET
_NESTED: Final = 0x8000
_TABLE, _SET, _ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE = 1, 2, 3  # NFTA_RULE_*
_GENERATION_ID: Final = 1  # NFTA_GEN_ID, NFNL_BATCH_GENID
_TIMEOUT: Final = 4  # NFTA_SET_ELEM_TIMEOUT
_NO_GENERATION: Final = 0  # the kernel counts past it
_RESTART: Final = 85  # ERESTART
_SEQUENCES: Final = 0xFFFFFFFF
_TRIES: Final = 8
_ELEMENT, _KEY, _VALUE = 1, 1, 1  # NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE
# The kernel queues an answer for each element before we can read the first one; more than some
# hundreds would not fit the socket's buffer.
_AT_ONCE: Final = 64
# The length of a list of elements is told in 16 bits.
_MOST: Final = 500
_TIMEOUT_S: Final = 2.0
_READ_BYTES: Final = 1 << 16
_HEADER: Final = struct.Struct("=IHHII")
_FAMILY: Final = struct.Struct(">BBH")
_NUMBER: Final = struct.Struct(">I")
_MILLISECONDS: Final = struct.Struct(">Q")
_ATTRIBUTE: Final = struct.Struct("=HH")
_CODE: Final = struct.Struct("=i")


class SetElements:
    """Looks elements of one table of the family inet up; holds a socket until `close`."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.settimeout(_TIMEOUT_S)
        self._generation = _NO_GENERATION
        self._rules: frozenset[bytes] = frozenset()

    def learn(self) -> None:
        """Take the rules of the table as they are for those that should be.

        Raises:
            OSError: the kernel does not answer, or not to this user.
        """
        self._generation = self._generation_now()
        self._rules = self._rules_now()

    def expect(self) -> None:
        """Count one transaction of our own, which changed no rule."""
        self._generation = self._generation + 1 & _SEQUENCES

    def stand(self) -> bool:
        """Say whether the rules are those that were learnt.

        Raises:
            OSError: the kernel does not answer, or not to this user.
        """
        now = self._generation_now()
        if now != self._generation:
            if self._rules_now() != self._rules:
                return False
            self._generation = now
        return True

    def add(self, members: Mapping[str, Mapping[bytes, int]]) -> bool:
        """Add elements (set -> key -> timeout in ms) as one transaction, under the rules learnt.

        Gives False where nothing was added: somebody has changed the rule set since, or a set is
        not there.

        Raises:
            OSError: the kernel does not answer, or refuses.
        """
        if self._generation == _NO_GENERATION:  # which the kernel would take for any
            return False
        self._sequence = self._sequence + 1 & _SEQUENCES
        table = _attribute(_TABLE, self._table.encode() + b"\0")
        parts = [
            table
            + _attribute(_SET, name.encode() + b"\0")
            + _timed(list(keys.items())[at:][:_MOST])
            for name, keys in members.items()
            for at in range(0, len(keys), _MOST)
        ]
        generation = _attribute(_GENERATION_ID, _NUMBER.pack(self._generation))
        self._socket.send(
            self._message(_BATCH_BEGIN, 0, (0, _SUBSYSTEM), generation)
            + b"".join(self._message(_NEW_ELEMENTS, _ACK | _CREATE, (_INET, 0), it) for it in parts)
            + self._message(_BATCH_END, 0, (0, _SUBSYSTEM), b"")
        )
        for _, (_, _, payload) in zip(parts, self._answers(), strict=False):
            (code,) = _CODE.unpack_from(payload)
            if code in (-_RESTART, -errno.ENOENT):
                return False
            if code:
                raise OSError(-code, os.strerror(-code))
        self.expect()
        return True

    def held(self, name: str, keys: Sequence[bytes]) -> list[bytes]:
        """Give those keys that the set `name` holds, each as the kernel stores it.

        Raises:
            OSError: the kernel does not answer, or not to this user.
        """
        found: list[bytes] = []
        for at in range(0, len(keys), _AT_ONCE):
            found += self._halve(name, keys[at : at + _AT_ONCE])
        return found

    def close(self) -> None:
        """Close the socket; more than once is harmless."""
        self._socket.close()

    def _halve(self, name: str, keys: Sequence[bytes]) -> list[bytes]:
        """Ask for all at once; the kernel only says that one is lacking, so halves find which."""
        if not keys or self._ask(name, keys):
            return list(keys)
        half = len(keys) // 2
        return self._halve(name, keys[:half]) + self._halve(name, keys[half:]) if half else []

    def _ask(self, name: str, keys: Sequence[bytes]) -> bool:
        elements = b"".join([_before(len(key), 0) + key + _padding(key) for key in keys])
        body = (
            _attribute(_TABLE, self._table.encode() + b"\0")
            + _attribute(_SET, name.encode() + b"\0")
            + _nest(_ELEMENTS, elements)
        )
        self._send(_GET_ELEMENTS, _ACK, _INET, body)
        for kind, _, payload in self._answers():
            if kind == _ERROR:
                return _is_acknowledged(payload)
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))

    def _generation_now(self) -> int:
        self._send(_GET_GENERATION, 0, 0, b"")
        for kind, _, payload in self._answers():
            if kind == _NEW_GENERATION:
                return int.from_bytes(_attributes(payload)[_GENERATION_ID], "big")
            if kind == _ERROR:
                _is_acknowledged(payload)
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))

    def _rules_now(self) -> frozenset[bytes]:
        for _ in range(_TRIES):
            self._send(
                _GET_RULES, _DUMP, _INET, _attribute(_RULE_TABLE, self._table.encode() + b"\0")
            )
            rules, whole = self._listed()
            if whole:
                return rules
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _listed(self) -> tuple[frozenset[bytes], bool]:
        """Read a listing to its end; say also whether nothing changed while it was made."""
        rules: set[bytes] = set()
        whole = True
        for kind, flags, payload in self._answers():
            whole = whole and not flags & _INTERRUPTED
            if kind == _DONE:
                break
            if kind == _ERROR:
                _is_acknowledged(payload)
                break
            told = _attributes(payload)
            rules.add(told.get(_RULE_CHAIN, b"") + told.get(_RULE_HANDLE, b""))
        return frozenset(rules), whole

    def _send(self, kind: int, flags: int, family: int, body: bytes) -> None:
        self._sequence = self._sequence + 1 & _SEQUENCES
        self._socket.send(self._message(kind, flags, (family, 0), body))

    def _message(self, kind: int, flags: int, about: tuple[int, int], body: bytes) -> bytes:
        """Make a message of the current sequence number; `about` is family and subsystem."""
        length = _HEADER.size + _FAMILY.size + len(body)
        header = _HEADER.pack(length, kind, _REQUEST | flags, self._sequence, 0)
        return header + _FAMILY.pack(about[0], 0, about[1]) + body

    def _answers(self) -> Iterator[tuple[int, int, bytes]]:
        """Give kind, flags and payload of each answer to the last request, without end.

        Answers to older requests are passed over.
        """
        while True:
            data = self._socket.recv(_READ_BYTES)
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
                if length < _HEADER.size:
                    break
                if sequence == self._sequence:
                    yield kind, flags, data[at + _HEADER.size : at + length]
                at += length + 3 & ~3


def _timed(elements: Sequence[tuple[bytes, int]]) -> bytes:
    timeout = _ATTRIBUTE.pack(_ATTRIBUTE.size + _MILLISECONDS.size, _TIMEOUT)
    room = len(timeout) + _MILLISECONDS.size
    parts = [
        _before(len(key), room) + key + _padding(key) + timeout + _MILLISECONDS.pack(ms)
        for key, ms in elements
    ]
    return _nest(_ELEMENTS, b"".join(parts))


@functools.cache
def _before(length: int, beside: int) -> bytes:
    """Give what stands before an element's key of so many bytes, `beside` more following it.

    There are as many lengths as kinds of sets, and thousands of elements.
    """
    padded = length + 3 & ~3
    value = _ATTRIBUTE.pack(_ATTRIBUTE.size + length, _VALUE)
    size = 2 * _ATTRIBUTE.size + padded
    key = _ATTRIBUTE.pack(size, _KEY | _NESTED)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + size + beside, _ELEMENT | _NESTED) + key + value


def _padding(value: bytes) -> bytes:
    return b"\0" * (-len(value) % 4)


def _is_acknowledged(payload: bytes) -> bool:
    """Read an acknowledgement: False for what is not there."""
    (code,) = _CODE.unpack_from(payload)
    if code in (0, -errno.ENOENT):
        return bool(code == 0)
    raise OSError(-code, os.strerror(-code))


def _attributes(payload: bytes) -> dict[int, bytes]:
    """Read the attributes after the family's header, the outermost alone."""
    found: dict[int, bytes] = {}
    at = _FAMILY.size
    while at + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & ~_NESTED] = payload[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + _padding(value)


def _nest(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, value)
