"""What is sealed at rest: epochs that begin once, keys that turn, subjects that are erased."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.unit.crypto.sealed_store import keystore, sealer

from cronos.crypto.epoch import parse_epoch
from cronos.crypto.epochfile import EpochFile
from cronos.crypto.keytree import NARROW, KeyTree
from cronos.crypto.refusal import REFUSED
from cronos.crypto.sealer import EpochsConfig
from cronos.crypto.subjects import Node, _tag
from cronos.errors import DeniedError, InputError, UnreachableError
from cronos.testing.clock import VirtualClock

_ROOT = pathlib.Path(__file__).parents[3]
_WHO = "address 192.0.2.7"


@pytest.fixture
def keys(tmp_path):
    opened = keystore(tmp_path / "keys")
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def _packets(folder):
    return [parse_epoch(packet) for packet in EpochFile(folder).packets()]


# --- bytes ----------------------------------------------------------------------------------------


def test_a_record_is_30_bytes_longer_and_a_subjects_record_75(folder, keys):
    one = sealer(folder, keys)
    plain, named = one.seal(b"x" * 100, b"c"), one.seal(b"x" * 100, b"c", _WHO)
    assert len(plain) == 100 + 30
    assert len(named) == 100 + 1 + 30 + 16 + 12 + 16
    assert plain[:2] == b"\x01\x01"
    assert named[:3] == b"\x04\x01\x01"
    assert plain[2:6] == named[3:7] == _packets(folder)[0].short_id


def test_its_packet_says_what_it_is_for_and_who_signed(folder, keys):
    sealer(folder, keys, store="scorer").seal(b"x", b"c")
    (epoch,) = _packets(folder)
    assert epoch.topic == "state/scorer"
    assert epoch.signed
    assert [kid.hex() for kid, _ in epoch.recipients] == [
        one.kid.hex() for one in keys.listed() if one.key_id == "state.1"
    ]
    assert epoch.not_after_ns - epoch.not_before_ns == 86_400 * 10**9


def test_nothing_is_named_in_what_people_and_logs_see(folder, keys):
    assert repr(sealer(folder, keys)) == "EpochSealer('state/ledger')"


def test_a_setting_it_does_not_know_is_refused():
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"key": "hunter2"}, EpochsConfig)


# --- what is refused ------------------------------------------------------------------------------


def test_every_changed_bit_every_cut_and_every_addition_is_refused(folder, keys):
    one = sealer(folder, keys)
    for sealed in (one.seal(b"record", b"c"), one.seal(b"record", b"c", _WHO)):
        forged = [
            sealed[:at] + bytes((sealed[at] ^ 1 << bit,)) + sealed[at + 1 :]
            for at in range(len(sealed))
            for bit in range(8)
        ]
        forged += [sealed[:length] for length in range(len(sealed))]
        forged += [sealed + b"\0", sealed[1:], b"\x02" + sealed, b"\x01" + sealed]
        for data in forged:
            with pytest.raises(DeniedError) as refused:
                one.open(data, b"c")
            assert refused.value.code == REFUSED


def test_another_context_another_store_and_another_layout_are_refused(folder, keys, tmp_path):
    one = sealer(folder, keys)
    sealed = one.seal(b"record", b"c")
    shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(DeniedError):
        one.open(sealed, b"d")
    with pytest.raises(DeniedError):
        one.open(b"\x02" + sealed, b"c")
    with pytest.raises(DeniedError) as refused:
        sealer(tmp_path / "copy", keys, store="leases").open(sealed, b"c")
    assert refused.value.code == REFUSED


def test_a_packet_that_somebody_else_wrote_is_refused_though_it_wraps_to_our_key(
    folder, keys, tmp_path
):
    """Who can write the folder cannot sign: the `state` key alone would accept anyone's packet."""
    with_foreign = keystore(tmp_path / "foreign")
    foreign = sealer(tmp_path / "elsewhere", with_foreign)
    sealed = foreign.seal(b"forged", b"c")
    folder.mkdir()
    for name in ("epochs", "epochs.bak"):
        shutil.copy(tmp_path / "elsewhere" / name, folder / name)
    with pytest.raises(DeniedError) as refused:
        sealer(folder, keys).open(sealed, b"c")
    assert refused.value.code == "crypto.other_keystore"
    with_foreign.close()


def test_another_keystore_is_named_not_taken_for_a_broken_record(folder, keys, tmp_path):
    sealed = sealer(folder, keys).seal(b"record", b"c")
    other = keystore(tmp_path / "other")
    with pytest.raises(DeniedError, match="which this keystore lacks") as refused:
        sealer(folder, other).open(sealed, b"c")
    assert refused.value.code == "crypto.other_keystore"
    other.close()


def test_a_lost_or_damaged_file_of_packets_is_named(folder, keys):
    sealed = sealer(folder, keys).seal(b"record", b"c")
    for data in (None, b"", b"noise" * 100):
        for name in ("epochs", "epochs.bak"):
            (folder / name).unlink(missing_ok=True)
            if data is not None:
                (folder / name).write_bytes(data)
        with pytest.raises(DeniedError, match="without it nothing opens") as refused:
            sealer(folder, keys).open(sealed, b"c")
        assert refused.value.code == "crypto.epochs_lost"


class _SilentKeys:
    """A double: a key agent that does not answer."""

    def __getattr__(self, _name):
        def call(*_given):
            raise UnreachableError("link.no_agent", "No key agent answers.", "Start it.")

        return call


def test_an_agent_that_does_not_answer_is_no_verdict_on_the_record(folder, keys):
    sealed = sealer(folder, keys).seal(b"record", b"c")
    silent = sealer(folder, _SilentKeys())
    with pytest.raises(UnreachableError):
        silent.open(sealed, b"c")
    with pytest.raises(UnreachableError):
        silent.seal(b"record", b"c")


def test_keys_of_the_wrong_kind_are_named(folder, keys):
    with pytest.raises(InputError, match="`identity` is no suite key"):
        sealer(folder, keys, state_key="identity").seal(b"x", b"c")
    with pytest.raises(InputError, match="`state` is no signing key"):
        sealer(folder, keys, signing_key="state").seal(b"x", b"c")


# --- epochs ---------------------------------------------------------------------------------------


def test_a_restart_is_another_epoch_linked_to_the_one_before(folder, keys):
    sealed = [sealer(folder, keys).seal(b"record", b"c") for _ in range(4)]
    packets = _packets(folder)
    assert len({epoch.epoch_id for epoch in packets}) == 4
    assert [epoch.previous for epoch in packets[1:]] == [epoch.link for epoch in packets[:-1]]
    again = sealer(folder, keys)
    assert [again.open(one, b"c") for one in sealed] == [b"record"] * 4


def test_an_epoch_ends_with_its_time_and_the_next_begins_by_itself(folder, keys):
    clock = VirtualClock()
    one = sealer(folder, keys, clock, epoch_max_s=60)
    sealed = []
    for _ in range(3):
        sealed.append(one.seal(b"record", b"c"))
        clock.advance(61 * 10**9)
    assert len(_packets(folder)) == 3
    assert [one.open(data, b"c") for data in sealed] == [b"record"] * 3


@pytest.mark.parametrize("limit", ["_MAX_RECORDS", "_MAX_BYTES"])
def test_an_epoch_ends_at_its_limits_and_no_record_is_lost(folder, keys, limit, monkeypatch):
    monkeypatch.setattr(f"cronos.crypto.sealer.{limit}", 3 if limit == "_MAX_RECORDS" else 20)
    one = sealer(folder, keys)
    sealed = [one.seal(b"record", b"c") for _ in range(7)]
    assert len(_packets(folder)) == 3
    assert [one.open(data, b"c") for data in sealed] == [b"record"] * 7


def _started(folder, keys, count, stored=None):
    """Seal one record in each of `count` starts."""
    return [sealer(folder, keys, stored=stored).seal(b"record", b"c") for _ in range(count)]


def test_packets_that_no_stored_record_names_are_dropped_and_no_other(folder, keys, monkeypatch):
    monkeypatch.setattr("cronos.crypto.sealer._FORGET_EVERY", 4)
    kept = [
        sealer(folder, keys).seal(b"named", b"c"),
        sealer(folder, keys).seal(b"named", b"c", _WHO),
    ]
    # A chance likeness of a record's start right before one hides nothing.
    pieces = [b"\x01" + kept[0], b"\x01\x01\x01" + kept[1]]
    for _ in range(40):
        _started(folder, keys, 1, lambda: pieces)
        assert len(_packets(folder)) <= len(kept) + 4
    again = sealer(folder, keys)
    assert [again.open(one, b"c") for one in kept] == [b"named"] * 2
    assert (folder / "epochs").read_bytes() == (folder / "epochs.bak").read_bytes()


def test_without_word_of_what_is_stored_every_packet_stays(folder, keys, monkeypatch):
    monkeypatch.setattr("cronos.crypto.sealer._FORGET_EVERY", 1)

    def unreadable():
        raise OSError

    sealed = _started(folder, keys, 3) + _started(folder, keys, 3, unreadable)
    assert len(_packets(folder)) == 6
    again = sealer(folder, keys)
    assert [again.open(one, b"c") for one in sealed] == [b"record"] * 6


def test_what_this_process_has_sealed_and_not_stored_yet_keeps_its_packet(
    folder, keys, monkeypatch
):
    monkeypatch.setattr("cronos.crypto.sealer._FORGET_EVERY", 1)
    clock = VirtualClock()
    one = sealer(folder, keys, clock, stored=tuple, epoch_max_s=60)
    on_its_way = one.seal(b"record", b"c")
    clock.advance(61 * 10**9)
    one.seal(b"later", b"c")
    assert sealer(folder, keys).open(on_its_way, b"c") == b"record"


def test_a_kill_while_packets_are_dropped_loses_none_that_is_named(folder, keys, monkeypatch):
    monkeypatch.setattr("cronos.crypto.sealer._FORGET_EVERY", 3)
    sealed = _started(folder, keys, 3)
    before = (folder / "epochs.bak").read_bytes()
    _started(folder, keys, 1, lambda: [sealed[1]])
    (folder / "epochs.bak").write_bytes(before)
    after = _started(folder, keys, 1)
    again = sealer(folder, keys)
    assert [again.open(one, b"c") for one in (sealed[1], *after)] == [b"record"] * 2


def test_a_mirror_that_lags_behind_a_shredding_is_brought_up_to_date_at_the_next_start(
    folder, keys
):
    one = sealer(folder, keys)
    gone = one.seal(b"gone", b"c", _WHO)
    behind = (folder / "subjects.bak").read_bytes()
    one.shred(_WHO)
    (folder / "subjects.bak").write_bytes(behind)
    sealer(folder, keys).seal(b"next", b"c")
    (folder / "subjects").unlink()
    with pytest.raises(DeniedError, match="has been destroyed"):
        sealer(folder, keys).open(gone, b"c")


def test_opening_alone_begins_no_epoch(folder, keys):
    sealed = sealer(folder, keys).seal(b"record", b"c")
    before = (folder / "epochs").read_bytes()
    assert sealer(folder, keys).open(sealed, b"c") == b"record"
    assert (folder / "epochs").read_bytes() == before


def test_a_fork_never_seals_with_the_parents_counter(folder, keys):
    one = sealer(folder, keys)
    one.seal(b"before", b"c")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, one.seal(b"child", b"c"))
        os._exit(0)
    os.waitpid(child, 0)
    theirs, ours = os.read(reading, 4096), one.seal(b"parent", b"c")
    os.close(reading)
    os.close(writing)
    assert theirs[2:6] != ours[2:6]
    assert one.open(theirs, b"c") == b"child"
    assert one.open(ours, b"c") == b"parent"


def test_threads_never_share_a_number_even_where_all_begin_the_first_epoch(folder, keys):
    one = sealer(folder, keys)
    sealed: list[bytes] = []

    def work():
        sealed.extend(one.seal(b"x", b"c") for _ in range(200))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({data[2:14] for data in sealed}) == 8 * 200
    assert len(_packets(folder)) == 1


_SEALS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from tests.unit.crypto.sealed_store import keystore, sealer
keys = keystore(Path(sys.argv[1]))
one = sealer(Path(sys.argv[2]), keys)
done = 0
def counted(real):
    def call(*given, **more):
        global done
        done += 1
        if done == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **more)
    return call
for name in ("fsync", "write", "replace", "open"):
    setattr(os, name, counted(getattr(os, name)))
Path.replace = counted(Path.replace)
sys.stdout.buffer.write(one.seal(b"record", b"c", "user alice"))
sys.stdout.buffer.flush()
keys.close()
"""


def test_killed_at_every_step_what_left_the_process_opens_and_the_next_one_seals(tmp_path):
    """Killed at the n-th call that touches the disk, for every n until none is left."""
    keystore(tmp_path / "keys").close()
    died = 0
    for step in range(1, 100):
        ended = subprocess.run(
            [sys.executable, "-c", _SEALS_AND_DIES, tmp_path / "keys", tmp_path / "s", str(step)],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONPATH": f"{_ROOT}:{_ROOT / 'src'}"},
        )
        keys = keystore(tmp_path / "keys")
        one = sealer(tmp_path / "s", keys)
        if ended.stdout:
            assert one.open(ended.stdout, b"c") == b"record"
        after = one.seal(b"after", b"c", "user alice")
        assert sealer(tmp_path / "s", keys).open(after, b"c") == b"after"
        keys.close()
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        died += 1
        if step % 4 == 0:
            shutil.rmtree(tmp_path / "s")
    assert died > 10
    assert ended.returncode == 0


# --- the state key turns --------------------------------------------------------------------------


def test_after_a_rotation_everything_opens_without_the_old_key(folder, keys):
    one = sealer(folder, keys)
    sealed = [one.seal(b"old", b"c"), one.seal(b"old", b"c", _WHO)]
    keys.rotate("state")
    assert one.rewrap() == 1
    assert one.rewrap() == 0
    keys.destroy("state.1")
    again = sealer(folder, keys)
    assert [again.open(data, b"c") for data in sealed] == [b"old", b"old"]
    # The process that was sealing goes on in its epoch, which a reader opens by its new packet.
    assert again.open(one.seal(b"still", b"c"), b"c") == b"still"


def test_the_next_epoch_brings_all_packets_to_the_key_that_is_active(folder, keys):
    one = sealer(folder, keys)
    sealed = [one.seal(b"old", b"c"), one.seal(b"old", b"c", _WHO)]
    keys.rotate("state")
    keys.rotate("identity")
    sealer(folder, keys).seal(b"new", b"c")
    keys.destroy("state.1")
    keys.destroy("identity.1")
    again = sealer(folder, keys)
    assert [again.open(data, b"c") for data in sealed] == [b"old", b"old"]


def test_a_kill_in_the_middle_of_a_rewrap_is_made_good_by_the_next_one(folder, keys):
    one = sealer(folder, keys)
    sealed = one.seal(b"old", b"c")
    behind = (folder / "epochs.bak").read_bytes()
    keys.rotate("state")
    one.rewrap()
    (folder / "epochs.bak").write_bytes(behind)
    assert sealer(folder, keys).rewrap() == 0
    keys.destroy("state.1")
    (folder / "epochs").unlink()
    assert sealer(folder, keys).open(sealed, b"c") == b"old"


def test_a_key_destroyed_too_early_is_said_as_that(folder, keys):
    sealed = sealer(folder, keys).seal(b"old", b"c")
    keys.rotate("state")
    keys.destroy("state.1")
    with pytest.raises(DeniedError):
        sealer(folder, keys).open(sealed, b"c")


def test_records_stay_byte_for_byte_when_keys_turn(folder, keys):
    one = sealer(folder, keys)
    sealed = one.seal(b"old", b"c")
    before = _packets(folder)[0]
    keys.rotate("state")
    one.rewrap()
    after = _packets(folder)[0]
    assert (before.epoch_id, before.commitment) == (after.epoch_id, after.commitment)
    assert before.recipients != after.recipients
    assert one.open(sealed, b"c") == b"old"


# --- subjects -------------------------------------------------------------------------------------


def test_what_was_shredded_never_opens_again_for_anyone(folder, keys):
    one, reader = sealer(folder, keys), sealer(folder, keys)
    gone, other = one.seal(b"gone", b"c", _WHO), one.seal(b"other", b"c", "address 192.0.2.8")
    assert reader.open(gone, b"c") == b"gone"
    assert one.shred(_WHO)
    for each in (one, reader, sealer(folder, keys)):
        with pytest.raises(DeniedError) as refused:
            each.open(gone, b"c")
        assert refused.value.code == "crypto.shredded"
        assert each.open(other, b"c") == b"other"


def test_after_shredding_the_same_subject_gets_a_key_that_opens_nothing_old(folder, keys):
    one = sealer(folder, keys)
    gone = one.seal(b"gone", b"c", _WHO)
    for _ in range(3):
        one.shred(_WHO)
        new = one.seal(b"new", b"c", _WHO)
        assert sealer(folder, keys).open(new, b"c") == b"new"
        with pytest.raises(DeniedError, match="has been destroyed"):
            one.open(gone, b"c")
        gone = new


def test_another_process_that_seals_meets_the_shredding_at_once(folder, keys):
    writer, eraser = sealer(folder, keys), sealer(folder, keys)
    writer.seal(b"before", b"c", _WHO)
    eraser.shred(_WHO)
    after = writer.seal(b"after", b"c", _WHO)
    assert eraser.open(after, b"c") == b"after"


def test_no_name_of_a_subject_lies_in_the_folder(folder, keys):
    one = sealer(folder, keys)
    one.seal(b"x", b"c", _WHO)
    one.shred(_WHO)
    one.seal(b"x", b"c", _WHO)
    assert all(b"192.0.2.7" not in file.read_bytes() for file in folder.iterdir())


def test_a_subjects_record_needs_the_epochs_key_too(folder, keys):
    """The tag that names the subject is itself sealed: records of one subject look unrelated."""
    one = sealer(folder, keys)
    first, second = one.seal(b"x", b"c", _WHO), one.seal(b"x", b"c", _WHO)
    assert not {first[at : at + 8] for at in range(15, len(first) - 8)} & {
        second[at : at + 8] for at in range(15, len(second) - 8)
    }


def test_records_of_before_the_wide_tree_open_and_are_shredded(folder, keys):
    """Made as they were then: layout 02, a binary tree alone in the file."""
    one = sealer(folder, keys)
    one.seal(b"x", b"c", "address 192.0.2.8")
    subjects = one._subjects
    root = Node(0, bytes(10), bytes(range(32)))
    subjects._write(subjects._tree.tag_key, [root], {})
    tag = _tag(subjects._tree.tag_key, _WHO, 0)
    cipher = AESGCM(KeyTree(NARROW, [((0, 0), root.secret)]).leaf(int.from_bytes(tag[:10], "big")))
    inner = tag + bytes(12) + cipher.encrypt(bytes(12), b"old", tag + b"c")
    old = b"\x02" + one._seal(inner, b"\x02c")
    later = sealer(folder, keys)
    assert later.open(old, b"c") == b"old"
    new = later.seal(b"new", b"c", _WHO)
    assert new[:1] == b"\x04"
    for each in (one, later, sealer(folder, keys)):
        assert (each.open(old, b"c"), each.open(new, b"c")) == (b"old", b"new")
        with pytest.raises(DeniedError):
            each.open(b"\x04" + old[1:], b"c")
    assert later.shred(_WHO)
    for data in (old, new):
        with pytest.raises(DeniedError, match="has been destroyed"):
            sealer(folder, keys).open(data, b"c")
