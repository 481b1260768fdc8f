"""A grammar proves itself on messages that it has not seen."""

import pytest
from tests.unit.discover.drafts import discovery_of, draft, labelled, requests

from cronos.discover import ir
from cronos.discover.grammar import infer
from cronos.discover.verify import learn, mutants, noise, split, verify
from cronos.errors import InputError


def test_every_third_message_is_held_back():
    assert split(7) == ([0, 1, 3, 4, 6], [2, 5])
    assert split(2) == ([0, 1], [0, 1])


def test_a_learnt_grammar_takes_gives_back_and_refuses():
    grammar, verdict = learn(discovery_of(requests(300)), "plant")

    assert (verdict.learnt_from, verdict.held_back) == (200, 100)
    assert verdict.passed
    assert (verdict.parsed, verdict.rebuilt, verdict.noise_refused) == (1, 1, 1)
    assert verdict.recall > 0.95
    assert verdict.precision > 0.95
    ir.check(grammar)


def test_a_grammar_that_takes_anything_does_not_pass():
    anything = ir.Grammar("g", (ir.MessageType("a", ir.Data("d_0", ir.Size("rest"))),))
    verdict = verify(anything, requests(30))

    assert verdict.parsed == 1
    assert verdict.noise_refused == 0
    assert not verdict.passed


def test_a_grammar_that_takes_nothing_says_why():
    nothing = ir.Grammar("g", (ir.MessageType("a", ir.Number("n_0", 1)),))
    verdict = verify(nothing, requests(30))

    assert verdict.parsed == 0
    assert "left over" in verdict.reasons[0]


def test_no_message_is_a_sentence():
    with pytest.raises(InputError) as error:
        learn(discovery_of([draft()]))
    assert error.value.code == "discover.no_messages"


def test_noise_and_mutants_are_the_same_each_time():
    assert noise([5, 100], 4) == noise([5, 100], 4)
    assert [len(one) for one in noise([5, 100], 4)] == [8, 100, 8, 100]
    changed = mutants([bytes(80)])[0]
    assert 1 <= sum(byte != 0 for byte in changed) <= 10


@pytest.mark.parametrize("protocol", ["dns", "modbus", "smb", "nbns"])
def test_open_protocols_with_their_true_fields_pass(protocol):
    samples = labelled(protocol)[:600]
    train, held = split(len(samples))
    grammar = infer([samples[index] for index in train])
    verdict = verify(grammar, [samples[index] for index in held])

    assert verdict.passed, verdict
    assert verdict.precision > 0.9
