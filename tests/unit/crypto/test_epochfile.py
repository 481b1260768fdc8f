"""The file of epoch packets: appended, mirrored, torn, damaged, full, and no packet is lost."""

import fcntl
import os
import resource

import pytest

from cronos.crypto.epochfile import EpochFile
from cronos.errors import DeniedError

_ONE, _TWO, _THREE = ((bytes((n,)) * 4, bytes((n,)) * (500 + n)) for n in (1, 2, 3))


def _written(folder, *frames):
    file = EpochFile(folder)
    with file.writing():
        for frame in frames:
            file.append(*frame)
    return file


def _found(folder):
    return [EpochFile(folder).find(one[0]) for one in (_ONE, _TWO, _THREE)]


def test_packets_come_back_in_the_order_in_which_they_were_added(tmp_path):
    _written(tmp_path, _ONE, _TWO, _THREE)
    again = EpochFile(tmp_path)
    assert list(again.packets()) == [_ONE[1], _TWO[1], _THREE[1]]
    assert again.short_ids() == {_ONE[0], _TWO[0], _THREE[0]}
    assert not again.damaged
    assert (tmp_path / "epochs").read_bytes() == (tmp_path / "epochs.bak").read_bytes()


def test_the_bytes_of_a_frame_never_change(tmp_path):
    _written(tmp_path, (b"abcd", b"packet"))
    assert (tmp_path / "epochs").read_bytes().hex() == (
        "43524546"  # CREF
        "61626364"  # the epoch's short id
        "00000006"  # bytes of the packet
        "7426afc489d0eef9"  # SHA-256 of it, the first eight bytes
        "7061636b6574"
    )


def test_a_reader_sees_what_another_process_adds_later(tmp_path):
    reader = EpochFile(tmp_path)
    assert reader.find(_ONE[0]) is None
    _written(tmp_path, _ONE)
    assert reader.find(_ONE[0]) == _ONE[1]
    _written(tmp_path, _TWO)
    assert reader.find(_TWO[0]) == _TWO[1]


def test_only_this_user_may_read_the_files(tmp_path):
    _written(tmp_path / "new", _ONE)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o777 for one in (tmp_path / "new").iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["epochs", "epochs.bak"])
def test_cut_at_every_byte_nothing_is_lost_and_the_next_writer_heals_it(tmp_path, name):
    _written(tmp_path, _ONE, _TWO)
    whole = (tmp_path / name).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / name).write_bytes(whole[:length])
        assert _found(tmp_path) == [_ONE[1], _TWO[1], None]
    _written(tmp_path, _THREE)
    assert _found(tmp_path) == [_ONE[1], _TWO[1], _THREE[1]]
    assert (tmp_path / "epochs").read_bytes() == (tmp_path / "epochs.bak").read_bytes()


def test_any_changed_byte_costs_no_packet(tmp_path):
    _written(tmp_path, _ONE, _TWO)
    whole = (tmp_path / "epochs").read_bytes()
    for at in range(0, len(whole), 5):
        (tmp_path / "epochs").write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        found = EpochFile(tmp_path)
        assert found.find(_ONE[0]) == _ONE[1]
        assert found.find(_TWO[0]) == _TWO[1]
        assert found.damaged


def test_a_file_that_is_gone_comes_back_from_its_mirror(tmp_path):
    _written(tmp_path, _ONE, _TWO)
    for name, more in (("epochs", _THREE), ("epochs.bak", (b"more", b"more"))):
        (tmp_path / name).unlink()
        assert _found(tmp_path)[:2] == [_ONE[1], _TWO[1]]
        _written(tmp_path, more)
        assert _found(tmp_path) == [_ONE[1], _TWO[1], _THREE[1]]
        assert (tmp_path / "epochs").read_bytes() == (tmp_path / "epochs.bak").read_bytes()


def test_a_kill_between_the_two_files_is_healed(tmp_path):
    _written(tmp_path, _ONE)
    behind = (tmp_path / "epochs.bak").read_bytes()
    _written(tmp_path, _TWO)
    (tmp_path / "epochs.bak").write_bytes(behind)
    assert _found(tmp_path) == [_ONE[1], _TWO[1], None]
    _written(tmp_path, _THREE)
    assert (tmp_path / "epochs").read_bytes() == (tmp_path / "epochs.bak").read_bytes()


def test_a_length_that_lies_allocates_nothing_and_hides_no_later_packet(tmp_path):
    _written(tmp_path, _ONE, _TWO)
    (tmp_path / "epochs.bak").unlink()
    data = bytearray((tmp_path / "epochs").read_bytes())
    data[8:12] = b"\xff\xff\xff\xff"
    (tmp_path / "epochs").write_bytes(bytes(data))
    assert _found(tmp_path) == [None, _TWO[1], None]


def test_a_full_disk_adds_nothing_and_costs_nothing(tmp_path):
    _written(tmp_path, _ONE)
    before = (tmp_path / "epochs").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(DeniedError, match="cannot be written"):
            _written(tmp_path, _TWO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "epochs").read_bytes() == before
    assert _found(tmp_path) == [_ONE[1], None, None]
    _written(tmp_path, _TWO)
    assert _found(tmp_path) == [_ONE[1], _TWO[1], None]


def test_replacing_leaves_what_was_named_and_nothing_else(tmp_path):
    file = _written(tmp_path, _ONE, _TWO)
    with file.writing():
        file.replace({_TWO[0]: _THREE[1]})
    assert list(EpochFile(tmp_path).packets()) == [_THREE[1]]
    assert not list(tmp_path.glob("*.new"))


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    _written(tmp_path, _ONE)
    (tmp_path / "epochs").rename(tmp_path / "elsewhere")
    (tmp_path / "epochs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeniedError, match="epochs cannot be read"):
        EpochFile(tmp_path).find(_ONE[0])


def test_two_writers_wait_for_each_other(tmp_path):
    first, second = EpochFile(tmp_path), EpochFile(tmp_path)
    with first.writing():
        first.append(*_ONE)
        handle = os.open(tmp_path / "epochs.lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
    with second.writing():
        second.append(*_TWO)
    assert _found(tmp_path) == [_ONE[1], _TWO[1], None]
