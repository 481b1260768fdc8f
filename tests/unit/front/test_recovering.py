"""A node's ledger comes back over real streams, opened with its real keys, or not at all."""

import asyncio
import shutil
import threading

import pytest
from tests.unit.crypto.pki.plant import Plant
from tests.unit.mesh.copies import Owner

from cronos.config import Config, Node, convert
from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.front.keyring import using_keys
from cronos.front.membership import holder_of
from cronos.front.recovering import Watch, recover
from cronos.front.sealed import sealer_of
from cronos.govern.copies import LedgerCopy, LedgerSource
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.link.egress import EgressGate
from cronos.mesh.keeper import Keeper
from cronos.mesh.replica import Replica
from cronos.mesh.streams import GrpcMesh, GrpcMeshConfig
from cronos.runtime.world import SystemClock
from cronos.testing.clock import SequenceIds
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.testing.tasks import InlineTasks

ONE = Config(node=Node(instance="one"))


class KeeperThread:
    """A peer that keeps copies, on an event loop of its own."""

    def __init__(self, folder, holder):
        self.folder, self.holder = folder, holder
        self.started, self.ended = threading.Event(), None
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.started.wait(20)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join(20)

    async def serve(self):
        self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
        tasks, clock = InlineTasks(), SystemClock()
        mesh = GrpcMesh(
            GrpcMeshConfig(listen="127.0.0.1:0", drain_s=0),
            clock=clock,
            tasks=tasks,
            egress=EgressGate(),
            ids=SequenceIds("two"),
            holder=lambda: self.holder,
            report=lambda *_words, **_more: None,
        )
        keeper = Keeper(mesh, lambda owner: LedgerCopy(self.folder / owner), tasks, print)
        own = LedgerSource(self.folder / "none")
        replica = Replica("two", mesh, own, keeper, clock, tasks)
        await mesh.start(replica.receive, replica.linked)
        self.address = mesh.address
        self.started.set()
        await self.ended.wait()
        await mesh.stop()
        await replica.stop()
        await tasks.cancel()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A trust domain with a peer that keeps a copy of the ledger of `one`, and that node's keys."""
    folder = tmp_path_factory.mktemp("recovering")
    plant = Plant(folder / "plant", clock=SystemClock())
    state = folder / "state"
    with using_keys(ONE, state, ensure=True) as keys:
        holder = holder_of(ONE, state, SystemClock())
        holder.accept(plant.authority.admit(holder.request(plant.token("one"))))
        written = folder / "written"
        sealer = sealer_of(ONE, written, SystemClock(), "ledger", lambda: keys)
        ledger = SqliteLedger(SqliteConfig("one"), written, sealer, SystemClock())
        ledger.append([b"record %d" % n for n in range(300)])
        copy, source = LedgerCopy(folder / "kept" / "one"), LedgerSource(written)
        copy.begin(source.extent().origin)
        copy.append(1, *source.rows(1, 999, 1 << 20))
        for name, data in source.files().items():
            copy.put(name, data)
        copy.close()
        source.close()
        ledger.close()
    with KeeperThread(folder / "kept", plant.joined("two")) as peer:
        yield state, peer.address, folder, plant


@pytest.fixture
def lost(world, tmp_path):
    """The state folder of a node whose keys were restored and whose ledger was lost."""
    state, address, folder, _ = world
    shutil.copytree(state, tmp_path / "state")
    return tmp_path / "state", address, folder


def test_a_ledger_comes_back_and_is_verified_with_the_nodes_keys(lost):
    state, address, _ = lost
    came = []
    told = recover(ONE, state, [address], watch=Watch(lambda *count: came.append(count)))
    assert (told.node, told.peer, told.records, told.kept) == ("one", "two", 300, {"two": 300})
    assert came[-1] == (300, 300)
    with using_keys(ONE, state) as keys:
        folder = state / "one" / "ledger"
        sealer = sealer_of(ONE, folder, SystemClock(), "ledger", lambda: keys)
        ledger = SqliteLedger(SqliteConfig("one"), folder, sealer, SystemClock())
        assert ledger.read(1, 999) == [b"record %d" % n for n in range(300)]
        assert ledger.append([b"on"]) == 301
        ledger.close()
    with pytest.raises(DeniedError, match="empty place"):
        recover(ONE, state, [address])


def test_with_other_keys_nothing_becomes_the_ledger(lost):
    state, address, _ = lost
    shutil.rmtree(state / "one" / "keys")
    with using_keys(ONE, state, ensure=True):
        pass
    with pytest.raises(CronosError):
        recover(ONE, state, [address], patience_s=2)
    assert not (state / "one" / "ledger").exists()


def test_what_was_stopped_half_way_is_begun_again(lost):
    state, address, _ = lost
    half = Owner(MemoryNetwork(), "one", state / "half")
    half.write(b"half of another")
    half.ledger.close()
    shutil.copytree(state / "half" / "ledger", state / "one" / "ledger.recovering")
    assert recover(ONE, state, [address]).records == 300


def test_where_nobody_keeps_anything_it_is_said(lost):
    state, _, _ = lost
    with pytest.raises(UnreachableError) as caught:
        recover(ONE, state, ["127.0.0.1:1"], patience_s=0.3)
    assert caught.value.code == "front.nothing_kept"
    assert not (state / "one" / "ledger").exists()


def test_a_node_that_does_not_seal_has_nothing_to_recover(lost):
    state, address, _ = lost
    readable = convert({"node": {"instance": "one"}, "sealer": "plaintext"}, Config, "test")
    with pytest.raises(DeniedError, match="does not seal"):
        recover(readable, state, [address])


def test_one_that_claims_more_and_made_it_up_keeps_nobody_from_the_true_one(lost, world, tmp_path):
    state, address, _ = lost
    forger = Owner(MemoryNetwork(), "one", tmp_path / "forged")
    forger.write(*(b"made up %d" % n for n in range(400)))
    forger.ledger.close()
    shutil.copytree(tmp_path / "forged" / "ledger", tmp_path / "lies" / "one")
    told = []
    with KeeperThread(tmp_path / "lies", world[3].joined("three")) as liar:
        watch = Watch(tell=told.append)
        found = recover(ONE, state, [address, liar.address], patience_s=3, watch=watch)
    assert (found.peer, found.records) == ("two", 300)
    assert any(said.startswith("three: ") for said in told)
