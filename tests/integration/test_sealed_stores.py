"""Lease book, scorer state and spools under the real sealer: what a writer of files cannot do."""

import pytest
from tests.unit.respond.stage import BootClock, deny
from tests.unit.respond.test_leasebook import end, lease

from cronos.config import Config
from cronos.detect.scorer import Scorer
from cronos.front.keyring import open_keystore
from cronos.front.plugins import make
from cronos.respond.leasebook import LeaseBook
from cronos.sense.spool import Spool
from cronos.testing.memory_sense import MemoryDetector
from cronos.types import Batch, Observation, Provenance


class Node:
    """One keystore; each call of `sealer` is a process that starts."""

    def __init__(self, folder):
        self.folder = folder
        config = Config(plugin={"keystore": {"root": "machine-key"}})
        self.keys = open_keystore(config, folder / "keys", BootClock(), ensure=True)

    def sealer(self, store):
        folder = self.folder / "epochs" / store
        clock = BootClock()
        return make(
            "sealer", "epochs", Config(), folder=folder, keys=self.keys, clock=clock, store=store
        )

    def book(self, purpose="leases"):
        return LeaseBook(self.folder / purpose, self.sealer("leases"), purpose)

    def scorer(self):
        (self.folder / "run").mkdir(exist_ok=True)
        detectors = [MemoryDetector()]
        return Scorer(detectors, BootClock(), self.folder / "run", self.sealer("scorer"))

    def spool(self, name="spool-one"):
        return Spool(self.folder / name, 1 << 20, self.sealer("spool"))


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    yield node
    node.keys.close()


def addresses(book):
    return [it.plan.action.target.value for it in book.leases.values()]


def lines(spool):
    return b"".join(iter(lambda: spool.read(50) or b"", b""))


def observed(last):
    seen = tuple(
        Observation("log", seq, seq, "scan", Provenance.BIDIRECTIONAL) for seq in range(1, last + 1)
    )
    return Batch("log", last, seen)


def written(scorer, last):
    scorer.score(observed(last))
    scorer.write(scorer.prepare())


def test_what_was_sealed_in_one_process_opens_in_the_next_under_another_epoch(node):
    for number in range(1, 4):
        book, spool, scorer = node.book(), node.spool(), node.scorer()
        assert len(book.leases) == number - 1
        assert scorer.state.sources == ({"log": number - 1} if number > 1 else {})
        assert lines(spool) == b"".join(b"line %d\n" % past for past in range(1, number))
        book.write([lease(f"192.0.2.{number}")], durable=True)
        spool.append(b"line %d\n" % number)
        written(scorer, number)
        assert (book.defects, scorer.remarks) == ([], [])
        book.close()
        spool.close()


def test_after_the_state_key_was_rotated_everything_still_opens(node):
    book, spool = node.book(), node.spool()
    book.write([lease()], durable=True)
    spool.append(b"one\n")
    written(node.scorer(), 3)
    book.close()
    spool.close()
    node.keys.rotate("state")
    for store in ("leases", "spool", "scorer"):
        node.sealer(store).rewrap()
    node.keys.destroy("state.1")
    book, spool = node.book(), node.spool()
    assert addresses(book) == ["192.0.2.7"]
    assert lines(spool) == b"one\n"
    assert node.scorer().state.sources == {"log": 3}
    book.close()
    spool.close()


def test_the_files_of_two_books_cannot_change_places(node):
    for purpose in ("leases", "leases-aside"):
        book = node.book(purpose)
        book.write([lease()], durable=True)
        book.close()
    one, other = (node.folder / name / "leases.sealed" for name in ("leases", "leases-aside"))
    beside = node.folder / "beside"
    one.replace(beside)
    other.replace(one)
    beside.replace(other)
    for purpose in ("leases", "leases-aside"):
        book = node.book(purpose)
        assert not book.leases
        assert "does not open" in book.defects[0]
        book.close()


def test_frames_of_one_store_open_in_no_other(node):
    book = node.book()
    book.write([lease()], durable=True)
    book.close()
    written(node.scorer(), 3)
    for name in ("spool-one", "spool-two"):
        spool = node.spool(name)
        spool.append(b"from %s\n" % name.encode())
        spool.close()
    state = (node.folder / "run" / "scorer.sealed").read_bytes()
    leases = (node.folder / "leases" / "leases.sealed").read_bytes()
    segment = next((node.folder / "spool-two").glob("*.sealed"))
    (node.folder / "run" / "scorer.sealed").write_bytes(state[:1] + leases[28:])
    next((node.folder / "spool-one").glob("*.sealed")).write_bytes(segment.read_bytes())
    (node.folder / "leases" / "leases.sealed").write_bytes(leases[:28] + state[1:])
    assert node.scorer().state.sources == {}
    spool, book = node.spool(), node.book()
    assert b"from" not in lines(spool)
    assert not book.leases
    spool.close()
    book.close()


def test_an_older_file_put_back_whole_is_taken_for_the_newest(node):
    """Nothing elsewhere counts how far a file has come: this is what sealing does not show."""
    book, scorer = node.book(), node.scorer()
    book.write([lease()], durable=True)
    written(scorer, 3)
    paths = [node.folder / "leases" / "leases.sealed", node.folder / "run" / "scorer.sealed"]
    older = [path.read_bytes() for path in paths]
    book.write([end(lease())], durable=True)
    written(scorer, 5)
    book.close()
    for path, data in zip(paths, older, strict=True):
        path.write_bytes(data)
    book = node.book()
    assert (addresses(book), book.defects) == (["192.0.2.7"], [])
    assert node.scorer().state.sources == {"log": 3}
    # The lease still ends when it would have ended: its time is in it, and sealed.
    assert book.leases[lease().plan.action.action_id, "inc-1"].expires_boot_ns == 300 * 10**9
    assert book.first_granted_ns(deny("192.0.2.7", "inc-1"), "boot-1") == 0
    book.close()


def test_a_cut_tail_is_not_seen_but_a_cut_frame_is(node):
    book = node.book()
    sizes = []
    for number in (1, 2, 3):
        book.write([lease(f"192.0.2.{number}")], durable=True)
        sizes.append((node.folder / "leases" / "leases.sealed").stat().st_size)
    book.close()
    path = node.folder / "leases" / "leases.sealed"
    data = path.read_bytes()
    for cut, kept, named in ((sizes[1], 2, False), (sizes[1] - 1, 1, True)):
        path.write_bytes(data[:cut])
        book = node.book()
        assert (len(book.leases), bool(book.defects)) == (kept, named)
        book.close()
