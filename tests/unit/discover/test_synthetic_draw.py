"""What is drawn: every seed its own protocol, and together all that a detector must find."""

import collections

from cronos.discover.synthetic import samples
from cronos.discover.synthetic_draw import draw

PLANS = [draw(seed) for seed in range(200)]


def test_a_seed_draws_the_same_protocol_again():
    assert draw(17) == draw(17)


def test_some_protocols_are_text_some_big_endian_some_little():
    shares = collections.Counter("text" if p.text else p.order for p in PLANS)

    assert shares["text"] > 10
    assert shares["be"] > 50
    assert shares["le"] > 40


def test_every_kind_of_framing_is_drawn():
    forms = collections.Counter(p.scope.form for p in PLANS if p.scope)

    assert set(forms) == {"fixed", "varint", "ber"}
    assert any(p.scope and p.scope.high for p in PLANS)
    assert any(p.trailer for p in PLANS)
    assert any(p.blocks for p in PLANS)


def test_two_hundred_protocols_hold_every_meaning_and_several_message_types():
    sems = collections.Counter()
    types = []
    for seed in range(60):
        got = samples(seed, 30)
        types.append(len({s.message_type for s in got}))
        for sample in got:
            sems.update({f.sem for f in sample.fields})

    assert set(sems) >= {"length", "checksum", "timestamp", "count", "id_seq", "enum_flags",
                         "address", "text", "float", "value", "bytes"}  # fmt: skip
    assert max(types) >= 6
