"""Random protocols: the truth tiles every message, and what is claimed of a field is so."""

import json

import msgspec
import pytest

from cronos.discover.sums import SUMS
from cronos.discover.synthetic import line, samples
from cronos.discover.synthetic_draw import draw

SEEDS = range(40)
SEMS = {"length", "checksum", "timestamp", "count", "id_seq", "enum_flags", "address", "text",
        "float", "value", "bytes"}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_fields_tile_every_message(seed):
    for sample in samples(seed, 60):
        at = 0
        for field in sample.fields:
            assert field.offset == at
            assert field.length > 0
            assert field.sem in SEMS
            at += field.length
        assert at == len(sample.payload)


def test_the_same_seed_gives_the_same_conversation_and_another_seed_another():
    assert samples(5, 50) == samples(5, 50)
    assert samples(5, 50) != samples(6, 50)


def test_messages_come_in_the_order_of_time_and_carry_the_addresses_of_their_direction():
    got = samples(4, 80)

    assert [s.ts for s in got] == sorted(s.ts for s in got)
    asked = {s.source for s in got if s.direction == "c2s" and s.flow == got[0].flow}
    heard = {s.destination for s in got if s.direction == "s2c" and s.flow == got[0].flow}
    assert asked == heard
    assert len(asked) == 1


def test_a_trailing_checksum_is_over_all_before_it():
    seen = 0
    for seed in range(120):
        plan = draw(seed)
        if plan.text or not plan.trailer or plan.blocks:
            continue
        check = plan.trailer[0]
        for sample in samples(seed, 10):
            *_, last = sample.fields
            assert last.sem == "checksum"
            value = SUMS[check.kind].of(sample.payload[: last.offset])
            order = "big" if check.order == "be" else "little"
            assert sample.payload[last.offset :] == value.to_bytes(last.length, order)
            seen += 1
    assert seen > 50


def test_blocks_are_closed_by_their_checksum():
    seen = 0
    for seed in range(400):
        plan = draw(seed)
        if plan.blocks is None:
            continue
        width = SUMS[plan.blocks.kind].width
        for sample in samples(seed, 5):
            marks = [f for f in sample.fields if f.name == "block_checksum"]
            start = 0
            for mark in marks:
                part = sample.payload[start : mark.offset]
                order = "big" if plan.blocks.order == "be" else "little"
                value = SUMS[plan.blocks.kind].of(part).to_bytes(width, order)
                assert sample.payload[mark.offset : mark.offset + width] == value
                start = mark.offset + width
            assert start == len(sample.payload)
            seen += 1
    assert seen > 10


def test_a_line_is_json_in_the_form_of_the_open_data():
    sample = samples(1, 1)[0]

    got = json.loads(json.dumps(line(sample)))

    assert bytes.fromhex(got["payload_hex"]) == sample.payload
    assert set(got) == {"payload_hex", "flow", "direction", "ts", "message_type", "fields"}
    assert got["fields"][0] == msgspec.to_builtins(sample.fields[0])
