from cronos.sense.auditd import normalise, parse

STAMP = "msg=audit(1604996384.965:93777): "


def read(line):
    record, _ = parse(line)
    fields = {}
    return normalise(record, fields), fields, record


def test_execve_gives_the_command_line_with_hex_arguments_decoded():
    activity, fields, record = read(f'type=EXECVE {STAMP}argc=3 a0="sh" a1="-c" a2=6C73202F')
    assert activity == "process_activity"
    assert fields["process.cmd_line"] == "sh -c ls /"
    assert record["a2"] == "ls /"


def test_the_time_is_that_of_the_stamp():
    assert parse(f"type=CWD {STAMP}")[1] == 1_604_996_384_965_000_000


def test_syscall_arguments_are_numbers_not_text():
    activity, fields, record = read(
        f'type=SYSCALL {STAMP}syscall=59 a0=6C73 pid=2168 comm="dd" exe="/bin/dd" UID="bob"'
    )
    assert activity == "process_activity"
    assert record["a0"] == "6C73"
    assert fields["process.file.path"] == "/bin/dd"
    assert fields["process.pid"] == 2168
    assert fields["actor.user.name"] == "bob"


def test_a_login_is_lifted_out_of_the_trusted_programs_message():
    activity, fields, record = read(
        f'type=USER_AUTH {STAMP}pid=1 msg=\'op=PAM:authentication acct="root" '
        "addr=203.0.113.9 res=failed'"
    )
    assert activity == "authentication"
    assert (fields["user.name"], fields["status"]) == ("root", "failure")
    assert record["addr"] == "203.0.113.9"


def test_an_account_in_hex_cannot_pose_as_a_field():
    account = b'x" addr=192.0.2.1'.hex().upper()
    _, fields, record = read(
        f"type=USER_AUTH {STAMP}msg='acct={account} addr=203.0.113.9 res=failed'"
    )
    assert fields["user.name"] == 'x" addr=192.0.2.1'
    assert record["addr"] == "203.0.113.9"


def test_other_lines_are_no_audit_records():
    assert parse("Oct 11 22:14:15 h p: type=EXECVE") is None
    assert parse("type=EXECVE msg=audit(x)") is None
