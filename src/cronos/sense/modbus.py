"""Modbus/TCP: cut a byte stream into ADUs and read each one's fields.

An ADU is the MBAP header (transaction u16, protocol u16 = 0, length u16, unit u8) and a PDU
(function code u8, data). Nothing in a PDU says whether it asks or answers, so the caller does.

Source: MODBUS Application Protocol Specification V1.1b3 §6; MODBUS Messaging on TCP/IP
Implementation Guide V1.0b §3.1.3.
"""

import struct
from collections import OrderedDict
from typing import Final, Literal, TypeAlias

from cronos.errors import InputError
from cronos.types import Scalar

Direction: TypeAlias = Literal["request", "response"]
Fields: TypeAlias = dict[str, Scalar]

_HEADER: Final = struct.Struct(">HHHBB")
_TWO: Final = struct.Struct(">HH")
_THREE: Final = struct.Struct(">HHH")
_MIN_LENGTH: Final = 2  # unit and function code
_MAX_LENGTH: Final = 254  # unit and a PDU of 253 bytes
_EXCEPTION: Final = 0x80
_OPEN_TRANSACTIONS: Final = 32  # requests that wait for their answer, in one connection

_READS: Final = frozenset({1, 2, 3, 4})
_SINGLE_COIL: Final = 5
_ADDRESSED: Final = frozenset({5, 6})
_WRITE_COILS: Final = 15
_WRITE_REGISTERS: Final = 16
_MASK_WRITE: Final = 22
_READ_WRITE: Final = 23
_SUB_FUNCTION: Final = 8


def parse_adu(adu: bytes, direction: Direction) -> Fields:
    """Give the ``modbus.*`` fields of one whole ADU; unknown function codes give the header's.

    Values are registers as unsigned 16-bit numbers, coils as 0 or 1. `modbus.value` is the first
    written value; `modbus.min_value` and `modbus.max_value` run over all written ones.

    Raises:
        InputError: `adu` is no ADU, or its PDU ends within what its function code demands.
    """
    if len(adu) < _HEADER.size:
        raise _malformed(f"{len(adu)} bytes are shorter than an ADU's header")
    transaction, protocol, length, unit, code = _HEADER.unpack_from(adu)
    if protocol or not _MIN_LENGTH <= length <= _MAX_LENGTH or len(adu) != length + 6:
        raise _malformed(f"protocol {protocol}, length {length} in {len(adu)} bytes")
    fields: Fields = {
        "modbus.unit_id": unit,
        "modbus.function_code": code & 0x7F,
        "modbus.direction": direction,
        "modbus.transaction_id": transaction,
    }
    data = adu[_HEADER.size :]
    try:
        if direction == "request":
            _request(code, data, fields)
        elif code & _EXCEPTION:
            fields["modbus.exception_code"] = data[0]
        else:
            _response(code, data, fields)
    except (struct.error, IndexError) as error:
        raise _malformed(f"function {code} with only {len(data)} bytes of data") from error
    return fields


def _request(code: int, data: bytes, fields: Fields) -> None:
    if code in _READS:
        fields["modbus.address"], fields["modbus.quantity"] = _TWO.unpack_from(data)
    elif code in _ADDRESSED:
        _single(code, data, fields)
    elif code in (_WRITE_COILS, _WRITE_REGISTERS):
        address, quantity = _TWO.unpack_from(data)
        _written(fields, address, quantity, _values(code, data[5 : 5 + data[4]], quantity))
    elif code == _MASK_WRITE:
        address, keep, change = _THREE.unpack_from(data)
        fields["modbus.and_mask"] = keep
        _written(fields, address, 1, [change])
    elif code == _READ_WRITE:
        fields["modbus.read_address"], fields["modbus.read_quantity"] = _TWO.unpack_from(data)
        address, quantity = _TWO.unpack_from(data, 4)
        values = _values(_WRITE_REGISTERS, data[9 : 9 + data[8]], quantity)
        _written(fields, address, quantity, values)
    elif code == _SUB_FUNCTION:
        (fields["modbus.sub_function"],) = struct.unpack_from(">H", data)


def _response(code: int, data: bytes, fields: Fields) -> None:
    if code in _ADDRESSED:
        _single(code, data, fields)
    elif code in (_WRITE_COILS, _WRITE_REGISTERS):
        fields["modbus.address"], fields["modbus.quantity"] = _TWO.unpack_from(data)
    elif code == _MASK_WRITE:
        address, keep, change = _THREE.unpack_from(data)
        fields["modbus.and_mask"] = keep
        _written(fields, address, 1, [change])
    elif code == _SUB_FUNCTION:
        (fields["modbus.sub_function"],) = struct.unpack_from(">H", data)


def _single(code: int, data: bytes, fields: Fields) -> None:
    address, value = _TWO.unpack_from(data)
    _written(fields, address, 1, [int(value == 0xFF00) if code == _SINGLE_COIL else value])


def _values(code: int, data: bytes, quantity: int) -> list[int]:
    """Unpack written registers or coils, at most `quantity`, as many as are there."""
    if code == _WRITE_REGISTERS:
        count = min(quantity, len(data) // 2)
        return list(struct.unpack_from(f">{count}H", data))
    return [data[n >> 3] >> (n & 7) & 1 for n in range(min(quantity, len(data) * 8))]


def _written(fields: Fields, address: int, quantity: int, values: list[int]) -> None:
    fields["modbus.address"] = address
    fields["modbus.quantity"] = quantity
    if values:
        fields["modbus.value"] = values[0]
        fields["modbus.min_value"] = min(values)
        fields["modbus.max_value"] = max(values)


def _malformed(what: str) -> InputError:
    return InputError(
        "sense.modbus_malformed",
        f"Not a Modbus ADU: {what}.",
        "Check that this port really carries Modbus/TCP; a scanner also looks like this.",
    )


class AduSplitter:
    """Cuts ADUs out of one direction of a connection; holds less than one of them.

    Bytes that cannot begin an ADU are passed over up to the next that can; `skipped` counts
    them. What follows a loss is thus read again from a plausible header.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and give the ADUs that are whole now."""
        buffer = self._buffer + data if self._buffer else data
        adus: list[bytes] = []
        at = 0
        while len(buffer) - at >= _HEADER.size:
            _, protocol, length, _, _ = _HEADER.unpack_from(buffer, at)
            if protocol or not _MIN_LENGTH <= length <= _MAX_LENGTH:
                start = _plausible(buffer, at + 1)
                self.skipped += start - at
                at = start
            elif len(buffer) - at < length + 6:
                break
            else:
                adus.append(buffer[at : at + length + 6])
                at += length + 6
        self._buffer = buffer[at:]
        return adus

    @property
    def pending_bytes(self) -> int:
        """Give the length of the unfinished ADU; 0 between ADUs."""
        return len(self._buffer)

    def reset(self) -> None:
        """Forget the unfinished ADU: bytes after it were lost."""
        self.skipped += len(self._buffer)
        self._buffer = b""


def _plausible(buffer: bytes, at: int) -> int:
    """Find the next place whose protocol field is 0, or where the buffer gets too short."""
    found = buffer.find(b"\0\0", at + 2)
    return found - 2 if found >= 0 else max(at, len(buffer) - _HEADER.size + 1)


class ModbusStream:
    """Both directions of one connection; answers are told what was asked.

    A read response carries no address: it is taken from the request of the same transaction and
    unit. At most 32 requests are remembered.
    """

    def __init__(self) -> None:
        self._splitters: dict[Direction, AduSplitter] = {
            "request": AduSplitter(),
            "response": AduSplitter(),
        }
        self._asked: OrderedDict[tuple[Scalar, ...], tuple[Scalar, Scalar]] = OrderedDict()

    def feed(self, direction: Direction, data: bytes) -> list[Fields | str]:
        """Take bytes of one direction; give each ADU's fields, or why one has none."""
        splitter = self._splitters[direction]
        before = splitter.skipped
        found: list[Fields | str] = []
        for adu in splitter.feed(data):
            try:
                fields = parse_adu(adu, direction)
            except InputError as error:
                found.append(error.sentence)
            else:
                self._correlate(direction, fields)
                found.append(fields)
        if splitter.skipped > before:
            found.append(f"{splitter.skipped - before} bytes are no Modbus ADU.")
        return found

    def pending(self) -> bool:
        """Say whether either direction ends within an ADU, so that its begin is still needed."""
        return any(splitter.pending_bytes for splitter in self._splitters.values())

    def gap(self, direction: Direction) -> None:
        """Bytes of this direction were lost: begin anew with the next plausible header."""
        self._splitters[direction].reset()

    def _correlate(self, direction: Direction, fields: Fields) -> None:
        key = (
            fields["modbus.transaction_id"],
            fields["modbus.unit_id"],
            fields["modbus.function_code"],
        )
        if direction == "request":
            if "modbus.quantity" in fields:
                self._asked[key] = fields["modbus.address"], fields["modbus.quantity"]
            if len(self._asked) > _OPEN_TRANSACTIONS:
                self._asked.popitem(last=False)
        elif asked := self._asked.pop(key, None):
            fields.setdefault("modbus.address", asked[0])
            fields.setdefault("modbus.quantity", asked[1])
