"""Mutants of protocols: their truth fits what they say."""

import numpy as np
import pytest

from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.mutants import Known, mutant

NAMES = (("kind", "uint8"), ("size", "uint16"), ("number", "uint32"), ("text", "string"))


def spoken(count=60):
    """Give messages of a code, the length of the rest, a number and a text."""
    rng = np.random.default_rng(4)
    messages, fields = [], []
    for i in range(count):
        text = b"abcdefghij"[: int(rng.integers(1, 10))]
        payload = bytes([int(rng.integers(1, 5))]) + (len(text) + 4).to_bytes(2, "big")
        payload += int(rng.integers(200)).to_bytes(4, "big") + text
        messages.append(Message(payload, str(i % 3), "c2s", float(i)))
        fields.append(
            (
                (0, 1, Sem.ENUM_FLAGS),
                (1, 2, Sem.LENGTH),
                (3, 4, Sem.VALUE),
                (7, len(text), Sem.TEXT),
            )
        )
    return Known(messages, fields, [NAMES] * count)


@pytest.mark.parametrize("seed", range(12))
def test_fields_tile_every_message(seed):
    messages, fields = mutant(spoken(), seed)

    assert messages
    for message, each in zip(messages, fields, strict=True):
        place = 0
        for offset, length, _ in each:
            assert offset == place
            assert length > 0
            place += length
        assert place == len(message.payload)


def test_the_same_seed_gives_the_same_mutant_and_others_give_others():
    assert mutant(spoken(), 3) == mutant(spoken(), 3)
    assert len({mutant(spoken(), seed)[0] for seed in range(8)}) > 4


def test_lengths_are_written_anew():
    found = 0
    for seed in range(30):
        messages, fields = mutant(spoken(), seed)
        offset, width = next(((o, n) for o, n, sem in fields[0] if sem is Sem.LENGTH), (0, 0))
        whole = {len(m.payload) for m in messages}
        if not width or len(whole) < 3 or any(f[0][:2] != fields[0][0][:2] for f in fields):
            continue
        apart = [
            {int.from_bytes(m.payload[offset : offset + width], order) - len(m.payload)
             for m in messages}
            for order in ("big", "little")
        ]  # fmt: skip
        found += min(map(len, apart)) == 1

    assert found >= 15


def test_what_varies_in_one_field_of_all_varies_in_it_of_the_mutant():
    texts = {m.payload[7:] for m in spoken()[0]}
    kept = 0
    for seed in range(10):
        messages, fields = mutant(spoken(), seed)
        kept += all(
            m.payload[o : o + n] in texts
            for m, each in zip(messages, fields, strict=True)
            for o, n, sem in each
            if sem is Sem.TEXT
        )

    assert kept == 10


def test_a_carriers_first_fields_come_before_and_its_length_counts_what_follows():
    payload = b"\x05\x00\x09\x01"
    truth = ((0, 1, Sem.ENUM_FLAGS), (1, 2, Sem.LENGTH), (3, 1, Sem.VALUE))
    names = (("head", "uint8"), ("long", "uint16"), ("rest", "uint8"))
    carrier = Known([Message(payload)] * 3, [truth] * 3, [names] * 3)
    messages, fields = mutant(spoken(), 5, carrier)

    for message, each in zip(messages, fields, strict=True):
        assert message.payload[0] == 5
        assert each[:2] == truth[:2]
        assert int.from_bytes(message.payload[1:3], "big") == len(message.payload) - 3
