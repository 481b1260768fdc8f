import time

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.log_inputs import CUTS, mutated
from tests.unit.sense.logs import read_all, survives

from cronos.sense.syslog import SyslogConfig, SyslogSensor
from cronos.sense.syslog_programs import read
from cronos.types import EntityKind

GOOD = (
    b"<34>Oct 11 22:14:15 web1 sshd[1]: Failed password for root from 203.0.113.9 port 42 ssh2",
    b'<34>1 2003-10-11T22:14:15.003Z host su 7 ID47 [ex@1 a="x\\]y"] message',
    b"2024-01-01T00:00:00+00:00 h sudo: bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
    b"Oct 11 22:14:15 fw kernel: [UFW BLOCK] SRC=203.0.113.9 DST=192.0.2.1 PROTO=TCP SPT=1 DPT=2",
    b'type=EXECVE msg=audit(1604996384.965:93777): argc=1 a0="dd" a1=6C73',
    b"type=USER_AUTH msg=audit(1.2:3): msg='acct=\"root\" addr=203.0.113.9 res=failed'",
)
PROGRAMS = ("sshd", "sudo", "su", "kernel", "login")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | mutated(*GOOD), CUTS)
def test_whatever_comes_the_sensor_gives_readings(data, cuts):
    SyslogSensor.recognise(data)
    survives(SyslogSensor(SyslogConfig(max_line_bytes=300)), data, cuts)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                " from ",
                " port ",
                "192.0.2.1",
                "22",
                " ssh2",
                ": RSA a",
                " [preauth]",
                "root",
                " ID ",
            ]
        )
        | st.text(max_size=5),
        max_size=14,
    ).map("".join)
)
def test_no_user_name_changes_the_address_that_sshd_wrote(name):
    name = " ".join(name.split("\n")).replace("\r", " ").replace("\0", " ")
    line = f"Failed password for invalid user {name} from 203.0.113.9 port 4242 ssh2"
    fields = {}
    reading = read("sshd", line, fields)
    actor = reading.actor if reading is not None else None
    if actor is not None and actor.kind is EntityKind.ADDRESS:
        assert actor.value == "203.0.113.9"
    data = f"Oct 11 22:14:15 h sshd[1]: {line}\n".encode()
    seen, _ = read_all(SyslogSensor(SyslogConfig()), data)
    assert all(one.actor is None or one.actor.value == "203.0.113.9" for one in seen)


def test_no_pattern_takes_long_on_a_message_made_to_slow_it():
    pieces = (" from ", " ; ", "a=", " user ", "x ", "SRC=1 ", "\\", " port 1", "from 1 port 1 ")
    began = time.process_time()
    for piece in pieces:
        for begin in (
            "Failed password for ",
            "bob : ",
            "Accepted password for ",
            "",
            "Invalid user ",
        ):
            for program in PROGRAMS:
                read(program, (begin + piece * 4096)[:8192], {})
    assert time.process_time() - began < 10.0
