"""People and a running node: questions, verdicts, releases, the kill switch, recovery."""

import os
import pathlib
import signal

import pytest
from tests.integration.product import Up, cronos, remove, short_folder, until, write_register
from tests.integration.test_up import Echo, call, ended, reached

from cronos.link.freeports import free_ports

ATTACKER = "127.0.0.66"
OPERATOR = "127.0.0.2"
ASKING = '[policy]\ndial = { "deny:address" = "ask", "deny:flow" = "ask" }\n'


@pytest.fixture
def state():
    folder = short_folder()
    yield folder
    for pid in started_in(folder):
        os.kill(pid, signal.SIGKILL)
    remove(folder)


def started_in(folder):
    """Give the processes whose command names a folder: an enforcer outlives its node."""
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                yield int(entry.name)
        except OSError:
            continue


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.end()


class Site:
    """A node with a tap before a controller, and the commands that people give it."""

    def __init__(self, state, echo, tmp_path, settings):
        policy = tmp_path / "policy.toml"
        policy.write_text(
            f'version = 1\n[[server]]\naddress = "127.0.0.1"\nport = {echo.port}\n'
            f'[[server.client]]\naddress = "{OPERATOR}"\nfunctions = [6]\n'
            'write = [{ table = "holding", first = 1, last = 1, min = 200, max = 800 }]\n'
        )
        self.config = tmp_path / "cronos.toml"
        self.config.write_text(settings)
        self.state, self.port = state, free_ports(1)[0]
        self._given = ("--state", state, "--config", self.config, "--policy", policy,
                       "--tap", f"127.0.0.1:{self.port}=127.0.0.1:{echo.port}")  # fmt: skip
        self.up = None

    def start(self):
        self.up = Up(*self._given)
        self.up.wait_for("node.ready")
        until(lambda: reached(self.port, OPERATOR))

    def die(self):
        """End the node without a word, and let go of what it said."""
        self.up.process.kill()
        self.up.process.wait(30)
        self.up.process.stdout.close()
        self.up.process.stderr.close()

    def told(self, *command, code=0):
        done = cronos(*command, "--state", self.state, "--json")
        assert done.code == code, done.err or done.out
        return done.document

    def attack(self):
        with call(self.port, ATTACKER) as attacker:
            attacker.sendall(write_register(900))
            assert attacker.recv(64) == write_register(900)

    def is_cut_off(self):
        try:
            with call(self.port, ATTACKER) as attacker:
                return ended(attacker)
        except OSError:
            return True

    def question(self):
        (question,) = self.told("incidents", "--waiting")["questions"]
        return question


@pytest.fixture
def site(state, echo, tmp_path):
    made = []

    def build(settings=ASKING):
        made.append(Site(state, echo, tmp_path, settings))
        made[-1].start()
        return made[-1]

    yield build
    for one in made:
        one.die()


def test_a_question_is_approved_and_the_attacker_is_cut_then_released(site):
    ours = site()
    ours.attack()
    ours.up.wait_for("approval.needed")
    question = ours.question()
    assert question["target"] == ATTACKER
    assert not ours.is_cut_off()

    ours.told("approve", question["question"], "--yes")
    until(ours.is_cut_off)
    shown = ours.told("incidents", question["incident"])["incidents"][0]
    assert shown["state"] in ("isolated", "confirmed")
    assert shown["done"]["disposition"] == "ask_analyst"

    ours.told("incidents", "verdict", question["incident"], "malicious")
    ours.told("release", question["incident"])
    until(lambda: not ours.is_cut_off())
    ours.up.wait_for("incident.closed")
    document = ours.up.stop().document
    (incident,) = document["incidents"]
    assert (incident["state"], incident["verdict"]) == ("closed", "malicious")
    assert cronos("replay", question["incident"], "--state", ours.state, "--json").code == 0


def test_a_denied_question_leaves_the_attacker_alone(site):
    ours = site()
    ours.attack()
    ours.up.wait_for("approval.needed")
    question = ours.question()
    ours.told("deny", question["question"])

    assert ours.told("incidents", "--waiting")["questions"] == []
    assert not ours.is_cut_off()
    assert ours.told("approve", question["question"], "--yes", code=2)["code"]


def test_a_question_outlives_the_node_that_asked_it(site):
    ours = site()
    ours.attack()
    ours.up.wait_for("approval.needed")
    before = ours.question()
    ours.die()
    ours.start()
    ours.up.wait_for("approval.needed")

    again = ours.question()
    assert (again["incident"], again["digest"]) == (before["incident"], before["digest"])
    ours.told("approve", again["question"], "--yes")
    until(ours.is_cut_off)


def test_an_isolation_outlives_the_node_that_decided_it_and_is_the_same_case(site):
    ours = site("[lease]\ndefault_s = 30\nmax_s = 60\n")
    ours.attack()
    until(ours.is_cut_off)
    (before,) = ours.told("incidents", "--open")["incidents"]
    ours.die()
    ours.start()
    ours.up.wait_for("incident.recalled")

    (after,) = ours.told("incidents", "--open")["incidents"]
    assert (after["incident_id"], after["title"]) == (before["incident_id"], before["title"])
    assert after["done"]["action"] == before["done"]["action"]


@pytest.mark.parametrize("how", ["file", "command"])
def test_the_kill_switch_stops_the_running_node_and_lets_it_go_on(site, how):
    ours = site("[lease]\ndefault_s = 30\nmax_s = 60\n")
    if how == "file":
        (ours.state / "KILL").touch()
    else:
        ours.told("kill")
    ours.up.wait_for("incident.kill")
    ours.attack()
    until(lambda: ours.told("incidents", "--open")["incidents"])
    (incident,) = ours.told("incidents", "--open")["incidents"]
    assert incident["state"] == "observed"
    assert not ours.is_cut_off()

    if how == "file":
        (ours.state / "KILL").unlink()
    else:
        ours.told("kill", "--off")
    ours.up.wait_for("incident.kill", 2)


def test_release_all_lets_everyone_go(site):
    ours = site("[lease]\ndefault_s = 30\nmax_s = 60\n")
    ours.attack()
    until(ours.is_cut_off)
    ours.told("kill", "--release-all")

    until(lambda: not ours.is_cut_off())
    until(lambda: ours.told("incidents", "--open")["incidents"] == [])


def test_without_a_node_a_person_is_told_where_else_to_look(state):
    done = cronos("incidents", "--state", state, "--json")

    assert done.code == 3
    assert done.document["remedy"]
