import asyncio

from tests.unit.mesh.mail import OneKey, until
from tests.unit.mesh.test_outbox import outbox, say

from cronos.errors import UnreachableError
from cronos.mesh.batches import MerkleSeals
from cronos.mesh.signing import Signing
from cronos.testing.tasks import InlineTasks


class Stage:
    """An outbox, a key and whoever signs with it."""

    def __init__(self, folder, *, signs=True):
        self.box, _ = outbox(folder)
        self.keys = OneKey(b"one")
        self.tasks = InlineTasks()
        self.signed, self.failed = [], []
        seals = MerkleSeals(self.keys, "one", {}.get) if signs else None
        self.signing = Signing(
            seals, self.box, self.tasks, lambda: self.signed.append(1), self.failed.append
        )

    def say(self, count, *, hurry=True):
        positions = [say(self.box).position for _ in range(count)]
        self.signing.add(positions, hurry=hurry)
        self.signing.kick()
        return positions

    async def end(self):
        self.signing.stop()
        await self.tasks.cancel()
        self.box.close()


def test_what_is_said_together_has_one_signature_and_each_its_own_place(tmp_path):
    async def story():
        stage = Stage(tmp_path)
        positions = [*stage.say(20), *stage.say(20)]
        assert stage.signing.proof(positions[0]) is None
        await until(lambda: stage.signing.proof(positions[-1]) is not None)
        batches = {id(stage.signing.proof(one)[0]) for one in positions}
        assert len(batches) == stage.keys.signatures == len(stage.signed) == 1
        assert [stage.signing.proof(one)[1] for one in positions] == list(range(40))
        await stage.end()

    asyncio.run(story())


def test_what_the_keys_refuse_waits_for_the_next_kick(tmp_path):
    async def story():
        stage = Stage(tmp_path)
        sign, away = stage.keys.sign, UnreachableError("testing.away", "Away.", "Wait.")

        def refuse(*_):
            raise away

        stage.keys.sign = refuse
        (position,) = stage.say(1)
        await until(lambda: stage.failed == [away])
        stage.keys.sign = sign
        await until(lambda: not stage.signing._running)
        stage.signing.kick()
        await until(lambda: stage.signing.proof(position) is not None)
        await stage.end()

    asyncio.run(story())


def test_proofs_of_what_is_gone_are_forgotten(tmp_path):
    async def story():
        stage = Stage(tmp_path)
        positions = stage.say(1_030)
        await until(lambda: stage.signing.proof(positions[-1]) is not None)
        for position in positions:
            stage.box._remove(position)
        stage.signing.prune()
        assert stage.signing._proofs == {}
        await stage.end()

    asyncio.run(story())


def test_where_nobody_signs_nothing_waits(tmp_path):
    async def story():
        stage = Stage(tmp_path, signs=False)
        positions = stage.say(3)
        assert not stage.signing._waiting
        assert stage.signing.proof(positions[0]) is None
        await stage.end()

    asyncio.run(story())
