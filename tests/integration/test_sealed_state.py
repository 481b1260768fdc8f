"""State at rest: a copy without its keys tells nothing; keys turn, are lost, or are erased."""

import shutil
import socket
import time

import pytest
from tests.integration.product import Up, cronos, failed_logins, remove, short_folder, until

from cronos.config import Config
from cronos.front.keyring import open_keystore
from cronos.link.freeports import free_ports
from cronos.runtime.world import SystemClock

ATTACKER, HOST = "203.0.113.99", "marker-host-4711"
MARKERS = (ATTACKER.encode(), HOST.encode(), b"Failed password")


@pytest.fixture
def state():
    folder = short_folder()
    yield folder
    remove(folder)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "auth.log"
    path.write_bytes(failed_logins(30, ATTACKER, HOST))
    return path


def ran(state, log, *more):
    done = cronos("run", log, *more, "--state", state, "--json")
    assert done.code == 1, done.err
    return done.document


def audit(state, *more):
    return cronos("audit", "verify", "--state", state, "--json", *more)


def hits(folder, but=()):
    """Name the files below a folder in which a marker can be read."""
    return [
        str(file)
        for file in folder.rglob("*")
        if file.is_file() and file not in but
        if any(marker in file.read_bytes() for marker in MARKERS)
    ]


def rotated_and_destroyed(state):
    """Make a successor of the `state` key now, and give what destroys the old one."""
    keystore = open_keystore(Config(), state / "local" / "keys", SystemClock())
    old = next(one.key_id for one in keystore.listed() if one.key_id.startswith("state."))
    keystore.rotate("state")
    keystore.close()

    def destroy():
        again = open_keystore(Config(), state / "local" / "keys", SystemClock())
        again.destroy(old)
        again.close()

    return destroy


# --- nothing can be read --------------------------------------------------------------------------


def test_after_a_run_no_file_shows_who_attacked_whom(state, log):
    assert ran(state, log)["ledger"]["sealing"] == "AES-256-GCM"
    assert hits(state) == []


def test_a_plaintext_state_does_show_it_so_the_search_would_find_it(state, log, tmp_path):
    settings = tmp_path / "cronos.toml"
    settings.write_text('sealer = "plaintext"\n')
    assert ran(state, log, "--config", settings)["ledger"]["sealing"] == "unsealed"
    assert hits(state) == [str(state / "local" / "ledger" / "ledger.db")]


def test_a_node_that_was_killed_in_the_middle_leaves_nothing_readable(state, log):
    """Everything stays on the disk as it was at that moment: books, memory, spools, sockets."""
    (port,) = free_ports(1)
    up = Up("--follow", log, "--syslog", f"127.0.0.1:{port}", "--state", state)
    try:
        up.wait_for("incident.decision")
        spooled = state / "local" / "run"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as voice:
            while not any(one.stat().st_size > 50 for one in spooled.glob("spool-*/*.sealed")):
                voice.sendto(failed_logins(1, ATTACKER, HOST), ("127.0.0.1", port))
                assert up.process.poll() is None
                time.sleep(0.02)
        until((spooled / "scorer.sealed").exists)
        up.kill()
        assert hits(state) == []
    finally:
        up.kill()


# --- keys turn ------------------------------------------------------------------------------------


def test_after_a_rotation_and_the_end_of_the_old_key_every_record_still_opens(state, log):
    before = ran(state, log)["ledger"]["records"]
    destroy = rotated_and_destroyed(state)
    after = ran(state, log)["ledger"]["records"]
    destroy()
    document = audit(state).document
    assert after > before
    assert (document["opened"], document["erased"], document["unopened"]) == (after, 0, "")


def test_without_the_keys_the_chain_verifies_and_says_that_nothing_was_opened(state, log):
    records = ran(state, log)["ledger"]["records"]
    shutil.rmtree(state / "local" / "keys")
    done = audit(state)
    assert done.code == 0
    assert (done.document["records"], done.document["opened"]) == (records, 0)
    assert "There is no keystore" in done.document["unopened"]
    told = cronos("audit", "verify", "--state", state)
    assert "Chain verified, contents not opened" in told.out
    assert not (state / "local" / "keys").exists()


def test_another_keystore_is_a_sentence_and_no_verdict_on_the_ledger(state, log):
    ran(state, log)
    shutil.rmtree(state / "local" / "keys")
    open_keystore(Config(), state / "local" / "keys", SystemClock(), ensure=True).close()
    done = audit(state)
    assert done.code == 0
    assert "which this keystore lacks" in done.document["unopened"]
    again = cronos("run", log, "--state", state, "--json")
    assert again.code == 4
    assert "which this keystore lacks" in again.document["sentence"]


def test_lost_epoch_packets_are_a_sentence(state, log):
    ran(state, log)
    for name in ("epochs", "epochs.bak"):
        (state / "local" / "ledger" / name).unlink()
    done = audit(state)
    assert done.code == 0
    assert "without it nothing opens" in done.document["unopened"]


def test_a_record_that_does_not_open_is_a_broken_ledger(state, log):
    """The packets of another store of the same node: right keys, wrong place."""
    ran(state, log)
    epochs = state / "local" / "ledger" / "epochs"
    data = bytearray(epochs.read_bytes())
    assert data[:4] == b"CREF"
    # The short id in the frame now names another epoch, so its records find no packet.
    data[4] ^= 1
    epochs.write_bytes(bytes(data))
    (state / "local" / "ledger" / "epochs.bak").write_bytes(bytes(data))
    done = audit(state)
    assert done.code == 1
    assert "record 1" in done.document["problem"]


# --- erased ---------------------------------------------------------------------------------------


def test_a_subject_is_erased_the_chain_verifies_and_the_erasure_is_on_record(state, log, tmp_path):
    other = tmp_path / "other.log"
    other.write_bytes(failed_logins(30, "203.0.113.50", "another-host"))
    ran(state, log, other)
    before = audit(state).document
    refused = cronos("audit", "erase", "address", ATTACKER, "--state", state)
    assert refused.code == 2
    assert "--yes" in refused.err
    done = cronos("audit", "erase", "address", ATTACKER, "--state", state, "--yes", "--json")
    assert (done.code, done.document["known"]) == (0, True)
    assert ATTACKER not in done.out
    after = audit(state)
    assert after.code == 0
    assert done.document["position"] == before["records"] + 1 == after.document["records"]
    assert after.document["erased"] == done.document["erased"] > 0
    assert after.document["opened"] > 1
    # What comes later about the same address is kept under another key.
    again = ran(state, log)["ledger"]["records"]
    assert audit(state).document["opened"] == again - after.document["erased"]


@pytest.mark.parametrize("given", [[], ["address"], ["planet", "mars"], ["address", ""]])
def test_an_erasure_of_nobody_is_usage(state, log, given):
    ran(state, log)
    done = cronos("audit", "erase", *given, "--state", state, "--yes")
    assert done.code == 2
    assert "KIND VALUE" in done.err


def test_while_a_node_writes_nothing_is_erased_and_the_sentence_says_what_to_do(state, log):
    up = Up("--follow", log, "--state", state)
    try:
        up.wait_for("incident.decision")
        until(lambda: audit(state).document.get("opened", 0) > 0)
        done = cronos("audit", "erase", "address", ATTACKER, "--state", state, "--yes")
        assert done.code == 4
        assert "A node writes to the ledger" in done.err
        assert "Stop the node, erase the subject, and start it again" in done.err
    finally:
        up.kill()


# --- moved ----------------------------------------------------------------------------------------


def test_a_readable_ledger_is_sealed_at_the_next_start_and_old_checkpoints_count(
    state, log, tmp_path
):
    settings = tmp_path / "cronos.toml"
    settings.write_text('sealer = "plaintext"\n')
    former = ran(state, log, "--config", settings)["ledger"]
    now = ran(state, log)["ledger"]
    assert hits(state) == []
    checkpoint = f"{former['records']}:{former['head']}"
    done = audit(state, "--checkpoint", checkpoint)
    assert done.code == 0
    assert done.document["opened"] == now["records"]
    assert (done.document["former_records"], done.document["former_proved"]) == (
        former["records"],
        True,
    )
    forged = audit(state, "--checkpoint", f"{former['records']}:{'00' * 32}")
    assert forged.code == 1
    refused = cronos("run", log, "--state", state, "--config", settings, "--json")
    assert refused.code == 4
    assert "is sealed" in refused.document["sentence"]


@pytest.mark.parametrize("given", ["", "5", "5:ab", "x:" + "00" * 32, "5:" + "zz" * 32])
def test_a_checkpoint_that_is_none_is_usage(state, log, given):
    ran(state, log)
    if given:
        assert audit(state, "--checkpoint", given).code == 2
