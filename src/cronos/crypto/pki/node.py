"""A holder's own side: it asks, checks the answer against its pin, and keeps its credential.

::

    FOLDER/pending      the keys of a request that has no answer yet, sealed
    FOLDER/credential   keys and certificates, sealed; replaced whole, so that one always stands
    FOLDER/revoked      the revocation lists as last heard (public, signed)

Answers may come by network or by file: nothing in them is believed that the pin does not cover.
"""

import functools
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cronos.crypto.durable import private_folder, read_bounded
from cronos.crypto.pki import requests, sealed
from cronos.crypto.pki.chain import Identity, certified, public_bytes, verify_chain
from cronos.crypto.pki.credential import Credential, Keys, generate_keys
from cronos.crypto.pki.names import KINDS
from cronos.crypto.pki.profile import ALGORITHMS, MLDSA, bound_hash
from cronos.crypto.pki.requests import Bound, Response
from cronos.crypto.pki.revocation import MAX_BUNDLE_BYTES, ROLLBACK, Revocations
from cronos.crypto.pki.tokens import Token
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import SigningKey
from cronos.errors import CronosError, DeniedError, InputError
from cronos.ports import Clock, RootKey
from cronos.types import Now

_CREDENTIAL: Final = b"membership"
_PENDING: Final = b"pending"


class Membership(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A credential and where it came from; `address` may be empty."""

    credential: Credential
    name: str
    address: str

    def __repr__(self) -> str:
        return f"<the membership of {self.name}>"


class Pending(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What was asked for, with the keys that it was asked for; the answer is checked with it."""

    keys: Keys
    name: str
    address: str
    pin: Annotated[bytes, Meta(min_length=48, max_length=48)]
    bound_hash: Annotated[bytes, Meta(min_length=48, max_length=48)]

    def __repr__(self) -> str:
        return f"<the request of {self.name}>"


_MEMBERSHIPS: Final = msgspec.msgpack.Decoder(Membership)
_PENDINGS: Final = msgspec.msgpack.Decoder(Pending)
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)


class Holder:
    """Keeps one credential in a folder.

    Args:
        folder: made with mode 0700 if need be.
        root: what its keys are sealed under.
        clock: the time.
    """

    def __init__(self, folder: Path, root: RootKey, clock: Clock) -> None:
        private_folder(folder)
        self._folder = folder
        self._root = root
        self._clock = clock

    def request(self, token: Token, bound: Bound | None = None) -> bytes:
        """Make keys and ask for certificates with a join token.

        Args:
            token: what the authority gave.
            bound: the signing key to bind; the ML-DSA-87 key of the certificate without one.

        Raises:
            DeniedError: the token has expired, by this machine's clock; or the disk is full.
        """
        if self._clock.now().wall_ns >= token.expires_ns:
            raise DeniedError(
                "crypto.token_expired",
                f"The join token of {token.name} has expired.",
                "Ask for a new one; if it is new, this machine's clock is ahead.",
            )
        proof = (token.token_id, token.key())
        request, pending = asked(token.name, token.address, token.pin, bound, proof)
        secret = sealed.seal(self._root, msgspec.msgpack.encode(pending), _PENDING)
        sealed.replace(self._folder / "pending", secret)
        return request

    def renew(self, ask: Callable[[bytes], bytes], bound: Bound | None = None) -> Identity:
        """Make new keys and have them certified over a link that proves the present ones.

        The new keys touch no disk before they are certified, so a request that was carried away
        as a file goes on waiting for its answer.

        Args:
            ask: sends a request and gives the answer.
            bound: the signing key to bind; see `request`.

        Raises:
            InputError: there is no credential to renew.
            DeniedError: the answer is not for this request, not from the pinned authority, or no
                better than what stands.
        """
        member = self.membership()
        pin = member.credential.trust.fingerprint
        request, pending = asked(member.name, member.address, pin, bound, None)
        answer = ask(request)
        with sealed.locked(self._folder):
            return self._take(answer, pending, member.credential)

    def accept(self, data: bytes) -> Identity:
        """Take the answer over; the credential before it stands until this one does.

        Raises:
            InputError: nothing was asked for.
            DeniedError: the answer is not for this request, or not from the pinned authority.
        """
        with sealed.locked(self._folder):
            identity = self._take(data, self._pending())
            (self._folder / "pending").unlink(missing_ok=True)
        return identity

    def _take(self, data: bytes, pending: Pending, standing: Credential | None = None) -> Identity:
        """Check an answer and let its credential take the place of the one before."""
        before = read_bounded(self._folder / "revoked", MAX_BUNDLE_BYTES)
        credential, identity, revoked = answered(data, pending, before or b"", self._clock.now())
        if standing is not None:
            require_better(credential, standing)
        member = Membership(credential, pending.name, pending.address)
        sealed.replace(self._folder / "revoked", revoked.packed())
        secret = sealed.seal(self._root, msgspec.msgpack.encode(member), _CREDENTIAL)
        sealed.replace(self._folder / "credential", secret)
        return identity

    def membership(self) -> Membership:
        """Give the credential that stands, expired or not.

        Raises:
            InputError: there is none.
            DeniedError: it does not open.
        """
        path = self._folder / "credential"
        plain = sealed.open_file(self._root, path, "credential", _CREDENTIAL)
        try:
            return _MEMBERSHIPS.decode(plain)
        except _UNREADABLE:
            raise refused() from None

    def carry(self, root: RootKey) -> Callable[[], None]:
        """Make ready for another root key; call what is given once that one is in force.

        A crash in between loses nothing: with either root key the credential opens.
        """
        held = {"credential": _CREDENTIAL, "pending": _PENDING}
        paths = {self._folder / name: purpose for name, purpose in held.items()}
        present = {path: purpose for path, purpose in paths.items() if path.exists()}
        with sealed.locked(self._folder):
            for path, purpose in present.items():
                sealed.carry(path, self._root, root, purpose)
        self._root = root
        return functools.partial(self._settle, tuple(present))

    def _settle(self, paths: tuple[Path, ...]) -> None:
        with sealed.locked(self._folder):
            for path in paths:
                sealed.settle(path)

    def stamp(self) -> tuple[int, ...]:
        """Give what changes whenever the credential does; empty while there is none."""
        return self._stamped("credential")

    def lists_stamp(self) -> tuple[int, ...]:
        """Give what changes whenever the revocation lists do; empty while there are none."""
        return self._stamped("revoked")

    def _stamped(self, name: str) -> tuple[int, ...]:
        try:
            found = (self._folder / name).stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def own(self) -> Identity:
        """Say who the credential says this is, also when it has expired or was revoked.

        Raises:
            InputError: there is no credential.
            DeniedError: it does not open, or is none of its own trust.
        """
        credential = self.membership().credential
        return certified(credential.chains.mldsa, credential.trust)

    def revocations(self) -> Revocations:
        """Give the revocation lists as last heard; updates are for `learn` to make durable."""
        trust = self.membership().credential.trust
        bundle = read_bounded(self._folder / "revoked", MAX_BUNDLE_BYTES)
        return Revocations(trust, bundle or b"")

    def learn(self, bundle: bytes) -> Revocations:
        """Take newer lists over and make them durable, so that a restart does not fall back.

        Raises:
            DeniedError: the lists do not verify, or the disk is full; or (code `ROLLBACK`) one is
                older than what is known, when those that are newer have been kept all the same.
        """
        with sealed.locked(self._folder):
            revoked = self.revocations()
            before = revoked.packed()
            try:
                revoked.update(bundle)
            finally:
                if (now := _kept(revoked)) != before:
                    sealed.replace(self._folder / "revoked", now)
        return revoked

    def _pending(self) -> Pending:
        path = self._folder / "pending"
        if not path.exists():
            raise InputError(
                "crypto.nothing_asked",
                "No request waits for an answer here.",
                "Make one with `cronos pki join TOKEN --request FILE` on this machine.",
            )
        plain = sealed.open_file(self._root, path, "request", _PENDING)
        try:
            return _PENDINGS.decode(plain)
        except _UNREADABLE:
            raise refused() from None


def asked(
    name: str,
    address: str,
    pin: bytes,
    bound: Bound | None,
    proof: tuple[bytes, SigningKey] | None,
) -> tuple[bytes, Pending]:
    """Make keys, a request for their certificates, and what its answer is checked with.

    Args:
        name: the holder's name.
        address: of the enrolment service, to be kept with the credential; may be empty.
        pin: of the authority that may answer.
        bound: the signing key to bind; the ML-DSA-87 key of the certificate without one.
        proof: id and key of a join token; None to renew.
    """
    keys = generate_keys()
    chosen = bound or own_bound(keys)
    request = requests.make_request(name, keys, chosen, proof)
    return request, Pending(keys, name, address, pin, bound_hash(chosen.public))


def answered(
    data: bytes, pending: Pending, before: bytes, now: Now
) -> tuple[Credential, Identity, Revocations]:
    """Check an answer; give the new credential, whose it is, and the lists as known now.

    Args:
        data: the answer.
        pending: what was asked.
        before: the revocation lists known before.
        now: the time.

    Raises:
        DeniedError: the answer is not for this request, or not from the pinned authority.
    """
    response = requests.read_response(data)
    if not hmac.compare_digest(response.trust.fingerprint, pending.pin):
        raise refused()
    revoked = _merged(response, before)
    _kept(revoked)
    credential = Credential(response.chains, pending.keys, response.trust)
    identity = require_own(credential, pending.name, pending.bound_hash, now, revoked)
    return credential, identity, revoked


def _merged(response: Response, before: bytes) -> Revocations:
    """Give the lists known before with those of the answer; older ones are not believed."""
    try:
        revoked = Revocations(response.trust, before)
    except CronosError:
        # Lists of another authority that this machine was with before.
        revoked = Revocations(response.trust)
    try:
        revoked.update(response.lists)
    except DeniedError as error:
        # An authority that was restored from a backup knows less than we do. That is told
        # where lists are asked for; to let the certificates die of it would help nobody.
        if error.code != ROLLBACK:
            raise
    return revoked


def _kept(revoked: Revocations) -> bytes:
    """Give the lists for a file, which is to be read again: together no longer than one bundle."""
    packed = revoked.packed()
    if len(packed) > MAX_BUNDLE_BYTES:
        raise refused()
    return packed


def require_better(new: Credential, old: Credential) -> None:
    """Refuse certificates of another kind than those that stand, or that end before them.

    Each algorithm is asked: whoever reads the one knows nothing of the other.

    Raises:
        DeniedError: they are no better.
    """
    for algorithm in ALGORITHMS:
        young, standing = (certified(one.chains.of(algorithm), one.trust) for one in (new, old))
        if young.kind != standing.kind or young.serial == standing.serial:
            raise refused()
        if young.not_after_ns < standing.not_after_ns:
            raise DeniedError(
                "crypto.renewal_no_longer",
                f"The new certificate of {young.name} would end before the one that stands.",
                "Its issuer is near its end (`cronos pki init --issuer NAME`), or its clock is "
                "behind.",
            )


def own_bound(keys: Keys) -> Bound:
    """Bind a credential's own ML-DSA-87 key: for operators, and for nodes without a keystore."""
    key = keys.of(MLDSA)

    def sign(message: bytes, context: bytes) -> bytes:
        signing = keys.of(MLDSA)
        return signing.sign(message, context)  # type: ignore[arg-type]  # `of` gives ML-DSA here

    return Bound(public_bytes(key.public_key()), sign)


def require_own(
    credential: Credential, name: str, key_hash: bytes, now: Now, revoked: Revocations
) -> Identity:
    """Check that certificates are for these keys, this name and this signing key.

    Raises:
        DeniedError: they are not, or not valid.
    """
    found: list[Identity] = []
    for algorithm in ALGORITHMS:
        chain = credential.chains.of(algorithm)
        identity = verify_chain(chain, credential.trust, now, revoked, KINDS)
        public = public_bytes(credential.keys.of(algorithm).public_key())
        if (
            identity.algorithm != algorithm
            or identity.name != name
            or not hmac.compare_digest(identity.mldsa_hash, key_hash)
            or not hmac.compare_digest(credential.public(algorithm), public)
        ):
            raise refused()
        found.append(identity)
    return found[-1]
