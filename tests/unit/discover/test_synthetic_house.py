"""Grammars in a house style: what is drawn is the same again, and its truth fits."""

from collections import Counter

import pytest
from tests.unit.discover.tiled import assert_tiled

from cronos.discover.evidence import Corpus
from cronos.discover.messages import Message
from cronos.discover.regions import labels
from cronos.discover.synthetic import samples
from cronos.discover.synthetic_house import house


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_fields_tile_every_message(seed):
    for sample in samples(seed, 30, house):
        assert_tiled(sample)


def test_the_same_seed_gives_the_same_protocol():
    assert samples(7, 20, house) == samples(7, 20, house)
    assert house(7) == house(7)


def test_many_houses_have_one_width_for_most_of_their_numbers():
    shares = []
    for seed in range(60):
        widths = Counter(
            f.length
            for s in samples(seed, 30, house)
            for f in s.fields
            if f.type.startswith("uint")
        )
        if widths.total() > 50:
            shares.append(widths.most_common(1)[0][1] / widths.total())

    assert sum(share > 0.7 for share in shares) > len(shares) / 4


def test_names_of_labels_are_one_field_and_seen_as_a_chain():
    found = 0
    for seed in range(90, 160, 2):
        played = [s for s in samples(seed, 20, house) if any(f.length > 4 for f in s.fields)]
        corpus = Corpus([Message(s.payload) for s in played])
        role = labels(corpus)
        for number, sample in enumerate(played):
            for field in sample.fields:
                text = sample.payload[field.offset : field.offset + field.length]
                if field.sem == "text" and text[0] < 20 and text[-1] == 0:
                    found += role[corpus.starts[number] + field.offset] == 1
    assert found > 30
