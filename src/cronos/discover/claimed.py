"""The first answer: fields that a detector vouches for, and what lies between them as bytes.

It takes a moment and cuts nothing that is not verified. It is what a discovery gives that was
stopped before the scorer had an answer.
"""

from collections.abc import Sequence
from typing import Final

from cronos.discover.messages import Message
from cronos.discover.model import Claim, Discovery, Field, Sem

REMARK: Final = "Only what detectors vouch for was cut: there was no time for more."
_SURE: Final = 0.9
_BETWEEN: Final = 0.1


def claimed(messages: Sequence[Message], claims: Sequence[Claim]) -> Discovery:
    """Give the fields of claims; of claims that overlap in a message the less likely by chance.

    Messages are of one type where they have one direction and the same claims hold.
    """
    order = sorted(range(len(claims)), key=lambda at: (claims[at].alarm, -claims[at].support))
    kinds: dict[tuple[str, tuple[int, ...]], int] = {}
    types: list[int] = []
    fields: list[tuple[Field, ...]] = []
    for number, message in enumerate(messages):
        spans = _spans(number, len(message.payload), claims, order)
        held = message.direction, tuple(sorted(claim for _, _, claim in spans))
        types.append(kinds.setdefault(held, len(kinds)))
        fields.append(_filled(spans, len(message.payload), claims))
    return Discovery(tuple(messages), tuple(types), tuple(fields), tuple(claims), (REMARK,))


def _spans(
    number: int, size: int, claims: Sequence[Claim], order: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Give (offset, length, claim) without overlap, sorted."""
    taken = bytearray(size)
    spans: list[tuple[int, int, int]] = []
    for at in order:
        span = claims[at].spans[number] if number < len(claims[at].spans) else None
        if span is None:
            continue
        offset, length = span
        if length <= 0 or offset < 0 or offset + length > size or any(taken[offset:][:length]):
            continue
        taken[offset : offset + length] = b"\1" * length
        spans.append((offset, length, at))
    return sorted(spans)


def _filled(
    spans: Sequence[tuple[int, int, int]], size: int, claims: Sequence[Claim]
) -> tuple[Field, ...]:
    fields: list[Field] = []
    end = 0
    for offset, length, at in spans:
        if offset > end:
            fields.append(Field(end, offset - end, Sem.BYTES, _BETWEEN))
        fields.append(Field(offset, length, claims[at].sem, _SURE, at))
        end = offset + length
    if end < size:
        fields.append(Field(end, size - end, Sem.BYTES, _BETWEEN))
    return tuple(fields)
