"""A network interface as a capture: what passes it, as the bytes of a pcap stream.

Packets come from a packet socket with the kernel's own time stamps. The kernel queues
`buffer_bytes` of them and drops what does not fit; `dropped` counts those, as the kernel does.
"""

import os
import select
import socket
import struct
from pathlib import Path
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from cronos.config import Section
from cronos.errors import DeniedError, InputError
from cronos.types import Manifest, Provenance

_ALL_PROTOCOLS: Final = 0x0003  # ETH_P_ALL
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_PACKET_AUXDATA: Final = 8
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_TIME: Final = struct.Struct("@qq")
_AUXDATA: Final = struct.Struct("@IIIHHHH")
_STATISTICS: Final = struct.Struct("@II")
_VLAN_VALID: Final = 0x10
_VLAN_TPID_VALID: Final = 0x40
_HEADER: Final = struct.Struct("<IHHiIII")
_RECORD: Final = struct.Struct("<IIII")
_NANOSECOND_MAGIC: Final = 0xA1B23C4D
# Link types by the hardware type of the interface; its frames begin with an Ethernet header,
# or with IP itself (tunnels).
_LINKS: Final = {1: 1, 772: 1, 65534: 101, 768: 101, 776: 101, 778: 101, 512: 101}
_LOOPBACK: Final = 772
_PACKET_OUTGOING: Final = 4
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_MR_PROMISC: Final = 1
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class InterfaceConfig(Section, frozen=True):
    """Options of the `interface` source; `interface` is set by the command line."""

    interface: str = ""
    # What is kept of each packet; shorter ones lose application data.
    snap_bytes: Annotated[int, Meta(ge=96, le=262_144)] = 262_144
    buffer_bytes: Annotated[int, Meta(ge=65_536, le=1 << 30)] = 32 << 20
    # Also frames for other machines, as a mirror port sends them.
    promiscuous: bool = True
    linger_ms: Annotated[int, Meta(ge=1, le=1000)] = 5


class InterfaceSource:
    """Live packets as a pcap stream; what has passed cannot be read again.

    Each opening has a name of its own: a worker that restarts goes on with the packets of now.
    A frame of the network is nobody's word, so the source vouches only for what a completed
    exchange shows.

    Raises:
        DeniedError: this process may not capture.
        InputError: there is no such interface, or not of a kind that is read.
    """

    config_type: ClassVar[type[Section]] = InterfaceConfig
    manifest = Manifest("interface", "A network interface, live", ("live",))

    def __init__(self, config: InterfaceConfig) -> None:
        self.provenance = Provenance.BIDIRECTIONAL
        self.first = 1
        self.dropped = 0
        self._config = config
        self._socket = _open(config)
        boot = _BOOT_ID.read_text()[:8] if _BOOT_ID.exists() else "boot"
        inode = os.fstat(self._socket.fileno()).st_ino
        self.name = f"interface:{config.interface}@{boot}.{inode}"
        self._loopback = self._socket.getsockname()[3] == _LOOPBACK
        self._pending = bytearray(
            _HEADER.pack(_NANOSECOND_MAGIC, 2, 4, 0, 0, config.snap_bytes, self._link())
        )

    def read(self, size: int) -> bytes | None:
        """Give bytes of the pcap stream; None after `linger_ms` without a packet.

        Raises:
            InputError: the interface went away.
        """
        while len(self._pending) < size:
            # Wait for the first packet only: what is there already goes out together.
            packet = self._receive(wait=not self._pending)
            if packet is None:
                break
            self._pending += packet
        if not self._pending:
            return None
        out = bytes(self._pending[:size])
        del self._pending[:size]
        return out

    def acknowledge(self, seq: int) -> None:
        """Do nothing: a packet that passed is kept by nobody."""

    def count_drops(self) -> int:
        """Ask the kernel how many packets it dropped, and give the sum since the opening."""
        raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self.dropped += _STATISTICS.unpack(raw)[1]
        return self.dropped

    def close(self) -> None:
        """Stop capturing."""
        self._socket.close()

    def _receive(self, *, wait: bool) -> bytes | None:
        if wait:
            select.select([self._socket], [], [], self._config.linger_ms / 1000)
        try:
            data, ancillary, _, sender = self._socket.recvmsg(self._config.snap_bytes, 256)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise InputError(
                "sense.interface_gone",
                f"The interface {self._config.interface} cannot be read: {error.strerror}.",
                "See `ip link`; start again once it is up.",
            ) from error
        if self._loopback and sender[2] == _PACKET_OUTGOING:
            return b""  # it comes once more, as incoming
        seconds, nanoseconds, length = 0, 0, len(data)
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIME.unpack_from(value)
            elif level == _SOL_PACKET and kind == _PACKET_AUXDATA:
                data, length = _tagged(data, value)
        return _RECORD.pack(seconds, nanoseconds, len(data), max(length, len(data))) + data

    def _link(self) -> int:
        hardware = self._socket.getsockname()[3]
        link = _LINKS.get(hardware)
        if link is None:
            self.close()
            raise InputError(
                "sense.interface_kind",
                f"{self._config.interface} has frames of a kind ({hardware}) that is not read.",
                "Capture with another tool and give the file, or choose another interface.",
            )
        return link


def _tagged(data: bytes, auxdata: bytes) -> tuple[bytes, int]:
    """Put the VLAN tag back that the network card took out; give the length on the wire, too."""
    status, length, _, _, _, tag, kind = _AUXDATA.unpack_from(auxdata)
    if not status & _VLAN_VALID or len(data) < 12:
        return data, length
    kind = kind if status & _VLAN_TPID_VALID else 0x8100
    return data[:12] + struct.pack("!HH", kind, tag) + data[12:], length + 4


def _open(config: InterfaceConfig) -> socket.socket:
    try:
        # With protocol 0 nothing arrives before `bind`, least of all from other interfaces.
        capturing = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise DeniedError(
            "sense.capture_denied",
            f"This process may not capture on {config.interface}.",
            "Run it as root, or give Python the right: "
            "setcap cap_net_raw+ep on the interpreter of its environment.",
        ) from error
    except (AttributeError, OSError) as error:
        raise InputError(
            "sense.no_packet_sockets",
            f"This system has no packet sockets: {error}.",
            "Capture with another tool and give the file, or run on Linux.",
        ) from error
    try:
        _set_up(capturing, config)
    except OSError as error:
        capturing.close()
        raise InputError(
            "sense.no_interface",
            f"Cannot capture on the interface {config.interface!r}: {error.strerror}.",
            "See the names that `ip link` lists.",
        ) from error
    return capturing


def _set_up(capturing: socket.socket, config: InterfaceConfig) -> None:
    try:
        capturing.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, config.buffer_bytes)
    except PermissionError:  # without CAP_NET_ADMIN the system's limit holds
        capturing.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, config.buffer_bytes)
    capturing.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    capturing.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    capturing.setblocking(False)
    capturing.bind((config.interface, _ALL_PROTOCOLS))
    if config.promiscuous:
        index = socket.if_nametoindex(config.interface)
        membership = struct.pack("@iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
        capturing.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
