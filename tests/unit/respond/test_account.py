import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.respond.stage import deny

from cronos.respond.account import AccountConfig, AccountExecutor, _read
from cronos.types import Blast, EntityKind, Outcome, Reversal, Verb


def test_locking_is_taken_back_and_ending_a_session_is_not():
    abilities = {one.verb: one for one in AccountExecutor.manifest.abilities}
    assert abilities[Verb.CONTAIN].reversal is Reversal.LEASED
    assert abilities[Verb.CONTAIN].blast is Blast.IDENTITY
    assert abilities[Verb.STOP].reversal is Reversal.NONE


@pytest.mark.parametrize(
    ("value", "kind", "verb"),
    [
        ("alice", EntityKind.USER, Verb.DENY),
        ("alice", EntityKind.USER, Verb.STOP),
        ("c1", EntityKind.SESSION, Verb.CONTAIN),
        ("root", EntityKind.USER, Verb.CONTAIN),
        ("localhost/1", EntityKind.SESSION, Verb.STOP),
    ],
)
def test_what_cannot_or_must_not_be_done_is_refused(tmp_path, value, kind, verb):
    executor = AccountExecutor(AccountConfig(prefix=str(tmp_path), sessions=str(tmp_path)))
    (refused,) = executor.plan([deny(value, point="account", kind=kind, verb=verb)])
    assert isinstance(refused, Outcome)
    assert not refused.ok


@given(st.binary(max_size=200) | st.text('{}":,userxpirasodtw0123456789-', max_size=80))
def test_a_damaged_recipe_gives_nothing_that_usermod_could_misread(recipe):
    read = _read(recipe if isinstance(recipe, bytes) else recipe.encode())
    if read is not None:
        assert not read.user.startswith("-")
        assert read.expire == "" or read.expire.isdigit()
