"""Revocation lists: signed, numbered upwards only, and in force the moment they are known.

Each issuer signs a list of what it issued and took back, the root one of the issuers; scopes are
apart, so that a stolen issuer can hide no other's list. Numbers never fall: an older list is
refused as a rollback, another list of the same number as a fork. A list that is past its `next_ns`
is stale, which is shown and refuses nobody: a partition must not stop a plant.
"""

import hmac
import threading
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from msgspec import Meta

from cronos.crypto.pki.chain import root_key, verify_issuer
from cronos.crypto.pki.profile import DAY_NS, PrivateKey
from cronos.crypto.pki.trust import Der, Trust
from cronos.crypto.refusal import refused
from cronos.errors import DeniedError

ROLLBACK: Final = "crypto.revocation_rollback"
CONTEXT: Final = b"cronos-revocation-v1"
ROOT: Final = "root"
REASONS: Final = ("unspecified", "key-compromise", "superseded", "decommissioned", "privilege")
# A list is renewed daily; two days without one is a fault worth showing.
LIST_LIFE_NS: Final = 2 * DAY_NS
MAX_BUNDLE_BYTES: Final = 4 << 20
_MAX_LISTS: Final = 32
_Scope = Annotated[str, Meta(min_length=1, max_length=64)]
_Time = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One certificate that was taken back; `serial` is its number, 16 bytes or fewer."""

    serial: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    revoked_ns: _Time
    reason: Annotated[str, Meta(max_length=32)]


class RevocationList(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one scope took back: an issuer's name, or `root`."""

    version: Annotated[int, Meta(ge=1, le=1)]
    domain: Annotated[str, Meta(max_length=180)]
    scope: _Scope
    number: _Time
    issued_ns: _Time
    next_ns: _Time
    entries: Annotated[tuple[Entry, ...], Meta(max_length=50_000)]


class SignedList(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A list with its signature; `issuer` is the signer's certificate, none for the root's."""

    body: Annotated[bytes, Meta(max_length=MAX_BUNDLE_BYTES)]
    signature: Annotated[bytes, Meta(min_length=4627, max_length=4627)]
    issuer: Annotated[tuple[Der, ...], Meta(max_length=1)] = ()


_ENCODER: Final = msgspec.msgpack.Encoder()
_LISTS: Final = msgspec.msgpack.Decoder(RevocationList)
_SIGNED: Final = msgspec.msgpack.Decoder(SignedList)
_BUNDLES: Final = msgspec.msgpack.Decoder(
    Annotated[tuple[SignedList, ...], Meta(max_length=_MAX_LISTS)]
)
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)


def sign_list(unsigned: RevocationList, key: PrivateKey, issuer: bytes = b"") -> bytes:
    """Sign a list with an issuer's ML-DSA-87 key, or with the root's and no `issuer`."""
    signing: Any = key
    body = _ENCODER.encode(unsigned)
    above = (issuer,) if issuer else ()
    return _ENCODER.encode(SignedList(body, signing.sign(body, CONTEXT), above))


def pack_bundle(signed: Iterable[bytes]) -> bytes:
    """Put signed lists of several scopes together."""
    return _ENCODER.encode(tuple([_SIGNED.decode(one) for one in signed]))


def verify_list(signed: SignedList, trust: Trust) -> tuple[RevocationList, str]:
    """Give the list and the serial number of the issuer that signed it, empty for the root.

    Raises:
        DeniedError: it is not signed by the one whose scope it names, or for another domain.
    """
    try:
        found = _LISTS.decode(signed.body)
        scope, serial, key = ROOT, "", root_key(trust)
        if signed.issuer:
            scope, serial, key = verify_issuer(signed.issuer[0], trust)
        key.verify(signed.signature, signed.body, CONTEXT)
    except (*_UNREADABLE, InvalidSignature):
        raise refused() from None
    if found.scope != scope or found.domain != trust.domain:
        raise refused()
    return found, serial


class Standing(msgspec.Struct, frozen=True):
    """How a scope stands, for people: how many it took back, and how old the word is."""

    scope: str
    number: int
    entries: int
    issued_ns: int
    next_ns: int


class Revocations:
    """The lists that a process knows; thread-safe.

    Args:
        trust: the pinned roots that the lists are verified with.
        bundle: what `packed` gave before; verified anew.

    Raises:
        DeniedError: `bundle` does not hold.
    """

    def __init__(self, trust: Trust, bundle: bytes = b"") -> None:
        self._trust = trust
        self._lists: dict[str, _Known] = {}
        self._serials: dict[str, frozenset[str]] = {}
        self._watchers: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        if bundle:
            self.update(bundle)

    def is_revoked(self, issuer: str, serial: str) -> bool:
        """Say whether `issuer` (or `root`) took this serial back; see `chain.Revoked`."""
        return serial in self._serials.get(issuer, ())

    def update(self, bundle: bytes) -> bool:
        """Take newer lists over; True when any was new. The watchers run before it returns.

        One that does not verify spoils the bundle. One that is older than what is known does
        not keep the newer ones beside it from being taken, but it is told.

        Raises:
            DeniedError: one does not verify; or (code `ROLLBACK`) one is older than what is known,
                or another one of the same number.
        """
        if len(bundle) > MAX_BUNDLE_BYTES:
            raise refused()
        try:
            signed = _BUNDLES.decode(bundle)
        except _UNREADABLE:
            raise refused() from None
        with self._lock:
            # What is known to the byte was verified when it came.
            known = {one.signed: one for one in self._lists.values()}
        found = [known.get(one) or _Known(*verify_list(one, self._trust), one) for one in signed]
        # The root's list first: whom it takes back has no word on the others.
        found.sort(key=lambda one: one.list.scope != ROOT)
        with self._lock:
            taken = [one for one in found if self._take(one)]
            rolled = next((one.list.scope for one in found if self._differs(one)), "")
        if taken:
            for watcher in tuple(self._watchers):
                watcher()
        if rolled:
            raise DeniedError(
                ROLLBACK,
                f"A revocation list of `{rolled}` is older than the one known, or not the same.",
                "Ask who sent it: somebody may want a revoked certificate to pass.",
            )
        return bool(taken)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each update that brought something new."""
        self._watchers.append(changed)

    def packed(self) -> bytes:
        """Give all lists as one bundle, to keep or to hand on."""
        with self._lock:
            return _ENCODER.encode(tuple([one.signed for one in self._lists.values()]))

    def standing(self) -> tuple[Standing, ...]:
        """Say how each scope stands, sorted by name."""
        with self._lock:
            known = [one.list for one in self._lists.values()]
        return tuple(
            Standing(one.scope, one.number, len(one.entries), one.issued_ns, one.next_ns)
            for one in sorted(known, key=lambda one: one.scope)
        )

    def stale(self, wall_ns: int) -> tuple[str, ...]:
        """Name the scopes whose list should have been renewed by now."""
        return tuple(one.scope for one in self.standing() if wall_ns >= one.next_ns)

    def _take(self, one: "_Known") -> bool:
        """Take a list over that is newer, and whose signer the root has not taken back."""
        scope = one.list.scope
        known = self._lists.get(scope)
        if one.serial in self._serials.get(ROOT, ()):
            return False
        if known is not None and one.list.number <= known.list.number:
            return False
        self._lists[scope] = one
        self._serials[scope] = frozenset(entry.serial for entry in one.list.entries)
        return True

    def _differs(self, one: "_Known") -> bool:
        """Say whether a list contradicts the one that is known now."""
        known = self._lists.get(one.list.scope)
        if known is None or one.serial in self._serials.get(ROOT, ()):
            return False
        return not hmac.compare_digest(one.signed.body, known.signed.body)


class _Known(msgspec.Struct, frozen=True):
    list: RevocationList
    serial: str
    signed: SignedList
