import pytest
from tests.unit.front.recorded import PLAIN, finding, record, snapshot, story, write

from cronos.config import Config
from cronos.errors import CronosError, DeniedError, InputError
from cronos.front.keyring import open_keystore, using_keys
from cronos.front.policy_cases import MAX_JUDGED, read_cases
from cronos.front.sealed import sealer_of
from cronos.kernel.policy import decide
from cronos.runtime.world import SystemClock
from cronos.types import Deadline, Kill, State


def test_a_recorded_case_is_read_with_what_it_was_decided_from(tmp_path):
    write(tmp_path, [*story("local-1-1"), *story("local-1-2", severity=2)])
    cases = read_cases(PLAIN, tmp_path)

    assert list(cases.by_id) == ["local-1-1", "local-1-2"]
    (judged,) = cases.by_id["local-1-1"].judged
    assert judged.snapshot == snapshot()
    assert judged.decision == decide(snapshot())
    assert not judged.step
    assert len(cases.by_id["local-1-1"].history) == 1
    incident = cases.by_id["local-1-2"].incident()
    assert (incident.severity, incident.state, incident.techniques) == (
        2,
        State.ISOLATED,
        ("T1110",),
    )
    assert (cases.left_out, cases.unreadable) == (0, 0)


def test_what_is_no_decision_of_the_matrix_is_not_judged(tmp_path):
    decided = decide(snapshot())
    write(tmp_path, [record("finding", finding()), record("decision", decided)])

    assert read_cases(PLAIN, tmp_path).by_id["local-1-1"].judged == []


def test_steps_of_planners_are_told_apart(tmp_path):
    asked = snapshot()
    write(tmp_path, [*story(), record("snapshot", asked), record("step", decide(asked))])

    assert [one.step for one in read_cases(PLAIN, tmp_path).by_id["local-1-1"].judged] == [
        False,
        True,
    ]


def test_records_that_hold_nothing_readable_are_counted(tmp_path):
    rubbish = [b"\x01\x05Kill\xff", b"", b"\x00", record("kill", Kill(1, engaged=True), "")]
    write(
        tmp_path, [*rubbish[:1], *rubbish[2:], *story(), record("deadline", Deadline("x", 1), "x")]
    )
    cases = read_cases(PLAIN, tmp_path)

    assert cases.unreadable == 2
    assert cases.by_id["x"].incident() is None


def test_decisions_beyond_the_bound_are_counted(tmp_path):
    one = [record("snapshot", snapshot()), record("decision", decide(snapshot()))]
    write(tmp_path, one * (MAX_JUDGED + 3))
    cases = read_cases(PLAIN, tmp_path)

    assert len(cases.by_id["local-1-1"].judged) == MAX_JUDGED
    assert cases.left_out == 3


def test_a_sealed_ledger_is_opened_with_the_keys_of_its_node(tmp_path):
    config, folder = Config(), tmp_path / "local" / "ledger"
    folder.mkdir(parents=True, mode=0o700)
    with using_keys(config, tmp_path, ensure=True) as keys:
        sealer = sealer_of(config, folder, SystemClock(), "ledger", lambda: keys)
        write(tmp_path, story(), config, sealer)

    cases = read_cases(config, tmp_path)
    assert len(cases.by_id["local-1-1"].judged) == 1
    with pytest.raises(DeniedError, match="sealed"):
        read_cases(PLAIN, tmp_path)


def test_a_ledger_from_before_there_were_keys_is_read_as_it_is(tmp_path):
    open_keystore(Config(), tmp_path / "local" / "keys", SystemClock(), ensure=True).close()
    write(tmp_path, story())

    assert len(read_cases(Config(), tmp_path).by_id["local-1-1"].judged) == 1
    assert not list((tmp_path / "local" / "ledger").glob("epochs*"))


def test_a_ledger_that_does_not_hold_is_not_judged(tmp_path):
    write(tmp_path, story())
    file = tmp_path / "local" / "ledger" / "ledger.db"
    file.write_bytes(file.read_bytes().replace(b"Brute force", b"Brutf force"))

    with pytest.raises(CronosError, match="broken"):
        read_cases(PLAIN, tmp_path)


@pytest.mark.parametrize("config", [PLAIN, Config()])
def test_without_a_ledger_the_sentence_says_so(tmp_path, config):
    with pytest.raises(InputError, match="no ledger"):
        read_cases(config, tmp_path)
