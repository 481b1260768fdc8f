"""A spool keeps what was read until somebody says that it is safe."""

import errno
import os
from pathlib import Path

import pytest
from tests.unit.sealers import Away, Scrambler

from cronos.errors import InputError, UnreachableError
from cronos.sense.spool import Spool
from cronos.sense.spoolframes import SealedStore


def full(*_arguments: object, **_more: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def read_all(spool: Spool) -> bytes:
    parts: list[bytes] = []
    while (data := spool.read(7)) is not None:
        parts.append(data)
    return b"".join(parts)


def test_what_was_appended_is_read_again_by_the_next_process(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool", 1 << 20)
    first.append(b"one\ntwo\n")
    assert read_all(first) == b"one\ntwo\n"
    assert first.read(10) is None
    first.append(b"three\n")
    second = Spool(tmp_path / "spool", 1 << 20)  # the first one was killed: never closed
    assert second.first_line == 1
    assert read_all(second) == b"one\ntwo\nthree\n"
    first.close()
    second.close()
    second.close()


def test_acknowledging_frees_whole_segments_and_keeps_the_line_numbers(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 800)  # segments of 100 bytes
    for number in range(1, 41):
        spool.append(b"line %05d\n" % number)
    spool.acknowledge(15)
    assert 1 < spool.first_line <= 16
    kept = read_all(spool)
    assert kept.startswith(b"line %05d\n" % spool.first_line)
    assert kept.endswith(b"line 00040\n")
    spool.close()
    again = Spool(tmp_path, 800)
    assert again.first_line == spool.first_line
    again.acknowledge(40)
    assert again.first_line == 41
    assert again.room == 800
    assert read_all(again) == b""
    again.append(b"next\n")
    assert read_all(again) == b"next\n"
    again.close()
    assert Spool(tmp_path, 800).first_line == 41


def test_trimming_what_was_not_read_yet_goes_on_at_the_oldest_kept_line(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 160)
    for number in range(1, 11):
        spool.append(b"line %d\n" % number)
    spool.read(3)
    spool.acknowledge(6)
    assert read_all(spool).startswith(b"line %d\n" % spool.first_line)
    spool.close()


def test_a_full_spool_refuses_with_a_remedy_and_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 20)
    spool.append(b"0123456789\n")
    with pytest.raises(InputError, match="limit of 20 bytes") as refused:
        spool.append(b"0123456789\n")
    assert refused.value.code == "sense.spool_full"
    assert spool.room == 9
    assert read_all(spool) == b"0123456789\n"
    spool.acknowledge(1)
    spool.append(b"0123456789\n")
    spool.close()


def test_an_append_without_a_newline_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100)
    with pytest.raises(InputError, match="newline"):
        spool.append(b"half a line")
    spool.close()


def test_a_line_torn_by_a_crash_is_dropped_and_its_number_is_used_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.append(b"one\n")
    spool.close()
    with next(tmp_path.glob("*.spool")).open("ab") as file:
        file.write(b"tw")
    again = Spool(tmp_path, 1000)
    again.append(b"two\n")
    assert read_all(again) == b"one\ntwo\n"
    again.acknowledge(2)
    assert again.first_line == 3
    again.close()


def test_a_torn_line_of_a_pipe_is_completed_by_what_the_pipe_still_holds(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntw")
    first = Spool(tmp_path, 1000, keep_torn=True)
    assert first.take_from(reading, 100) == 6
    os.write(writing, b"o\n")
    os.close(writing)
    again = Spool(tmp_path, 1000, keep_torn=True)
    assert again.take_from(reading, 100) == 2
    assert again.take_from(reading, 100) == 0
    assert read_all(again) == b"one\ntwo\n"
    again.acknowledge(1)
    assert again.first_line == 1
    again.acknowledge(2)
    assert again.first_line == 3
    os.close(reading)
    first.close()
    again.close()


def test_a_folder_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file/spool cannot be used"):
        Spool(tmp_path / "file" / "spool", 1000)


# --- sealed ----------------------------------------------------------------------------------


def sealed(
    folder: Path, max_bytes: int = 1 << 20, *, key: bytes = b"ours", pipe: bool = False
) -> Spool:
    return Spool(folder, max_bytes, Scrambler(key), keep_torn=pipe)


def test_a_sealed_spool_keeps_what_was_appended_and_shows_none_of_it(tmp_path: Path) -> None:
    first = sealed(tmp_path)
    first.append(b"one secret\ntwo\n")
    assert read_all(first) == b"one secret\ntwo\n"
    first.append(b"three\n")
    second = sealed(tmp_path)  # the first one was killed
    assert read_all(second) == b"one secret\ntwo\nthree\n"
    assert read_all(first) == b"three\n"
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".sealed"
    assert b"secret" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    first.close()
    second.close()


def test_a_sealed_spool_frees_segments_and_keeps_the_line_numbers(tmp_path: Path) -> None:
    spool = sealed(tmp_path, 16_000)
    for number in range(1, 81):
        spool.append(b"line %05d\n" % number)
    assert len(list(tmp_path.iterdir())) > 3
    spool.acknowledge(45)
    assert 1 < spool.first_line <= 46
    assert read_all(spool).startswith(b"line %05d\n" % spool.first_line)
    again = sealed(tmp_path, 16_000)
    again.acknowledge(80)
    assert (again.first_line, again.lines, len(list(tmp_path.iterdir()))) == (81, 0, 1)
    again.append(b"next\n")
    assert read_all(again) == b"next\n"
    assert sealed(tmp_path, 16_000).first_line == 81
    for _ in range(3):
        again.acknowledge(80)  # nothing new: no segment is begun
    assert len(list(tmp_path.iterdir())) == 1
    spool.close()
    again.close()


def test_a_sealed_spool_stays_within_its_bytes_on_disk(tmp_path: Path) -> None:
    spool = sealed(tmp_path, 8000)
    while spool.room >= 2:
        spool.append(b"x\n")
    with pytest.raises(InputError, match="limit of 8000 bytes"):
        spool.append(b"x\n")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 8000
    assert spool.lines > 50
    assert read_all(spool) == b"x\n" * spool.lines
    spool.close()


def test_a_torn_frame_is_dropped_at_every_length(tmp_path: Path) -> None:
    spool = sealed(tmp_path)
    spool.append(b"one\n")
    (path,) = tmp_path.iterdir()
    one = path.stat().st_size
    spool.append(b"two\n")
    spool.close()
    whole = path.read_bytes()
    for cut in range(one, len(whole)):
        path.write_bytes(whole[:cut])
        again = sealed(tmp_path)
        again.append(b"2\n")
        assert read_all(again) == b"one\n2\n"
        again.close()


def test_a_segment_whose_beginning_was_torn_goes_on_in_its_place(tmp_path: Path) -> None:
    spool = sealed(tmp_path, 4000, pipe=True)
    reading, writing = os.pipe()
    os.write(writing, b"".join(b"line %05d\n" % number for number in range(1, 101)))
    while spool.lines < 100:
        spool.take_from(reading, 300)
    spool.close()
    paths = sorted(tmp_path.glob("*.sealed"))
    begun = tmp_path / f"{101:016d}.sealed"
    for torn in (b"", b"\xffCSP\0\0"):
        begun.write_bytes(torn)
        again = sealed(tmp_path, 4000, pipe=True)
        assert len(list(tmp_path.glob("*.sealed"))) == len(paths) + 1
        assert again._at == 1100
        again.close()
        begun.unlink()
    os.close(reading)
    os.close(writing)


def test_lines_that_do_not_open_leave_a_trace_and_their_numbers(tmp_path: Path) -> None:
    spool = sealed(tmp_path)
    sizes = []
    for number in range(1, 6):
        sizes.append(next(tmp_path.iterdir()).stat().st_size)
        spool.append(b"line %d\n" % number)
    spool.close()
    path = next(tmp_path.iterdir())
    data = bytearray(path.read_bytes())
    data[sizes[2] + 40] ^= 1
    path.write_bytes(data)
    again = sealed(tmp_path)
    got = read_all(again)
    assert got.splitlines()[2] == b"(up to 1 lines were damaged in the spool)"
    assert got.splitlines()[3:] == [b"line 4", b"line 5"]
    again.append(b"line 6\n")
    assert read_all(again) == b"line 6\n"
    again.close()


def test_lines_lost_at_the_end_of_a_segment_leave_a_trace_before_the_next(tmp_path: Path) -> None:
    spool = sealed(tmp_path, 4000)
    for number in range(1, 31):
        spool.append(b"line %05d\n" % number)
    spool.close()
    first, second = sorted(tmp_path.glob("*.sealed"))[:2]
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    again = sealed(tmp_path, 4000)
    lines = read_all(again).splitlines()
    assert lines[int(second.stem) - 2] == b"(up to 1 lines were damaged in the spool)"
    assert lines[int(second.stem) - 1] == b"line %05d" % int(second.stem)
    assert len(lines) == 30
    again.close()


def test_a_spool_of_another_key_is_not_read_and_its_numbers_are_not_used_again(
    tmp_path: Path,
) -> None:
    spool = sealed(tmp_path)
    spool.append(b"one\ntwo\n")
    spool.close()
    again = sealed(tmp_path, key=b"another")
    again.append(b"three\n")
    assert read_all(again) == b"(up to 2 lines were damaged in the spool)\n\nthree\n"
    again.close()


def test_a_frame_of_another_spool_with_the_same_key_is_not_read(tmp_path: Path) -> None:
    for name in ("one", "other"):
        spool = sealed(tmp_path / name)
        spool.append(b"from %s\n" % name.encode())
        spool.close()
    (path,) = (tmp_path / "other").iterdir()
    path.replace(tmp_path / "one" / path.name)
    spool = sealed(tmp_path / "one")
    assert b"from other" not in read_all(spool)
    spool.close()


def test_a_spool_from_before_is_sealed_once_and_loses_no_line(tmp_path: Path) -> None:
    old = Spool(tmp_path, 800)
    for number in range(1, 41):
        old.append(b"line %05d\n" % number)
    old.acknowledge(15)
    first = old.first_line
    old.close()
    with max(tmp_path.glob("*.spool")).open("ab") as file:
        file.write(b"torn")
    for _ in range(2):
        spool = sealed(tmp_path, 8000)
        assert spool.first_line == first
        expected = b"".join(b"line %05d\n" % number for number in range(first, 41))
        assert read_all(spool) == expected
        assert not list(tmp_path.glob("*.spool"))
        spool.close()
    spool = sealed(tmp_path, 8000)
    spool.append(b"line 00041\n")
    spool.acknowledge(41)
    assert spool.first_line == 42
    spool.close()


def test_an_unsealed_segment_put_into_a_sealed_spool_is_never_read(tmp_path: Path) -> None:
    spool = sealed(tmp_path)
    spool.append(b"one\n")
    spool.close()
    for number in (1, 2):
        (tmp_path / f"{number:016d}.spool").write_bytes(b"forged\n")
    spool = sealed(tmp_path)
    assert read_all(spool) == b"one\n"
    assert not list(tmp_path.glob("*.spool"))
    spool.close()


def test_a_sealed_spool_is_not_opened_where_nothing_seals(tmp_path: Path) -> None:
    sealed(tmp_path).close()
    with pytest.raises(InputError, match="was sealed"):
        Spool(tmp_path, 1000)


def test_a_torn_line_of_a_pipe_is_completed_in_a_sealed_spool(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntw")
    first = sealed(tmp_path, pipe=True)
    assert first.take_from(reading, 100) == 6
    assert (tmp_path / "tail").stat().st_size == 0
    os.write(writing, b"o\n")
    os.close(writing)
    again = sealed(tmp_path, pipe=True)
    assert again.take_from(reading, 100) == 2
    assert again.take_from(reading, 100) == 0
    assert read_all(again) == b"one\ntwo\n"
    again.acknowledge(1)
    assert again.first_line == 1
    again.acknowledge(2)
    assert again.first_line == 3
    os.close(reading)
    first.close()
    again.close()


@pytest.mark.parametrize("step", ["spliced", "half", "sealed", "forgotten"])
def test_bytes_of_a_pipe_are_kept_once_wherever_it_is_killed(tmp_path: Path, step: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\nthree\n")
    os.close(writing)
    spool = sealed(tmp_path, pipe=True)
    spool.take_from(reading, 4)
    path = next(tmp_path.glob("*.sealed"))
    before = path.read_bytes()
    spool.take_from(reading, 6)
    after = path.read_bytes()
    # What a process leaves that is killed between two steps; the tail holds bytes 4 to 10.
    end = {"spliced": 0, "half": 20, "sealed": len(after), "forgotten": len(after)}[step]
    path.write_bytes(before + after[len(before) :][:end])
    tail = b"" if step == "forgotten" else b"\0\0\0\0two\nth"
    (tmp_path / "tail").write_bytes(tail)
    spool.close()
    again = sealed(tmp_path, pipe=True)
    while again.take_from(reading, 100):
        pass
    assert read_all(again) == b"one\ntwo\nthree\n"
    again.close()
    os.close(reading)


def test_bytes_of_a_pipe_wait_in_the_tail_while_nobody_can_seal(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\n")
    sealer = Away()
    spool = Spool(tmp_path, 1 << 20, sealer, keep_torn=True)
    sealer.here = False
    with pytest.raises(UnreachableError):
        spool.take_from(reading, 100)
    os.write(writing, b"two\n")
    os.close(writing)
    sealer.here = True
    while spool.take_from(reading, 100):
        pass
    assert read_all(spool) == b"one\ntwo\n"
    spool.close()
    os.close(reading)


def test_what_is_no_pipe_is_read_into_a_sealed_spool_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one\ntwo\n")
    spool = sealed(tmp_path / "spool", pipe=True)
    with (tmp_path / "file").open("rb") as file:
        while spool.take_from(file.fileno(), 5):
            pass
    assert read_all(spool) == b"one\ntwo\n"
    spool.close()


def test_a_full_disk_costs_nothing_that_was_taken_from_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n")
    os.close(writing)
    spool = sealed(tmp_path, pipe=True)

    for step in ("splice", "pwrite"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(InputError, match="No space left"):
                spool.take_from(reading, 4)
    while spool.take_from(reading, 100):
        pass
    assert read_all(spool) == b"one\ntwo\n"
    spool.close()
    os.close(reading)


def test_a_spool_that_cannot_be_opened_keeps_no_file_open(tmp_path: Path) -> None:
    sealed(tmp_path).close()
    sealer = Away()
    sealer.here = False
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(UnreachableError):
            Spool(tmp_path, 1000, sealer)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_segment_that_could_not_be_begun_takes_no_number_of_a_later_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at an acknowledgement, then room again, then a restart."""
    spool = sealed(tmp_path)
    spool.append(b"one\n")
    for step in ("pwrite", "ftruncate"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            spool.acknowledge(1)
    spool.append(b"two\n")
    spool.append(b"three\n")
    spool.close()
    again = sealed(tmp_path)
    assert (again.first_line, again.lines) == (1, 3)
    again.append(b"four\n")
    assert read_all(again) == b"one\ntwo\nthree\nfour\n"
    again.acknowledge(4)
    assert again.first_line == 5
    again.close()


def test_a_beginning_that_the_disk_takes_in_parts_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = sealed(tmp_path)
    spool.append(b"one\n")
    written = os.pwrite

    def a_part(descriptor: int, data: bytes, offset: int) -> int:
        return written(descriptor, data[:20], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", a_part)
        spool.acknowledge(1)
        spool.append(b"two\n")
    assert read_all(spool) == b"two\n"
    spool.close()
    (path,) = tmp_path.iterdir()
    whole = SealedStore(Scrambler(b"ours"), tmp_path.name).beginning(2, 4)
    assert path.read_bytes().startswith(whole)


def test_bytes_lost_within_a_line_of_a_pipe_do_not_join_what_stood_around_them(
    tmp_path: Path,
) -> None:
    reading, writing = os.pipe()
    spool = sealed(tmp_path, pipe=True)
    path = next(tmp_path.glob("*.sealed"))
    sizes = []
    for part in (b"from 192.0.", b"2.1 to 198.51.", b"100.9 port 22\n", b"next\n"):
        os.write(writing, part)
        sizes.append(path.stat().st_size)
        spool.take_from(reading, 100)
    spool.close()
    data = bytearray(path.read_bytes())
    data[sizes[1] + 40] ^= 1
    path.write_bytes(data)
    again = sealed(tmp_path, pipe=True)
    torn, following = read_all(again).splitlines()
    assert torn == b"from 192.0.\xff(14 bytes were damaged in the spool)100.9 port 22"
    assert following == b"next"
    again.close()
    for end in (reading, writing):
        os.close(end)


def test_a_file_whose_name_is_no_line_number_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ("9" * 40 + ".sealed")).write_bytes(b"no segment")
    (tmp_path / "7.sealed").write_bytes(b"no segment")
    spool = sealed(tmp_path)
    spool.append(b"one\n")
    assert (spool.first_line, read_all(spool)) == (1, b"one\n")
    spool.close()


@pytest.mark.parametrize("name", [f"{1:016d}.sealed", "tail", "migrating"])
def test_a_link_in_the_spools_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "spool"
    elsewhere.write_bytes(b"precious")
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    if name == "migrating":
        (folder / f"{1:016d}.spool").write_bytes(b"one\n")
    with pytest.raises(InputError, match="cannot be used"):
        sealed(folder, pipe=True)
    assert elsewhere.read_bytes() == b"precious"
