"""Cut ordered streams into messages without knowing their protocol.

TCP keeps no message ends. Three rules are tried on what all connections of a service sent, and the
first that explains it is taken:

1. *A length in the header.* A field of 1 to 4 bytes at a fixed place, or a BER length, plus a
   constant gives the size of the message. Walking from message to message must meet the places
   where a message is known to begin: the first byte of a connection, and the first that is sent
   after the other side spoke.
2. *A delimiter.* What is sent ends with the same bytes, and these stand hardly anywhere else; or it
   is text in lines; or header lines, an empty line, and as many bytes as ``Content-Length`` says.
3. *Segments.* What was sent at once is a message. A full segment goes on in the next one.

Everything is bounded: a hypothesis is tried on a sample, and one pass over the bytes cuts them.
"""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, Protocol

MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_MESSAGES: Final = 500_000
_SAMPLE_SEGMENTS: Final = 400
_SAMPLE_BYTES: Final = 1 << 18
_MAX_OFFSET: Final = 16
_FORMS: Final = ((1, False), (2, False), (2, True), (3, False), (3, True), (4, False), (4, True))
_MAX_CONSTANT: Final = 64
_MIN_SHARE: Final = 0.25
_TRIED: Final = 16
_MIN_SEGMENTS: Final = 6
_MIN_BITS: Final = 30.0
_MIN_ALIKE: Final = 0.5
_FEW: Final = 0.1
_MAX_CHAIN: Final = 64
_NOTHING: Final = (0.0, 0.0)
_EXPLAINED: Final = 0.95
_MET: Final = 0.93
_FULL_SEGMENT: Final = 512
_PRINTABLE: Final = 0.95
_MAX_PASSED: Final = 64
_MAX_MISFITS: Final = 256
_MAX_AGAIN: Final = 4_096


class Segment(NamedTuple):
    """Bytes that were sent at once; `turn` where the other side had spoken, or nobody yet."""

    ts: float
    data: bytes
    turn: bool = False


class Run(NamedTuple):
    """What one side of a connection sent without a hole."""

    segments: tuple[Segment, ...]
    number: int = 0
    """Whose it is; a caller's own."""
    side: str = ""
    """Which direction it is of, by any name; each may have a rule of its own."""


class Piece(NamedTuple):
    """One message that was cut out, when it began, and whose it is."""

    ts: float
    data: bytes
    number: int


class Cut(NamedTuple):
    """All messages of a service, how they were told apart, and what was left over."""

    pieces: tuple[Piece, ...]
    rule: str
    left_bytes: int = 0


class Rule(Protocol):
    """Says how long the message is that begins at `at`; 0 where it is not one."""

    def size(self, data: bytes, at: int) -> int:
        """Give bytes, which may be more than there are."""
        ...

    def __str__(self) -> str:
        """Say the rule in words."""
        ...


class LengthRule(NamedTuple):
    """A length of `width` bytes at `offset`, plus `constant`, is the size of the whole."""

    offset: int
    width: int
    little: bool
    constant: int

    def size(self, data: bytes, at: int) -> int:
        """See `Rule.size`."""
        begin = at + self.offset
        end = begin + self.width
        if end > len(data):
            return 0
        value = int.from_bytes(data[begin:end], "little" if self.little else "big")
        size = value + self.constant
        return size if self.offset + self.width <= size <= MAX_MESSAGE_BYTES else 0

    def __str__(self) -> str:
        order = "" if self.width == 1 else " little-endian" if self.little else " big-endian"
        return f"a{order} length of {self.width} at offset {self.offset}, plus {self.constant}"


class BerRule(NamedTuple):
    """A BER length at `offset`: short form, or long form of up to 4 bytes."""

    offset: int

    def size(self, data: bytes, at: int) -> int:
        """See `Rule.size`."""
        begin = at + self.offset
        if begin >= len(data):
            return 0
        first = data[begin]
        if first < 0x80:
            return self.offset + 1 + first
        width = first & 0x7F
        if not 0 < width <= 4 or begin + 1 + width > len(data):
            return 0
        size = int.from_bytes(data[begin + 1 : begin + 1 + width], "big")
        size += self.offset + 1 + width
        return size if size <= MAX_MESSAGE_BYTES else 0

    def __str__(self) -> str:
        return f"a BER length at offset {self.offset}"


class EndRule(NamedTuple):
    """A message ends with `end`."""

    end: bytes

    def size(self, data: bytes, at: int) -> int:
        """See `Rule.size`."""
        found = data.find(self.end, at, at + MAX_MESSAGE_BYTES)
        return found + len(self.end) - at if found >= 0 else 0

    def __str__(self) -> str:
        return f"messages end with {self.end.hex(' ')}"


class HeaderRule(NamedTuple):
    """Header lines, an empty line, and a body as long as they say."""

    blank: bytes

    def size(self, data: bytes, at: int) -> int:
        """See `Rule.size`."""
        found = data.find(self.blank, at, at + (1 << 16))
        if found < 0:
            return 0
        head = found + len(self.blank)
        said = _CONTENT_LENGTH.search(data, at, head)
        return head - at + (int(said[1]) if said else 0)

    def __str__(self) -> str:
        return "header lines, an empty line, and a body as long as they say"


_CONTENT_LENGTH: Final = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*(\d{1,7})[ \t]*\r?$")


def _in_time() -> bool:
    return False


def cut(runs: Sequence[Run], late: Callable[[], bool] = _in_time, most: int = MAX_MESSAGES) -> Cut:
    """Cut all runs of a service; see the rules above.

    One rule for both directions is looked for first, then one for each.

    Args:
        runs: what was sent, by connection and direction.
        late: whether the time is up: no rule is tried any more, what was found so far serves.
        most: how many messages at most; what follows is left over.
    """
    runs = [run for run in runs if any(segment.data for segment in run.segments)]
    common = _rule_of(_sample(runs), late)
    rules: dict[str, Rule | None] = {}
    for side in sorted({run.side for run in runs}):
        mine = [run for run in runs if run.side == side]
        rules[side] = common or _rule_of(_sample(mine), late)
    pieces: list[Piece] = []
    left = 0
    for run in runs:
        rule = rules[run.side]
        room = most - len(pieces)
        found, lost = _cut_segments(run, room) if rule is None or late() else _walk(run, rule, room)
        pieces += found
        left += lost
    pieces.sort(key=lambda piece: piece.ts)
    return Cut(tuple(pieces), _told(common, rules), left)


def _told(common: Rule | None, rules: dict[str, Rule | None]) -> str:
    if common:
        return str(common)
    told = [f"{side}: {rule}" for side, rule in rules.items() if rule]
    return "; ".join(told) or "what is sent at once is a message"


def _sample(runs: Sequence[Run]) -> list[Run]:
    """Take a little of every connection before much of one."""
    share = max(4, _SAMPLE_SEGMENTS // max(1, len(runs)))
    sample: list[Run] = []
    segments = size = 0
    for run in runs:
        head = run.segments[:share]
        sample.append(Run(head, run.number, run.side))
        segments += len(head)
        size += sum(len(segment.data) for segment in head)
        if segments >= 2 * _SAMPLE_SEGMENTS or size >= _SAMPLE_BYTES:
            break
    return sample


def _rule_of(sample: Sequence[Run], late: Callable[[], bool]) -> Rule | None:
    segments = [segment.data for run in sample for segment in run.segments if segment.data]
    if not segments or late():
        return None
    best = (0.0, 0.0)
    chosen: Rule | None = None
    for rule in (*_lengths(segments, late), *_delimiters(segments)):
        if late():
            break
        # Of rules that explain as much the one with fewer messages: where values are mostly zero,
        # much can be walked over in small steps.
        score = _explains(sample, rule)
        if score > best:
            best, chosen = score, rule
    return chosen


def _lengths(segments: Sequence[bytes], late: Callable[[], bool]) -> list[Rule]:
    """Give the length fields by which most segments end where a message does, best first."""
    sample = segments[:_SAMPLE_SEGMENTS]
    rules: list[Rule] = [*_length_rules(sample), *(BerRule(offset) for offset in range(4))]
    ranked = [
        (sum(_chains(rule, data) for data in sample) / len(sample), rule)
        for rule in rules
        if not late()
    ]
    # Of equals the widest: a one-byte length may be the low byte of a wider one.
    ranked.sort(key=lambda one: (-one[0], -(one[1].width if isinstance(one[1], LengthRule) else 1)))
    return [rule for share, rule in ranked[:_TRIED] if share >= _MIN_SHARE]


def _length_rules(sample: Sequence[bytes]) -> Iterator[LengthRule]:
    """Give what could be a length: of the whole, of the rest, of itself and the rest, or constant.

    The constant of a segment that holds one message is its size less the field's value.
    """
    for offset in range(_MAX_OFFSET):
        for width, little in _FORMS:
            end = offset + width
            order: Literal["little", "big"] = "little" if little else "big"
            constants = Counter(
                len(data) - int.from_bytes(data[offset:end], order)
                for data in sample
                if len(data) >= end
            )
            likely = [one for one, _ in constants.most_common(2) if 0 <= one <= _MAX_CONSTANT]
            for constant in sorted({*likely, 0, offset, end}):
                yield LengthRule(offset, width, little, constant)


def _chains(rule: Rule, data: bytes) -> bool:
    """Say whether messages of this rule end just where the segment does."""
    at = steps = 0
    while at < len(data) and steps < _MAX_CHAIN:
        size = rule.size(data, at)
        if not size:
            return False
        at += size
        steps += 1
    return at == len(data)


def _delimiters(segments: Sequence[bytes]) -> list[Rule]:
    whole = b"".join(segments)
    printable = sum(count for byte, count in Counter(whole).items() if byte in _TEXT)
    text = printable >= _PRINTABLE * len(whole)
    rules: list[Rule] = []
    if len(segments) < _MIN_SEGMENTS:
        return rules
    for size in (2, 1):
        end, count = Counter(data[-size:] for data in segments).most_common(1)[0]
        if count < 0.9 * len(segments) or len(end) < size:
            continue
        # In text a line is a message where one is sent at a time; in bytes an end is one that
        # stands nowhere else.
        many = whole.count(end) > (1.5 if text else 1.1) * len(segments)
        if not many and len(set(end)) >= (1 if text else size):
            rules.append(EndRule(end))
    if text:
        rules += [HeaderRule(blank) for blank in (b"\r\n\r\n", b"\n\n") if blank in whole]
    return rules


_TEXT: Final = frozenset([*range(0x20, 0x7F), 9, 10, 13])


class _Walked(NamedTuple):
    """What walking over a sample by a rule met with."""

    segments: int
    whole: int
    """Segments that are messages from end to end."""
    known: int
    met: int
    """Places where a message is known to begin, and those of them where one did."""
    ended: int
    """Runs that end where a message does."""
    sizes: Counter[int]
    inner: Counter[int]
    """First bytes of messages that do not begin a segment."""


def _explains(sample: Sequence[Run], rule: Rule) -> tuple[float, float]:
    """Give how well a rule explains what was sent, at most 2, and a message's mean size.

    Both are 0 where it does not explain it well enough. With few segments some of the hypotheses
    may end well by chance, so that bits are counted: every known place met is worth about the
    logarithm of a message's size, and messages inside of segments are worth how much more alike
    they begin than any bytes do.
    """
    walked = _walk_sample(sample, rule)
    messages, inner = sum(walked.sizes.values()), sum(walked.inner.values())
    if not messages:
        return _NOTHING
    mean = sum(size * count for size, count in walked.sizes.items()) / messages
    alike = _alike(sample, walked.inner)
    bits = (walked.met + walked.ended) * math.log2(max(2.0, mean)) + alike
    whole, met = walked.whole / walked.segments, walked.met / max(1, walked.known)
    if len(walked.sizes) < 2 and alike < _MIN_BITS:
        return _NOTHING
    unlike = inner > _FEW * messages and alike < _MIN_ALIKE * inner
    if whole < _EXPLAINED or met < _MET or bits < _MIN_BITS or unlike:
        return _NOTHING
    return round(whole + met, 1), mean


def _walk_sample(sample: Sequence[Run], rule: Rule) -> _Walked:
    segments = whole = known = met = ended = 0
    sizes: Counter[int] = Counter()
    inner: Counter[int] = Counter()
    for run in sample:
        data, starts = _joined(run)
        # The first thing that an end says may be of a kind of its own: a greeting, a version.
        turns = {start for start, one in zip(starts, run.segments, strict=True) if one.turn} - {0}
        last, begun = max(turns, default=0), set(starts)
        known += len(turns)
        segments += len(starts)
        lost = at = 0
        while at < len(data):
            size = rule.size(data, at)
            # A length that reaches over an answer of the other side is none.
            if not size or (at + size > len(data) and at < last):
                following = _next(starts, at, len(data))
                lost += at > 0 or following == len(data)
                at = following
                continue
            met += at in turns
            if at not in begun:
                inner[data[at]] += 1
            # The last message of a sample may well be cut.
            sizes[min(size, len(data) - at)] += 1
            at += size
        whole += len(starts) - lost
        ended += at == len(data)
    return _Walked(segments, whole, known, met, ended, sizes, inner)


def _alike(sample: Sequence[Run], inner: Counter[int]) -> float:
    """Give by how many bits these bytes are better told by their own shares than by all bytes'."""
    count = sum(inner.values())
    if not count:
        return 0.0
    usual = Counter(byte for run in sample for one in run.segments for byte in one.data)
    total = sum(usual.values())
    gained = sum(n * math.log2(n / count / (usual[byte] / total)) for byte, n in inner.items())
    return gained - 0.5 * len(inner) * math.log2(count + 1)


def _joined(run: Run) -> tuple[bytes, list[int]]:
    starts: list[int] = []
    at = 0
    for segment in run.segments:
        starts.append(at)
        at += len(segment.data)
    return b"".join(segment.data for segment in run.segments), starts


def _next(starts: Sequence[int], at: int, end: int) -> int:
    index = bisect_right(starts, at)
    return starts[index] if index < len(starts) else end


def _walk(run: Run, rule: Rule, most: int) -> tuple[list[Piece], int]:
    """Cut by a rule; what it does not fit is a message up to the next segment.

    A message that is longer than what is there was cut off where the capture ends, unless the rule
    fits again from a later segment on: then its length was none.
    """
    data, starts = _joined(run)
    pieces: list[Piece] = []
    at = passed = misfits = 0
    while at < len(data) and len(pieces) < most:
        # To look for an end that is nowhere costs all that follows, for each segment.
        size = rule.size(data, at) if misfits < _MAX_MISFITS else 0
        misfits += not size
        if at + size > len(data):
            again = passed < _MAX_PASSED and _fits_later(data, starts, at, rule)
            passed += 1
            if not again:
                return pieces, len(data) - at
            size = 0
        end = at + size if size else _next(starts, at, len(data))
        pieces.append(_piece(run, starts, data, at, end))
        at = end
    return pieces, len(data) - at


def _fits_later(data: bytes, starts: Sequence[int], at: int, rule: Rule) -> bool:
    """Say whether messages from one of the next segments end where the data does.

    So many in a row are enough: it is asked again and again of what may be a million messages.
    """
    first = bisect_right(starts, at)
    for start in starts[first : first + 4]:
        there, many = start, 0
        while there < len(data) and many < _MAX_AGAIN and (size := rule.size(data, there)):
            there, many = there + size, many + 1
        if there == len(data) or many == _MAX_AGAIN:
            return True
    return False


def _piece(run: Run, starts: Sequence[int], data: bytes, at: int, end: int) -> Piece:
    segment = run.segments[bisect_right(starts, at) - 1]
    return Piece(segment.ts, data[at:end], run.number)


def _cut_segments(run: Run, most: int) -> tuple[list[Piece], int]:
    data, starts = _joined(run)
    longest = max(len(segment.data) for segment in run.segments)
    ends = [*starts[1:], len(data)]
    pieces: list[Piece] = []
    begin = 0
    for index, end in enumerate(ends):
        following = run.segments[index + 1] if index + 1 < len(ends) else None
        full = len(run.segments[index].data) >= max(longest, _FULL_SEGMENT)
        joined = full and following is not None and not following.turn
        if (joined and end - begin < MAX_MESSAGE_BYTES) or end == begin:
            continue
        if len(pieces) >= most:
            return pieces, len(data) - begin
        pieces.append(_piece(run, starts, data, begin, end))
        begin = end
    if begin < len(data) and len(pieces) < most:
        pieces.append(_piece(run, starts, data, begin, len(data)))
        begin = len(data)
    return pieces, len(data) - begin
