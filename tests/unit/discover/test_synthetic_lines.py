"""Text that is drawn as parsers tell its parts apart."""

import numpy as np
import pytest
from tests.unit.discover.tiled import assert_tiled

from cronos.discover.synthetic import samples
from cronos.discover.synthetic_fields import Draft, Talk
from cronos.discover.synthetic_lines import Around, Many, document, lines
from cronos.discover.synthetic_text import Token


def written(element):
    talk = Talk(np.random.default_rng(5), 1.7e9)
    draft = Draft()
    element.write(draft, talk)
    return [bytes(draft.data[f.offset : f.offset + f.length]) for f in draft.fields]


def verb(text):
    return Token("verb", "verb", "enum_flags", (text,))


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_fields_tile_every_message(seed):
    for sample in samples(seed, 20, lines):
        assert_tiled(sample)
        assert sample.payload.isascii()


def test_the_same_seed_gives_the_same_protocol():
    assert samples(7, 20, lines) == samples(7, 20, lines)


def test_what_stands_between_values_is_a_field_and_never_runs_into_another_node():
    inner = Around((b"<", verb("who"), b"@", verb("where"), b">"))

    assert written(Around((b"To: ", inner, b"\r\n"))) == [
        b"To: ", b"<", b"who", b"@", b"where", b">", b"\r\n",
    ]  # fmt: skip


def test_a_node_may_be_told_as_a_whole_or_keep_what_follows_its_values():
    parts = (b"a=", verb("1"), b";", verb("2"), b"\n")

    assert written(Around(parts, whole=True)) == [b"a=1;2\n"]
    assert written(Around(parts, tails=True)) == [b"a=", b"1;", b"2\n"]


def test_many_are_separated():
    found = {tuple(written(Many(verb("x"), b", ", 1))), tuple(written(Many(verb("x"), b", ", 9)))}

    assert (b"x",) in found
    assert all(each[1::2] == (b", ",) * (len(each) // 2) for each in found)


def test_a_document_is_text():
    for seed in range(20):
        assert b"".join(written(document(np.random.default_rng(seed)))).isascii()
