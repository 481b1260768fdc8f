"""The worker processes: which sensor reads what, what each half is told, how they end."""

import contextlib
import os
import select
import signal
import subprocess
import sys

import msgspec
import pytest
from tests.unit.front.worker_spec import spec_for

from cronos.config import Config, SourceEntry
from cronos.errors import CronosError, InputError, UnreachableError
from cronos.front import workers
from cronos.front.keyring import open_keystore
from cronos.front.sealed import agent_keys
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.link.frames import connect
from cronos.runtime.telemetry import Log
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
from cronos.types import Append, Appended, decode, encode

SYSLOG = b"<13>Nov 14 22:13:20 host sshd[1]: Failed password for root from 192.0.2.66 port 1 ssh2\n"
HEADS = {
    "pcap": b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + bytes(8) + b"\xff\xff\x00\x00\x01\x00\x00\x00",
    "zeek": b"#separator \\x09\n#fields\tts\tuid\n",
    "eve": b'{"timestamp":"2026-01-01T00:00:00.000000+0000","event_type":"flow"}\n',
    "syslog": SYSLOG,
}


@pytest.mark.parametrize("name", list(HEADS))
def test_each_format_is_recognised_by_its_first_bytes(name):
    assert workers.recognise(HEADS[name]) == name


@pytest.mark.parametrize("head", [b"", b"\0" * 500, bytes(range(256)) * 4])
def test_noise_is_nobodys_format(head):
    assert workers.recognise(head) is None


def opened(path, tmp_path, sensor=""):
    entry = SourceEntry("file", sensor, {"path": str(path)})
    spec = spec_for(tmp_path, "parser", (entry,))
    return workers._open(entry, spec, SystemClock(), lambda: True)


def test_what_was_looked_at_is_still_read(tmp_path):
    file = tmp_path / "auth.log"
    file.write_bytes(SYSLOG * 3_000)
    source, sensor = opened(file, tmp_path)
    assert sensor.manifest.name == "syslog"
    assert sum(len(batch) for batch in sensor.read(source)) == 3_000
    source.close()


def test_a_named_format_is_not_guessed(tmp_path):
    file = tmp_path / "odd"
    file.write_bytes(b"\0\1\2 nothing known\n")
    source, sensor = opened(file, tmp_path, "syslog")
    assert sensor.manifest.name == "syslog"
    source.close()


@pytest.mark.parametrize(
    ("data", "code"), [(b"", "sense.empty"), (b"\0\1\2", "sense.unrecognised")]
)
def test_an_empty_and_an_unknown_file_have_a_sentence_each(tmp_path, data, code):
    file = tmp_path / "odd"
    file.write_bytes(data)
    with pytest.raises(InputError) as refused:
        opened(file, tmp_path)
    assert refused.value.code == code
    assert str(file) in refused.value.sentence


def test_the_halves_of_the_tap_are_told_the_same_paths(tmp_path):
    spec = spec_for(tmp_path, "service")
    tap = workers._wiring(spec, "forwarding-tap")
    assert workers._wiring(spec, "tap-feed") == {"socket": tap["feed"]}
    assert workers._wiring(spec, "tap") == {"control_socket": tap["control"]}
    assert workers._wiring(spec, "pcap") == {}


def test_hooks_are_built_only_where_the_configuration_has_a_table():
    assert workers._hooks(Config(), SystemClock()) == {}


def test_a_worker_that_cannot_start_writes_its_sentence_down(tmp_path, capfd):
    (tmp_path / "ledger").write_text("in the way")
    path = tmp_path / "ledger.json"
    path.write_bytes(msgspec.json.encode(spec_for(tmp_path, "ledger")))
    assert workers.worker_main([str(path)]) == 2
    told = msgspec.json.decode((tmp_path / "ledger.error").read_bytes())
    assert set(told) == {"kind", "code", "sentence", "remedy"}
    assert str(tmp_path / "ledger") in told["sentence"]
    assert "Traceback" not in capfd.readouterr().err


def start(tmp_path, role, parent):
    path = tmp_path / f"{role}.json"
    path.write_bytes(msgspec.json.encode(spec_for(tmp_path, role, parent=parent)))
    return subprocess.Popen([sys.executable, "-m", "cronos.front.workers", str(path)])


@pytest.mark.parametrize("role", ["ledger", "scorer", "enforcer"])
def test_a_worker_leaves_with_its_parent_however_that_ended(tmp_path, role):
    # The process named as its parent is not: it looks as though it had died.
    process = start(tmp_path, role, parent=os.getppid() or 1)
    assert process.wait(30) in (0, -signal.SIGTERM)


def connected(path, process):
    while process.poll() is None:
        with contextlib.suppress(UnreachableError):
            return connect(path)
        select.select([], [], [], 0.01)
    raise AssertionError("it ended before it listened")


def test_sigterm_ends_a_worker_in_order(tmp_path):
    process = start(tmp_path, "ledger", parent=os.getpid())
    ledger = connected(tmp_path / "ledger.sock", process)
    ledger.send(encode(Append(1, (b"record",))))
    assert decode(ledger.receive(30)) == Appended(1, 1)
    ledger.close()
    process.terminate()
    assert process.wait(30) == 0


def test_the_key_agent_holds_the_nodes_keys_until_it_is_told_to_stop(tmp_path):
    process = start(tmp_path, "keys", parent=os.getpid())
    connected(tmp_path / "agent.sock", process).close()
    keys = agent_keys(Config(), tmp_path / "agent.sock")
    assert {one.key_id for one in keys.listed()} == {"identity.1", "node.1", "state.1"}
    keys.close()
    process.terminate()
    assert process.wait(30) == 0
    assert not (tmp_path / "agent.sock").exists()


def test_a_ledger_of_before_is_sealed_at_the_start_and_its_parent_sees_how_far_it_is(tmp_path):
    plain = PlaintextSealer(PlaintextConfig())
    ledger = workers.open_ledger(Config(), tmp_path / "ledger", SystemClock(), plain)
    ledger.append([b"record %d" % n for n in range(10_500)])
    ledger.close()
    told: list[str] = []
    config = Config()
    spec = spec_for(tmp_path, "ledger", config=config)
    progress = workers._Progress(tmp_path / "ledger.progress", spec, SystemClock())

    def noted(done, total):
        progress(done, total)
        told.append((tmp_path / "ledger.progress").read_text())

    opened = workers.open_ledger(config, tmp_path / "ledger", SystemClock(), MemorySealer(), noted)
    assert opened.checkpoint().size == 10_500
    opened.close()
    assert told == ["1: 10000/10500", "2: 10500/10500", "3: 10000/10500"]


def test_what_cannot_be_told_for_want_of_space_is_an_empty_file(tmp_path):
    """A folder in the way stands for the full disk: the sentence cannot be written."""
    (tmp_path / "ledger.told").mkdir()
    workers._tell_parent(tmp_path / "ledger.error", b"why")
    assert (tmp_path / "ledger.error").read_bytes() == b""
    workers._tell_parent(tmp_path / "scorer.error", b"why")
    assert (tmp_path / "scorer.error").read_bytes() == b"why"


def test_without_its_machine_key_the_enforcer_starts_and_says_so(tmp_path, capfd):
    folder = tmp_path / "enforcer" / "keys"
    open_keystore(Config(), folder, SystemClock(), ensure=True).close()
    (folder / "machine.key").unlink()
    spec = spec_for(tmp_path, "enforcer", config=Config())
    log = Log("local", SystemClock())
    sealer = workers._enforcer_sealer(spec, SystemClock(), log)
    with pytest.raises(UnreachableError):
        sealer.seal(b"lease", b"c")
    assert "machine" in capfd.readouterr().err


def test_the_enforcers_own_keys_are_renewed_and_forgotten_when_that_is_due(tmp_path, capfd):
    clock = VirtualClock(wall_ns=1_790_000_000_000_000_000)
    log = Log("local", clock, least="info")
    config = Config()
    with contextlib.closing(open_keystore(config, tmp_path, clock, ensure=True)) as keystore:
        workers._step(keystore, log)
        assert "replaced" not in capfd.readouterr().err
        clock.advance(61 * 86_400 * 10**9)
        workers._step(keystore, log)
        assert "The key state.1 was replaced by state.2." in capfd.readouterr().err
        keystore.step = lambda: (_ for _ in ()).throw(InputError("t.t", "No.", "Do."))
        workers._step(keystore, log)
        assert "t.t" in capfd.readouterr().err


FOREIGN = {
    "keycloak": {"url": "http://127.0.0.1:9", "realm": "plant", "client_secret_file": "/a"},
    "rabbitmq": {"url": "http://127.0.0.1:9", "password_file": "/b"},
    "command": {"workload": {"tank": {"pause": ["true"]}}},
}


def foreign_spec(tmp_path, **more):
    executors = ("keycloak", "recording")
    config = Config(sealer="plaintext", executors=executors, plugin={**FOREIGN, **more})
    return spec_for(tmp_path, "enforcer", config=config)


def test_a_child_is_told_its_own_table_alone(tmp_path):
    spec = foreign_spec(tmp_path)
    executors = workers._executors(spec, SystemClock())
    assert set(executors) == {"keycloak", "recording"}
    assert executors["keycloak"].starts == 0  # nothing is live, so nothing waits for it
    told = tmp_path / "enforcer" / "children" / "keycloak.json"
    assert told.stat().st_mode & 0o777 == 0o600
    own = msgspec.json.decode(told.read_bytes(), type=workers.Spec)
    assert (own.role, own.config.executors) == ("executor", ("keycloak",))
    assert own.config.plugin == {"keycloak": FOREIGN["keycloak"]}
    assert (own.keys, own.ledger, own.enforcer, own.agent_socket) == ("", "", "", "")


def test_the_child_of_workloads_is_told_its_hooks_and_no_other_table(tmp_path):
    workers._child(foreign_spec(tmp_path), "workflow", SystemClock())
    told = (tmp_path / "enforcer" / "children" / "workflow.json").read_bytes()
    own = msgspec.json.decode(told, type=workers.Spec)
    assert set(own.config.plugin) == {"command"}


def test_settings_of_a_child_that_are_none_end_the_start(tmp_path):
    spec = foreign_spec(tmp_path, keycloak={"realms": "plant"})
    with pytest.raises(InputError) as refused:
        workers._executors(spec, SystemClock())
    assert "[plugin.keycloak]" in refused.value.sentence


def test_a_child_that_cannot_be_made_says_why_to_the_enforcer(tmp_path):
    child = workers._child(foreign_spec(tmp_path), "keycloak", SystemClock())
    with pytest.raises(CronosError) as raised:
        child.observe()
    assert raised.value.code == "link.secret_unreadable"
    child.close()
