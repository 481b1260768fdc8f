"""A member that was taken over: real credential, real links, and whatever it likes to say.

``python -m bench.hostile_node FOLDER NAME ADDRESS SEED,…``, a node of `bench.members_node` with
other commands, one a line:

``replay``                 send every delivery frame that it was sent back to everybody, as its own
``forge ORIGIN FIRST N``   bulletins in another node's name, in its own stream
``flood FIRST N``          bulletins in its own name, as fast as the streams take them, none signed
``garbage N``              random bytes on every lane
``bury NAME``              tell everybody, as found out itself, that this node is dead
``roles``                  claim roles that its certificate does not allow
``stop``
"""

import asyncio
import functools
import gc
import os
import sys

import uvloop
from bench import members_node
from bench.members_node import tell
from bench.story_node import address_of, bulletin_about

from cronos.errors import CronosError
from cronos.mesh import memberwire
from cronos.mesh.cards import _ENCODER, CONTEXT, Claim, _Packed
from cronos.mesh.memberwire import Card, Notes
from cronos.mesh.wire import Item, Parcels, pack
from cronos.testing.conformance.base import noise
from cronos.types import Lane, PeerStatus, Ping, encode

_TOGETHER = 100
_KEPT = 2_000


class Hostile(members_node.Node):
    """One node, in bad hands."""

    def __init__(self, folder, name, address):
        super().__init__(folder, name, address)
        self.swim._roles = ("audit",)  # what its certificate allows
        self.frames = []
        self.position = 0

    async def receive(self, peer, lane, data):
        """Keep what deliveries say; the membership goes on as it should."""
        if lane in (Lane.KEYS, Lane.MEMBERS):
            await self.swim.receive(peer, lane, data)
        elif len(self.frames) < _KEPT:
            self.frames.append((lane, bytes(data)))

    async def shout(self, lane, data):
        """Send to everybody; give how many took it."""
        taken = 0
        for peer in self.mesh.peers():
            try:
                await self.mesh.send(peer, lane, data)
                taken += 1
            except CronosError:
                await asyncio.sleep(0.01)
        return taken

    async def replay(self):
        """Send what was heard once more."""
        sent = 0
        for lane, data in list(self.frames):
            sent += await self.shout(lane, data)
        tell("replayed", frames=len(self.frames), sent=sent)

    async def lie(self, origin, first, count):
        """Send bulletins, numbered as its own stream."""
        sent = 0
        for begin in range(0, count, _TOGETHER):
            items, after = [], self.position
            for n in range(begin, min(begin + _TOGETHER, count)):
                self.position += 1
                said = bulletin_about(f"lie{self.position}", origin, address_of(first + n),
                                      (9 << 32) + self.position)  # fmt: skip
                items.append(Item(self.position, 9, 600_000, encode(said)))
            sent += await self.shout(Lane.THREAT, pack(Parcels(1, after, tuple(items))))
        tell("lied", origin=origin, count=count, sent=sent)

    async def garbage(self, count):
        """Send noise on every lane."""
        sent = 0
        for n in range(count):
            for lane in Lane:
                sent += await self.shout(lane, noise(n, 1 + n * 37 % 1_000))
        tell("garbage", sent=sent)

    async def bury(self, name):
        """Say that a node is dead, in its latest incarnation."""
        sent = 0
        for _ in range(50):
            for peer in self.swim.members():
                if peer.instance == name:
                    dead = _dead(peer)
                    frame = memberwire.pack(Notes(Ping(0, self.name, (dead,))))
                    sent += await self.shout(Lane.MEMBERS, frame)
            await asyncio.sleep(0.02)
        tell("buried", name=name, sent=sent)

    async def claim(self):
        """Sign a card with every role there is."""
        cards = self.datagrams.cards
        while (own := cards.of(self.name)) is None:  # noqa: ASYNC110 - it is made in a thread
            await asyncio.sleep(0.05)
        roles = ("audit", "communication", "defense", "operations")
        body = _ENCODER.encode(Claim(1, cards._trust.domain, self.name, own.epoch + 1, roles))
        sign = cards.bound.sign(body, CONTEXT)
        packed = _ENCODER.encode(_Packed(body, cards.bound.public, tuple(own.chain), sign))
        sent = await self.shout(Lane.MEMBERS, memberwire.pack(Card(packed)))
        tell("claimed", sent=sent)

    def obey(self, verb, *words):
        """Begin a command; None ends."""
        numbers = [int(one) if one.isdigit() else one for one in words]
        verbs = {
            "replay": self.replay,
            "forge": self.lie,
            "flood": functools.partial(self.lie, self.name),
            "garbage": self.garbage,
            "bury": self.bury,
            "roles": self.claim,
        }
        return verbs[verb](*numbers) if verb in verbs else None


def _dead(peer):
    changed = {"status": PeerStatus.DEAD, "firsthand": True, "roles": ()}
    return type(peer)(
        **{**{name: getattr(peer, name) for name in peer.__struct_fields__}, **changed}
    )


async def main(folder, name, address, *seeds):
    node = Hostile(folder, name, address)
    await node.start([one for one in seeds if one])
    gc.freeze()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        work = node.obey(*line)
        if work is None:
            break
        await work
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
