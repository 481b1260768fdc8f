"""The transports keep the port's contract: in memory, and over a Unix socket."""

import socket

from cronos.link.frames import FrameSocket
from cronos.ports import Transport
from cronos.testing.conformance.transport import TransportConformance
from cronos.testing.memory_transport import memory_pair


class TestMemoryTransport(TransportConformance):
    def make(self) -> tuple[Transport, Transport]:
        return memory_pair()


class TestFrameSocket(TransportConformance):
    def make(self) -> tuple[Transport, Transport]:
        one, other = socket.socketpair()
        return FrameSocket(one), FrameSocket(other)
