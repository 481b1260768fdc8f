"""What every `Transport` must do."""

import threading

from cronos.errors import InputError, UnreachableError
from cronos.ports import Transport
from cronos.testing.conformance.base import noise, refused, same
from cronos.types import MAX_FRAME_BYTES


class TransportConformance:
    """Subclass and write `make`."""

    def make(self) -> tuple[Transport, Transport]:
        """Give both ends of a new connection."""
        raise NotImplementedError

    def test_frames_arrive_whole_and_in_order_each_way(self) -> None:
        """Send frames of many sizes, the empty one and the largest among them."""
        one, other = self.make()
        frames = [noise(size, size) for size in (0, 1, 3, 4, 5, 1000, 70_000)]
        for here, there in ((one, other), (other, one)):
            for data in frames:
                here.send(data)
            same([there.receive(5.0) for _ in frames], frames, "Frames arrive whole, in order.")
        one.close()
        other.close()

    def test_the_largest_frame_arrives(self) -> None:
        """Send 1 MiB from a thread: the wire may hold less."""
        one, other = self.make()
        data = noise(1, 1 << 16) * 16
        sender = threading.Thread(target=one.send, args=(data,))
        sender.start()
        same(other.receive(10.0), data, "A frame of 1 MiB arrives.")
        sender.join()
        one.close()
        other.close()

    def test_a_frame_beyond_the_limit_is_refused_and_breaks_nothing(self) -> None:
        """Send one byte too many, then a good frame."""
        one, other = self.make()
        refused(InputError, lambda: one.send(bytes(MAX_FRAME_BYTES + 1)), "It is refused.")
        one.send(b"good")
        same(other.receive(5.0), b"good", "The connection still stands.")
        one.close()
        other.close()

    def test_where_nothing_comes_waiting_ends(self) -> None:
        """Wait for nothing, not at all and for a moment."""
        one, other = self.make()
        same((one.receive(0), one.receive(0.01)), (None, None), "Waiting ends with None.")
        one.close()
        other.close()

    def test_what_was_sent_before_closing_still_arrives(self) -> None:
        """Send, close, receive."""
        one, other = self.make()
        one.send(b"last words")
        one.close()
        same(other.receive(5.0), b"last words", "They arrive.")
        refused(UnreachableError, lambda: other.receive(5.0), "Then the other side is gone.")
        other.close()

    def test_a_closed_end_is_refused_and_closing_twice_is_harmless(self) -> None:
        """Close twice, then use both ends."""
        one, other = self.make()
        one.close()
        one.close()
        refused(UnreachableError, lambda: one.send(b"x"), "This end is closed.")
        refused(UnreachableError, lambda: other.receive(5.0), "The other end is gone.")
        other.close()
