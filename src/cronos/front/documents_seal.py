"""The JSON documents of `cronos seal`, `open`, `sign` and `verify`; fingerprints are in hex."""

import msgspec


class SealDocument(msgspec.Struct, frozen=True):
    """The document of `cronos seal --json`."""

    source: str
    output: str
    plain_bytes: int
    suite: str
    recipients: tuple[str, ...]
    signer: str
    schema: str = "cronos.seal/1"


class OpenDocument(msgspec.Struct, frozen=True):
    """The document of `cronos open --json`; `verified` is False where --by was not given."""

    source: str
    output: str
    plain_bytes: int
    suite: str
    signer: str
    verified: bool
    schema: str = "cronos.open/1"


class SignDocument(msgspec.Struct, frozen=True):
    """The document of `cronos sign --json`."""

    source: str
    output: str
    bytes: int
    signer: str
    schema: str = "cronos.sign/1"


class VerifyDocument(msgspec.Struct, frozen=True):
    """The document of `cronos verify --json`; one that does not verify ends in an error."""

    source: str
    bytes: int
    signer: str
    verified: bool = True
    schema: str = "cronos.verify/1"
