"""A profile: a grammar with where it came from, as it is written to a folder or a store."""

from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cronos.discover import ir
from cronos.errors import InputError

FILE_NAME: Final = "profile.json"
_MAX_BYTES: Final = ir.MAX_BYTES + (1 << 20)

Status: TypeAlias = Literal["candidate", "active", "retired"]
Name: TypeAlias = Annotated[str, Meta(pattern=r"\A[a-z_][a-z0-9_]{0,63}\Z")]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one protocol; a later version has the same name."""

    name: Name
    grammar: ir.Grammar
    services: tuple[str, ...] = ()
    """Where it was seen: ``tcp/502``."""
    version: int = 1
    status: Status = "candidate"
    learned_ns: int = 0
    """Wall time."""
    messages: int = 0
    """How many it was learnt from."""
    reparsed: float = 0.0
    """Share of held-back messages that its parser takes."""
    remarks: tuple[str, ...] = ()
    bits_per_byte: float = 0.0
    """Evidence that its own messages have; another protocol that happens to fit has less."""
    schema: Literal["cronos.profile/1"] = "cronos.profile/1"


def to_bytes(profile: Profile) -> bytes:
    """Write a profile as JSON that people can read; equal profiles give equal bytes."""
    encoded = msgspec.json.encode(profile, order="deterministic")
    return msgspec.json.format(encoded, indent=1) + b"\n"


def from_bytes(data: bytes, where: str) -> Profile:
    """Read a profile and check that its grammar may run.

    Raises:
        InputError: it is none.
    """
    try:
        profile = msgspec.json.decode(data, type=Profile)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(
            "discover.no_profile",
            f"{where} is no profile: {str(error)[:200]}.",
            "Give what `cronos discover --out` wrote, or the name of a stored profile.",
        ) from error
    ir.check(profile.grammar)
    return profile


def read_profile(path: Path) -> Profile:
    """Read the profile in a file, or in a folder that `cronos discover --out` wrote.

    Raises:
        InputError: there is none, or it may not run.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        with file.open("rb") as source:
            data = source.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(
            "discover.no_profile",
            f"The profile {path} cannot be read: {error.strerror}.",
            "Give what `cronos discover --out` wrote, or the name of a stored profile.",
        ) from error
    if len(data) > _MAX_BYTES:
        raise InputError(
            "discover.no_profile", f"{path} is too long for a profile.", "Give a profile."
        )
    return from_bytes(data, str(path))


def named(text: str) -> str:
    """Make a profile's name of any text: ``tcp/502`` becomes ``tcp_502``."""
    kept = "".join(c if c.isascii() and c.isalnum() else "_" for c in text.lower())[:60]
    return kept if kept[:1].isalpha() or kept[:1] == "_" else f"p_{kept}"
