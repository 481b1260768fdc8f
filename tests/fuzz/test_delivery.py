"""Whatever a peer sends and whatever lies in the outbox: nothing raises, memory stays bounded."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.mesh.mail import THREAT, Node, bulletin

from cronos.errors import InputError
from cronos.mesh import entries, wire
from cronos.mesh.outbox import Outbox, OutboxConfig
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.types import Receipt, encode

POSITIONS = st.integers(0, 40)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.integers(1, 9).map(lambda n: encode(bulletin("two", n))),
    st.integers(1, 9).map(lambda n: encode(Receipt("two", "one", n))),
)
ITEMS = st.builds(
    wire.Item, POSITIONS, st.integers(0, 3), st.integers(0, 99_999), BODIES, POSITIONS
)
MESSAGES = st.one_of(
    st.builds(wire.Parcels, st.integers(0, 3), POSITIONS, st.lists(ITEMS, min_size=1).map(tuple)),
    st.builds(wire.Acked, st.integers(0, 3), POSITIONS, POSITIONS),
    st.builds(
        wire.Signatures,
        st.integers(0, 3),
        st.just(bytes(16)),
        st.integers(1, 65_536),
        st.binary(max_size=9),
        st.lists(
            st.builds(wire.Leaf, POSITIONS, POSITIONS, st.binary(max_size=96)), min_size=1
        ).map(tuple),
    ),
    st.just(wire.SigningKey(bytes(2592))),
    st.just(wire.Give(1)),
).map(wire.pack)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data):
    try:
        wire.unpack(data)
    except InputError:
        return


@given(st.binary(max_size=200))
def test_any_bytes_are_entries_or_refused(data):
    try:
        entries.unpack(data)
    except ValueError:
        return


@settings(deadline=None)
@given(st.lists(st.one_of(MESSAGES, st.binary(max_size=80)), max_size=25))
def test_no_peer_makes_a_delivery_raise(frames):
    async def story(folder):
        node = Node(MemoryNetwork(), "one", folder)
        await node.start()
        node.delivery.linked("two", up=True)
        await node.delivery.post(bulletin("one", 1))
        for data in frames:
            await node.delivery.receive("two", THREAT, data)
            node.delivery.tick()
        box = node.outbox.inbox.box("two")
        assert box.signed <= box.held
        assert len(node.bulletins()) == len(set(node.bulletins()))
        await node.stop()

    folder = Path(tempfile.mkdtemp())
    try:
        asyncio.run(story(folder))
    finally:
        shutil.rmtree(folder)


@settings(deadline=None)
@given(st.data())
def test_no_bytes_on_the_disk_keep_an_outbox_from_opening(data):
    folder = Path(tempfile.mkdtemp())
    try:
        box = Outbox(OutboxConfig(), folder, MemorySealer(), VirtualClock(), 1, signs=False)
        box.open()
        box.close()
        path = folder / "outbox"
        whole = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(whole) - 1))
            whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
            whole = whole or bytearray(b"x")
        path.write_bytes(whole)
        box = Outbox(OutboxConfig(), folder, MemorySealer(), VirtualClock(), 2, signs=False)
        box.open()
        box.close()
        box = Outbox(OutboxConfig(), folder, MemorySealer(), VirtualClock(), 3, signs=False)
        assert box.open() == []
        box.close()
    finally:
        shutil.rmtree(folder)
