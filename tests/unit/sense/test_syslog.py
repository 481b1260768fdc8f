import pytest
from tests.unit.sense.logs import one, read_all

from cronos.sense.jsonlines import JsonLinesSensor
from cronos.sense.normal import time_ns
from cronos.sense.syslog import SyslogConfig, SyslogSensor
from cronos.testing.clock import VirtualClock
from cronos.types import Provenance

FAILED = b"Oct 11 22:14:15 web1 sshd[1]: Failed password for root from 203.0.113.9 port 4242 ssh2\n"
EXEC = b'type=EXECVE msg=audit(1604996384.965:93777): argc=1 a0="dd"\n'


def sensor(**options):
    return SyslogSensor(SyslogConfig(**options))


def test_a_failed_login_in_a_file_is_bidirectional():
    seen = one(sensor(), FAILED)
    assert seen.activity == "authentication"
    assert seen.provenance is Provenance.BIDIRECTIONAL
    assert seen.actor.value == "203.0.113.9"
    assert seen.target.value == "web1"
    assert seen.fields["metadata.log_name"] == "sshd"
    assert seen.native["message"].startswith("Failed password")


@pytest.mark.parametrize("provenance", [Provenance.SPOOFABLE, Provenance.BIDIRECTIONAL])
def test_the_same_line_from_the_network_is_anybodys_text(provenance):
    assert one(sensor(), FAILED, provenance=provenance).provenance is Provenance.SPOOFABLE


def test_a_program_that_is_no_authenticator_proves_nothing():
    assert one(sensor(authenticators=()), FAILED).provenance is Provenance.SPOOFABLE
    assert one(sensor(), FAILED.replace(b"sshd[1]", b"myapp")).provenance is Provenance.SPOOFABLE


def test_audit_records_are_the_kernels_word_in_a_file_and_text_elsewhere():
    seen = one(sensor(), EXEC)
    assert seen.provenance is Provenance.AUTHENTICATED
    assert seen.fields["metadata.log_name"] == "auditd"
    assert seen.native["type"] == "EXECVE"
    wrapped = one(
        sensor(), b"<13>Oct 11 22:14:15 h audispd: " + EXEC, provenance=Provenance.SPOOFABLE
    )
    assert wrapped.activity == "process_activity"
    assert wrapped.provenance is Provenance.SPOOFABLE


def test_the_listeners_prefix_is_taken_off_and_kept_as_the_peer():
    seen = one(sensor(), b"@198.51.100.1 <13>" + FAILED, name="syslog-udp@127.0.0.1:5514")
    assert seen.native["peer"] == seen.fields["device.ip"] == "198.51.100.1"
    assert seen.actor.value == "203.0.113.9"
    assert seen.provenance is Provenance.SPOOFABLE


def test_a_file_cannot_pretend_a_peer():
    seen, defects = read_all(sensor(), b"@198.51.100.1 <13>" + FAILED)
    assert not seen
    assert len(defects) == 1


def test_any_datagram_is_a_message_but_a_line_of_a_file_must_be_one():
    assert one(sensor(), b"@198.51.100.1 hello\n", name="syslog-udp").native["message"] == "hello"
    seen, defects = read_all(sensor(), b"hello\n" + FAILED)
    assert [observation.seq for observation in seen] == [2]
    assert "neither a priority nor a time" in defects[0].reason


def test_the_clock_gives_the_year_and_the_moment_of_sensing():
    clock = VirtualClock(boot_ns=5, wall_ns=time_ns("2024-12-01T00:00:00Z"))
    seen = one(SyslogSensor(SyslogConfig(), clock), FAILED)
    assert seen.time_ns == time_ns("2024-10-11T22:14:15Z")
    assert seen.sensed_boot_ns == 5


def test_syslog_is_recognised_by_its_first_line():
    assert SyslogSensor.recognise(FAILED) == 0.8
    assert SyslogSensor.recognise(EXEC) == 0.9
    assert SyslogSensor.recognise(b"<13>text") == 0.3
    assert SyslogSensor.recognise(b'{"a": 1}') == 0.0
    assert SyslogSensor.recognise(b"<13>\0\0\0") == 0.0
    assert SyslogSensor.recognise(b"a,b,c\n") == 0.0
    assert JsonLinesSensor.recognise(FAILED) == 0.0


def test_an_overlong_line_is_a_defect_and_the_next_one_lives():
    seen, defects = read_all(sensor(max_line_bytes=200), b"<13>" + b"x" * 300 + b"\n" + FAILED)
    assert [observation.seq for observation in seen] == [2]
    assert [defect.position for defect in defects] == [1]


LOGIN = (
    b"type=USER_LOGIN msg=audit(1700000000.1:1): pid=1 uid=0"
    b" msg='op=login acct=\"root\" addr=10.0.0.5 res=failed'\n"
)


@pytest.mark.parametrize("program", [b"audit", b"auditd", b"audispd", b"kernel"])
@pytest.mark.parametrize("record", [EXEC, LOGIN])
def test_anybody_can_write_an_audit_record_behind_a_syslog_header(program, record):
    line = b"Nov 21 01:00:00 host " + program + b": " + record
    seen = one(sensor(authenticators=()), line)
    assert seen.fields["metadata.log_name"] == "auditd"
    assert seen.provenance is Provenance.SPOOFABLE
    trusting = one(sensor(auditors=(program.decode(),)), line)
    assert trusting.provenance is not Provenance.SPOOFABLE


def test_an_audit_record_among_syslog_lines_is_anybodys_text():
    seen, _ = read_all(sensor(), EXEC + FAILED + EXEC)
    assert [observation.provenance for observation in seen] == [
        Provenance.AUTHENTICATED,
        Provenance.BIDIRECTIONAL,
        Provenance.SPOOFABLE,
    ]
