"""What root keys that live elsewhere share: checked settings and addresses, files of one line."""

from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from msgspec import Meta

from cronos.config import Section
from cronos.crypto.durable import read_secret
from cronos.errors import InputError

# What waits longer than a day waits for ever; what no clock can count would end in an error.
Seconds = Annotated[int, Meta(ge=1, le=86_400)]
MAX_SECRET_BYTES: Final = 64
_MAX_LINE_BYTES: Final = 4_096
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def require_set(config: Section, table: str, *names: str) -> None:
    """Refuse a table that lacks what no default could stand for.

    Raises:
        InputError: a setting is empty; names it.
    """
    for name in names:
        value: Any = getattr(config, name)
        if not value:
            raise InputError(
                "crypto.root_incomplete",
                f"The root key `{table}` lacks the setting `{name}`.",
                f"Set `{name}` under [plugin.{table}].",
            )


def require_short(secret: bytes) -> None:
    """Refuse to lock more than a key.

    Raises:
        InputError: `secret` is longer than 64 bytes.
    """
    if len(secret) > MAX_SECRET_BYTES:
        raise InputError(
            "crypto.long_secret",
            f"A secret of {len(secret)} bytes is longer than {MAX_SECRET_BYTES}.",
            "Lock a key, and seal the data with it.",
        )


def private_file(name: str, most: int) -> bytes | None:
    """Read a file that nobody else may read; None where there is none.

    Raises:
        DeniedError: others may read it, or this user may not.
    """
    try:
        return read_secret(Path(name), most)
    except ValueError:
        return None  # no file has a zero in its name


def first_line(name: str, what: str) -> str:
    """Give the first line of a file that nobody else may read.

    Raises:
        InputError: it is not there, or the line is empty or not ASCII.
        DeniedError: as `private_file`.
    """
    line = (private_file(name, _MAX_LINE_BYTES) or b"").partition(b"\n")[0].strip()
    if not line or not line.isascii():
        raise InputError(
            "crypto.root_file",
            f"The file {name} is not there or holds no {what}.",
            f"Write the {what} into its first line, and chmod 600 it.",
        )
    return line.decode("ascii")


def place_of(url: str, table: str) -> tuple[str, int]:
    """Give host and port of a URL that may be called.

    Raises:
        InputError: it is none, names a user, or is unencrypted beyond loopback.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    host = parts.hostname or ""
    allowed = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    if not host or not allowed or parts.username is not None:
        raise InputError(
            "crypto.root_url",
            f"The address of the root key `{table}` is no https URL without a user.",
            f"Write it under [plugin.{table}] like https://keys.example:8200.",
        )
    return host, port
