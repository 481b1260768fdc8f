"""The command line: one command is imported, errors become sentences and exit codes."""

import json
import subprocess
import sys
import types

import pytest

from cronos import __version__
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.front import cli


@pytest.fixture
def command(monkeypatch):
    """Put a command of the test's own in place of `audit`."""

    def put(execute):
        module = types.ModuleType("cronos.front.commands.audit")
        module.arguments = lambda parser: parser.add_argument("what")
        module.execute = execute
        monkeypatch.setitem(sys.modules, "cronos.front.commands.audit", module)

    return put


def failing(error):
    def execute(_options):
        raise error

    return execute


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a.b", "It is wrong.", "Correct it."), 2),
        (UnreachableError("a.b", "It is away.", "Start it."), 3),
        (DeniedError("a.b", "It is forbidden.", "Ask for it."), 4),
        (CronosError("a.b", "It is our fault.", "Report it."), 70),
        (CronosError("a.b", "It is unclear.", "Try it.", "input"), 2),
    ],
    ids=lambda one: type(one).__name__,
)
def test_each_kind_of_error_is_a_sentence_a_remedy_and_its_own_exit_code(
    command, capsys, error, code
):
    command(failing(error))
    assert cli.main(["audit", "verify"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"cronos: {error.sentence}\n        {error.remedy}\n"


def test_with_json_an_error_is_one_document(command, capsysbinary):
    command(failing(InputError("a.b", "It is \x1b[2J wrong.", "Correct it.")))
    assert cli.main(["audit", "verify", "--json"]) == 2
    shown = capsysbinary.readouterr()
    document = json.loads(shown.out)
    assert (document["code"], document["blame"]) == ("a.b", "input")
    assert b"\x1b" not in shown.err


def test_a_fault_of_ours_is_a_sentence_with_its_place_and_no_traceback(command, capsys):
    command(lambda _options: {}["missing"])
    assert cli.main(["audit", "verify"]) == 70
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "KeyError: 'missing'" in shown
    assert "test_cli.py, line" in shown
    assert "report it" in shown


def test_the_codes_of_commands_pass_through(command):
    for code in (0, 1, 2):
        command(lambda _options, code=code: code)
        assert cli.main(["audit", "verify"]) == code


def test_an_interrupt_is_no_fault(command):
    command(failing(KeyboardInterrupt()))
    assert cli.main(["audit", "verify"]) == 130


def test_without_a_command_the_help_is_shown(capsys):
    assert cli.main([]) == 2
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("given", [["nonsense"], ["run"], ["audit", "--no-such-option"]])
def test_wrong_usage_is_exit_code_two(given, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(given)
    assert left.value.code == 2
    assert "usage: cronos" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"cronos {__version__}\n"


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_explains_itself_and_has_json(name, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    assert left.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_help_imports_nothing_that_takes_time():
    program = (
        "import sys, cronos.front.cli as c\n"
        "c._parser('')\n"
        "heavy = {'rich', 'dpkt', 'yaml', 'asyncio', 'uvloop', 'sqlite3', 'msgspec'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "[]\n"


def run_with(closed, *arguments):
    line = " ".join(("exec", '"$0"', "-m", "cronos.front.cli", *arguments, closed))
    return subprocess.run(
        ["/bin/sh", "-c", line, sys.executable], check=False, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_change_nothing_but_what_is_heard(closed):
    assert run_with(closed, "config", "explain").returncode == 0
    assert run_with(closed, "audit", "verify", "--json", "--state", "/nowhere").returncode == 2


def test_a_question_that_nobody_answers_is_a_sentence(command, capsys):
    command(failing(EOFError()))

    assert cli.main(["audit", "verify"]) == 2
    assert "not answered" in capsys.readouterr().err
