"""The reflex process's connections: made again whenever they break, deaf to nonsense."""

import asyncio

from cronos.link.frames import frame
from cronos.runtime.channel import Channel
from cronos.types import Hello, Reported, encode


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came true")


async def session(path, story):
    """Serve on `path`; `story(accepted, channel, heard, greeted)` plays."""
    accepted, heard, greeted = [], [], []

    async def serve(reader, writer):
        accepted.append((reader, writer))
        await reader.read(0)

    server = await asyncio.start_unix_server(serve, path)
    channel = Channel(path, heard.append, lambda: greeted.append(True))
    running = asyncio.get_running_loop().create_task(channel.run())
    try:
        await story(accepted, channel, heard, greeted)
    finally:
        channel.close()
        for _, writer in accepted:
            writer.close()
        server.close()
        await running


def test_what_is_sent_arrives_and_what_arrives_is_heard(tmp_path):
    async def story(accepted, channel, heard, _greeted):
        await until(lambda: channel.up and accepted)
        assert channel.send(Hello("reflex", 1))
        reader, writer = accepted[0]
        assert await reader.readexactly(len(frame(encode(Hello("reflex", 1)))))
        writer.write(frame(encode(Reported(7))))
        await until(lambda: heard)
        assert heard == [Reported(7)]

    asyncio.run(session(tmp_path / "s", story))


def test_a_lost_worker_is_connected_again_and_greeted(tmp_path):
    async def story(accepted, channel, _heard, greeted):
        await until(lambda: accepted)
        accepted[0][1].close()
        await until(lambda: len(accepted) == 2)
        await until(lambda: channel.up)
        assert len(greeted) == 2

    asyncio.run(session(tmp_path / "s", story))


def test_nonsense_ends_the_connection_and_a_new_one_is_made(tmp_path):
    async def story(accepted, _channel, heard, _greeted):
        await until(lambda: accepted)
        accepted[0][1].write(b"\xff" * 64)
        await until(lambda: len(accepted) == 2)
        accepted[1][1].write(frame(b"no datum"))
        await until(lambda: heard or len(accepted) == 3)

    asyncio.run(session(tmp_path / "s", story))


def test_with_nobody_there_sending_says_so(tmp_path):
    channel = Channel(tmp_path / "nobody", lambda _datum: None, lambda: None)

    assert channel.send(Hello("reflex", 1)) is False
