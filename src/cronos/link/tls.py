"""TLS 1.3 between Cronos processes: hybrid post-quantum keys, ML-DSA-87 on both ends.

One group and one signature algorithm are offered, so that there is nothing to negotiate down to.
The TLS library proves that the peer holds its key; whose key it is, `crypto.pki.chain` says,
after the handshake and before a byte is handed on. When a revocation list changes, the links of
whoever it names are cut at once.

Source: RFC 8446; draft-ietf-tls-ecdhe-mlkem (SecP384r1MLKEM1024); RFC 9881.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final, Literal, TypeVar

from cryptography import x509
from OpenSSL import SSL, crypto
from OpenSSL._util import lib

from cronos.crypto.pki.chain import Identity, verify_chain
from cronos.crypto.pki.credential import Credential
from cronos.crypto.pki.names import KINDS
from cronos.crypto.pki.profile import MLDSA
from cronos.crypto.pki.revocation import Revocations
from cronos.crypto.pki.trust import Trust
from cronos.crypto.refusal import refused
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.ports import Clock

HYBRID_GROUP: Final = "SecP384r1MLKEM1024"
CNSA_GROUP: Final = "MLKEM1024"
CLOSED: Final = "link.tls_closed"
HANDSHAKE_S: Final = 10.0
_SIGNATURE: Final = b"mldsa87"
_CIPHER: Final = b"TLS_AES_256_GCM_SHA384"
# Without it OpenSSL sends the root along, which the peer has pinned already.
_NO_AUTO_CHAIN: Final = 0x8
_READ_BYTES: Final = 1 << 16
_HEADER_BYTES: Final = 4
_S_NS: Final = 1_000_000_000
_MAX_WAIT_MS: Final = 60_000

ValueT = TypeVar("ValueT")
Peers = Literal["required", "optional", "none"]


class TlsLink:
    """One connection, blocking, with a time limit on every call; for one thread at a time.

    Attributes:
        identity: who the peer is; None only where a server asks for no certificate.
        group: the key agreement that was used.
    """

    def __init__(self, connection: SSL.Connection, connected: socket.socket, clock: Clock) -> None:
        self._tls = connection
        self._socket = connected
        self._clock = clock
        self._cut: CronosError | None = None
        self._closed = False
        self.identity: Identity | None = None
        self.chain: tuple[bytes, ...] = ()
        self.group = ""
        connected.setblocking(False)
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handshake(self, timeout_s: float = HANDSHAKE_S) -> None:
        """Agree on keys and learn the peer's chain, which is still to be verified.

        Raises:
            DeniedError: the two ends have no common ground.
            UnreachableError: the peer went away or took too long.
        """
        self._drive(self._tls.do_handshake, timeout_s)
        self.group = self._tls.get_group_name() or ""
        # Not as objects of `cryptography`: parsing what strangers send is `chain`'s alone.
        leaf = self._tls.get_peer_certificate()
        # A client's list begins with the leaf, a server's leaves it out.
        above = self._tls.get_peer_cert_chain() or []
        ders = [crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in above[:4]]
        if leaf is not None:
            own = crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)
            self.chain = (own, *[der for der in ders if der != own])

    def send(self, data: bytes, timeout_s: float = HANDSHAKE_S) -> None:
        """Send all of `data`.

        Raises:
            UnreachableError: the peer went away or took too long.
            DeniedError: the peer was revoked or has expired.
        """
        for start in range(0, len(data), _READ_BYTES):
            left = data[start : start + _READ_BYTES]
            while left:
                left = left[self._drive(partial(self._tls.send, left), timeout_s) :]

    def receive(self, most: int = _READ_BYTES, timeout_s: float = HANDSHAKE_S) -> bytes:
        """Give up to `most` bytes.

        Raises:
            UnreachableError: the peer went away or took too long.
            DeniedError: the peer was revoked or has expired.
        """
        return self._drive(partial(self._tls.recv, most), timeout_s)

    def send_frame(self, data: bytes, timeout_s: float = HANDSHAKE_S) -> None:
        """Send a u32 length and `data`; see `send`."""
        self.send(len(data).to_bytes(_HEADER_BYTES, "big") + data, timeout_s)

    def receive_frame(self, most: int, timeout_s: float = HANDSHAKE_S) -> bytes:
        """Give one frame of at most `most` bytes; see `receive`.

        Raises:
            DeniedError: a longer one was announced.
        """
        until_ns = self._until(timeout_s)
        length = int.from_bytes(self._exactly(_HEADER_BYTES, until_ns), "big")
        if length > most:
            raise refused()
        return self._exactly(length, until_ns)

    def cut(self, why: CronosError) -> None:
        """End the link from another thread; every later call of its owner raises `why`."""
        self._cut = why
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the link; more than once is harmless."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(SSL.Error, OSError):
            if self._cut is None:
                self._tls.shutdown()
        self._socket.close()

    def _exactly(self, length: int, until_ns: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            left_s = max(0, until_ns - self._clock.now().boot_ns) / _S_NS
            data += self.receive(min(length - len(data), _READ_BYTES), left_s)
        return bytes(data)

    def _until(self, timeout_s: float) -> int:
        return self._clock.now().boot_ns + int(timeout_s * _S_NS)

    def _drive(self, step: Callable[[], ValueT], timeout_s: float) -> ValueT:
        """Try `step` until it is done, waiting for the socket in between."""
        until_ns = self._until(timeout_s)
        while True:
            self._require_open()
            try:
                value = step()
            except SSL.WantReadError:
                self._wait(select.POLLIN, until_ns)
            except SSL.WantWriteError:
                self._wait(select.POLLOUT, until_ns)
            except (SSL.Error, OSError) as error:
                raise self._why(error) from None
            else:
                if self._cut is not None:
                    raise self._cut
                return value

    def _require_open(self) -> None:
        if self._cut is not None:
            raise self._cut
        if self._closed:
            # Its descriptor may be another connection's by now.
            raise _ended(SSL.ZeroReturnError())

    def _why(self, error: SSL.Error | OSError) -> CronosError:
        """Say why the link ended: by us, if it was us."""
        return _ended(error) if self._cut is None else self._cut

    def _wait(self, event: int, until_ns: int) -> None:
        left_ms = (until_ns - self._clock.now().boot_ns) // 1_000_000
        waiting = select.poll()
        waiting.register(self._socket, event)
        ready = left_ms > 0 and waiting.poll(min(left_ms, _MAX_WAIT_MS))
        if not ready and left_ms <= _MAX_WAIT_MS:
            raise UnreachableError(
                "link.tls_timeout",
                "The peer did not answer in time.",
                "Check that it runs, and that nothing between the two holds packets back.",
            )


class Endpoint:
    """One process's end of all its TLS links: its credential, whom it trusts, and what stands.

    Args:
        credential: what it proves itself with; None for a client that has joined nothing yet.
        trust: the pinned roots; the credential's own where there is one.
        revoked: the revocation lists; links of whoever they come to name are cut.
        clock: the time.
        group: the one key agreement that is offered.
        grace_ns: for how long after its end a peer's certificate still makes a link; the caller
            compares `Identity.not_after_ns` and says what such a link may do.
    """

    def __init__(
        self,
        credential: Credential | None,
        trust: Trust,
        revoked: Revocations,
        clock: Clock,
        group: str = HYBRID_GROUP,
        grace_ns: int = 0,
    ) -> None:
        self._credential = credential
        self._trust = trust
        self._revoked = revoked
        self._clock = clock
        self._group = group
        self._grace_ns = grace_ns
        self._contexts: dict[str, SSL.Context] = {}
        self._standing: set[TlsLink] = set()
        self._lock = threading.Lock()
        revoked.watch(self.sweep)

    def connect(
        self,
        address: tuple[str, int],
        expected: Collection[str] = KINDS,
        name: str = "",
        timeout_s: float = HANDSHAKE_S,
    ) -> TlsLink:
        """Connect to a listening endpoint and verify who it is.

        Whether it takes us, its first answer says: in TLS 1.3 a client is done before its
        certificate is looked at.

        Args:
            address: host and port; the caller has asked the egress gate.
            expected: of which kind the peer may be.
            name: which name it must have; any when empty.
            timeout_s: for all of it.

        Raises:
            UnreachableError: nobody answers, or not in time.
            DeniedError: the peer is not who it should be.
        """
        context = self._context("required", server=False)
        link = _dial(context, address, self._clock, timeout_s)
        return self._established(link, expected, name, timeout_s)

    def accept(
        self,
        connected: socket.socket,
        peers: Peers = "required",
        expected: Collection[str] = KINDS,
        timeout_s: float = HANDSHAKE_S,
    ) -> TlsLink:
        """Serve the TLS side of a connection that was accepted, and verify who it is.

        Raises:
            UnreachableError: the peer went away, or not in time.
            DeniedError: the peer is not who it should be.
        """
        tls = SSL.Connection(self._context(peers, server=True), connected)
        tls.set_accept_state()
        link = TlsLink(tls, connected, self._clock)
        return self._established(link, expected, "", timeout_s, peers)

    def renew(self, credential: Credential) -> None:
        """Use another credential for new links; those that stand go on with the old one."""
        with self._lock:
            self._credential = credential
            self._contexts = {}

    def release(self, link: TlsLink) -> None:
        """Close a link and forget it."""
        with self._lock:
            self._standing.discard(link)
        link.close()

    def standing(self) -> int:
        """Give the number of links that stand."""
        return len(self._standing)

    def sweep(self) -> None:
        """Cut the links whose peer was revoked or has expired; called on each new list.

        Call it now and then besides, for no link outlives its peer's certificate.
        """
        with self._lock:
            links = tuple(self._standing)
        for link in links:
            try:
                self._verify(link, KINDS)
            except CronosError as why:
                link.cut(why)
                with self._lock:
                    self._standing.discard(link)

    def _established(
        self,
        link: TlsLink,
        expected: Collection[str],
        name: str,
        timeout_s: float,
        peers: Peers = "required",
    ) -> TlsLink:
        try:
            link.handshake(timeout_s)
            if link.chain or peers == "required":
                # It stands before it is verified: a list that comes in between finds it.
                with self._lock:
                    self._standing.add(link)
                link.identity = self._verify(link, expected)
                _require_named(link.identity, name)
        except Exception:
            self.release(link)
            raise
        return link

    def _verify(self, link: TlsLink, expected: Collection[str]) -> Identity:
        now = self._clock.now()
        identity = verify_chain(
            link.chain, self._trust, now, self._revoked, expected, self._grace_ns
        )
        if identity.algorithm != MLDSA:
            raise refused()
        return identity

    def _context(self, peers: Peers, *, server: bool) -> SSL.Context:
        with self._lock:
            known = self._contexts.get(f"{peers} {server}")
            if known is None:
                known = _context(self._credential, self._group, peers, server=server)
                self._contexts[f"{peers} {server}"] = known
            return known


def _require_named(identity: Identity, name: str) -> None:
    if name not in ("", identity.name):
        raise refused()


def connect_unverified(
    address: tuple[str, int], clock: Clock, group: str = HYBRID_GROUP
) -> TlsLink:
    """Connect without knowing whom to trust: only for joining, which learns it and then verifies.

    Raises:
        UnreachableError: nobody answers, or not in time.
        DeniedError: the peer speaks no TLS of ours.
    """
    link = _dial(_context(None, group, "required", server=False), address, clock, HANDSHAKE_S)
    try:
        link.handshake()
    except Exception:
        link.close()
        raise
    return link


def _dial(
    context: SSL.Context, address: tuple[str, int], clock: Clock, timeout_s: float
) -> TlsLink:
    try:
        connected = socket.create_connection(address, timeout_s)
    except (OSError, ValueError) as error:  # a name may be none, with a NUL or no labels
        reason = getattr(error, "strerror", None) or error
        raise UnreachableError(
            "link.unreachable",
            f"Nothing answers at {address[0]} port {address[1]}: {reason}.",
            "Check the address, and that the service runs.",
        ) from error
    tls = SSL.Connection(context, connected)
    tls.set_connect_state()
    return TlsLink(tls, connected, clock)


def _context(credential: Credential | None, group: str, peers: Peers, *, server: bool) -> Any:
    """Configure one end; nothing may change once it has made its first connection."""
    context: Any = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    # A ticket would carry a session past a revocation; 0-RTT needs tickets, so there is none.
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(_NO_AUTO_CHAIN)
    context.set_tls13_ciphersuites(_CIPHER)
    raw = context._context  # noqa: SLF001 - pyOpenSSL has no call for groups and signatures
    if not (
        lib.SSL_CTX_set1_curves_list(raw, group.encode("ascii"))
        and lib.SSL_CTX_set1_sigalgs_list(raw, _SIGNATURE)
    ):
        raise InputError(
            "link.tls_unsupported",
            f"This TLS library has no {group} with ML-DSA-87.",
            "Install the versions of `cryptography` and `pyopenssl` that Cronos asks for.",
        )
    mode = SSL.VERIFY_NONE if peers == "none" else SSL.VERIFY_PEER
    if peers == "required":
        mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    # Every chain passes here: `Endpoint._verify` judges it, by rules of our own.
    context.set_verify(mode, _let_pass)
    if credential is not None:
        _prove(context, credential)
    return context


def _let_pass(*_: Any) -> bool:
    return True


def _prove(context: Any, credential: Credential) -> None:
    leaf, issuer = map(x509.load_der_x509_certificate, credential.chains.of(MLDSA))
    context.use_certificate(leaf)
    context.add_extra_chain_cert(issuer)
    # pyOpenSSL takes no ML-DSA key of `cryptography`, and warns of the only kind that it does take.
    key: Any = crypto.load_privatekey(crypto.FILETYPE_PEM, credential.key_pem(MLDSA))
    lib.SSL_CTX_use_PrivateKey(context._context, key._pkey)  # noqa: SLF001 - see above
    context.check_privatekey()


def _ended(error: SSL.Error | OSError) -> CronosError:
    """Tell a peer that went away from one that would not have us."""
    # An SSL.Error carries OpenSSL's queue: (library, function, reason) for each.
    queue: Any = error.args[0] if type(error) is SSL.Error and error.args else ()
    reason = str(queue[-1][2]) if queue else ""
    if not reason or "eof" in reason:
        return UnreachableError(
            CLOSED,
            "The peer closed the connection.",
            "If it had just begun, the peer refused us: see its log.",
        )
    return DeniedError(
        "link.tls_refused",
        f"The TLS handshake failed: {reason}.",
        "Both ends must be Cronos of one trust domain, with valid certificates.",
    )
