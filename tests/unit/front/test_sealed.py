"""Who seals what: made late, with the agent's keys or the keystore's own."""

import contextlib
import threading

import pytest

from cronos.config import Config
from cronos.crypto.epochfile import EpochFile
from cronos.crypto.sealer import EpochSealer
from cronos.errors import CronosError, InputError
from cronos.front.keyring import open_keystore
from cronos.front.sealed import LateSealer, held_in, sealer_of, seals
from cronos.govern.ledger import SqliteConfig, SqliteLedger, record_starts
from cronos.govern.sealer import PlaintextSealer
from cronos.runtime.world import SystemClock
from cronos.sense.spool import Spool
from cronos.testing.memory_govern import MemorySealer


def test_a_late_sealer_says_what_the_real_one_says():
    late = LateSealer(MemorySealer)
    assert (late.sealing, late.seal_version) == (EpochSealer.sealing, EpochSealer.seal_version)


def test_it_is_made_once_at_its_first_use():
    made = []

    def build():
        made.append(MemorySealer())
        return made[-1]

    late = LateSealer(build)
    assert made == []
    sealed = late.seal(b"x", b"c", "user alice")
    assert late.open(sealed, b"c") == b"x"
    assert late.shred("user alice")
    assert len(made) == 1


def test_warming_makes_it_beside_and_an_error_waits_for_who_needs_it():
    ready = threading.Event()

    class Noticed(MemorySealer):
        def seal(self, plain, context, subject=""):
            ready.set()
            return super().seal(plain, context, subject)

    LateSealer(Noticed).warm(begin=True)
    assert ready.wait(10)

    def broken():
        raise InputError("test.broken", "No key.", "Make one.")

    late = LateSealer(broken)
    late.warm(begin=True)
    with pytest.raises(CronosError, match="No key"):
        late.seal(b"x", b"c")


def test_plaintext_is_chosen_by_name_and_needs_no_key(tmp_path):
    def never():
        raise AssertionError

    config = Config(sealer="plaintext")
    assert not seals(config)
    made = sealer_of(config, tmp_path, SystemClock(), "ledger", never)
    assert isinstance(made, PlaintextSealer)


def test_what_is_held_is_given_in_pieces_that_cut_no_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.front.sealed._PIECE_BYTES", 7)
    (tmp_path / "epochs").mkdir()
    (tmp_path / "epochs" / "store").write_bytes(b"packet")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "segment").write_bytes(bytes(range(100)))
    (tmp_path / "link").symlink_to(tmp_path / "below" / "segment")
    pieces = list(held_in(tmp_path))
    for at in range(100 - 12):
        assert any(bytes(range(at, at + 12)) in piece for piece in pieces)
    assert not any(b"packet" in piece for piece in pieces)
    assert list(held_in(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("every", [1, 3])
def test_a_ledger_of_many_starts_keeps_what_it_needs_and_no_more(tmp_path, monkeypatch, every):
    """Most starts seal nothing that stays: their packets go, and every record still opens."""
    monkeypatch.setattr("cronos.crypto.sealer._FORGET_EVERY", every)
    clock, folder = SystemClock(), tmp_path / "ledger"
    with contextlib.closing(open_keystore(Config(), tmp_path / "keys", clock, ensure=True)) as keys:

        def start():
            sealer = sealer_of(
                Config(), folder, clock, "ledger", lambda: keys, lambda: record_starts(folder)
            )
            ledger = SqliteLedger(SqliteConfig(), folder, sealer, clock)
            return ledger, sealer

        for number in range(24):
            ledger, sealer = start()
            sealer.seal(b"", b"warm")
            if number % 6 == 0:
                ledger.append([b"record %d" % number])
            ledger.close()
        ledger, _ = start()
        assert list(ledger.read(1, 100)) == [b"record 0", b"record 6", b"record 12", b"record 18"]
        ledger.close()
    assert len(EpochFile(folder).packets()) <= 4 + max(every, 2)


def test_a_spool_of_many_starts_keeps_what_it_needs_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.crypto.sealer._FORGET_EVERY", 3)
    clock, folder = SystemClock(), tmp_path / "spool"
    with contextlib.closing(open_keystore(Config(), tmp_path / "keys", clock, ensure=True)) as keys:
        for number in range(20):
            sealer = sealer_of(
                Config(),
                tmp_path / "epochs",
                clock,
                "spool",
                lambda: keys,
                lambda: held_in(folder),
            )
            spool = Spool(folder, 1 << 20, sealer)
            if number % 5 == 0:
                spool.append(b"line %d\n" % number)
            else:
                sealer.seal(b"", b"warm")
            spool.close()
        spool = Spool(folder, 1 << 20, sealer)
        read = b"".join(iter(lambda: spool.read(1 << 16) or b"", b""))
        assert read == b"line 0\nline 5\nline 10\nline 15\n"
        spool.close()
    assert len(EpochFile(tmp_path / "epochs").packets()) <= 4 + 3
