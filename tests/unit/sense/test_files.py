"""Files give their bytes again and again, and say where they broke."""

import gzip
import lzma
import os
import threading
from pathlib import Path

import pytest
from tests.unit.sealers import Scrambler

from cronos.errors import InputError
from cronos.sense.files import (
    FileConfig,
    FileSource,
    FollowConfig,
    FollowedSource,
    StdinConfig,
    StdinSource,
    expand,
)


def file(path: Path) -> FileSource:
    return FileSource(FileConfig(path=str(path)))


def followed(path: Path) -> FollowedSource:
    return FollowedSource(FollowConfig(path=str(path), linger_ms=1))


def everything(source: FileSource | StdinSource, size: int = 100) -> bytes:
    parts: list[bytes] = []
    while (data := source.read(size)) != b"":
        assert data is None or len(data) <= size
        parts.append(data or b"")
    return b"".join(parts)


def test_a_folder_is_all_its_files_sorted_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    for name in ("b/2.log", "a/1.log", "3.log"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    names = [str(path.relative_to(tmp_path)) for path in expand(str(tmp_path))]
    assert names == ["3.log", "a/1.log", "b/2.log"]
    assert expand(str(tmp_path / "3.log")) == [tmp_path / "3.log"]


def test_what_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.log cannot be read"):
        expand(str(tmp_path / "nothing.log"))
    with pytest.raises(InputError, match="no file in"):
        expand(str(tmp_path))
    with pytest.raises(InputError, match="no regular file"):
        file(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        file(tmp_path / "nothing.log")


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no regular file"):
        file(tmp_path / "pipe")


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_gzip_of_several_members_reads_like_the_plain_file(tmp_path: Path, size: int) -> None:
    plain = bytes(range(256)) * 40
    (tmp_path / "plain").write_bytes(plain)
    cut = len(plain) // 3
    (tmp_path / "gzip").write_bytes(gzip.compress(plain[:cut]) + gzip.compress(plain[cut:]))
    for name in ("plain", "gzip"):
        source = file(tmp_path / name)
        assert everything(source, size) == plain
        source.close()
        source.close()


def test_a_truncated_gzip_gives_its_good_bytes_and_then_says_where_it_ends(tmp_path: Path) -> None:
    plain = b"".join(b"line %d\n" % (n * n) for n in range(10_000))
    packed = gzip.compress(plain)
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    source = file(tmp_path / "cut.gz")
    got: list[bytes] = []
    with pytest.raises(InputError, match=rf"cut.gz ends .* at byte {len(packed) // 2}") as broken:
        got.extend(iter(lambda: source.read(1000) or b"", b""))
    assert broken.value.code == "sense.gzip"
    assert len(b"".join(got)) > len(plain) // 3
    assert plain.startswith(b"".join(got))
    source.close()


def test_a_gzip_broken_in_the_middle_says_where(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(os.urandom(10_000)))
    packed[5_000:5_100] = bytes(100)
    (tmp_path / "broken.gz").write_bytes(packed)
    source = file(tmp_path / "broken.gz")
    with pytest.raises(InputError, match=r"broken.gz is broken .* at byte \d+"):
        everything(source)
    source.close()


def test_other_compressions_are_refused_with_the_command_that_undoes_them(tmp_path: Path) -> None:
    (tmp_path / "log.xz").write_bytes(lzma.compress(b"x"))
    (tmp_path / "log.zst").write_bytes(b"\x28\xb5\x2f\xfd....")
    with pytest.raises(InputError, match="xz -d"):
        file(tmp_path / "log.xz")
    with pytest.raises(InputError, match="zstd -d"):
        file(tmp_path / "log.zst")


def test_a_followed_file_is_read_from_its_beginning_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    source = followed(path)
    assert source.read(100) == b"one\n"
    assert source.read(100) is None
    with path.open("ab") as log:
        log.write(b"two\n")
    assert source.read(100) == b"two\n"
    again = followed(path)
    assert again.name == source.name
    assert again.read(100) == b"one\ntwo\n"
    again.close()
    source.close()


def test_a_rotated_file_is_read_to_its_end_before_the_source_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    source = followed(path)
    assert source.read(100) == b"one\n"
    with path.open("ab") as log:
        path.rename(tmp_path / "log.1")
        log.write(b"late\n")
    path.write_bytes(b"one\n")
    assert source.read(100) == b"late\n"
    assert source.read(100) == b""
    successor = followed(path)
    assert successor.name != source.name
    assert successor.read(100) == b"one\n"
    source.close()
    successor.close()


def test_a_file_truncated_in_place_ends_and_comes_back_under_a_new_name(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"monday\ntuesday\n")
    source = followed(path)
    assert source.read(100) == b"monday\ntuesday\n"
    os.truncate(path, 0)
    assert source.read(100) == b""
    successor = followed(path)
    assert successor.read(100) is None
    with path.open("ab") as log:
        log.write(b"wed")
    assert successor.read(100) is None  # the line that names it is not whole
    with path.open("ab") as log:
        log.write(b"nesday\n")
    assert successor.read(100) == b"wednesday\n"
    assert successor.name != source.name
    third = followed(path)
    assert third.name == successor.name
    for one in (source, successor, third):
        one.close()


def test_a_removed_file_without_a_newline_still_gives_its_last_bytes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"cut o")
    source = followed(path)
    assert source.read(100) is None
    path.unlink()
    assert source.read(100) == b"cut o"
    assert source.read(100) == b""
    source.close()


def stdin(folder: Path, descriptor: int, max_bytes: int = 1 << 20) -> StdinSource:
    return StdinSource(
        StdinConfig(
            folder=str(folder / "spool"), descriptor=descriptor, max_bytes=max_bytes, linger_ms=1
        )
    )


def test_what_a_crashed_parser_read_from_a_pipe_is_read_again_by_the_next(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\nthr")
    first = stdin(tmp_path, reading)
    got = b""
    while len(got) < 11:
        got += first.read(4) or b""
    assert first.read(4) is None
    os.write(writing, b"ee\n")
    os.close(writing)
    second = stdin(tmp_path, reading)  # the first one crashed
    assert everything(second, 5) == b"one\ntwo\nthree\n"
    second.acknowledge(3)
    third = stdin(tmp_path, reading)
    assert third.first == 4
    assert everything(third) == b""
    for source in (first, second, third):
        source.close()
    os.close(reading)


def test_a_gzip_on_a_pipe_is_inflated_and_never_trimmed(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    plain = b"".join(b"line %d\n" % n for n in range(500))
    os.write(writing, gzip.compress(plain))
    os.close(writing)
    source = stdin(tmp_path, reading)
    assert everything(source, 64) == plain
    source.acknowledge(500)
    again = stdin(tmp_path, reading)
    assert again.first == 1
    assert everything(again) == plain
    for one in (source, again):
        one.close()
    os.close(reading)


def test_a_redirected_file_is_read_in_place(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\n")
    with (tmp_path / "log").open("rb") as log:
        for _ in range(2):
            source = stdin(tmp_path, log.fileno())
            assert everything(source, 3) == b"one\ntwo\n"
            source.close()
    assert not (tmp_path / "spool").exists()


def test_a_writer_waits_while_lines_are_not_acknowledged(tmp_path: Path) -> None:
    lines = b"".join(b"line %03d\n" % n for n in range(1, 101))
    reading, writing = os.pipe()

    def write() -> None:
        os.write(writing, lines)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    source = stdin(tmp_path, reading, max_bytes=90)
    got = b""
    while (data := source.read(50)) is not None:
        got += data
    assert len(got) == 90
    assert source.read(50) is None
    while data != b"":
        source.acknowledge(got.count(b"\n"))
        data = source.read(50)
        got += data or b""
    assert got == lines
    source.close()
    writer.join()
    os.close(reading)


def test_a_binary_stream_above_the_limit_is_refused_with_a_remedy(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"\xd4\xc3\xb2\xa1" + bytes(200))
    source = stdin(tmp_path, reading, max_bytes=100)
    with pytest.raises(InputError, match="Save it to a file"):
        everything(source)
    source.close()
    os.close(reading)
    os.close(writing)


def test_two_logs_with_one_header_and_one_inode_are_two_logs(tmp_path: Path) -> None:
    path = tmp_path / "conn.log"
    header = b"#separator \\x09\n#path\tconn\n"
    names: set[str] = set()
    path.write_bytes(header)
    for day in (b"monday\n", b"tuesday\n"):
        os.truncate(path, len(header))
        source = followed(path)
        assert source.read(100) is None  # a header alone names nothing
        with path.open("ab") as log:
            log.write(day)
        assert source.read(100) == header + day
        with path.open("ab") as log:
            log.write(b"more\n")
        again = followed(path)
        assert again.name == source.name
        names.add(source.name)
        source.close()
        again.close()
    assert len(names) == 2


def test_a_gzip_of_almost_nothing_but_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "members.gz"
    for tiny in (b"", b"x"):
        path.write_bytes(gzip.compress(tiny) * 5000)
        source = file(path)
        with pytest.raises(InputError, match="almost empty members"):
            everything(source)
        source.close()


def test_what_is_piped_is_sealed_read_again_and_numbered_as_before(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a secret\ntwo\nthr")
    config = StdinConfig(folder=str(tmp_path / "spool"), descriptor=reading, linger_ms=1)
    first = StdinSource(config, Scrambler())
    got = b""
    while len(got) < 16:
        got += first.read(4) or b""
    os.write(writing, b"ee\n")
    os.close(writing)
    second = StdinSource(config, Scrambler())  # the first one crashed
    assert everything(second, 5) == b"a secret\ntwo\nthree\n"
    lying = b"".join(path.read_bytes() for path in (tmp_path / "spool").iterdir())
    assert b"secret" not in lying
    second.acknowledge(3)
    third = StdinSource(config, Scrambler())
    assert third.first == 4
    assert everything(third) == b""
    for source in (first, second, third):
        source.close()
    os.close(reading)


def test_a_writer_waits_while_a_sealed_spool_is_full(tmp_path: Path) -> None:
    lines = b"".join(b"line %03d\n" % n for n in range(1, 1001))
    reading, writing = os.pipe()

    def write() -> None:
        os.write(writing, lines)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    config = StdinConfig(
        folder=str(tmp_path / "spool"), descriptor=reading, max_bytes=4000, linger_ms=1
    )
    source = StdinSource(config, Scrambler())
    got, data = b"", None
    for _ in range(2000):
        data = source.read(500)
        if data == b"":
            break
        got += data or b""
        if data is None:
            source.acknowledge(got.count(b"\n"))
        kept = sum(path.stat().st_size for path in (tmp_path / "spool").iterdir())
        assert kept <= 4000 + 512
    assert got == lines
    source.close()
    writer.join()
    os.close(reading)
