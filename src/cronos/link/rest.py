"""A small HTTP client for foreign systems: one exchange, bounded in time and bytes.

Every call passes the egress gate and goes where it was told: no proxy, no redirect, no setting of
the environment. Secrets are read from private files, anew at each call, and stand in no error.
What comes back is hostile until it has been decoded.
"""

import http.client
import ipaddress
import os
import ssl
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import msgspec

from cronos.config import Positive, Section
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.text import plain
from cronos.ports import Egress

MAX_ANSWER_BYTES: Final = 1 << 20
CONFLICT: Final = "link.foreign_conflict"
_MAX_SECRET_BYTES: Final = 16_384
_MAX_SAID_CHARS: Final = 200
AnswerT = TypeVar("AnswerT")


class ForeignConfig(Section, frozen=True):
    """What every table of a foreign system has."""

    url: str = ""
    # Certificates that vouch for it; empty for those of this system.
    ca_file: str = ""
    # How long one exchange may take, connecting apart.
    timeout_ms: Positive = 2000
    # How long 64 targets may take; then the process that asks is killed.
    deadline_ms: Positive = 30_000
    # Targets looked after side by side.
    at_once: Positive = 8


class Answer(NamedTuple):
    """An answer: its status and its body, at most 1 MiB."""

    status: int
    body: bytes


class Place(NamedTuple):
    """Where to call, checked: host, port and what stands before each path."""

    scheme: str
    host: str
    port: int
    prefix: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def place_of(url: str, table: str) -> Place:
    """Check the address of a foreign system.

    Raises:
        InputError: it is no http or https URL, or names a user.
        DeniedError: it would leave this machine unencrypted.
    """
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else 443 if parts.scheme == "https" else 80
    except ValueError:
        parts, port = urlsplit(""), 0
    host = parts.hostname or ""
    sound = url.isascii() and url.isprintable() and " " not in url and parts.username is None
    if not sound or not host or port < 1 or parts.scheme not in ("http", "https"):
        raise InputError(
            "link.foreign_url",
            f"{url!r:.200} is no URL that [plugin.{table}] could call.",
            "Write `url` as https://host:port, or as http://127.0.0.1:port on this machine.",
        )
    if parts.scheme == "http" and not is_local(host):
        raise DeniedError(
            "link.foreign_plain",
            f"{url!r:.200} would leave this machine unencrypted.",
            "Use https (TLS 1.3) beyond loopback.",
        )
    return Place(parts.scheme, host, port, _path_of(parts))


def _path_of(parts: SplitResult) -> str:
    return parts.path.rstrip("/")


def is_local(host: str) -> bool:
    """Say whether a host is this machine's loopback, by its name or number alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def path(*segments: str, query: Mapping[str, str] | None = None) -> str:
    """Build a path of names that strangers chose: none of them leads anywhere else.

    Raises:
        InputError: a name is empty, or one of those that walk about in a tree.
    """
    for segment in segments:
        if segment in ("", ".", "..") or not segment.isprintable():
            raise InputError(
                "link.foreign_name",
                f"{segment!r:.80} is no name that a foreign system could have.",
                "Nothing was sent; look at where the target came from.",
            )
    text = "/" + "/".join(quote(segment, safe="") for segment in segments)
    return f"{text}?{urlencode(query)}" if query else text


def private_text(name: str, setting: str, table: str) -> str:
    """Read a secret from a file that nobody else may read, without the white space around it.

    Raises:
        InputError: it cannot be read, is empty or no ASCII.
        DeniedError: others may read it.
    """
    try:
        with Path(name).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            secret = file.read(_MAX_SECRET_BYTES).strip()
    except (OSError, ValueError) as error:
        raise InputError(
            "link.secret_unreadable",
            f"The secret file {name!r:.200} cannot be read: {getattr(error, 'strerror', error)}.",
            f"Correct `{setting}` under [plugin.{table}].",
        ) from error
    if mode & 0o077:
        raise DeniedError(
            "link.secret_open",
            f"The secret file {name} may be read by others.",
            f"Close it: chmod 600 {name}",
        )
    if not secret or not secret.isascii() or not secret.decode("ascii").isprintable():
        raise InputError(
            "link.secret_empty",
            f"The secret file {name} holds no secret: one line of printable ASCII.",
            f"Write it anew, or correct `{setting}` under [plugin.{table}].",
        )
    return secret.decode("ascii")


class RestClient:
    """Calls one foreign system.

    Args:
        config: where it is, who vouches for it, how long an exchange may take.
        egress: asked before each call.
        table: the plug-in's catalogue name, for sentences.

    Raises:
        InputError: the address or the file of certificates cannot be used.
        DeniedError: the address would leave this machine unencrypted.
    """

    def __init__(self, config: ForeignConfig, egress: Egress, table: str) -> None:
        self.place = place_of(config.url, table)
        self._timeout_s = config.timeout_ms / 1000
        self._egress = egress
        self._table = table
        self._tls = tls_context(config.ca_file, table) if self.place.scheme == "https" else None

    def call(
        self, method: str, where: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Make one exchange and give whatever was answered.

        Raises:
            DeniedError: the gate is closed, or a redirect was answered.
            UnreachableError: no answer in time, or none that is HTTP, or one above 1 MiB.
        """
        place = self.place
        self._egress.permit(place.host, place.port, self._table)
        connection = _connection(place, self._timeout_s, self._tls)
        sent = {"Accept": "application/json", "Connection": "close", **headers}
        try:
            connection.connect()
            with cut_after(connection, self._timeout_s) as is_cut:
                connection.request(method, place.prefix + where, body, sent)
                with closing(connection.getresponse()) as response:
                    data = response.read(MAX_ANSWER_BYTES + 1)
                    # A body that was cut short looks like one that ended.
                    if is_cut() or (response.length and len(data) <= MAX_ANSWER_BYTES):
                        raise TimeoutError
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._silent(f"gave no answer in {self._timeout_s} s: {_why(error)}") from None
        finally:
            connection.close()
        if len(data) > MAX_ANSWER_BYTES:
            raise self._silent(f"answered more than {MAX_ANSWER_BYTES} bytes, which were dropped")
        if 300 <= response.status < 400:
            raise DeniedError(
                "link.foreign_redirect",
                f"{self._table} at {place} sends us elsewhere ({response.status}); not followed.",
                f"Write the address that answers as `url` under [plugin.{self._table}].",
            )
        return Answer(response.status, data)

    def raise_for(self, answer: Answer) -> None:
        """Make an error of what is no success.

        Raises:
            DeniedError: 401 or 403.
            CronosError: 404; or a conflict, whose code is `CONFLICT`; or what else is not done.
            UnreachableError: 429, or the system's own fault.
        """
        status, where = answer.status, f"{self._table} at {self.place}"
        if 200 <= status < 300:
            return
        if status in (401, 403):
            what = "does not know our credentials" if status == 401 else "does not let us do this"
            raise DeniedError(
                "link.foreign_denied",
                f"{where} {what} ({status}).",
                f"Check the secret file under [plugin.{self._table}] and the rights it stands for.",
            )
        if status in (409, 412):
            raise CronosError(
                CONFLICT,
                f"{where} says that somebody else changed it meanwhile ({status}).",
                "It is tried again with what is there now.",
                "peer",
            )
        if status == 429 or status >= 500:
            raise self._silent(f"is in trouble ({status})")
        raise CronosError(
            "link.foreign_refused",
            f"{where} refuses ({status}){said(answer.body)}.",
            "Look at its own log; the versions of its interface may differ.",
            "peer",
        )

    def decoded(self, answer: Answer, kind: type[AnswerT]) -> AnswerT:
        """Decode a success.

        Raises:
            UnreachableError: it is not of that form.
        """
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._silent(f"answered what does not decode: {error!s:.120}") from None

    def _silent(self, what: str) -> UnreachableError:
        return UnreachableError(
            "link.foreign_silent",
            f"{self._table} at {self.place} {what}.",
            f"Look whether it runs, and at `url` and `ca_file` under [plugin.{self._table}].",
        )


def json_body(value: Any) -> bytes:
    """Give the bytes of a JSON body."""
    return msgspec.json.encode(value)


def said(body: bytes) -> str:
    """Show the beginning of foreign text, made fit to be shown."""
    text = " ".join(plain(body[: 4 * _MAX_SAID_CHARS].decode(errors="replace"), 600, " ").split())
    return f' ("{text[:_MAX_SAID_CHARS]}")' if text else ""


def tls_context(ca_file: str, table: str) -> ssl.SSLContext:
    """Give TLS 1.3 that trusts `ca_file` alone, or this system's certificates where it is empty.

    Raises:
        InputError: the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:
        raise InputError(
            "link.foreign_ca",
            f"The certificates in {ca_file!r:.200} cannot be used: {_why(error)}.",
            f"Correct `ca_file` under [plugin.{table}].",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _connection(
    place: Place, timeout_s: float, tls: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    if tls is None:
        return http.client.HTTPConnection(place.host, place.port, timeout=timeout_s)
    return http.client.HTTPSConnection(place.host, place.port, timeout=timeout_s, context=tls)


@contextmanager
def cut_after(
    connection: http.client.HTTPConnection, timeout_s: float
) -> Generator[Callable[[], bool]]:
    """Bound a whole exchange: a socket's own timeout begins anew with each byte.

    Gives what says whether it was cut.
    """
    was_cut = threading.Event()

    def cut() -> None:
        was_cut.set()
        with suppress(OSError):
            connected.shutdown(2)

    connected = connection.sock
    timer = threading.Timer(timeout_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield was_cut.is_set
    finally:
        timer.cancel()


def _why(error: Exception) -> str:
    """Say why in a few words; text that the other side chose is made fit to be shown."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({plain(error.verify_message, 80)})"
    if isinstance(error, TimeoutError):
        return "timed out"
    return plain(f"{type(error).__name__}: {error}", 120)
