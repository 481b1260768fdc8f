"""What a delivery says of itself: what became of messages, and how each peer is doing."""

import msgspec


class Counts(msgspec.Struct):
    """What became of messages, since this process began."""

    posted: int = 0
    sent: int = 0
    resent: int = 0
    heard: int = 0
    repeated: int = 0
    expired: int = 0
    refused: int = 0
    signed: int = 0
    missing: int = 0
    forged: int = 0
    unproven: int = 0


class Standing(msgspec.Struct, frozen=True):
    """How one peer is doing: what it holds, what of that it has seen signed, what waits for it."""

    peer: str
    linked: bool
    held: int
    signed: int
    waiting: int
