"""The certificate authority: an offline root, constrained issuers, and the book of both.

::

    DIR/trust           the two root certificates (public); written last, so that it says "complete"
    DIR/root/keys       the root's keys, sealed under a passphrase; this folder goes to a safe
    DIR/issuers/NAME    an issuer's keys, sealed under the machine's key or a passphrase
    DIR/registry.db     what was issued, to whom; tokens; revocation lists

The root is asked only to make an issuer or to take one back. Issuers know their kinds: those that
stand on the network make nodes and services, and none of them can make an operator.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import msgspec
from cryptography import x509
from msgspec import Meta

from cronos.config import Section
from cronos.crypto.durable import private_folder
from cronos.crypto.pki import profile, requests, revocation, sealed, tokens
from cronos.crypto.pki.chain import Identity
from cronos.crypto.pki.credential import (
    Chains,
    Credential,
    Keys,
    generate_keys,
)
from cronos.crypto.pki.names import (
    KINDS,
    NODE,
    OPERATOR,
    SERVICE,
    require_domain,
    require_name,
    require_roles,
)
from cronos.crypto.pki.profile import ALGORITHMS, ISSUER, MLDSA, P384, Half, PublicKey, Subject
from cronos.crypto.pki.registry import Book, Issued, IssuerRow, Registry, TokenRow
from cronos.crypto.pki.revocation import ROOT, Entry, RevocationList
from cronos.crypto.pki.trust import Trust, pack_trust, unpack_trust
from cronos.crypto.refusal import refused
from cronos.errors import DeniedError, InputError
from cronos.ports import Clock, RootKey

# Two that can stand in for each other on the network, one that stays off it.
ISSUERS: Final = {
    "issuer-1": (NODE, SERVICE),
    "issuer-2": (NODE, SERVICE),
    "operators": (OPERATOR,),
}
# How long the book remembers what has expired.
_REMEMBER_NS: Final = 30 * profile.DAY_NS
_KEYS: Final = msgspec.msgpack.Decoder(Keys)
_SECOND_NS: Final = 1_000_000_000
_LONGEST_TOKEN_S: Final = 30 * 86_400


class PkiConfig(Section, frozen=True):
    """How an authority keeps its issuers' keys.

    Attributes:
        root: the root key that they are sealed under; its own table configures it.
        token_life_s: how long a join token is good for.
        grace_s: for how long after its end a certificate may still be renewed.
    """

    root: str = "machine-key"
    token_life_s: Annotated[int, Meta(ge=60, le=_LONGEST_TOKEN_S)] = tokens.DEFAULT_LIFE_S
    grace_s: Annotated[int, Meta(ge=0, le=profile.MAX_GRACE_NS // 1_000_000_000)] = 86_400


class Listing(msgspec.Struct, frozen=True):
    """All that the book says; the lists' standing shows what is stale."""

    issuers: tuple[IssuerRow, ...]
    issued: tuple[Issued, ...]
    tokens: tuple[TokenRow, ...]
    lists: tuple[revocation.Standing, ...]


class Authority:
    """Issues, renews and revokes; opens no network.

    `config_type` is read by who makes the root keys that it is given.

    Args:
        folder: what `found` made.
        online: the root key that the issuers' keys are sealed under.
        clock: the time.
        trust: its roots, where they are not in the folder yet.

    Raises:
        InputError: there is no authority in `folder`, or not all of one.
    """

    config_type: ClassVar[type[Section]] = PkiConfig

    def __init__(
        self, folder: Path, online: RootKey, clock: Clock, trust: Trust | None = None
    ) -> None:
        self.folder = folder
        self._online = online
        self._clock = clock
        self._registry = Registry(folder / "registry.db")
        self._keys: dict[str, Keys] = {}
        self.trust = trust or unpack_trust(sealed.read(folder / "trust", "finished authority"))

    def issue(self, kind: str, name: str, roles: Iterable[str]) -> Credential:
        """Make keys and certificates for an operator or a service.

        Raises:
            InputError: the name or a role is none.
            DeniedError: no issuer of this kind is left, or the disk is full.
        """
        named, allowed = require_name(name), require_roles(kind, roles)
        keys = generate_keys()
        bound: Any = keys.of(MLDSA)
        public = bound.public_key().public_bytes_raw()
        with self._registry.work() as book:
            book.admit(kind, named, ",".join(allowed))
            subject = self._subject(kind, named, allowed, profile.bound_hash(public))
            publics = {algorithm: keys.of(algorithm).public_key() for algorithm in ALGORITHMS}
            chains = self._certify(book, subject, publics)
        return Credential(chains, keys, self.trust)

    def invite(self, name: str, roles: Iterable[str], address: str, life_s: int) -> str:
        """Give a one-time token that lets the node `name` join with these roles.

        Args:
            name: the node's instance name.
            roles: the roles that it may hold.
            address: ``host:port`` of the enrolment service; empty where files are carried.
            life_s: how long the token is good for, at most 30 days.

        Raises:
            InputError: the name, a role or the address is none, or the life is not that long.
        """
        named, allowed = require_name(name), require_roles(NODE, roles)
        _require_terms(address, life_s)
        now_ns = self._clock.now().wall_ns
        expires_ns = now_ns + life_s * _SECOND_NS
        token = tokens.new_token(
            self.trust.fingerprint, self.trust.domain, named, address, expires_ns
        )
        verifier = tokens.verifier(token.key().public)
        with self._registry.work() as book:
            book.forget(now_ns - _REMEMBER_NS)
            book.add_token(TokenRow(token.token_id, named, ",".join(allowed), verifier, expires_ns))
        return tokens.token_text(token)

    def admit(self, data: bytes) -> bytes:
        """Answer the request of a joining node; its token is used up in the same commit.

        Raises:
            DeniedError: a proof does not hold, or the token is unknown, used or expired.
        """
        request = requests.read_request(data)
        checked = requests.check_request(request)
        public = requests.check_token_signature(request)
        now_ns = self._clock.now().wall_ns
        with self._registry.work() as book:
            row = book.token(request.token_id)
            if row is None or not hmac.compare_digest(row.verifier, tokens.verifier(public)):
                raise refused()
            _require_usable(row, checked.name, now_ns)
            book.use_token(row.token_id, now_ns)
            book.admit(NODE, row.name, row.roles)
            subject = self._subject(NODE, row.name, _words(row.roles), checked.key_hash)
            return self._answer(book, subject, checked.keys)

    def renew(self, identity: Identity, data: bytes) -> bytes:
        """Answer the request of a holder that proved its present certificate.

        Raises:
            DeniedError: a proof does not hold, it asks for another name, or it may not renew.
        """
        request = requests.read_request(data)
        checked = requests.check_request(request)
        if checked.name != identity.name:
            raise refused()
        with self._registry.work() as book:
            roles = book.holder(identity.kind, identity.name)
            if roles is None:
                raise refused()
            subject = self._subject(identity.kind, identity.name, _words(roles), checked.key_hash)
            return self._answer(book, subject, checked.keys)

    def revoke(self, what: str, reason: str) -> tuple[Issued, ...]:
        """Take certificates back: those of a serial number and its twin, or all of a name.

        A name renews no more, and its open tokens are void, until it is invited again.

        Args:
            what: a serial number (32 hex digits), a name, or ``kind/name``.
            reason: one of `revocation.REASONS`.

        Returns:
            What was taken back; nothing for a node that was invited and has not joined.

        Raises:
            InputError: nothing has that name or number, or the reason is none.
        """
        _require_reason(reason)
        now_ns = self._clock.now().wall_ns
        with self._registry.work() as book:
            invited = what.removeprefix(f"{NODE}/")
            if not book.find(what) and _void(book, NODE, invited, now_ns):
                book.block(NODE, invited)
                return ()
            rows = _meant(book, what)
            book.revoke([row.serial for row in rows], now_ns, reason)
            kind, name = rows[0].kind, rows[0].name
            if what in (name, f"{kind}/{name}"):
                book.block(kind, name)
                _void(book, kind, name, now_ns)
            for issuer in sorted({row.issuer for row in rows}):
                self._publish(book, issuer)
        return tuple(rows)

    def take_up(self) -> int:
        """Go on from a restored backup: withdraw its open tokens, and sign all lists anew.

        A token may have been used since the backup was made, and the lists that were signed
        since are newer than those in it. Gives the number of tokens.
        """
        now_ns = self._clock.now().wall_ns
        with self._registry.work() as book:
            still_open = [row for row in book.tokens() if not row.used_ns]
            for row in still_open:
                book.use_token(row.token_id, now_ns)
        # Apart, for it takes the issuers' keys: tokens are void though those should not open.
        with self._registry.work() as book:
            for issuer in self._usable(book):
                self._publish(book, issuer.name)
        return len(still_open)

    def refresh(self) -> tuple[str, ...]:
        """Sign the issuers' lists anew that have run half their life; give whose they are."""
        now_ns = self._clock.now().wall_ns
        with self._registry.work() as book:
            book.forget(now_ns - _REMEMBER_NS)
            ours = [row.name for row in self._usable(book)]
            due = [
                one.scope
                for one in self._known(book).standing()
                if one.scope in ours and now_ns >= (one.issued_ns + one.next_ns) // 2
            ]
            for scope in due:
                self._publish(book, scope)
        return tuple(due)

    def lists(self) -> bytes:
        """Give all revocation lists as one bundle."""
        with self._registry.work() as book:
            return revocation.pack_bundle(book.lists())

    def listing(self) -> Listing:
        """Give what the book says."""
        with self._registry.work() as book:
            return Listing(
                tuple(book.issuers()),
                tuple(book.issued()),
                tuple(book.tokens()),
                self._known(book).standing(),
            )

    def add_issuer(self, name: str, kinds: Sequence[str], home: Path, offline: RootKey) -> None:
        """Make an issuer with the root's keys, which lie in `home`.

        Raises:
            InputError: the name is taken, or none.
            DeniedError: the root's keys do not open.
        """
        require_name(name)
        if not kinds or not set(kinds) <= set(KINDS):
            raise InputError(
                "crypto.bad_kind",
                f"An issuer issues some of {', '.join(KINDS)}; given: {', '.join(kinds)}.",
                "Name the kinds, separated by commas.",
            )
        roots = _root_halves(self.trust, home, offline)
        with sealed.locked(self.folder):
            self.enter_issuers({name: kinds}, roots)

    def enter_issuers(self, wanted: Mapping[str, Sequence[str]], roots: dict[str, Half]) -> None:
        """Make issuers with the root's halves and the folder's lock in hand; see `add_issuer`."""
        with self._registry.work() as book:
            taken = {ROOT, *[row.name for row in book.issuers()]}
            if not taken.isdisjoint(wanted):
                raise InputError(
                    "crypto.name_taken",
                    f"There is an issuer called {' or '.join(wanted)} already.",
                    "Choose another name; that of a revoked issuer is never used again.",
                )
            for name, kinds in wanted.items():
                self._enter(book, name, kinds, roots)
                self._publish(book, name)
            self._publish_root(book, roots[MLDSA])

    def revoke_issuer(self, name: str, reason: str, home: Path, offline: RootKey) -> None:
        """Take an issuer back, and with it all that it issued.

        Raises:
            InputError: there is no such issuer.
            DeniedError: the root's keys do not open.
        """
        _require_reason(reason)
        roots = _root_halves(self.trust, home, offline)
        with self._registry.work() as book:
            if name not in [row.name for row in book.issuers()]:
                raise InputError(
                    "crypto.unknown_certificate",
                    f"There is no issuer called `{name}`.",
                    "`cronos pki list` names them.",
                )
            book.revoke_issuer(name, self._clock.now().wall_ns, reason)
            self._publish_root(book, roots[MLDSA])

    def _answer(self, book: Book, subject: Subject, keys: dict[str, PublicKey]) -> bytes:
        chains = self._certify(book, subject, keys)
        bundle = revocation.pack_bundle(book.lists())
        return requests.pack_response(requests.Response(1, chains, self.trust, bundle))

    def _certify(self, book: Book, subject: Subject, keys: dict[str, PublicKey]) -> Chains:
        """Make both certificates and enter them in the book."""
        row = self._issuer_for(book, subject.kind)
        halves = self._halves(row)
        now_ns = self._clock.now().wall_ns
        made = {
            algorithm: profile.leaf_certificate(halves[algorithm], subject, keys[algorithm], now_ns)
            for algorithm in ALGORITHMS
        }
        book.add_issued([_issued(subject, one, row.name, each) for one, each in made.items()])
        return Chains(
            (profile.encoded(made[P384]), row.p384), (profile.encoded(made[MLDSA]), row.mldsa)
        )

    def _subject(self, kind: str, name: str, roles: Sequence[str], key_hash: bytes) -> Subject:
        return Subject(self.trust.domain, kind, name, tuple(roles), key_hash)

    def _usable(self, book: Book) -> list[IssuerRow]:
        """Give the issuers that are neither revoked nor expired, and whose keys lie here."""
        now_ns = self._clock.now().wall_ns
        return [
            row
            for row in book.issuers()
            if not row.revoked_ns and now_ns < row.not_after_ns and self._home(row.name).is_file()
        ]

    def _issuer_for(self, book: Book, kind: str) -> IssuerRow:
        for row in self._usable(book):
            if kind in _words(row.kinds):
                return row
        raise DeniedError(
            "crypto.no_issuer",
            f"No issuer for the kind `{kind}` is here: revoked, expired, or its keys are away.",
            "Make one with `cronos pki init --issuer NAME`, with the root at hand.",
        )

    def _home(self, name: str) -> Path:
        return self.folder / "issuers" / name

    def _halves(self, row: IssuerRow) -> dict[str, Half]:
        """Give an issuer's halves; its keys are unsealed once."""
        if row.name not in self._keys:
            data = sealed.read(self._home(row.name), f"keys of the issuer {row.name}")
            self._keys[row.name] = _read_keys(
                sealed.unseal(self._online, data, _issuer_purpose(row.name))
            )
        return _paired(row.p384, row.mldsa, self._keys[row.name])

    def _enter(self, book: Book, name: str, kinds: Sequence[str], roots: dict[str, Half]) -> None:
        """Make an issuer: its keys are sealed and durable before the book knows it."""
        keys = generate_keys()
        now_ns = self._clock.now().wall_ns
        subject = Subject(self.trust.domain, ISSUER, name, tuple(kinds))
        made = {
            algorithm: profile.issuer_certificate(
                roots[algorithm], subject, keys.of(algorithm).public_key(), now_ns
            )
            for algorithm in ALGORITHMS
        }
        private_folder(self.folder / "issuers")
        secret = sealed.seal(self._online, msgspec.msgpack.encode(keys), _issuer_purpose(name))
        sealed.replace(self._home(name), secret)
        expires_ns = min(profile.nanoseconds(one.not_valid_after_utc) for one in made.values())
        book.add_issuer(
            IssuerRow(
                name,
                ",".join(kinds),
                profile.encoded(made[P384]),
                profile.encoded(made[MLDSA]),
                expires_ns,
            )
        )

    def _publish(self, book: Book, issuer: str) -> None:
        """Sign an issuer's list anew; where the issuer is gone, the root's list speaks for it."""
        row = next((one for one in self._usable(book) if one.name == issuer), None)
        if row is None:
            return
        now_ns = self._clock.now().wall_ns
        entries = [
            Entry(one.serial, one.revoked_ns, one.reason)
            for one in book.revoked_by(issuer, now_ns - profile.MAX_GRACE_NS - profile.SKEW_NS)
        ]
        key = self._halves(row)[MLDSA].key
        self._put(book, issuer, entries, revocation.LIST_LIFE_NS, (key, row.mldsa))

    def _publish_root(self, book: Book, half: Half) -> None:
        entries = [
            Entry(serial, row.revoked_ns, row.reason)
            for row in book.issuers()
            if row.revoked_ns
            for serial in _serials(row)
        ]
        self._put(book, ROOT, entries, profile.LIFE_NS[ISSUER], (half.key, b""))

    def _put(
        self,
        book: Book,
        scope: str,
        entries: Sequence[Entry],
        life_ns: int,
        signer: tuple[profile.PrivateKey, bytes],
    ) -> None:
        """Number a list by time as well as by count: a restored backup does not fall back."""
        now_ns = self._clock.now().wall_ns
        number = max(book.number(scope) + 1, now_ns // _SECOND_NS)
        unsigned = RevocationList(
            1, self.trust.domain, scope, number, now_ns, now_ns + life_ns, tuple(entries)
        )
        book.put_list(scope, number, revocation.sign_list(unsigned, *signer))

    def _known(self, book: Book) -> revocation.Revocations:
        return revocation.Revocations(self.trust, revocation.pack_bundle(book.lists()))


def found(
    folder: Path, domain: str, home: Path, offline: RootKey, online: RootKey, clock: Clock
) -> Authority:
    """Found the authority of a trust domain: root, issuers and an empty book.

    Args:
        folder: where it lies.
        domain: its trust domain, such as ``plant.example``.
        home: where the root's keys go; may be on another disk.
        offline: what the root's keys are sealed under.
        online: what the issuers' keys are sealed under.
        clock: the time.

    Raises:
        InputError: there is one in `folder` or in `home` already, or the domain is none.
        DeniedError: a disk is full, or a folder open to others.
    """
    require_domain(domain)
    private_folder(folder)
    private_folder(home)
    with sealed.locked(folder):
        for path in (folder / "trust", home / "keys"):
            if path.exists():
                raise InputError(
                    "crypto.authority_exists",
                    f"{path} is there already: no authority is made over another.",
                    "Choose empty folders; remove this one only if its founding never ended.",
                )
        keys = generate_keys()
        trust, roots = _new_root(domain, keys, clock.now().wall_ns)
        # What an interrupted founding left was never trusted by anyone.
        (folder / "registry.db").unlink(missing_ok=True)
        Registry(folder / "registry.db").create()
        authority = Authority(folder, online, clock, trust)
        authority.enter_issuers(ISSUERS, roots)
        secret = sealed.seal(offline, msgspec.msgpack.encode(keys), _root_purpose(trust))
        sealed.replace(home / "keys", secret)
        sealed.replace(folder / "trust", pack_trust(trust))
    return authority


def _new_root(domain: str, keys: Keys, now_ns: int) -> tuple[Trust, dict[str, Half]]:
    halves: dict[str, Half] = {}
    for algorithm in ALGORITHMS:
        key = keys.of(algorithm)
        halves[algorithm] = Half(profile.root_certificate(domain, key, now_ns), key)
    return Trust(1, domain, halves[P384].der, halves[MLDSA].der), halves


def _root_halves(trust: Trust, home: Path, offline: RootKey) -> dict[str, Half]:
    data = sealed.read(home / "keys", "keys of the root")
    keys = _read_keys(sealed.unseal(offline, data, _root_purpose(trust)))
    return _paired(trust.p384_root, trust.mldsa_root, keys)


def _paired(p384: bytes, mldsa: bytes, keys: Keys) -> dict[str, Half]:
    load = x509.load_der_x509_certificate
    return {
        P384: Half(load(p384), keys.of(P384)),
        MLDSA: Half(load(mldsa), keys.of(MLDSA)),
    }


def _root_purpose(trust: Trust) -> bytes:
    return b"root\0" + trust.fingerprint


def _issuer_purpose(name: str) -> bytes:
    return b"issuer\0" + name.encode()


def _read_keys(data: bytes) -> Keys:
    try:
        return _KEYS.decode(data)
    except (msgspec.DecodeError, ValueError):
        raise refused() from None


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _serials(row: IssuerRow) -> list[str]:
    return [
        profile.serial_hex(x509.load_der_x509_certificate(der).serial_number)
        for der in (row.p384, row.mldsa)
    ]


def _issued(subject: Subject, algorithm: str, issuer: str, made: x509.Certificate) -> Issued:
    return Issued(
        profile.serial_hex(made.serial_number),
        subject.kind,
        subject.name,
        ",".join(subject.roles),
        algorithm,
        issuer,
        profile.nanoseconds(made.not_valid_before_utc),
        profile.nanoseconds(made.not_valid_after_utc),
    )


def _require_reason(reason: str) -> None:
    if reason not in revocation.REASONS:
        raise InputError(
            "crypto.bad_reason",
            f"{reason[:40]!r} is no reason for a revocation.",
            f"Choose one of: {', '.join(revocation.REASONS)}.",
        )


def _require_usable(row: TokenRow, name: str, now_ns: int) -> None:
    """Refuse a token that was used, is too old or is another node's.

    Whoever is told so has proved to hold it.
    """
    if row.name != name:
        raise refused()
    if row.used_ns:
        raise DeniedError(
            "crypto.token_used",
            f"The join token of {name} was used already, or was withdrawn.",
            "If this node did not use it, revoke `node/NAME`; then issue a new token.",
        )
    if now_ns >= row.expires_ns:
        raise DeniedError(
            "crypto.token_expired",
            f"The join token of {name} has expired.",
            "Issue a new one with `cronos pki issue --node NAME --role ROLES`.",
        )


def _meant(book: Book, what: str) -> list[Issued]:
    """Give the certificates that are meant by a name or a number, with the twins of a number."""
    rows = book.find(what)
    if not rows:
        raise InputError(
            "crypto.unknown_certificate",
            f"No certificate has the name or number {what[:80]!r}.",
            "`cronos pki list` names them.",
        )
    if len({row.kind for row in rows}) > 1:
        raise InputError(
            "crypto.ambiguous_name",
            f"{what[:80]!r} is the name of {' and of '.join(sorted({r.kind for r in rows}))}.",
            "Write kind/name, such as node/plc-gateway.",
        )
    if rows[0].serial != what:
        return rows
    one = rows[0]
    same = book.find(f"{one.kind}/{one.name}")
    return [
        row for row in same if (row.not_before_ns, row.issuer) == (one.not_before_ns, one.issuer)
    ]


def _void(book: Book, kind: str, name: str, now_ns: int) -> int:
    """Withdraw the open tokens of a node; give how many there were."""
    still_open = [row for row in book.tokens() if row.name == name and not row.used_ns]
    if kind != NODE:
        return 0
    for row in still_open:
        book.use_token(row.token_id, now_ns)
    return len(still_open)


def _require_terms(address: str, life_s: int) -> None:
    if not 0 < life_s <= _LONGEST_TOKEN_S:
        raise InputError(
            "crypto.bad_life",
            f"A join token cannot be good for {life_s} s.",
            f"Choose 1 to {_LONGEST_TOKEN_S} seconds.",
        )
    if len(address) > tokens.MAX_ADDRESS or not address.isascii() or not address.isprintable():
        raise InputError(
            "crypto.bad_address",
            f"{address[:80]!r} is no address of an enrolment service.",
            "Give HOST:PORT as the node will reach it, or nothing where files are carried.",
        )
