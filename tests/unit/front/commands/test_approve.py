"""`cronos approve`: what was shown is what is approved."""

import io

import pytest
from tests.unit.link.desk import action, question
from tests.unit.link.test_people import known

from cronos.crypto.pki.orders import Nonces, verify_order
from cronos.crypto.pki.revocation import Revocations
from cronos.link.clerk import read_words
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock
from cronos.types import digest_of


class Terminal(io.StringIO):
    """A person at a terminal who has typed something."""

    def isatty(self):
        return True


def test_it_shows_exactly_what_is_asked_and_takes_a_yes(office, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    office.desk.waiting = [question()]
    with office.open():
        code, out, err = office.run("approve", "local-1-q1")
    assert code == 0
    assert "approved: incident local-1-i1" in out
    for part in (
        "contain host plc-1 at world",
        "300 s",
        "cronos release",
        digest_of(action("plc-1")),
    ):
        assert part in err
    (heard,) = office.desk.heard
    assert (heard.granted, heard.digest) == (True, digest_of(action("plc-1")))


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "of course not\n"])
def test_whatever_is_no_yes_approves_nothing(office, monkeypatch, typed):
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    office.desk.waiting = [question()]
    with office.open():
        document = office.document("approve", "local-1-q1", code=1)
    assert document["given"] is False
    assert office.desk.heard == []


def test_without_a_terminal_it_takes_a_word_that_it_was_seen(office, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    office.desk.waiting = [question()]
    with office.open():
        assert office.run("approve", "local-1-q1")[0] == 2
        assert office.desk.heard == []
        assert office.document("approve", "local-1-i1", "--yes")["given"]


def test_an_incident_that_asks_twice_needs_the_questions_id(office):
    office.desk.waiting = [question(1), question(2)]
    with office.open():
        code, _, err = office.run("approve", "local-1-i1", "--yes")
        assert code == 2
        assert "More than one" in err
        assert office.run("approve", "local-1-q3", "--yes")[0] == 2
        assert office.run("approve", "local-1-q2", "--yes")[0] == 0
    assert [one.question_id for one in office.desk.heard] == ["local-1-q2"]


def test_an_operator_signs_exactly_that_answer(office, credential):
    plant, options = credential
    clock = SystemClock()
    office.desk.waiting = [question(audience="manager", persons=2)]
    with office.open(known(plant), VirtualClock(wall_ns=clock.now().wall_ns - 10**9)):
        code, _, err = office.run("approve", "local-1-q1", "--yes")
        assert code == 4
        assert "--as CREDENTIAL" in err
        assert office.document("approve", "local-1-q1", "--yes", *options)["signed"]
    (heard,) = office.desk.heard
    assert heard.subject == "operator/mia"
    verified = verify_order(
        heard.approval, plant.trust, clock.now(), Revocations(plant.trust), Nonces(),
        roles=("manager",),
    )  # fmt: skip
    assert read_words(verified.order)[:2] == ("local", "approve")


def test_another_passphrase_signs_nothing(office, credential, tmp_path):
    _, options = credential
    (tmp_path / "wrong").write_text("not the passphrase at all")
    (tmp_path / "wrong").chmod(0o600)
    office.desk.waiting = [question()]
    with office.open():
        assert office.run(
            "approve", "local-1-q1", "--yes", *options[:3], str(tmp_path / "wrong")
        )[0] == 4  # fmt: skip
    assert office.desk.heard == []


def test_what_was_shown_must_still_be_what_is_asked(office):
    office.desk.waiting = [question()]
    shown = office.desk.questions

    def changing():
        office.desk.questions = lambda: [question(1, asked=action("plc-9"))]
        return shown()

    office.desk.questions = changing
    with office.open():
        code, _, err = office.run("approve", "local-1-q1", "--yes")
    assert code == 4
    assert "What you approved is not what is asked" in err
    assert office.desk.heard == []


def test_that_a_second_person_is_needed_is_told_to_the_first(office, credential):
    office.add("local-1-i1", state="waiting")
    office.desk.waiting = [question(persons=2)]
    plant, options = credential
    began_ns = SystemClock().now().wall_ns - 10**9
    with office.open(known(plant), VirtualClock(wall_ns=began_ns)):
        code, out, _ = office.run("approve", "local-1-q1", "--yes", *options)
    assert code == 0
    assert "a second operator has to approve it" in out


def test_a_credential_that_is_not_there_is_named_with_the_command_that_makes_one(office, tmp_path):
    office.desk.waiting = [question()]
    with office.open():
        code, _, err = office.run("approve", "local-1-q1", "--yes", "--as", str(tmp_path / "none"))
    assert code == 2
    assert "pki issue --operator" in err
    assert office.desk.heard == []
