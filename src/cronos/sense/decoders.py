"""Application decoders: which port speaks what, and how its bytes become observations.

A new one is a class with `feed` and `gap` (TCP) or a function (UDP), and one line in a table.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from cronos.sense.dns import decode_dns
from cronos.sense.http import HttpStream
from cronos.sense.modbus import ModbusStream
from cronos.types import Scalar


class Message(NamedTuple):
    """One application message: an activity and its fields."""

    activity: str
    fields: dict[str, Scalar]


class StreamDecoder(Protocol):
    """Reads both directions of one TCP connection; bounded, whatever the bytes."""

    def feed(self, from_client: bool, data: bytes) -> list[Message | str]:
        """Take bytes in order; give messages, or a sentence on what could not be read."""
        ...

    def gap(self, from_client: bool) -> None:
        """Learn that bytes of one direction were lost before the next `feed`."""
        ...


class ModbusDecoder:
    """Modbus/TCP as observations."""

    def __init__(self) -> None:
        self._stream = ModbusStream()

    def feed(self, from_client: bool, data: bytes) -> list[Message | str]:
        """See `StreamDecoder.feed`."""
        return [
            found if isinstance(found, str) else Message("modbus", found)
            for found in self._stream.feed("request" if from_client else "response", data)
        ]

    def gap(self, from_client: bool) -> None:
        """See `StreamDecoder.gap`."""
        self._stream.gap("request" if from_client else "response")


class HttpDecoder:
    """HTTP/1 requests as observations; answers are not read."""

    def __init__(self) -> None:
        self._stream = HttpStream()

    def feed(self, from_client: bool, data: bytes) -> list[Message | str]:
        """See `StreamDecoder.feed`."""
        if not from_client:
            return []
        return [Message("http_activity", fields) for fields in self._stream.feed(data)]

    def gap(self, from_client: bool) -> None:
        """See `StreamDecoder.gap`."""
        if from_client:
            self._stream.reset()


def _dns(payload: bytes) -> Message | None:
    fields = decode_dns(payload)
    return Message("dns_activity", fields) if fields else None


STREAMS: Final[dict[int, Callable[[], StreamDecoder]]] = {
    80: HttpDecoder,
    502: ModbusDecoder,
    8080: HttpDecoder,
}
DATAGRAMS: Final[dict[int, Callable[[bytes], Message | None]]] = {53: _dns}
APPLICATIONS: Final = {53: "dns", 80: "http", 502: "modbus", 8080: "http"}
