import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.respond.stage import deny

from cronos.respond.process import ProcessConfig, ProcessExecutor, _read
from cronos.types import EntityKind, Outcome, Reversal, Verb


def test_freezing_is_taken_back_and_killing_is_not():
    reversal = {one.verb: one.reversal for one in ProcessExecutor.manifest.abilities}
    assert reversal == {Verb.CONTAIN: Reversal.LEASED, Verb.STOP: Reversal.NONE}


@pytest.mark.parametrize("verb", [Verb.CONTAIN, Verb.STOP])
def test_it_spares_itself_and_the_first_process(verb):
    own = [f"localhost/{pid}" for pid in (1, os.getpid(), os.getppid())]
    actions = [deny(one, point="process", kind=EntityKind.PROCESS, verb=verb) for one in own]
    answers = ProcessExecutor(ProcessConfig()).plan(actions)
    assert all(isinstance(one, Outcome) and one.detail.startswith("refused") for one in answers)


def test_another_verb_or_kind_is_refused():
    answers = ProcessExecutor(ProcessConfig()).plan(
        [
            deny("localhost/4242", point="process", kind=EntityKind.PROCESS),
            deny("localhost/4242", point="process", kind=EntityKind.HOST, verb=Verb.STOP),
        ]
    )
    assert [one.ok for one in answers] == [False, False]


@given(st.binary(max_size=200) | st.text('{}[]":,members0123456789/.-', max_size=80))
def test_a_damaged_recipe_names_nobody_or_whole_processes(recipe):
    read = _read(recipe if isinstance(recipe, bytes) else recipe.encode())
    if read is not None:
        assert all(member.pid > 1 and member.group.startswith("/") for member in read.members)
