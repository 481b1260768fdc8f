"""`cronos keys` as its users meet it: in processes of their own, beside an agent, at once."""

import contextlib
import itertools
import os
import select
import signal
import subprocess
import sys
import time

import pytest
from tests.integration.product import COMMAND, ENVIRONMENT, ROOT, cronos

AGENT = """
import pathlib, sys
from cronos.config import Config
from cronos.front.keyring import open_keystore
from cronos.link.keyagent import run_agent
from cronos.runtime.world import SystemClock

folder = pathlib.Path(sys.argv[1])
clock = SystemClock()
run_agent(
    lambda: open_keystore(Config(), folder, clock, ensure=True),
    folder / "agent.sock",
    clock,
    lambda *given, **more: None,
    lambda server: print("ready", flush=True),
)
"""


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def keys(state):
    def run(*words, code=0):
        done = cronos("keys", *words, "--state", state, "--json")
        assert done.code == code, (done.out, done.err)
        return done.document

    return run


@pytest.fixture
def agent(state, keys):
    keys("new")
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, state / "local" / "keys"],
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd=ROOT,
    ) as process:
        ready, _, _ = select.select([process.stdout], [], [], 30)
        assert ready
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def ids(document):
    return {key["key"]: key["state"] for key in document["keys"]}


def test_beside_a_running_agent_keys_are_listed_and_changed_through_it(agent, keys):
    assert len(ids(keys("list"))) == 3
    assert ids(keys("rotate", "state")) == {"state.2": "active"}
    assert ids(keys("new", "archive", "--algorithm", "cnsa")) == {"archive.1": "active"}
    assert ids(keys("destroy", "archive", "--yes")) == {"archive.1": "destroyed"}
    listed = keys("list")
    assert listed["verified"] is True
    assert listed["remarks"] == []
    assert ids(listed)["state.1"] == "decrypt-only"
    assert agent.poll() is None


def test_what_takes_keys_away_waits_until_the_node_has_stopped(agent, keys, tmp_path):
    passphrase = tmp_path / "p"
    passphrase.write_text("five random words")
    passphrase.chmod(0o600)
    for words in (
        ["export", "--passphrase-file", passphrase, "-o", tmp_path / "b"],
        ["protect", "--passphrase-file", passphrase],
        ["new", "odd", "--algorithm", "ml-dsa-65", "--context", "x"],
    ):
        refused = keys(*words, code=4)
        assert refused["code"] == "crypto.keystore_in_use"
        assert "Stop it" in refused["remedy"]
    assert agent.poll() is None
    agent.kill()
    agent.wait(20)
    keys("export", "--passphrase-file", passphrase, "-o", tmp_path / "b")


def test_of_many_rotations_at_once_each_counts_or_says_that_it_was_not_done(state, keys):
    keys("new", "n", "--algorithm", "rate")
    running = [
        subprocess.Popen(
            [*COMMAND, "keys", "rotate", "n", "--state", state],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        for _ in range(4)
    ]
    codes = [process.wait(60) for process in running]
    assert set(codes) <= {0, 4}
    assert len(ids(keys("list"))) == 1 + codes.count(0)
    assert keys("list")["remarks"] == []


def test_killed_at_any_time_no_key_is_lost(state, keys):
    keys("new", "n", "--algorithm", "rate")
    before = keys("list")["keys"][0]["fingerprint"]
    for turn in itertools.count():
        process = subprocess.Popen(
            [*COMMAND, "keys", "rotate", "n", "--state", state],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        try:
            process.wait(0.05 * 1.2**turn)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        listed = keys("list")
        assert listed["verified"]
        assert listed["remarks"] == []
        fingerprints = {key["key"]: key["fingerprint"] for key in listed["keys"]}
        assert fingerprints["n.1"] == before
        assert list(ids(listed).values()).count("active") == 1
        if process.returncode == 0:
            break
    assert ids(keys("rotate", "n"))


def test_a_passphrase_from_a_file_locks_a_keystore_from_its_first_day(state, tmp_path):
    passphrase = tmp_path / "p"
    passphrase.write_text("five random words")
    passphrase.chmod(0o600)
    config = tmp_path / "cronos.toml"
    config.write_text(
        f'[plugin.keystore]\nroot = "passphrase"\n[plugin.passphrase]\n'
        f'passphrase_file = "{passphrase}"\n'
    )
    made = cronos("keys", "new", "--state", state, "--config", config, "--json")
    assert (made.code, made.document["root"]) == (0, "passphrase")
    assert not (state / "local" / "keys" / "machine.key").exists()
    begun = time.monotonic()
    assert cronos("keys", "list", "--state", state, "--config", config).code == 0
    assert time.monotonic() - begun < 30
    passphrase.write_text("five other words")
    refused = cronos("keys", "rotate", "state", "--state", state, "--config", config, "--json")
    assert (refused.code, refused.document["code"]) == (4, "crypto.refused")
    passphrase.write_text("")
    empty = cronos("keys", "rotate", "state", "--state", state, "--config", config, "--json")
    assert (empty.code, empty.document["code"]) == (2, "crypto.short_passphrase")


def test_a_person_is_asked_for_the_passphrase_on_a_terminal(state, keys, tmp_path):
    passphrase = tmp_path / "p"
    passphrase.write_text("five random words")
    passphrase.chmod(0o600)
    keys("new", "n", "--algorithm", "rate")
    keys("protect", "--passphrase-file", passphrase)
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, "keys", "rotate", "n", "--state", state, "--json"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    os.close(follower)
    said = b""
    while b"Passphrase" not in said:
        assert select.select([leader], [], [], 30)[0]
        said += os.read(leader, 1024)
    os.write(leader, b"five random words\n")
    out, _ = process.communicate(timeout=30)
    with contextlib.suppress(OSError):
        said += os.read(leader, 4096)
    os.close(leader)
    assert process.returncode == 0, said
    assert b"n.2" in out
    assert b"five random words" not in said + out


def test_damaged_keystores_end_in_a_sentence(state, keys):
    keys("new", "n", "--algorithm", "rate")
    folder = state / "local" / "keys"
    data = (folder / "keystore").read_bytes()
    for forged, code in (
        (data[:50], "crypto.keystore_damaged"),
        (b"", "crypto.keystore_damaged"),
        (data[:4] + b"\x02" + data[5:], "crypto.keystore_damaged"),
        (data[:4] + b"\x02" + data[5:] + b"what a newer one adds", "crypto.keystore_newer"),
    ):
        for name in ("keystore", "keystore.bak"):
            (folder / name).write_bytes(forged)
        assert keys("list", code=2)["code"] == code
        assert keys("rotate", "n", code=2)["code"] == code
    for name in ("keystore", "keystore.bak"):
        (folder / name).unlink()
    assert keys("new", "n", code=2)["code"] == "crypto.keystore_missing"
    for name in ("keystore", "keystore.bak"):
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    (folder / "machine.key").unlink()
    assert keys("rotate", "n", code=2)["code"] == "crypto.machine_key_missing"
    assert keys("list")["verified"] is False
