"""Random protocols with their truth: a drawn grammar in conversation, as the open data is written.

`samples(seed, count)` plays a few flows of the grammar of `seed` and gives what went over the wire
with every field's place and meaning. `line(sample)` gives the JSON object of one message. The same
seed gives the same bytes, whatever the machine.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import msgspec
import numpy as np

from cronos.discover.sums import SUMS
from cronos.discover.synthetic_draw import Exchange, Interleaved, Plan, draw
from cronos.discover.synthetic_fields import Draft, Number, Talk, TrueField

EPOCH: Final = 1_700_000_000.0
LEAST_BYTES: Final = 2


class Sample(msgspec.Struct, frozen=True):
    """One message and its truth; the fields tile the payload."""

    payload: bytes
    flow: str
    direction: str
    ts: float
    message_type: str
    fields: tuple[TrueField, ...]
    source: str = ""
    destination: str = ""


def samples(seed: int, count: int, drawn: Callable[[int], Plan] = draw) -> list[Sample]:
    """Play the grammar of this seed until there are `count` messages, in the order of time."""
    plan = drawn(seed)
    rng = np.random.default_rng([0x5A3, seed])
    flows = int(rng.integers(1, 9))
    began = EPOCH + float(rng.uniform(0, 3e7))
    talks = [Talk(rng, began + float(rng.uniform(0, 30))) for _ in range(flows)]
    weights = np.array([each.weight for each in plan.exchanges])
    weights /= weights.sum()
    out: list[Sample] = []
    turns = 0
    while len(out) < count and turns < 4 * count + 64:
        turns += 1
        number = int(rng.integers(flows))
        exchange = plan.exchanges[int(rng.choice(len(weights), p=weights))]
        out += _turn(plan, exchange, talks[number], number)
    return sorted(out[:count], key=lambda sample: sample.ts)


def line(sample: Sample) -> dict[str, Any]:
    """Give a message as the open data writes it."""
    return {
        "payload_hex": sample.payload.hex(),
        "flow": sample.flow,
        "direction": sample.direction,
        "ts": sample.ts,
        "message_type": sample.message_type,
        "fields": [msgspec.to_builtins(field) for field in sample.fields],
    }


def _turn(plan: Plan, exchange: Exchange, talk: Talk, flow: int) -> Iterator[Sample]:
    """Give a request and, mostly, its answer."""
    talk.ts += float(talk.rng.exponential(1.5)) + 0.01
    # Some clients count their transactions, some draw them.
    counts = flow % 3 > 0
    talk.transaction += 1 if counts else int(talk.rng.integers(1, 1 << 16))
    for direction, answers in (("c2s", False), ("s2c", True)):
        if answers and not exchange.answered:
            return
        talk.direction = direction
        talk.ts += 0.002 + float(talk.rng.exponential(0.01)) if answers else 0.0
        draft = _message(plan, exchange, talk, answers)
        if len(draft.data) < LEAST_BYTES:
            continue
        code = exchange.answer_code if answers else exchange.code
        mine, other = talk.addresses if direction == "c2s" else talk.addresses[::-1]
        yield Sample(
            payload=bytes(draft.data),
            flow=str(flow),
            direction=direction,
            ts=round(talk.ts, 6),
            message_type=f"code={code}|_dir={direction}",
            fields=tuple(draft.fields),
            source=".".join(map(str, mine)),
            destination=".".join(map(str, other)),
        )


def _message(plan: Plan, exchange: Exchange, talk: Talk, answers: bool) -> Draft:
    body = exchange.response if answers else exchange.request
    code = exchange.answer_code if answers else exchange.code
    draft = Draft()
    if plan.text:
        for element in body:
            element.write(draft, talk)
        return draft
    parts = list(plan.before)
    at = parts.index("length") if "length" in parts else len(parts)
    code_element = Number("code", plan.code_width, plan.order, "constant", "enum_flags", (code,))
    named = {**plan.named, "code": code_element}
    for name in parts[:at]:
        named[name].write(draft, talk)
    after = tuple(named[name] for name in parts[at + 1 :])
    inner = (*after, *body, *plan.trailer)
    if plan.scope is not None and "length" in parts:
        msgspec.structs.replace(plan.scope, inner=inner).write(draft, talk)
    else:
        for element in inner:
            element.write(draft, talk)
    draft.finish()
    return _interleave(draft, plan.blocks) if plan.blocks else draft


def _interleave(draft: Draft, blocks: Interleaved) -> Draft:
    """Put a checksum behind the first bytes and each block; fields are cut where it stands."""
    out = Draft()
    algorithm = SUMS[blocks.kind]
    order: Literal["big", "little"] = "big" if blocks.order == "be" else "little"
    cuts = list(range(blocks.first, len(draft.data), blocks.block))
    for start, end in zip([0, *cuts], [*cuts, len(draft.data)], strict=True):
        part = bytes(draft.data[start:end])
        base = len(out.data)
        for field in draft.fields:
            low, high = max(field.offset, start), min(field.offset + field.length, end)
            if low < high:
                place = base + low - start
                out.fields.append(msgspec.structs.replace(field, offset=place, length=high - low))
        out.data += part
        value = algorithm.of(part).to_bytes(algorithm.width, order)
        out.add(value, "block_checksum", "checksum")
    return out
