"""A file appears whole or not at all; what is there already stays."""

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cronos.errors import DeniedError, InputError, UnreachableError
from cronos.front import outputs
from cronos.front.outputs import RawInput, RawOutput, reading, refuse_terminal, writing


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in"
    path.write_bytes(b"content")
    with reading(str(path)) as one:
        yield one


@pytest.fixture(params=["without a name", "with a hidden name"])
def kind(request, monkeypatch):
    """Files without a name, and a file system that knows none."""
    if request.param == "with a hidden name":
        real = os.open

        def no_temporary(path, flags, *more, **named):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            return real(path, flags, *more, **named)

        monkeypatch.setattr(os, "open", no_temporary)
    return request.param


def write(target, source, data, *, meanwhile=lambda: None, raises=None, force=False):
    """Write a file, while something else happens or fails."""
    with writing(str(target), source, force=force) as sink:
        left = memoryview(data)
        while left:
            left = left[sink.write(left) :]
        meanwhile()
        if raises is not None:
            raise raises


def listing(folder):
    return sorted(one.name for one in folder.iterdir())


def test_a_file_is_read_to_its_end(source):
    buffer = memoryview(bytearray(4))
    assert source.readinto(buffer) == 4
    assert bytes(buffer) == b"cont"
    assert source.readinto(buffer) == 3
    assert source.readinto(buffer) == 0
    assert source.size == 7


def test_a_file_that_cannot_be_read_is_told_so(tmp_path):
    with pytest.raises(InputError, match="No such file"), reading(str(tmp_path / "none")):
        pass
    with reading(str(tmp_path)) as folder, pytest.raises(InputError, match="Is a directory"):
        folder.readinto(memoryview(bytearray(1)))


def test_it_appears_when_it_is_whole(tmp_path, source, kind):
    target = tmp_path / "out"
    with writing(str(target), source, force=False) as sink:
        sink.write(b"one ")
        sink.write(b"two")
        assert not target.exists()
        assert sink.written == 7
    assert target.read_bytes() == b"one two"
    assert target.stat().st_mode & 0o777 == 0o600
    assert listing(tmp_path) == ["in", "out"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_what_failed(tmp_path, source, kind, failure):
    with pytest.raises(failure):
        write(tmp_path / "out", source, b"half", raises=failure, force=True)
    assert listing(tmp_path) == ["in"]


def test_a_file_that_is_there_stays(tmp_path, source, kind):
    target = tmp_path / "out"
    target.write_bytes(b"precious")
    with (
        pytest.raises(InputError, match="There is a file") as caught,
        writing(str(target), source, force=False),
    ):
        pytest.fail("it began to write")
    assert "--force" in caught.value.remedy
    assert target.read_bytes() == b"precious"


def test_a_file_that_appears_meanwhile_stays_too(tmp_path, source, kind):
    target = tmp_path / "out"
    with pytest.raises(InputError, match="There is a file"):
        write(target, source, b"ours", meanwhile=lambda: target.write_bytes(b"theirs"))
    assert target.read_bytes() == b"theirs"
    assert listing(tmp_path) == ["in", "out"]


def test_force_replaces_it_in_one_step(tmp_path, source, kind):
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with writing(str(target), source, force=True) as sink:
        sink.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert listing(tmp_path) == ["in", "out"]


def test_force_replaces_a_link_and_not_what_it_leads_to(tmp_path, source):
    (tmp_path / "elsewhere").write_bytes(b"kept")
    (tmp_path / "out").symlink_to("elsewhere")
    with writing(str(tmp_path / "out"), source, force=True) as sink:
        sink.write(b"new")
    assert not (tmp_path / "out").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"kept"


@pytest.mark.parametrize("force", [True, False])
def test_the_file_that_is_read_is_not_written(tmp_path, source, force):
    for name in ("in", "hard", "soft"):
        if name == "hard":
            (tmp_path / name).hardlink_to(tmp_path / "in")
        if name == "soft":
            (tmp_path / name).symlink_to("in")
        with (
            pytest.raises(InputError) as caught,
            writing(str(tmp_path / name), source, force=force),
        ):
            pytest.fail("it began to write")
        assert caught.value.code == "output.same_file"
    assert (tmp_path / "in").read_bytes() == b"content"


def test_a_device_or_a_folder_is_not_replaced(tmp_path, source):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with (
            pytest.raises(InputError, match="no regular file"),
            writing(str(path), source, force=True),
        ):
            pytest.fail("it began to write")


def test_a_folder_that_is_not_there_is_told_so(tmp_path, source):
    with (
        pytest.raises(DeniedError, match="No such file or directory"),
        writing(str(tmp_path / "none" / "out"), source, force=False),
    ):
        pytest.fail("it began to write")


def test_where_there_are_no_hard_links_it_is_renamed(tmp_path, source, monkeypatch):
    real = os.open

    def no_temporary(path, flags, *more, **named):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EISDIR, "Is a directory")
        return real(path, flags, *more, **named)

    def no_links(*_given, **_named):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "open", no_temporary)
    monkeypatch.setattr(os, "link", no_links)
    with writing(str(tmp_path / "out"), source, force=False) as sink:
        sink.write(b"new")
    assert listing(tmp_path) == ["in", "out"]
    with (
        pytest.raises(InputError, match="There is a file"),
        writing(str(tmp_path / "two"), source, force=False),
    ):
        (tmp_path / "two").write_bytes(b"theirs")
    assert (tmp_path / "two").read_bytes() == b"theirs"


def test_a_full_disk_is_told_so():
    handle = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(DeniedError, match="No space left on device"):
            RawOutput(handle, "out").write(b"data")
    finally:
        os.close(handle)


def test_a_reader_that_goes_away_is_no_success():
    out, into = os.pipe()
    os.close(out)
    try:
        with pytest.raises(UnreachableError, match="before its end"):
            RawOutput(into, "standard output").write(b"data")
    finally:
        os.close(into)


def test_a_pipe_that_does_not_wait_is_waited_for():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        source = RawInput(ours.fileno(), "standard input")
        late = threading.Timer(0.05, theirs.sendall, (b"late",))
        late.start()
        buffer = memoryview(bytearray(8))
        assert source.readinto(buffer) == 4
        late.join()
        sink = RawOutput(ours.fileno(), "standard output")
        reader = threading.Timer(0.05, _drain, (theirs, 4_000_000))
        reader.start()
        left = memoryview(bytes(4_000_000))
        while left:
            left = left[sink.write(left) :]
        reader.join()
    assert sink.written == 4_000_000


def _drain(end, count):
    while count:
        count -= len(end.recv(1 << 16))


# It looks again and again: a signal between the last look and a read without end would be seen
# only when the read ends.
KILLED = """
import select, signal, sys
from cronos.front.outputs import reading, writing
# Whoever runs this may have had it ignored, as a shell has what runs in its background.
signal.signal(signal.SIGINT, signal.default_int_handler)
with reading(sys.argv[1]) as source, writing(sys.argv[2], source, force=False) as sink:
    sink.write(b"half")
    print("writing", flush=True)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        pass
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whatever_ends_the_process_nothing_is_left(tmp_path, number):
    (tmp_path / "in").write_bytes(b"x")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "in"), str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(number)
        assert process.wait(30) != 0
    assert listing(tmp_path) == ["in"]


def test_a_file_beyond_the_limit_leaves_nothing(tmp_path, source):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DeniedError, match="File too large"):
            write(tmp_path / "out", source, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert listing(tmp_path) == ["in"]


def test_standard_output_keeps_what_it_took_and_is_not_told_otherwise(source, monkeypatch):
    handle = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(outputs, "_STDOUT", handle)
    try:
        with (
            pytest.raises(DeniedError, match="what it took so far was left behind"),
            writing("-", source, force=False) as sink,
        ):
            sink.write(b"data")
    finally:
        os.close(handle)


def test_a_closed_standard_input_is_no_file_that_has_its_number(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input of this process is closed"), reading("-"):
        pytest.fail("it read what stands at number 0")


def test_a_closed_standard_output_is_no_file_that_has_its_number(source, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    refuse_terminal("-", asked=False)
    with (
        pytest.raises(InputError, match="standard output of this process is closed"),
        writing("-", source, force=False),
    ):
        pytest.fail("it wrote to what stands at number 1")


def test_a_name_of_any_bytes_is_shown_as_text(tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/\xff")
    with pytest.raises(InputError) as caught, reading(name):
        pytest.fail("there is none")
    assert caught.value.sentence.encode().endswith(
        "/\ufffd cannot be read: No such file or directory.".encode()
    )
    Path(name).touch()
    with reading(name) as one:
        assert one.shown.encode().endswith("\ufffd".encode())
        with writing(f"{name}.out", one, force=False) as sink:
            assert sink.shown.encode().endswith("\ufffd.out".encode())
        with pytest.raises(InputError) as caught, writing(f"{name}.out", one, force=False):
            pytest.fail("it is there")
        assert caught.value.sentence.encode()


def test_raw_bytes_are_not_poured_over_a_terminal(monkeypatch):
    monkeypatch.setattr(outputs.sys, "stdout", type("Terminal", (), {"isatty": lambda _: True})())
    with pytest.raises(InputError, match="no place for raw bytes"):
        refuse_terminal("-", asked=False)
    refuse_terminal("-", asked=True)
    refuse_terminal("file", asked=False)
