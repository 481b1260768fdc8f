import contextlib
import resource

import pytest
from tests.unit.sealers import Away, Scrambler

from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.mesh.journal import Journal
from cronos.testing.memory_govern import MemorySealer

SOME = [b"first", b"second" * 100, b"third"]


@contextlib.contextmanager
def file_limit(most):
    """Let no file of this process grow beyond `most` bytes: what a full disk does to a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def opened(folder, sealer=None):
    journal = Journal(folder, "outbox", sealer or MemorySealer())
    return journal, journal.load()


def written(folder, payloads=SOME, sealer=None):
    journal, _ = opened(folder, sealer)
    for payload in payloads:
        journal.append(payload)
    journal.close()
    return folder / "outbox"


@pytest.mark.parametrize("sealer", [MemorySealer(), PlaintextSealer(PlaintextConfig())])
def test_what_was_appended_is_there_at_the_next_opening(tmp_path, sealer):
    written(tmp_path, sealer=sealer)
    journal, payloads = opened(tmp_path, sealer)
    assert payloads == SOME
    journal.append(b"fourth")
    journal.close()
    assert opened(tmp_path, sealer)[1] == [*SOME, b"fourth"]


def test_a_rewrite_replaces_all_that_was_there(tmp_path):
    journal, _ = opened(tmp_path)
    for payload in SOME:
        journal.append(payload)
    before = journal.size
    journal.rewrite([b"only"])
    assert journal.size < before
    journal.append(b"next")
    journal.close()
    journal, payloads = opened(tmp_path)
    assert payloads == [b"only", b"next"]
    assert journal.remarks == []


def test_nothing_readable_lies_on_the_disk(tmp_path):
    path = written(tmp_path, [b"a secret of the plant"], Scrambler())
    assert b"secret" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_torn_end_of_any_length_loses_only_what_was_torn(tmp_path):
    whole = written(tmp_path).read_bytes()
    ends = [at for at in range(len(whole)) if whole.startswith(b"CRJ1", at)]
    for cut in range(ends[0], len(whole)):
        (tmp_path / "outbox").write_bytes(whole[:cut])
        journal, payloads = opened(tmp_path)
        assert payloads == SOME[: sum(end <= cut for end in ends[1:])]
        assert journal.remarks == []
        journal.append(b"goes on")
        journal.close()
        journal, again = opened(tmp_path)
        assert again == [*payloads, b"goes on"]
        journal.close()


def test_any_flipped_byte_is_noticed_and_the_rest_goes_on(tmp_path):
    whole = written(tmp_path).read_bytes()
    last = whole.rfind(b"CRJ1")
    for at in range(0, last, 3):
        (tmp_path / "outbox").write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
        journal, payloads = opened(tmp_path)
        assert all(payload in SOME for payload in payloads)
        assert [one.code for one in journal.remarks] == ["mesh.journal_damaged"], at
        journal.close()


def test_what_was_damaged_is_kept_beside_once_it_is_written_anew(tmp_path):
    path = written(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[40] ^= 1
    path.write_bytes(whole)
    journal, payloads = opened(tmp_path)
    journal.rewrite(payloads)
    journal.close()
    assert (tmp_path / "outbox.damaged").read_bytes() == whole
    journal, again = opened(tmp_path)
    assert again == payloads
    assert journal.remarks == []


def test_frames_can_be_neither_moved_nor_repeated_nor_taken_from_another_generation(tmp_path):
    whole = written(tmp_path).read_bytes()
    starts = [at for at in range(len(whole)) if whole.startswith(b"CRJ1", at)]
    head, frames = (
        whole[: starts[0]],
        [whole[a:b] for a, b in zip(starts, [*starts[1:], len(whole)], strict=True)],
    )
    for order in ([1, 0, 2], [0, 0, 1, 2], [0, 2], [0, 1, 1]):
        (tmp_path / "outbox").write_bytes(head + b"".join(frames[n] for n in order))
        journal, _ = opened(tmp_path)
        assert journal.remarks
        journal.close()
    (tmp_path / "outbox").write_bytes(head[:-1] + b"\x09" + b"".join(frames))
    assert opened(tmp_path)[1] == []


def test_another_key_opens_nothing_and_says_so(tmp_path):
    written(tmp_path)
    journal, payloads = opened(tmp_path, MemorySealer(b"another"))
    assert payloads == []
    assert journal.remarks


def test_a_file_of_another_kind_is_set_aside(tmp_path):
    (tmp_path / "outbox").write_bytes(b"something else entirely")
    journal, payloads = opened(tmp_path)
    assert payloads == []
    with pytest.raises(DeniedError):
        journal.append(b"x")
    journal.rewrite([b"x"])
    assert (tmp_path / "outbox.damaged").read_bytes() == b"something else entirely"


def test_two_processes_cannot_hold_it(tmp_path):
    opened(tmp_path)
    with pytest.raises(DeniedError, match="Another process"):
        Journal(tmp_path, "outbox", MemorySealer())


def test_keys_that_are_away_stop_the_opening_and_lose_nothing(tmp_path):
    sealer = Away()
    written(tmp_path, sealer=sealer)
    sealer.here = False
    journal = Journal(tmp_path, "outbox", sealer)
    with pytest.raises(UnreachableError):
        journal.load()
    sealer.here = True
    assert journal.load() == SOME
    assert journal.remarks == []


def test_a_full_disk_costs_nothing_that_was_there(tmp_path):
    journal, _ = opened(tmp_path)
    journal.append(b"first")
    with file_limit(journal.size + 20), pytest.raises(DeniedError) as caught:
        journal.append(b"second" * 10)
    assert caught.value.code == "mesh.journal_unwritable"
    with pytest.raises(DeniedError):
        journal.append(b"third")
    with file_limit(10), pytest.raises(DeniedError):
        journal.rewrite([b"first", b"second"])
    journal.close()
    journal, payloads = opened(tmp_path)
    assert payloads == [b"first"]
    assert journal.remarks == []
    journal.append(b"second")
    journal.close()
    assert opened(tmp_path)[1] == [b"first", b"second"]


def test_what_a_kill_left_of_a_rewrite_is_removed(tmp_path):
    written(tmp_path)
    (tmp_path / "outbox.new").write_bytes(b"half")
    assert opened(tmp_path)[1] == SOME
    assert not (tmp_path / "outbox.new").exists()


def test_a_folder_that_cannot_be_used_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CronosError):
        Journal(tmp_path / "file", "outbox", MemorySealer())
