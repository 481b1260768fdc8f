"""`cronos seal | open | sign | verify` as their users meet them: processes, pipes, full disks."""

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

import pytest
from tests.integration.product import COMMAND, ENVIRONMENT, cronos, until
from tests.unit.front.commands.sealed_state import PASSPHRASE, make_state

MEBIBYTE = 1 << 20
MAX_RSS_MIB = 100
CONTENT = bytes(range(256)) * 4096 * 3 + b"and a rest"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Make a state folder with keys, public keys and a passphrase file."""
    folder = tmp_path_factory.mktemp("keys")
    make_state(folder)
    (folder / "words").write_text(f"{PASSPHRASE}\n")
    (folder / "words").chmod(0o600)
    return folder


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in"
    path.write_bytes(CONTENT)
    return path


def raw(*given, stdin=b""):
    """Run a command whose output is no text."""
    return subprocess.run(
        [*COMMAND, *map(str, given)],
        input=stdin,
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
        timeout=120,
    )


def names(folder):
    return sorted(one.name for one in folder.iterdir())


def test_bytes_go_in_and_out_through_pipes(keys):
    sealed = raw("seal", "--to", keys / "state.key", stdin=CONTENT)
    assert (sealed.returncode, sealed.stderr) == (0, b"")
    opened = raw("open", "--state", keys / "state", stdin=sealed.stdout)
    assert (opened.returncode, opened.stderr) == (0, b"")
    assert opened.stdout == CONTENT


def test_a_shell_pipeline_of_both_gives_the_same_bytes_back(keys, file, tmp_path):
    command = " ".join(COMMAND)
    script = (
        f"{command} seal --passphrase-file {keys}/words < {file}"
        f" | {command} open --passphrase-file {keys}/words > {tmp_path}/back"
    )
    subprocess.run(["bash", "-o", "pipefail", "-c", script], check=True, env=ENVIRONMENT)
    assert (tmp_path / "back").read_bytes() == CONTENT


def test_the_whole_story_by_files(keys, file, tmp_path):
    state = keys / "state"
    to = ["--to", keys / "state.key", keys / "node.key", "--sign-by", "identity"]
    assert cronos("seal", file, *to, "--state", state).code == 0
    back = tmp_path / "back"
    by = ["--by", keys / "identity.key"]
    done = cronos("open", f"{file}.sealed", "-o", back, "--state", state, *by, "--json")
    assert done.document["verified"] is True
    assert back.read_bytes() == CONTENT
    assert cronos("sign", back, "--state", state).code == 0
    assert cronos("verify", back, f"{back}.sig", *by).code == 0
    # The signature is over bytes, not over a name.
    assert cronos("verify", file, f"{back}.sig", *by).code == 0


def test_what_keys_export_writes_is_what_seal_takes(tmp_path):
    state = ["--state", tmp_path / "state"]
    assert cronos("keys", "new", *state).code == 0
    line = cronos("keys", "export", "--public", "state", *state)
    (tmp_path / "state.key").write_text(line.out)
    sealed = raw("seal", "--to", tmp_path / "state.key", stdin=CONTENT).stdout
    assert raw("open", *state, stdin=sealed).stdout == CONTENT


def test_a_truncated_stream_ends_in_four_and_says_that_it_must_not_be_used(keys):
    sealed = raw("seal", "--to", keys / "state.key", stdin=CONTENT).stdout
    for cut in (len(sealed) - 1, len(sealed) - 100_000, 600_000):
        opened = raw("open", "--state", keys / "state", stdin=sealed[:cut])
        assert opened.returncode == 4
        assert CONTENT.startswith(opened.stdout)
        assert len(opened.stdout) < len(CONTENT)
        assert b"What was written before this must not be used." in opened.stderr


def test_a_stream_whose_last_signature_does_not_hold_must_not_be_used_either(keys, tmp_path):
    state = keys / "state"
    given = ["--key", "state", "--sign-by", "identity", "--state", state]
    sealed = bytearray(raw("seal", *given, stdin=CONTENT).stdout)
    sealed[-100] ^= 1  # in the signature over everything: all before it is as it was
    by = ["--by", keys / "identity.key"]
    opened = raw("open", "--state", state, *by, stdin=bytes(sealed))
    assert opened.returncode == 4
    assert opened.stdout == CONTENT
    assert b"What was written before this must not be used." in opened.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_where_standard_input_or_output_is_closed_it_is_told_so(keys, closed):
    script = f"{' '.join(COMMAND)} seal --to {keys}/state.key {closed}"
    done = subprocess.run(
        ["bash", "-c", script], input=b"x", capture_output=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 2
    assert b"of this process is closed" in done.stderr


@pytest.mark.parametrize("command", ["seal", "open"])
def test_a_passphrase_is_not_taken_out_of_the_data(command):
    done = raw(command, "--passphrase-file", "/dev/stdin", stdin=b"a long first line\nand more\n")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"would both come from standard input" in done.stderr


def test_what_was_appended_to_a_stream_ends_in_four(keys):
    sealed = raw("seal", "--to", keys / "state.key", stdin=CONTENT).stdout
    opened = raw("open", "--state", keys / "state", stdin=sealed + b"\0")
    assert opened.returncode == 4


def test_a_full_disk_leaves_nothing_and_says_so(keys, file, tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (MEBIBYTE, MEBIBYTE))

    command = [*COMMAND, "seal", str(file), "--to", str(keys / "state.key")]
    done = subprocess.run(
        command, capture_output=True, check=False, env=ENVIRONMENT, preexec_fn=limited
    )
    assert done.returncode == 4
    assert b"cannot be written: File too large" in done.stderr
    assert b"nothing was left behind" in done.stderr
    assert names(tmp_path) == ["in"]


def test_standard_output_that_is_full_is_told_so(keys, file):
    with pathlib.Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "seal", str(file), "-o", "-", "--to", str(keys / "state.key")],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env=ENVIRONMENT,
        )
    assert done.returncode == 4
    assert b"No space left on device" in done.stderr


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="mounts a small disk: needs root"
)
def test_a_disk_that_fills_up_leaves_nothing_and_is_usable_again(keys, file, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = ["-t", "tmpfs", "-o", f"size={MEBIBYTE}", "tmpfs"]
    if subprocess.run(["mount", *size, str(disk)], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        done = cronos("seal", file, "-o", disk / "out", "--to", keys / "state.key")
        assert done.code == 4
        assert "No space left on device" in done.err
        assert names(disk) == []
        assert shutil.disk_usage(disk).free == MEBIBYTE
        small = tmp_path / "small"
        small.write_bytes(b"fits")
        assert cronos("seal", small, "-o", disk / "out", "--to", keys / "state.key").code == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
)
def test_an_interrupt_leaves_nothing(keys, tmp_path, number, code):
    command = [*COMMAND, "seal", "-o", str(tmp_path / "out"), "--to", str(keys / "state.key")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        process.stdin.write(CONTENT)
        process.stdin.flush()  # a pipe holds 64 KiB: most of it was read
        status = pathlib.Path(f"/proc/{process.pid}/io")
        until(lambda: int(status.read_text().split("wchar: ")[1].split()[0]) > MEBIBYTE)
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == code
    assert b"Traceback" not in said
    assert names(tmp_path) == []


def test_a_reader_that_goes_away_is_no_success(keys):
    with subprocess.Popen(
        [*COMMAND, "seal", "--to", str(keys / "state.key")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(CONTENT)
            process.stdin.close()
        assert process.wait(60) == 3
        assert b"gone before its end" in process.stderr.read()


def test_appending_to_the_file_that_is_read_is_refused(keys, file):
    with file.open("ab") as same:
        done = subprocess.run(
            [*COMMAND, "seal", str(file), "-o", "-", "--to", str(keys / "state.key")],
            stdout=same,
            stderr=subprocess.PIPE,
            check=False,
            env=ENVIRONMENT,
        )
    assert done.returncode == 2
    assert b"read and written at once" in done.stderr
    assert file.read_bytes() == CONTENT


def test_all_that_does_not_open_is_told_in_the_same_words(keys, file, tmp_path):
    state = keys / "state"
    assert cronos("seal", file, "--key", "state", "--state", state).code == 0
    sealed = pathlib.Path(f"{file}.sealed").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    make_state(other)
    changed = bytearray(sealed)
    changed[-1] ^= 1
    said = set()
    for data, whose in ((sealed, other / "state"), (bytes(changed), state), (sealed[:-1], state)):
        (tmp_path / "bad.sealed").write_bytes(data)
        done = cronos("open", tmp_path / "bad.sealed", "--state", whose)
        assert done.code == 4
        said.add(done.err)
        assert not (tmp_path / "bad").exists()
    assert len(said) == 1


MEASURED = """
import pathlib, sys
from cronos.front.cli import main
code = main(sys.argv[2:])
for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM"):
        pathlib.Path(sys.argv[1]).write_text(line.split()[1])
sys.exit(code)
"""


@pytest.mark.slow
def test_a_file_longer_than_the_memory_allowed_passes_through(keys, tmp_path):
    source = tmp_path / "long"
    with source.open("wb") as sparse:
        sparse.truncate(256 * MEBIBYTE)  # a gibibyte: bench_seal.py
    whole = ["seal", source, "-o", "-", "--to", keys / "state.key"]
    back = ["open", "--state", keys / "state"]
    with (
        measured(tmp_path / "seal.kib", *whole) as sealing,
        measured(tmp_path / "open.kib", *back, stdin=sealing.stdout, keep=False) as opening,
    ):
        sealing.stdout.close()  # the second process alone reads it
        opening.wait()
    assert (sealing.returncode, opening.returncode) == (0, 0)
    for name in ("seal.kib", "open.kib"):
        assert int((tmp_path / name).read_text()) <= MAX_RSS_MIB * 1024, name


def measured(told, *given, stdin=subprocess.DEVNULL, keep=True):
    """Start a command that tells at its end the most memory it had."""
    return subprocess.Popen(
        [sys.executable, "-c", MEASURED, str(told), *map(str, given)],
        stdin=stdin,
        stdout=subprocess.PIPE if keep else subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
