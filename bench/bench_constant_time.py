"""Whether the time that a refused record takes tells what is wrong with it: Welch's t per pair.

Two kinds of bad records of one length are opened in random order and timed one by one; what is
slower than nine in ten of both together is left out, for the machine interrupted it. A |t| above
4.5 says that the two kinds can be told apart by time (it says so of equal ones once in 150,000
rounds); one below it, that this many tries could not. Two controls stand beside: the same kind
twice, which must not be told apart, and a comparison that stops at a wrong byte, which must be.

Records of another epoch, or too short to be any, are refused by their public header and sooner:
they are not compared here.

Source: Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", 2017.
"""

import gc
import random
import secrets
import statistics
import time
from collections.abc import Callable

from report import Report, quantile

from cronos.crypto.records import RECORD_OVERHEAD, RecordReader, RecordWriter, derive_record_keys
from cronos.crypto.suites import HYBRID
from cronos.errors import DeniedError

ROUNDS = 7
TRIES = 40_000
POOL = 400
SIZE = 1024
KEPT = 0.9
TELLS = 4.5
HEADER = RECORD_OVERHEAD - 16

Change = Callable[[bytearray], None]
Opens = Callable[[bytes], None]


def tag_first(record: bytearray) -> None:
    record[-16] ^= 1


def tag_last(record: bytearray) -> None:
    record[-1] ^= 1


def tag_all(record: bytearray) -> None:
    record[-16:] = bytes(one ^ 0xFF for one in record[-16:])


def text_first(record: bytearray) -> None:
    record[HEADER] ^= 1


def text_last(record: bytearray) -> None:
    record[-17] ^= 1


def number(record: bytearray) -> None:
    """Another sequence number of the same block of 256: another nonce, and a tag that is none."""
    record[HEADER - 1] ^= 1


PAIRS: dict[str, tuple[Change, Change]] = {
    "tag wrong in its first byte, in its last": (tag_first, tag_last),
    "tag wrong in one bit, in all": (tag_last, tag_all),
    "text changed in its first byte, in its last": (text_first, text_last),
    "tag wrong, text changed": (tag_last, text_first),
    "tag wrong, sequence number changed": (tag_last, number),
}


def pools(writer: RecordWriter, changes: tuple[Change, Change]) -> tuple[list[bytes], ...]:
    """Make bad records of both kinds by turns, so that memory favours neither."""
    made: tuple[list[bytes], ...] = ([], [])
    for at in range(2 * POOL):
        record = bytearray(writer.seal(secrets.token_bytes(SIZE)))
        changes[at % 2](record)
        made[at % 2].append(bytes(record))
    return made


def timed(opens: Opens, records: tuple[list[bytes], ...]) -> float:
    """Give Welch's t of the two kinds."""
    order = [(random.getrandbits(1), random.randrange(POOL)) for _ in range(TRIES)]
    times: tuple[list[int], ...] = ([], [])
    clock = time.perf_counter_ns
    for kind, at in order:
        record = records[kind][at]
        begin = clock()
        opens(record)
        times[kind].append(clock() - begin)
    most = quantile([*times[0], *times[1]], KEPT)
    one, two = ([value for value in kind if value <= most] for kind in times)
    spread = statistics.variance(one) / len(one) + statistics.variance(two) / len(two)
    return (statistics.fmean(one) - statistics.fmean(two)) / spread**0.5


def opening(reader: RecordReader) -> Opens:
    def opens(record: bytes) -> None:
        try:
            reader.open(record)
        except DeniedError:
            return
        raise AssertionError("a bad record was opened")

    return opens


def leaking(right: bytes) -> Opens:
    """Compare a tag as nobody should: byte by byte, until one differs."""

    def opens(record: bytes) -> None:
        for own, other in zip(right, record[-16:], strict=True):
            if own != other:
                return

    return opens


def leaky_pools(right: bytes) -> tuple[list[bytes], ...]:
    made: tuple[list[bytes], ...] = ([], [])
    for at in range(2 * POOL):
        record = bytearray(secrets.token_bytes(SIZE) + right)
        (tag_first, tag_last)[at % 2](record)
        made[at % 2].append(bytes(record))
    return made


def main() -> None:
    keys = derive_record_keys(HYBRID, secrets.token_bytes(16), bytes(48), secrets.token_bytes(32))
    writer = RecordWriter(keys, 1 << 32, 1 << 36)
    opens = opening(RecordReader(keys))
    runs: dict[str, tuple[Opens, tuple[list[bytes], ...]]] = {
        what: (opens, pools(writer, changes)) for what, changes in PAIRS.items()
    }
    right = secrets.token_bytes(16)
    runs["control: the same kind twice"] = (opens, pools(writer, (tag_last, tag_last)))
    runs["control: compared until one byte differs"] = (leaking(right), leaky_pools(right))
    figures: dict[str, list[float]] = {what: [] for what in runs}
    gc.disable()
    for _ in range(ROUNDS):
        for what, (one, records) in runs.items():
            figures[what].append(abs(timed(one, records)))
    report = Report("constant_time")
    *real, last = figures
    for what in real:
        report.add(what, figures[what], "|t|", TRIES, f"<= {TELLS}")
    report.add(last, figures[last], "|t|", TRIES, f">= {TELLS}")
    report.show()


if __name__ == "__main__":
    main()
