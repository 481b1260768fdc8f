"""`cronos up` on live sources, and what forged evidence can make it do: nothing."""

import contextlib
import json
import pathlib
import socket
import threading

import pytest
from tests.integration.product import (
    Up,
    cronos,
    failed_logins,
    forged_syns,
    modbus_capture,
    policy_file,
    remove,
    short_folder,
    until,
    write_register,
)

from cronos.link.freeports import free_ports

VICTIM = "192.0.2.66"


@pytest.fixture
def state():
    folder = short_folder()
    yield folder
    remove(folder)


@pytest.fixture
def up(state):
    running = []

    def start(*given):
        running.append(Up("--state", state, *given))
        running[-1].wait_for("node.ready")
        return running[-1]

    yield start
    for one in running:
        one.kill()


def nothing_was_done(document):
    """No incident of the document had an action carried out."""
    return all(
        one["done"]["result"] in ("not executed", "observed", "nothing was decided")
        and one["state"] not in ("isolating", "isolated", "confirmed", "releasing")
        for one in document["incidents"]
    )


# --- a file that grows -----------------------------------------------------------------------


def test_what_is_appended_is_judged_while_it_runs(tmp_path, up):
    log = tmp_path / "auth.log"
    log.write_bytes(failed_logins(5))
    running = up("--follow", log)
    lines = failed_logins(30).splitlines(keepends=True)
    with log.open("ab", buffering=0) as file:
        for line in lines[5:]:
            # Half a line at a time: a record counts when it is whole.
            file.write(line[:20])
            file.write(line[20:])
    running.wait_for("incident.decision")
    done = running.stop()
    assert done.code == 1
    assert done.document["observations"] == 30
    assert done.incident(VICTIM)["timeline"][0]["moment"] == "detected"


def test_a_rotated_file_is_read_to_its_end_and_its_successor_from_its_beginning(tmp_path, up):
    log = tmp_path / "auth.log"
    log.write_bytes(failed_logins(30))
    running = up("--follow", log)
    running.wait_for("incident.decision")
    log.rename(tmp_path / "auth.log.1")
    log.write_bytes(failed_logins(30, "192.0.2.99", "other"))
    running.wait_for("incident.decision", 2)
    done = running.stop()
    assert done.document["observations"] == 60
    assert done.incident("192.0.2.99")


def test_a_file_that_vanishes_is_said_once_and_found_again(tmp_path, up):
    log = tmp_path / "auth.log"
    log.write_bytes(failed_logins(30))
    running = up("--follow", log)
    running.wait_for("incident.decision")
    log.unlink()
    running.wait_for("source.defect")
    log.write_bytes(failed_logins(30, "192.0.2.99", "other"))
    running.wait_for("incident.decision", 2)
    assert len(running.events("source.defect")) == 1
    assert running.stop().code == 1


# --- syslog, and whose voice it is -----------------------------------------------------------


def test_a_thousand_forged_failures_by_udp_block_nobody(up):
    (port,) = free_ports(1)
    running = up("--syslog", f"127.0.0.1:{port}")
    with socket.socket(type=socket.SOCK_DGRAM) as voice:
        for number, line in enumerate(failed_logins(1_000, VICTIM).splitlines(), 1):
            voice.sendto(line, ("127.0.0.1", port))
            if number % 200 == 0:
                running.said()
    running.wait_for("incident.decision")
    done = running.stop()
    found = done.incident(VICTIM)
    assert found["provenance"] == "spoofable"
    assert found["done"]["disposition"] == "observe"
    assert nothing_was_done(done.document)
    assert not running.events("incident.outcome")


def test_syslog_by_tcp_is_judged_and_counted(up):
    (port,) = free_ports(1)
    running = up("--syslog", f"127.0.0.1:{port}")
    until(lambda: reached(port))
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(failed_logins(30, VICTIM))
    running.wait_for("incident.decision")
    done = running.stop()
    assert done.document["observations"] == 30
    assert done.incident(VICTIM)["provenance"] in ("bidirectional", "spoofable")


def reached(port, source="127.0.0.1"):
    with contextlib.suppress(OSError):
        call(port, source).close()
        return True
    return False


def test_a_port_in_use_is_a_sentence_that_names_it(state):
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        running = Up("--state", state, "--syslog", f"127.0.0.1:{port}")
        try:
            done = running.ended()
        finally:
            running.kill()
    assert done.code == 2
    assert f"127.0.0.1:{port}" in done.document["sentence"]


def test_a_listening_node_that_was_killed_listens_again_at_once(up):
    (port,) = free_ports(1)
    first = up("--syslog", f"127.0.0.1:{port}")
    first.process.kill()
    first.process.wait(30)
    second = up("--syslog", f"127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), 20) as peer:
        peer.sendall(failed_logins(30, VICTIM))
    second.wait_for("incident.decision")
    assert second.stop().code == 1


def test_forged_syns_in_a_capture_block_nobody(tmp_path, state):
    capture = forged_syns(tmp_path / "syns.pcap", VICTIM)
    done = cronos("run", "--state", state, "--json", capture)
    found = done.incident(VICTIM)
    assert found["provenance"] == "spoofable"
    assert nothing_was_done(done.document)


def test_a_forged_write_without_a_handshake_blocks_nobody(tmp_path, state):
    whole = modbus_capture(tmp_path / "whole.pcap", [VICTIM]).read_bytes()
    # Header, then the packets; those of the handshake (16 + 54 bytes each) are left out.
    forged = tmp_path / "forged.pcap"
    request = len(write_register())
    one_way = whole[24 + 3 * 70 : 24 + 4 * 70 + request]
    forged.write_bytes(whole[:24] + one_way)
    policy = policy_file(tmp_path)
    done = cronos("run", "--state", state, "--json", "--policy", policy, forged)
    assert all(one["provenance"] == "spoofable" for one in done.document["incidents"])
    assert nothing_was_done(done.document)


# --- the tap -----------------------------------------------------------------------------------


class Echo:
    """A plant of one register: it answers a write by repeating it."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._connections = []
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._answer, args=(connection,))
                thread.start()
                self._connections.append((connection, thread))

    @staticmethod
    def _answer(connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(4_096):
                connection.sendall(data)

    def end(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        for connection, thread in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(20)


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.end()


def call(port, source):
    return socket.create_connection(("127.0.0.1", port), 20, (source, 0))


def test_the_tap_forwards_the_operator_and_cuts_who_breaks_the_policy(tmp_path, state, up, echo):
    policy = tmp_path / "policy.toml"
    policy.write_text(
        f'version = 1\n[[server]]\naddress = "127.0.0.1"\nport = {echo.port}\n'
        '[[server.client]]\naddress = "127.0.0.2"\nfunctions = [6]\n'
        'write = [{ table = "holding", first = 1, last = 1, min = 200, max = 800 }]\n'
    )
    config = tmp_path / "cronos.toml"
    config.write_text("[lease]\ndefault_s = 2\nmax_s = 2\n")
    (port,) = free_ports(1)
    running = up("--config", config, "--policy", policy,
                 "--tap", f"127.0.0.1:{port}=127.0.0.1:{echo.port}")  # fmt: skip
    until(lambda: reached(port, "127.0.0.2"))
    with call(port, "127.0.0.2") as operator, call(port, "127.0.0.66") as attacker:
        operator.sendall(write_register(500))
        assert operator.recv(64) == write_register(500)
        attacker.sendall(write_register(900))
        until(lambda: ended(attacker))
        operator.sendall(write_register(600))
        assert operator.recv(64) == write_register(600)
    running.wait_for("incident.closed")
    done = running.stop()
    found = done.incident("127.0.0.66")
    assert found["done"]["action"] == "deny address 127.0.0.66 at tap"
    assert found["done"]["dry_run"] is False
    assert len(done.document["incidents"]) == 1
    audit = cronos("audit", "verify", "--state", state, "--json")
    assert audit.code == 0


def ended(connection):
    connection.settimeout(0.05)
    try:
        return connection.recv(4_096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_the_log_is_json_and_follows_an_incident_by_its_number(tmp_path, up):
    log = tmp_path / "auth.log"
    log.write_bytes(failed_logins(30))
    running = up("--follow", log)
    (decided, *_) = running.wait_for("incident.decision")
    done = running.stop()
    lines = [one for one in done.err.splitlines() if one]
    assert all({"ts", "level", "event", "node"} <= set(json.loads(line)) for line in lines)
    assert decided["incident"] == done.document["incidents"][0]["incident_id"]
    assert pathlib.Path(log).exists()
