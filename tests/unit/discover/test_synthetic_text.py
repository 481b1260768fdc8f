"""Random text protocols: lines end, tokens are fields, and what is echoed is echoed."""

import numpy as np

from cronos.discover.synthetic_fields import Draft, Talk
from cronos.discover.synthetic_text import Token, delimited, headers


def written(elements, talk):
    draft = Draft()
    for element in elements:
        element.write(draft, talk)
    return bytes(draft.data), draft.fields


def test_headers_are_lines_after_a_verb():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        data, fields = written(headers(rng, ("READ",), own=True), Talk(rng, 1.7e9))
        assert data.startswith(b"READ ")
        assert data.endswith(b"\n")
        assert fields[0].sem == "enum_flags"


def test_delimiters_are_fields_of_their_own_or_belong_to_what_they_end():
    rng = np.random.default_rng(1)
    _, apart = written(delimited(rng, ("A",), own=True), Talk(rng, 1.7e9))
    rng = np.random.default_rng(1)
    _, together = written(delimited(rng, ("A",), own=False), Talk(rng, 1.7e9))

    assert apart[0].length == 1
    assert together[0].length == 2


def test_a_transaction_is_the_same_in_question_and_answer():
    talk = Talk(np.random.default_rng(1), 1.7e9)
    token = Token("id", "echo", "id_seq")
    asked = written([token], talk)
    talk.direction = "s2c"

    assert written([token], talk) == asked
