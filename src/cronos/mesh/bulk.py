"""What the engines of bulk streams share: names, addresses, TLS, and how they fail.

An engine carries bulk alone. None of them stands between a threat and its isolation: all stop when
a majority of their servers is lost.
"""

import importlib
import re
import ssl
from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta

from cronos.errors import DeniedError, ExtraMissingError, InputError, UnreachableError
from cronos.mesh.streams_dial import parse_address
from cronos.types import MAX_FRAME_BYTES

Servers: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(min_length=3, max_length=260)], ...],
    Meta(min_length=1, max_length=16),
]
_SUBJECT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}(\.[a-z0-9][a-z0-9_-]{0,62}){0,7}", re.ASCII)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def library(name: str, extra: str, purpose: str) -> Any:
    """Import an engine's client.

    Raises:
        ExtraMissingError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ExtraMissingError(extra, purpose) from None


def require_subject(subject: str) -> str:
    """Give a subject back: words of lower-case letters, digits, ``-`` and ``_``, with dots between.

    Raises:
        InputError: it is none, or a pattern.
    """
    if _SUBJECT.fullmatch(subject):
        return subject
    raise InputError(
        "mesh.bad_subject",
        f"{subject[:80]!r} is no subject of a stream.",
        "Use up to eight words of a-z, 0-9, - and _, with dots between.",
    )


def require_message(data: bytes) -> bytes:
    """Give a message back.

    Raises:
        InputError: it is longer than a frame.
    """
    if len(data) <= MAX_FRAME_BYTES:
        return data
    raise InputError(
        "mesh.long_message",
        f"A message of {len(data)} bytes is longer than {MAX_FRAME_BYTES}.",
        "Send it in parts.",
    )


def places_of(servers: tuple[str, ...], *, secure: bool, table: str) -> list[tuple[str, int]]:
    """Read the servers' addresses; without TLS they must be on this machine.

    Raises:
        InputError: one is no address, or lies beyond loopback without TLS.
    """
    places = [parse_address(server) for server in servers]
    far = [host for host, _ in places if host not in _LOOPBACK]
    if far and not secure:
        raise InputError(
            "mesh.plain_broker",
            f"{table} names {far[0]} without TLS.",
            "Give `ca_file`, `cert_file` and `key_file`; only loopback goes without.",
        )
    return places


def tls_of(ca_file: str, cert_file: str, key_file: str) -> ssl.SSLContext | None:
    """Make the client's side of mutual TLS 1.3; None where no file is named.

    Raises:
        InputError: only some are named.
        DeniedError: one cannot be read, or is none.
    """
    files = (ca_file, cert_file, key_file)
    if not any(files):
        return None
    if not all(files):
        raise InputError(
            "mesh.half_tls",
            "Of `ca_file`, `cert_file` and `key_file` only some are given.",
            "Give all three.",
        )
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ValueError) as error:
        raise DeniedError(
            "mesh.bad_tls_files",
            f"The broker's TLS files cannot be used: {error}.",
            "Check that they are PEM, belong together and may be read by this user.",
        ) from error
    return context


def away(engine: str, error: BaseException) -> UnreachableError:
    """Say that an engine did not do what it was asked for; whether it did, nobody knows."""
    return UnreachableError(
        "mesh.engine_away",
        f"{engine} did not answer as it should: {type(error).__name__}: {str(error)[:200]}",
        "Check that a majority of its servers runs; what was not confirmed is to be sent again.",
    )
