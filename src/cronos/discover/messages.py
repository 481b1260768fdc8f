"""The one input of discovery: messages, however they were captured."""

import msgspec


class Message(msgspec.Struct, frozen=True):
    """One unit of a protocol: a datagram's payload, or what was cut out of a stream."""

    payload: bytes
    flow: str = ""
    """Names the conversation: equal for both of its directions."""
    direction: str = ""
    """``c2s``, ``s2c``, or empty where it is not known."""
    ts: float = 0.0
    """Wall time of capture in seconds since 1970; 0 where it is not known."""
    source: str = ""
    """The sender's address when live, else empty."""
    destination: str = ""


class Service(msgspec.Struct, frozen=True):
    """The messages of one service of an input, in the order of their time."""

    name: str
    """``tcp/502``, ``udp/53``, ``icmp``, ``ip/89``, ``ether/88b8``, or the input's own name."""
    messages: tuple[Message, ...]
    numbers: tuple[int, ...] = ()
    """The number of each message in the input, from 0."""
    rule: str = ""
    """How messages were told apart, where the input did not say."""
    remarks: tuple[str, ...] = ()
