"""One reflex process is served, commands beside it, and nobody else."""

import asyncio
import contextlib
import pathlib
import tempfile

import pytest

from cronos.errors import InputError
from cronos.link.frames import FrameSplitter, frame
from cronos.mesh.serving import MeshServer
from cronos.testing.tasks import InlineTasks
from cronos.types import ControlCall, ControlReply, Hello, Members, Receipt, decode, encode


class Caller:
    def __init__(self, path):
        self.path = path
        self.splitter = FrameSplitter()
        self.frames = []

    async def open(self, *said):
        self.reader, self.writer = await asyncio.open_unix_connection(str(self.path))
        for datum in said:
            self.say(datum)
        return self

    def say(self, datum):
        self.writer.write(frame(encode(datum)))

    async def hear(self):
        while not self.frames:
            try:
                data = await self.reader.read(1 << 16)
            except ConnectionError:
                return None
            if not data:
                return None
            self.frames += self.splitter.feed(data)
        return decode(self.frames.pop(0))

    async def close(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class Stage:
    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "mesh.sock"
        self.heard = []
        self.callers = []
        self.gone = asyncio.Event()
        self.tasks = InlineTasks()
        self.server = MeshServer(self.path, self.tasks, self.hear, self.answer, self.gone.set)

    async def call(self, *said):
        self.callers.append(await Caller(self.path).open(*said))
        return self.callers[-1]

    async def hear(self, said):
        self.heard += said

    async def answer(self, call):
        if call.verb != "status":
            raise InputError("mesh.unknown_verb", "It is not understood.", "Ask for the status.")
        return {"peers": 3}

    async def until(self, condition):
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.002)
        raise AssertionError("it never came true")


def play(story):
    async def run():
        with tempfile.TemporaryDirectory() as folder:
            stage = Stage(folder)
            await stage.server.start()
            try:
                await asyncio.wait_for(story(stage), 20)
            finally:
                for caller in stage.callers:
                    await caller.close()
                await stage.server.stop()
                await stage.tasks.cancel()
            assert stage.tasks.errors == []

    asyncio.run(run())


def test_what_the_reflex_process_says_is_heard_in_order_and_it_is_told_what_is_for_it():
    async def story(stage):
        stage.server.tell(Members(("too early",)))
        said = [Receipt("a", "b", n) for n in range(1000)]
        caller = await stage.call(Hello("reflex", 1), *said)
        await stage.until(lambda: len(stage.heard) == 1000)
        assert stage.heard == said
        assert stage.server.met.is_set()
        stage.server.tell(Members(("b",)))
        assert await caller.hear() == Members(("b",))
        await caller.close()
        await stage.gone.wait()

    play(story)


def test_a_command_is_answered_and_cannot_speak_for_the_reflex_process():
    async def story(stage):
        await stage.call(Hello("reflex", 1))
        caller = await stage.call(ControlCall(7, "status"), ControlCall(8, "dance"))
        first = await caller.hear()
        assert first == ControlReply(7, b'{"peers":3}')
        rude = await stage.call(Receipt("a", "b", 1))
        assert await rude.hear() is None
        usurper = await stage.call(Hello("reflex", 2))
        assert await usurper.hear() is None
        assert stage.heard == []
        assert not stage.gone.is_set()

    play(story)


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 64, frame(b"\x01"), frame(b""), b"GET / HTTP/1.1"], ids="abcd"
)
def test_garbage_ends_its_own_connection_alone(garbage):
    async def story(stage):
        reflex = await stage.call(Hello("reflex", 1))
        rude = await stage.call()
        rude.writer.write(garbage)
        rude.writer.write_eof()
        assert await rude.hear() is None
        stage.server.tell(Members(()))
        assert await reflex.hear() == Members(())

    play(story)


def test_places_are_bounded():
    async def story(stage):
        await stage.call(Hello("reflex", 1))
        await stage.server.met.wait()
        for _ in range(20):
            await stage.call()
        await stage.until(lambda: len(stage.server.clients) == 8)

    play(story)


def test_a_reflex_process_that_does_not_read_is_crowded(monkeypatch):
    monkeypatch.setattr("cronos.mesh.serving._MOST_UNREAD", 100_000)

    async def story(stage):
        assert not stage.server.crowded()
        caller = await stage.call(Hello("reflex", 1))
        await stage.until(stage.server.met.is_set)
        for number in range(40_000):
            stage.server.tell(Receipt("a", "b", number))
        assert stage.server.crowded()
        for _ in range(40_000):
            await caller.hear()
        await stage.until(lambda: not stage.server.crowded())

    play(story)
