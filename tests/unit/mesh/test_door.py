"""Places at the port: who carries no stream is ended where too many stand, the oldest first."""

import asyncio
import contextlib
import socket

from cronos.mesh.door import Door, connections, shut, surplus
from cronos.runtime.world import SystemClock
from cronos.testing.conformance.base import eventually


def test_nobody_has_to_go_while_there_is_room():
    assert surplus({("192.0.2.1", n): n for n in range(16)}, 64) == []


def test_one_address_has_a_quarter_of_the_places_and_its_oldest_go():
    since = {("192.0.2.1", n): n for n in range(20)} | {("192.0.2.2", 1): 0}
    assert surplus(since, 64) == [("192.0.2.1", n) for n in range(4)]


def test_many_addresses_have_three_quarters_and_the_oldest_of_all_go():
    since = {(f"192.0.2.{n}", 1): -n for n in range(60)}
    assert surplus(since, 64) == [(f"192.0.2.{n}", 1) for n in range(59, 47, -1)]


def test_a_descriptor_that_is_another_connection_by_now_is_left_alone():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as one:
            taken, _ = server.accept()
            with taken:
                found = connections(port)
                assert found == {one.getsockname()[:2]: taken.fileno()}
                assert not shut(taken.fileno(), port, ("192.0.2.1", 1))
                assert shut(taken.fileno(), port, one.getsockname()[:2])
                assert one.recv(1) == b""


def test_who_carries_a_stream_stays_and_the_others_go_down_to_the_bound():
    async def story():
        ended = []
        door = Door(16, SystemClock(), ended.append)
        with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
            port = server.getsockname()[1]
            keeping = asyncio.ensure_future(door.keep(port))
            with contextlib.ExitStack() as stack:
                ours, theirs = [], []
                for _ in range(40):
                    theirs.append(
                        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                    )
                    ours.append(stack.enter_context(server.accept()[0]))
                for one in theirs[:10]:
                    door.enter(one.getsockname()[:2])
                for _ in theirs:
                    door.knock()
                await eventually(lambda: len(ended) == 26, "All but four of the others are ended.")
                assert set(ended) == {"127.0.0.1"}
                for one in theirs[:10]:
                    one.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        assert one.recv(1) != b"", "a stream's connection was ended"
                door.leave(theirs[0].getsockname()[:2])
                await eventually(lambda: len(ended) == 27, "And one whose stream has ended.")
            door.close()
            await keeping

    asyncio.run(story())
