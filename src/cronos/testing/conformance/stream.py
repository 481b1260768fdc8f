"""What every `Stream` must do."""

from cronos.ports import Stream
from cronos.testing.conformance.base import noise, run, same


class StreamConformance:
    """Subclass and write `make`; also `done`, where a stream must be closed.

    Positions are asked for as they rise: an engine may let go of what was fetched before.
    """

    async def make(self) -> Stream:
        """Give a stream whose subjects ``a`` and ``b`` are empty."""
        raise NotImplementedError

    async def done(self, stream: Stream) -> None:
        """Close what `make` gave."""

    def test_positions_are_counted_for_each_subject_from_1(self) -> None:
        """Publish under two subjects by turns."""
        run(self._positions())

    def test_messages_come_back_in_order_after_a_position(self) -> None:
        """Fetch all, a part, and beyond the end."""
        run(self._fetching())

    def test_bytes_come_back_as_they_were(self) -> None:
        """Publish nothing, every byte, and much."""
        run(self._bytes())

    async def _positions(self) -> None:
        stream = await self.make()
        given = [await stream.publish(subject, b"x") for subject in ("a", "b", "a", "b", "a")]
        same(given, [1, 1, 2, 2, 3], "Positions are counted for each subject from 1.")
        await self.done(stream)

    async def _fetching(self) -> None:
        stream = await self.make()
        sent = [b"%d" % n for n in range(10)]
        for data in sent:
            await stream.publish("a", data)
        same(list(await stream.fetch("a", 0, 100)), sent, "Messages come back in order.")
        same(list(await stream.fetch("a", 4, 3)), sent[4:7], "`after` itself is left out.")
        same(list(await stream.fetch("a", 10, 5)), [], "Beyond the end there is nothing.")
        same(list(await stream.fetch("b", 0, 5)), [], "Another subject is another log.")
        await stream.publish("a", b"later")
        same(list(await stream.fetch("a", 10, 5)), [b"later"], "What comes later follows.")
        await self.done(stream)

    async def _bytes(self) -> None:
        stream = await self.make()
        sent = [b"", bytes(range(256)), noise(1, 1 << 18)]
        for data in sent:
            await stream.publish("a", data)
        same(list(await stream.fetch("a", 0, 5)), sent, "Bytes come back as they were.")
        await self.done(stream)
