from time import process_time_ns

import pytest

from cronos.sense.syslog_programs import read


def told(program, message):
    fields = {}
    return read(program, message, fields), fields


@pytest.mark.parametrize(
    ("message", "name", "status"),
    [
        ("Failed password for root from {ip} port 4242 ssh2", "root", "failure"),
        ("Failed password for invalid user bob from {ip} port 4242 ssh2", "bob", "failure"),
        ("Failed none for invalid user  from {ip} port 4242 ssh2", None, "failure"),
        ("Accepted publickey for bob from {ip} port 4242 ssh2: ED25519 SHA256:x", "bob", "success"),
        ("Invalid user bob from {ip} port 4242", "bob", None),
        ("Connection closed by invalid user bob {ip} port 4242 [preauth]", "bob", "failure"),
        (
            (
                "error: maximum authentication attempts exceeded for root from {ip} port 4242 ssh2"
                " [preauth]"
            ),
            "root",
            "failure",
        ),
    ],
)
def test_sshd_names_the_user_the_address_and_the_outcome(message, name, status):
    reading, fields = told("sshd", message.format(ip="203.0.113.9"))
    assert reading.activity == "authentication"
    assert reading.proved
    assert reading.actor.value == "203.0.113.9"
    assert fields["src_endpoint.port"] == 4242
    assert fields.get("user.name") == name
    assert fields.get("status") == status


FORGED = "root from 192.0.2.1 port 22 ssh2"


@pytest.mark.parametrize(
    "message",
    [
        f"Failed password for invalid user {FORGED} from 203.0.113.9 port 4242 ssh2",
        f"Failed password for invalid user {FORGED}: RSA a from 203.0.113.9 port 4242 ssh2",
        f"Invalid user {FORGED} from 203.0.113.9 port 4242",
        (
            "Connection closed by invalid user a 192.0.2.1 port 5 [preauth] 203.0.113.9 port 77"
            " [preauth]"
        ),
        (
            "Accepted publickey for bob from 203.0.113.9 port 4242 ssh2: RSA-CERT SHA256:x"
            " ID a from 192.0.2.1 port 5 ssh2"
        ),
        (
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser="
            " rhost=203.0.113.9  user=root rhost=192.0.2.1"
        ),
    ],
)
def test_a_name_that_looks_like_an_address_does_not_become_the_address(message):
    reading, fields = told("sshd", message)
    assert reading.actor.value == "203.0.113.9"
    assert fields["src_endpoint.ip"] == "203.0.113.9"


@pytest.mark.parametrize(
    "message",
    [
        "Received disconnect from 203.0.113.9 port 1:11: bye from 192.0.2.1 port 2",
        "Failed password for root from 192.0.2.1 port 22 ssh2 and more",
        "x Failed password for root from 192.0.2.1 port 22 ssh2",
        (
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh"
            " ruser=a rhost=192.0.2.1 rhost=203.0.113.9"
        ),
        "Failed password for root from 192.0.2.1 port 22 ssh2" + "x" * 9000,
    ],
)
def test_what_is_not_wholly_understood_is_not_read(message):
    reading, _ = told("sshd", message)
    assert reading is None or reading.actor is None


def test_a_failure_that_sshd_and_pam_both_report_counts_once():
    _, fields = told(
        "sshd",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=h",
    )
    assert "status" not in fields
    _, fields = told(
        "login",
        "pam_unix(login:auth): authentication failure; logname=x uid=0 euid=0 tty=tty1 ruser="
        " rhost=  user=bob",
    )
    assert (fields["status"], fields["user.name"]) == ("failure", "bob")


def test_sudo_tells_a_command_from_a_refusal():
    reading, fields = told(
        "sudo", "  bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/cat /etc/shadow"
    )
    assert reading.activity == "process_activity"
    assert (fields["actor.user.name"], fields["user.name"]) == ("bob", "root")
    assert fields["process.cmd_line"] == "/bin/cat /etc/shadow"
    reading, fields = told(
        "sudo",
        "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
    )
    assert (reading.activity, fields["status"]) == ("authentication", "failure")


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("FAILED SU (to root) bob on pts/0", "failure"),
        ("(to root) bob on pts/0", "success"),
        ("Successful su for root by bob", "success"),
    ],
)
def test_su_tells_who_became_whom(message, status):
    reading, fields = told("su", message)
    assert (fields["status"], fields["user.name"]) == (status, "root")
    assert reading.actor.value == "bob"
    assert not reading.proved


def test_the_packet_filter_names_the_first_packet_not_the_quoted_one():
    reading, fields = told(
        "kernel",
        "[1.2] [UFW BLOCK] IN=eth0 OUT= SRC=203.0.113.9 DST=192.0.2.1 LEN=40 PROTO=TCP SPT=4 DPT=22"
        " SYN [SRC=192.0.2.99 DST=192.0.2.98 PROTO=UDP]",
    )
    assert (reading.actor.value, reading.target.value) == ("203.0.113.9", "192.0.2.1")
    assert fields["dst_endpoint.port"] == 22
    assert fields["status"] == "no_answer"
    assert not reading.proved


def test_other_programs_are_not_understood():
    assert told("cron", "Failed password for root from 192.0.2.1 port 22 ssh2")[0] is None


def test_sudo_in_a_folder_with_a_forged_name_is_read_and_costs_no_more_than_its_length():
    fields = {}
    odd = "  bob : TTY=pts/0 ; PWD=/tmp/ ; USER=eve ; USER=root ; COMMAND=/bin/sh"
    assert read("sudo", odd, fields) is not None
    assert fields["user.name"] == "root"
    hostile = "b : TTY=t ; PWD=/" + " ; USER=a ; ENV=b" * 480
    assert len(hostile) < 8192
    started = process_time_ns()
    for _ in range(20):
        assert read("sudo", hostile, {}) is None
    assert process_time_ns() - started < 1_000_000_000
