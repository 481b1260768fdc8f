"""`cronos kill`: three ways to stop, and each works when the others do not."""

import os
import socket
import time

import pytest
from tests.unit.link.test_people import known
from tests.unit.respond.stage import WorldExecutor, apply, deny
from tests.unit.respond.test_serving import enforcing, hear, hello

from cronos.front.commands import kill
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock
from cronos.types import Kill, encode


@pytest.fixture
def enforcer(office):
    """An enforcer of the office's state folder, one effect in its world, and a client of it."""
    world = {}
    (office.state / "enforcer").mkdir(parents=True)
    with enforcing(office.state, executor=WorldExecutor(world)) as (path, _, _):
        (office.state / "enforcer" / "enforcer.sock").symlink_to(path)
        client, _ = hello(path)
        client.send(encode(apply(deny("192.0.2.7"))))
        assert hear(client).outcomes[0].ok
        client.world = world
        yield client
        client.close()


def applied(client, address="192.0.2.8"):
    client.send(encode(apply(deny(address))))
    while (answer := hear(client)).order_id == 0:
        pass
    return answer.outcomes[0]


def test_it_writes_the_file_and_the_enforcer_and_the_node_answer(office, enforcer):
    with office.open():
        document = office.document("kill")
    assert (document["engaged"], document["file"], document["settled"]) == (True, True, True)
    assert (document["enforcer"], document["nodes"]) == ("acknowledged", {"local": "acknowledged"})
    assert document["remarks"] == []
    assert abs(document["generation"] - time.time_ns() // 1_000_000) < 60_000
    assert document["acknowledged_ms"] > 0
    assert "kill switch is engaged" in applied(enforcer).detail
    assert enforcer.world
    (heard,) = office.desk.heard
    assert heard == Kill(document["generation"], engaged=True, subject=heard.subject)


def test_it_releases_everything_and_off_takes_it_back(office, enforcer):
    document = office.document("kill", "--release-all")
    assert document["release_all"]
    assert not enforcer.world
    assert (office.state / "KILL").read_text().endswith("release-all\n")
    code, out, _ = office.run("kill", "--off")
    assert code == 0
    assert "on again" in out
    assert not (office.state / "KILL").exists()
    assert applied(enforcer).ok


def test_twice_is_once_and_the_later_word_counts(office, enforcer):
    first = office.document("kill")["generation"]
    assert office.document("kill")["generation"] > first
    office.document("kill", "--off")
    assert applied(enforcer).ok


def test_without_any_process_the_file_waits_for_them(office):
    code, out, _ = office.run("kill")
    assert code == 0
    assert "enforcer: absent" in out
    assert (office.state / "KILL").exists()
    assert office.document("kill", "--off")["file"]


def test_without_a_file_the_enforcer_is_told_all_the_same(office, enforcer, monkeypatch):
    def full(path, *_args, **_kwargs):
        if str(path).endswith("KILL"):
            raise OSError(28, "No space left on device")
        return real(path, *_args, **_kwargs)

    real = os.open
    monkeypatch.setattr("os.open", full)
    document = office.document("kill")
    assert (document["file"], document["enforcer"]) == (False, "acknowledged")
    assert "No space" in document["remarks"][0]
    assert "kill switch is engaged" in applied(enforcer).detail


def test_with_neither_it_says_that_nothing_was_stopped(office, monkeypatch):
    office.state.parent.joinpath("state").write_text("a file where the folder should be")
    code, _, err = office.run("kill")
    assert code == 3
    assert "Nothing could be stopped" in err


def test_one_that_is_there_and_silent_is_told(office, monkeypatch):
    monkeypatch.setattr("cronos.front.commands.kill._PATIENCE_S", 0.05)
    (office.state / "enforcer").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(office.state / "enforcer" / "enforcer.sock"))
        listener.listen()
        document = office.document("kill", code=3)
    assert (document["file"], document["enforcer"]) == (True, "silent")
    assert "has not answered" in document["remarks"][0]


def test_a_clock_that_is_behind_loses_no_kill(office, enforcer):
    ahead = time.time_ns() // 1_000_000 + 3_600_000
    enforcer.send(encode(Kill(ahead, engaged=False)))
    while not isinstance(hear(enforcer), Kill):
        pass
    document = office.document("kill")
    assert document["generation"] > ahead
    assert document["enforcer"] == "acknowledged"
    assert "kill switch is engaged" in applied(enforcer).detail
    office.document("kill", "--off")
    assert applied(enforcer).ok


def test_a_file_that_is_put_by_hand_is_taken_away_by_off(office, enforcer):
    (office.state / "KILL").touch()
    os.utime(office.state / "KILL", ns=(0, time.time_ns() + 10**12))
    assert not applied(enforcer).ok
    office.document("kill", "--off")
    assert applied(enforcer).ok


def test_where_operators_are_known_anyone_stops_and_one_of_them_starts_again(
    office, enforcer, credential
):
    plant, options = credential
    clock = VirtualClock(wall_ns=SystemClock().now().wall_ns - 10**9)
    with office.open(known(plant), clock):
        assert office.document("kill")["nodes"] == {"local": "acknowledged"}
        code, _, err = office.run("kill", "--off")
        assert code == 4
        assert "--as CREDENTIAL" in err
        assert (office.state / "KILL").exists()
        assert not applied(enforcer).ok
        assert office.document("kill", "--off", *options)["nodes"] == {"local": "acknowledged"}
        assert applied(enforcer).ok
    assert [one.subject for one in office.desk.heard][1] == "operator/mia"


def test_a_signature_that_cannot_be_made_stops_no_stop(office, enforcer, credential, tmp_path):
    _, options = credential
    document = office.document("kill", "--as", str(tmp_path / "none"), *options[2:])
    assert document["enforcer"] == "acknowledged"
    with office.open():
        document = office.document("kill", "--as", str(tmp_path / "none"), *options[2:])
    assert document["nodes"] == {"local": "silent"}
    assert "no credential" in document["remarks"][0]


def test_a_node_that_knows_a_later_order_hears_a_later_one(office):
    ahead = time.time_ns() // 1_000_000 + 3_600_000
    with office.open():
        office.document("kill")
        (office.state / "local" / "run" / "KILL").write_text(str(ahead))
        document = office.document("kill")
        assert document["nodes"] == {"local": "acknowledged"}
        assert document["generation"] == ahead + 1


def test_what_no_enforcer_confirmed_is_not_called_released(office):
    code, out, _ = office.run("kill", "--release-all")
    assert code == 0
    assert "enforcer: absent" in out
    assert "has been released" not in out
    assert "released as soon as an enforcer runs" in out


def test_off_that_loses_against_an_order_of_the_same_number_is_given_anew(
    office, enforcer, monkeypatch
):
    real, thrown = kill.tell, []

    def raced(path, order, *given):
        if not thrown:
            thrown.append(real(path, Kill(order.generation, engaged=True), *given))
        return real(path, order, *given)

    monkeypatch.setattr(kill, "tell", raced)
    document = office.document("kill", "--off")
    assert not document["engaged"]
    assert applied(enforcer).ok


def test_off_that_another_order_overtakes_each_time_says_so(office, enforcer, monkeypatch):
    real = kill.tell

    def overtaken(path, order, *given):
        real(path, order, *given)
        return real(path, Kill(order.generation + 1, engaged=True), *given)

    monkeypatch.setattr(kill, "tell", overtaken)
    document = office.document("kill", "--off", code=1)
    assert document["engaged"]
    assert "still engaged" in document["remarks"][0]
    code, out, _ = office.run("kill", "--off")
    assert code == 1
    assert "killed" in out
