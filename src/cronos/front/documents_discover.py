"""The JSON documents of `cronos discover` and `cronos parse`."""

import msgspec


class ServiceView(msgspec.Struct, frozen=True):
    """What was found out about one service of an input."""

    service: str
    verdict: str
    why: str
    profile: str
    messages: int
    bytes: int
    flows: int
    learnt_from: int
    message_types: int
    fields: int
    claims: tuple[str, ...]
    held_back: int
    reparsed: float
    exact: float
    noise_refused: float
    seconds: dict[str, float]
    stopped: str
    remarks: tuple[str, ...]
    written: tuple[str, ...]


class DiscoverDocument(msgspec.Struct, frozen=True):
    """The document of `cronos discover --json`."""

    input: str
    services: tuple[ServiceView, ...]
    # Services with too few messages to learn from, by name.
    left_out: dict[str, int]
    predictions: str
    seconds: float
    schema: str = "cronos.discover/1"


class ParseDocument(msgspec.Struct, frozen=True):
    """The document of `cronos parse --json`: counts, in place of the messages."""

    profile: str
    version: int
    input: str
    messages: int
    parsed: int
    refused: int
    bad_checksums: int
    # Messages by type.
    types: dict[str, int]
    # Why messages were refused, the most frequent reasons first.
    reasons: dict[str, int]
    output: str
    # What was left out of a capture, and why.
    remarks: tuple[str, ...] = ()
    schema: str = "cronos.parse/1"


class ProfileView(msgspec.Struct, frozen=True):
    """One version of a stored profile."""

    name: str
    version: int
    status: str
    services: tuple[str, ...]
    messages: int
    reparsed: float
    learned_ns: int
    parsed: int
    failed: int


class ProfilesDocument(msgspec.Struct, frozen=True):
    """The document of `cronos discover profiles --json`."""

    profiles: tuple[ProfileView, ...]
    changed: str
    # How the named version differs from the one before it.
    differences: tuple[str, ...]
    schema: str = "cronos.profiles/1"
