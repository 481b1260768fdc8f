"""Reads a tap's feed: connections, and the Modbus messages in them.

An observation's sequence number is its frame's, times 16384, plus its place in the frame. So
numbers rise strictly and are the same at every reading, and they have gaps: the first of a
session is 16384. A session is one run of the tap; another run is another source.

An unfinished message makes the tap keep the frames since it began, but at most `hold_frames`:
a client that never ends one would otherwise hold the whole ring.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta

from cronos.config import Positive, Section
from cronos.errors import InputError
from cronos.link.tapfeed import Direction, TapFrame, TapHello, unpack
from cronos.ports import Reading, Source
from cronos.sense.modbus import Fields, ModbusStream
from cronos.sense.normal import weakest
from cronos.sense.tapfeed import TapFeedSource
from cronos.types import (
    MAX_FRAME_BYTES,
    Defect,
    Entity,
    EntityKind,
    Manifest,
    Observation,
    Provenance,
    Scalar,
)

INDEX_BITS: Final = 14  # a frame holds at most 64 KiB, the shortest message is 8 bytes
_HEADER: Final = struct.Struct(">I")
_READ_BYTES: Final = 1 << 16
_MAX_UNREADABLE: Final = 64
_DIRECTIONS: Final[tuple[Direction, ...]] = ("request", "response")
_STATUS: Final = {"open": "open", "close": "closed", "cut": "closed", "refused": "refused"}


class TapSensorConfig(Section, frozen=True):
    """What the tap stands in front of, and the sensor's bounds."""

    protocol: Literal["modbus", "none"] = "modbus"
    max_connections: Positive = 4096
    hold_frames: Annotated[int, Meta(ge=1)] = 4096


class TapSensor:
    """Makes observations of connections and of the Modbus messages in them."""

    manifest: ClassVar[Manifest] = Manifest(
        "tap-frames", "What a forwarding tap saw: connections and Modbus messages.", ("live",)
    )
    config_type: ClassVar[type[Section]] = TapSensorConfig

    def __init__(self, config: TapSensorConfig) -> None:
        self._config = config

    @classmethod
    def recognise(cls, head: bytes) -> float:
        """Say how surely `head` begins a recorded feed; see `Sensor.recognise`."""
        bodies, _ = _cut(head[: 1 << 16])
        if not bodies:
            return 0.0
        try:
            unpack(bodies[0])
        except InputError:
            return 0.0
        return 0.99

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        """Yield readings in order; see `Sensor.read`.

        Raises:
            InputError: a length above a frame's limit: nothing can follow.
        """
        reading = _Reading(self._config, source)
        rest = b""
        while (data := source.read(_READ_BYTES)) != b"":
            if data is None:
                yield ()
                continue
            bodies, rest = _cut(rest + data)
            yield reading.frames(bodies)
            reading.require_feed(rest)
        if rest:
            yield [_defect(source, reading.last_frame + 1, "The feed ends within a frame.")]


class _Reading:
    """The state of one reading of a source."""

    def __init__(self, config: TapSensorConfig, source: Source) -> None:
        self._config = config
        self._source = source
        self._live = source if isinstance(source, TapFeedSource) else None
        self._provenance = weakest(Provenance.BIDIRECTIONAL, source.provenance)
        self._streams: OrderedDict[int, ModbusStream] = OrderedDict()
        self._pending: OrderedDict[int, int] = OrderedDict()  # connection -> frame it needs
        self.last_frame = 0
        self._last_observation = 0
        self._unreadable = 0  # messages in a row

    def frames(self, bodies: Sequence[bytes]) -> list[Reading]:
        """Give what frames amount to, up to where too many in a row are unreadable."""
        found: list[Reading] = []
        for body in bodies:
            found += self._frame(body)
            if self._unreadable >= _MAX_UNREADABLE:
                break
        return found

    def require_feed(self, rest: bytes) -> None:
        """Go on only where frames can follow.

        Raises:
            InputError: what was read is no feed, or `rest` begins with an absurd length.
        """
        if self._unreadable >= _MAX_UNREADABLE:
            why = f"{_MAX_UNREADABLE} messages in a row cannot be read"
        elif len(rest) >= _HEADER.size and _HEADER.unpack_from(rest)[0] > MAX_FRAME_BYTES:
            why = "an absurd length follows"
        else:
            return
        raise InputError(
            "sense.not_tap_frames",
            f"{self._source.name} is no tap's feed after frame number {self.last_frame}: {why}.",
            "Read the feed of a tap of this version, from its beginning.",
        )

    def _frame(self, body: bytes) -> list[Reading]:
        try:
            seen = unpack(body)
        except InputError as error:
            self._unreadable += 1
            return [_defect(self._source, self.last_frame + 1, error.sentence)]
        self._unreadable = 0
        if isinstance(seen, TapHello):
            return []
        if seen.seq <= self.last_frame:
            return [_defect(self._source, seen.seq, f"Frame {seen.seq} came out of order.")]
        found = self._missed(seen)
        self.last_frame = seen.seq
        found += self._messages(seen) if seen.kind == "data" else [self._connection(seen)]
        for reading in found:
            if isinstance(reading, Observation):
                self._last_observation = reading.seq
        if self._live is not None:
            self._live.parsed(seen.seq, self._last_observation, self._needed_from(seen.seq))
        return found

    def _missed(self, seen: TapFrame) -> list[Reading]:
        """Begin each stream anew where frames are missing before this one."""
        missing = seen.seq - self.last_frame - 1
        if not self.last_frame or not missing:
            return []
        for stream in self._streams.values():
            for direction in _DIRECTIONS:
                stream.gap(direction)
        self._pending.clear()
        return [
            _defect(
                self._source,
                seen.seq,
                f"The tap dropped {missing} frames before number {seen.seq}.",
                "Give the tap a larger `ring_bytes`, or the parser more processor time.",
            )
        ]

    def _connection(self, seen: TapFrame) -> Observation:
        if seen.kind != "open":
            self._streams.pop(seen.connection, None)
            self._pending.pop(seen.connection, None)
        fields: dict[str, Scalar] = {
            "metadata.product": "network",
            "metadata.log_name": "tap",
            "status": _STATUS[seen.kind],
            "connection_info.protocol_name": "tcp",
        }
        if seen.kind != "open":
            fields["traffic.bytes_out"] = seen.bytes_out
            fields["traffic.bytes_in"] = seen.bytes_in
        native = {"kind": seen.kind, "reason": seen.data.decode(errors="replace")}
        return self._observation(seen, 0, "network_activity", fields, native)

    def _messages(self, seen: TapFrame) -> list[Reading]:
        if self._config.protocol == "none":
            return []
        stream = self._streams.pop(seen.connection, None) or ModbusStream()
        self._streams[seen.connection] = stream
        if len(self._streams) > self._config.max_connections:
            forgotten, _ = self._streams.popitem(last=False)
            self._pending.pop(forgotten, None)
        found = [
            self._message(seen, index, message)
            for index, message in enumerate(stream.feed(seen.direction, seen.data))
        ]
        if stream.pending():
            self._pending.setdefault(seen.connection, seen.seq)
        else:
            self._pending.pop(seen.connection, None)
        return found

    def _message(self, seen: TapFrame, index: int, message: Fields | str) -> Reading:
        if isinstance(message, str):
            return _defect(
                self._source,
                seen.seq,
                f"{seen.client}:{seen.client_port} to {seen.server}:{seen.server_port}: {message}",
                "Check that the server speaks Modbus; if not, set `protocol` to none.",
            )
        fields: dict[str, Scalar] = {
            "metadata.product": "ot",
            "metadata.log_name": "modbus",
            "connection_info.protocol_name": "tcp",
            **message,
        }
        return self._observation(seen, index, "modbus", fields, {})

    def _observation(
        self,
        seen: TapFrame,
        index: int,
        activity: str,
        fields: dict[str, Scalar],
        native: dict[str, str],
    ) -> Observation:
        fields["src_endpoint.ip"] = seen.client
        fields["src_endpoint.port"] = seen.client_port
        fields["dst_endpoint.ip"] = seen.server
        fields["dst_endpoint.port"] = seen.server_port
        return Observation(
            source=self._source.name,
            seq=(seen.seq << INDEX_BITS) + index + self._source.first - 1,
            time_ns=seen.wall_ns,
            activity=activity,
            provenance=self._provenance,
            actor=Entity(EntityKind.ADDRESS, seen.client),
            target=Entity(EntityKind.ADDRESS, seen.server),
            fields=fields,
            native=native,
            position=seen.seq,
            # Boot time means nothing once the feed was recorded and is read elsewhere.
            sensed_boot_ns=seen.boot_ns if self._live is not None else 0,
        )

    def _needed_from(self, now: int) -> int:
        oldest = next(iter(self._pending.values()), now + 1)
        return max(oldest, now - self._config.hold_frames)


def _cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Cut whole frames off; give them and the rest, which may begin with an absurd length."""
    bodies: list[bytes] = []
    at = 0
    while len(data) - at >= _HEADER.size:
        (length,) = _HEADER.unpack_from(data, at)
        end = at + _HEADER.size + length
        if length > MAX_FRAME_BYTES or end > len(data):
            break
        bodies.append(data[at + _HEADER.size : end])
        at = end
    return bodies, data[at:]


def _defect(source: Source, position: int, reason: str, remedy: str = "") -> Defect:
    remedy = remedy or "Read the feed of a tap of this version, from its beginning."
    return Defect(source.name, position, reason, remedy)
