"""The JSON document of `cronos pki`; serial numbers and pins in hex, times in ISO 8601, UTC."""

import datetime as dt
from typing import Any

import msgspec


class CertificateView(msgspec.Struct, frozen=True):
    """One certificate; `revoked` is empty while it is not."""

    serial: str
    kind: str
    name: str
    roles: tuple[str, ...]
    algorithm: str
    issuer: str
    begins: str
    ends: str
    revoked: str = ""
    reason: str = ""


class IssuerView(msgspec.Struct, frozen=True):
    """One issuer and what it may issue."""

    name: str
    kinds: tuple[str, ...]
    ends: str
    revoked: str = ""
    reason: str = ""


class TokenView(msgspec.Struct, frozen=True):
    """One join token, as the book knows it: ``open``, ``used`` or ``expired``."""

    name: str
    roles: tuple[str, ...]
    state: str
    ends: str


class ListView(msgspec.Struct, frozen=True):
    """One revocation list; a stale one should have been renewed by now."""

    scope: str
    number: int
    revoked: int
    issued: str
    stale: bool


class PkiDocument(msgspec.Struct, frozen=True):
    """The document of every `cronos pki … --json`.

    Attributes:
        done: what was done: founded, issued, invited, joined, requested, answered, rotated,
            standing (nothing was due), revoked, listed, backed-up, restored, served.
        domain: the trust domain.
        pin: the fingerprint of its roots.
        token: the join token, of ``issue --node``; whoever has it can join.
        outputs: the files that were written.
        certificates: of ``list`` and ``revoke``; the holder's own after ``join`` and ``rotate``.
        remarks: what a person should know.
    """

    done: str
    domain: str = ""
    pin: str = ""
    token: str = ""
    outputs: tuple[str, ...] = ()
    certificates: tuple[CertificateView, ...] = ()
    issuers: tuple[IssuerView, ...] = ()
    tokens: tuple[TokenView, ...] = ()
    lists: tuple[ListView, ...] = ()
    remarks: tuple[str, ...] = ()
    schema: str = "cronos.pki/1"


def certificate_view(row: Any) -> CertificateView:
    """Show a row of the book."""
    return CertificateView(
        row.serial,
        row.kind,
        row.name,
        _words(row.roles),
        row.algorithm,
        row.issuer,
        moment(row.not_before_ns),
        moment(row.not_after_ns),
        moment(row.revoked_ns),
        row.reason,
    )


def identity_view(identity: Any) -> CertificateView:
    """Show a node's own certificate."""
    return CertificateView(
        identity.serial,
        identity.kind,
        identity.name,
        identity.roles,
        identity.algorithm,
        identity.issuer,
        "",
        moment(identity.not_after_ns),
    )


def issuer_view(row: Any) -> IssuerView:
    """Show an issuer."""
    ends, revoked = moment(row.not_after_ns), moment(row.revoked_ns)
    return IssuerView(row.name, _words(row.kinds), ends, revoked, row.reason)


def token_view(row: Any, now_ns: int) -> TokenView:
    """Show a join token."""
    state = "used" if row.used_ns else "expired" if now_ns >= row.expires_ns else "open"
    return TokenView(row.name, _words(row.roles), state, moment(row.expires_ns))


def list_view(row: Any, now_ns: int) -> ListView:
    """Show how a revocation list stands."""
    stale = now_ns >= row.next_ns
    return ListView(row.scope, row.number, row.entries, moment(row.issued_ns), stale)


def moment(wall_ns: int) -> str:
    """Write a time, in seconds; empty for never."""
    if not wall_ns:
        return ""
    shown = dt.datetime.fromtimestamp(wall_ns // 1_000_000_000, dt.UTC)
    return shown.isoformat().replace("+00:00", "Z")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)
