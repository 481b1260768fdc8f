"""The replay window: every record of an epoch is admitted once.

For each stream (producer and topic) it keeps the newest epochs, each with the highest number
admitted and a bitmap of the `size` numbers up to it. A number below the bitmap is refused: it
cannot be told from one seen before. So is an unknown epoch that is older than all that are kept,
once there is no more room: the oldest kept only ever rises, so whatever was dropped lies below it.
Memory is bounded and nothing returns through it.

Admit only what was opened: an epoch whose signature held, a record whose tag did. Otherwise anyone
moves the window. It forgets when the process ends; who needs more keeps the consumer's position.

Source: RFC 4303, 3.4.3 and RFC 6479 (the window); the bounds on epochs are Cronos' own.
"""

import threading
from typing import Final

import msgspec

from cronos.crypto.epoch import Epoch
from cronos.errors import DeniedError

DEFAULT_SIZE: Final = 4096
DEFAULT_EPOCHS: Final = 8
DEFAULT_STREAMS: Final = 4096

_Order = tuple[int, bytes]


class _Seen(msgspec.Struct):
    """What was admitted of an epoch: bit n of `bits` is the number `high` - n."""

    high: int
    bits: int


class ReplayWindow:
    """Admits each record once; safe to share between threads.

    One producer cannot push out another's epochs: each stream has its own room, and a stream
    above `max_streams` is refused rather than another forgotten.

    Args:
        size: how far behind the newest a record may arrive, in records.
        max_epochs: how many epochs of one stream may run side by side.
        max_streams: how many producers times topics are followed; 4,096 streams of 8 epochs
            take up to 30 MB.
    """

    def __init__(
        self,
        size: int = DEFAULT_SIZE,
        max_epochs: int = DEFAULT_EPOCHS,
        max_streams: int = DEFAULT_STREAMS,
    ) -> None:
        if min(size, max_epochs, max_streams) < 1:
            raise ValueError("a replay window holds at least one of each")
        self._size = size
        self._mask = (1 << size) - 1
        self._max_epochs = max_epochs
        self._max_streams = max_streams
        self._streams: dict[tuple[bytes, str], dict[_Order, _Seen]] = {}
        self._lock = threading.Lock()

    def admit(self, epoch: Epoch, seq: int) -> None:
        """Return when the record `seq` of `epoch` is admitted for the first time.

        Call it after the record was opened. Constant time, whatever `seq` is.

        Raises:
            DeniedError: it was admitted before, or is too old to know (``crypto.replayed``);
                or there are more streams than may be (``crypto.too_many_streams``). An opened
                record is authentic, so telling these apart from a refusal is no oracle.
        """
        with self._lock:
            self._mark(self._seen(epoch), seq)

    def _mark(self, seen: _Seen, seq: int) -> None:
        ahead = seq - seen.high
        if ahead > 0:
            # A leap past the window empties it; shifting by a leap of 2^60 would take all memory.
            seen.bits = ((seen.bits << ahead) | 1) & self._mask if ahead < self._size else 1
            seen.high = seq
            return
        bit = 1 << -ahead if -ahead < self._size else 0
        if not bit or seen.bits & bit:
            raise _replayed()
        seen.bits |= bit

    def _seen(self, epoch: Epoch) -> _Seen:
        # The id decides between epochs of one instant, so that the order is total.
        order = (epoch.not_before_ns, epoch.epoch_id)
        kept = self._kept((epoch.producer, epoch.topic))
        seen = kept.get(order)
        if seen is not None:
            return seen
        if len(kept) >= self._max_epochs:
            oldest = min(kept)
            if order < oldest:
                raise _replayed()
            del kept[oldest]
        seen = kept[order] = _Seen(-1, 0)
        return seen

    def _kept(self, stream: tuple[bytes, str]) -> dict[_Order, _Seen]:
        kept = self._streams.get(stream)
        if kept is None:
            if len(self._streams) >= self._max_streams:
                raise DeniedError(
                    "crypto.too_many_streams",
                    f"{self._max_streams} producers and topics are followed already.",
                    "Raise the bound if there are so many; otherwise see who makes them up.",
                )
            kept = self._streams[stream] = {}
        return kept


def _replayed() -> DeniedError:
    return DeniedError(
        "crypto.replayed",
        "The record was admitted before, or is too old to tell.",
        "Nothing, where delivery is at least once; otherwise see who sends it again.",
    )
