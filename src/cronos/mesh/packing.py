"""What goes into a delivery's frames: messages first, their signatures once they are held.

A message to all is packed once for all peers that stand at the same place. In a flood signatures
wait until it has passed, or for a second and a half: to verify them costs their receiver more than
to take the messages, just when everybody waits for receipts.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from cronos.mesh import wire
from cronos.mesh.batches import Batch
from cronos.mesh.line import Line
from cronos.mesh.outbox import Outbox
from cronos.mesh.signing import Signing
from cronos.ports import Clock

# Verifying takes some 40 us for each: a frame must not hold up what comes behind it.
_LEAVES: Final = 128
# A frame for the datagrams that go beside a stream, and one for whoever has much to catch up.
_SMALL_BYTES: Final = 1_000
_LARGE_BYTES: Final = 48 << 10
_FEW: Final = 16
_MANY: Final = 256
_ITEM_BYTES: Final = 40
# How long a packed frame tells well enough for how long its messages still count.
_FRESH_NS: Final = 5_000_000
_PACKED: Final = 8


class Frame(NamedTuple):
    """Packed messages, by their positions, and when that was."""

    data: bytes
    positions: tuple[int, ...]
    packed_ns: int


class Packing:
    """Packs what an outbox holds for a peer.

    Args:
        outbox: holds the messages.
        signing: has their signatures.
        clock: says how long messages still count, and whether a flood is over.
    """

    def __init__(self, outbox: Outbox, signing: Signing, clock: Clock) -> None:
        self._outbox = outbox
        self._signing = signing
        self._clock = clock
        self._packed: OrderedDict[tuple[int, int, tuple[int, ...]], Frame] = OrderedDict()

    def messages(self, peer: str, line: Line) -> Frame | None:
        """Give the next frame of messages for a peer; None where there are none."""
        after, posted = self._outbox.due(peer, line.sent, _MANY, _LARGE_BYTES)
        if not posted:
            return None
        now = self._clock.now()
        if len(posted) > _FEW:
            line.flooded(now.boot_ns)
        stream = self._outbox.stream
        # All of them: between the same two another peer may be owed as many, and others.
        key = (stream, after, tuple([one.position for one in posted]))
        known = self._packed.get(key)
        if known is not None and now.boot_ns - known.packed_ns < _FRESH_NS:
            return known
        room = _SMALL_BYTES if len(posted) <= _FEW else _LARGE_BYTES
        items: list[wire.Item] = []
        for one in posted:
            room -= len(one.data) + _ITEM_BYTES
            if items and room < 0:
                break
            left_ms = self._outbox.left_ms(one, now)
            items.append(wire.Item(one.position, one.incarnation, left_ms, one.data, one.of))
        data = wire.pack(wire.Parcels(stream, after, tuple(items)))
        frame = Frame(data, tuple([one.position for one in items]), now.boot_ns)
        self._packed[key] = frame
        if len(self._packed) > _PACKED:
            self._packed.popitem(last=False)
        return frame

    def signatures(self, peer: str, line: Line) -> tuple[Batch, tuple[wire.Leaf, ...]] | None:
        """Give the next signature that concerns a peer, with its messages of that batch.

        For what it holds: while messages are under way nothing that may come later goes before.
        """
        held = self._outbox.told(peer).held
        if line.signed >= held or line.is_flooded(self._clock.now().boot_ns):
            return None
        _, posted = self._outbox.due(peer, line.signed, _LEAVES)
        leaves: list[wire.Leaf] = []
        batch: Batch | None = None
        for one in posted:
            proof = self._signing.proof(one.position)
            if proof is None or one.position > held or proof[0] is not (batch or proof[0]):
                break
            batch = proof[0]
            leaves.append(wire.Leaf(one.position, proof[1], batch.paths[proof[1]]))
        return None if batch is None else (batch, tuple(leaves))
