"""Who is at the other end of a gRPC stream: mutual TLS 1.3 on P-384, X25519MLKEM768 between.

What Python's gRPC leaves to us, and how it is done here:

* It cannot be told to speak TLS 1.3 alone. The one cipher suite that it may use below is for
  pre-shared keys, which nobody has, so that nothing below 1.3 comes about.
* It cannot pin the group. `require_strict` connects to the node's own port with OpenSSL, which
  offers X25519MLKEM768 and nothing else, and looks at what was agreed; so does whoever asks a
  seed for its name. Two nodes of ours agree on it, as it is what both prefer.
* A server is told the client's chain, a client nothing of the server's: see `presence`.

Source: RFC 8446; draft-ietf-tls-ecdhe-mlkem.
"""

import importlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import lib

from cronos.crypto.pki.chain import Identity, verify_chain
from cronos.crypto.pki.credential import Credential
from cronos.crypto.pki.names import NODE, host_name
from cronos.crypto.pki.node import Membership
from cronos.crypto.pki.presence import prove, require_present
from cronos.crypto.pki.profile import P384
from cronos.crypto.pki.revocation import Revocations
from cronos.crypto.refusal import refused
from cronos.errors import DeniedError, UnreachableError
from cronos.link.tls import HANDSHAKE_S, TlsLink
from cronos.mesh.corelog import core_settings
from cronos.ports import Clock

GROUP: Final = "X25519MLKEM768"
_SETTINGS: Final = {"GRPC_SSL_CIPHER_SUITES": "ECDHE-PSK-AES256-CBC-SHA"}
_MOST_CHAIN: Final = 4


def grpc_library() -> Any:
    """Import gRPC, set to TLS 1.3 alone; what it would print goes to a `CoreLog`, or nowhere.

    It reads its settings once in each process, from the environment and nowhere else.
    """
    os.environ.update({**_SETTINGS, **core_settings()})
    return importlib.import_module("grpc")


class Kept(Protocol):
    """Where the node's credential lies, and may be changed by others; `Holder` is one."""

    def membership(self) -> Membership:
        """Give the credential that stands."""
        ...

    def stamp(self) -> tuple[int, ...]:
        """Give what changes whenever the credential does."""
        ...

    def lists_stamp(self) -> tuple[int, ...]:
        """Give what changes whenever the revocation lists do."""
        ...

    def revocations(self) -> Revocations:
        """Give the revocation lists as last heard."""
        ...


class Identities:
    """This node's credential as gRPC wants it, and its judgement of others.

    Args:
        holder: where the credential lies.
        clock: the time.

    Attributes:
        knocked: told, in gRPC's threads, of each connection that its server takes.
        probes: where this node has called from to look at its own port.
    """

    def __init__(self, holder: Kept, clock: Clock) -> None:
        self.knocked: Callable[[], None] = lambda: None
        self.probes: set[tuple[str, int]] = set()
        self._grpc = grpc_library()
        self._holder = holder
        self._clock = clock
        self._stamp, self._lists = holder.stamp(), holder.lists_stamp()
        member = holder.membership()
        self.me = member.name
        self.credential: Credential = member.credential
        self.trust = self.credential.trust
        self.revoked = holder.revocations()
        self._served: Credential | None = None
        self._lock = threading.Lock()

    def refresh(self) -> bool:
        """Look whether lists came or the credential was renewed; True when it was renewed.

        Raises:
            CronosError: what is there now cannot be read; what stood before goes on standing.
        """
        stamp, lists = self._holder.stamp(), self._holder.lists_stamp()
        if lists != self._lists:
            self.revoked = self._holder.revocations()
            self._lists = lists
        if stamp == self._stamp:
            return False
        self.credential = self._holder.membership().credential
        self._stamp = stamp
        return True

    def server_credentials(self) -> Any:
        """Give what a server is made with; it takes up a renewed certificate by itself."""
        with self._lock:
            self._served = self.credential
        return self._grpc.dynamic_ssl_server_credentials(
            self._configuration(self.credential), self._renewed, require_client_authentication=True
        )

    def _renewed(self) -> Any:
        """Give a configuration for new handshakes, None for the last one; from gRPC's threads."""
        self.knocked()
        with self._lock:
            credential = self.credential
            if credential is self._served:
                return None
            self._served = credential
        return self._configuration(credential)

    def _configuration(self, credential: Credential) -> Any:
        pair = (credential.key_pem(P384), credential.chain_pem(P384))
        return self._grpc.ssl_server_certificate_configuration([pair], credential.root_pem(P384))

    def channel(self, peer: str, target: str, options: Sequence[tuple[str, Any]]) -> Any:
        """Make a channel to the node `peer`: another host name in the certificate ends it."""
        held = self.credential
        credentials = self._grpc.ssl_channel_credentials(
            held.root_pem(P384), held.key_pem(P384), held.chain_pem(P384)
        )
        name = ("grpc.ssl_target_name_override", host_name(self.trust.domain, NODE, peer))
        return self._grpc.aio.secure_channel(target, credentials, options=[*options, name])

    def verify(self, chain: Sequence[bytes]) -> Identity:
        """Say which node's chain this is.

        Raises:
            DeniedError: it is none of a node of this domain, expired or revoked.
        """
        identity = verify_chain(chain, self.trust, self._clock.now(), self.revoked, (NODE,))
        if identity.algorithm != P384:
            raise refused()
        return identity

    def prove(self, credential: Credential, said: Sequence[bytes]) -> bytes:
        """Sign what was said on a stream; see `presence`."""
        return prove(credential, said)

    def require_present(self, leaf: bytes, said: Sequence[bytes], signature: bytes) -> None:
        """Check the other's signature on it; see `presence`."""
        require_present(leaf, said, signature)

    def identify(self, address: tuple[str, int]) -> Identity:
        """Ask who listens at an address; blocks for as long as the network does.

        Raises:
            UnreachableError: nobody.
            DeniedError: no node of this domain, or one that cannot agree on `GROUP`.
        """
        chain, _ = _shaken(_context(self.credential, SSL.TLS1_3_VERSION), address, self._clock)
        return self.verify(chain)

    def require_strict(self, address: tuple[str, int]) -> None:
        """Look at the node's own port: the group agreed on, and nothing below TLS 1.3.

        Raises:
            DeniedError: gRPC was begun with other settings before, or is another version.
        """
        newer, older_still = SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION
        _, group = _shaken(_context(self.credential, newer), address, self._clock, self.probes)
        try:
            _shaken(_context(self.credential, older_still), address, self._clock, self.probes)
        except (DeniedError, UnreachableError):
            older = False
        else:
            older = True
        if group != GROUP or older:
            raise DeniedError(
                "mesh.weak_tls",
                f"The mesh port agreed on {group or 'no group'}"
                + (", and on TLS 1.2 as well." if older else "."),
                "Install the grpcio that the lock names, and let nothing import it before.",
            )


def chain_of(context: Mapping[str, Sequence[bytes]]) -> tuple[bytes, ...]:
    """Give the client's chain as gRPC tells it to a server, leaf first, as DER.

    Raises:
        DeniedError: there is none.
    """
    pems = [*context.get("x509_pem_cert", ()), *context.get("x509_pem_cert_chain", ())]
    blocks = b"".join(pems).decode("ascii", "replace").split("-----BEGIN CERTIFICATE-----")[1:]
    try:
        ders = [ssl.PEM_cert_to_DER_cert(f"{ssl.PEM_HEADER}{one}".strip()) for one in blocks]
    except ValueError:
        raise refused() from None
    if not ders or len(ders) > _MOST_CHAIN:
        raise refused()
    return (ders[0], *[der for der in ders[1:] if der != ders[0]])


def _shaken(
    context: Any, address: tuple[str, int], clock: Clock, probes: set[tuple[str, int]] | None = None
) -> tuple[tuple[bytes, ...], str]:
    """Make a connection, agree on keys, and leave again; `probes` takes where it came from."""
    try:
        connected = socket.create_connection(address, HANDSHAKE_S)
    except (OSError, ValueError) as error:
        raise UnreachableError(
            "mesh.unreachable",
            f"Nothing answers at {address[0]} port {address[1]}.",
            "Check the address, and that a node runs there.",
        ) from error
    if probes is not None:
        probes.add(connected.getsockname()[:2])
    tls = SSL.Connection(context, connected)
    tls.set_connect_state()
    link = TlsLink(tls, connected, clock)
    try:
        link.handshake()
        return link.chain, link.group
    finally:
        link.close()


def _context(credential: Credential, version: int) -> Any:
    """Configure OpenSSL like a node's gRPC; whom it meets is verified after the handshake."""
    context: Any = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    raw = context._context  # noqa: SLF001 - pyOpenSSL has no call for groups
    if version == SSL.TLS1_3_VERSION and not lib.SSL_CTX_set1_curves_list(raw, GROUP.encode()):
        raise DeniedError(
            "mesh.no_hybrid_group",
            f"OpenSSL does not offer {GROUP}.",
            "Install the cryptography and pyOpenSSL that the lock names.",
        )
    context.set_alpn_protos([b"h2"])
    leaf, issuer = map(x509.load_der_x509_certificate, credential.chains.of(P384))
    context.use_certificate(leaf)
    context.add_extra_chain_cert(issuer)
    key: Any = credential.keys.of(P384)
    context.use_privatekey(key)
    # The chain is verified by `verify`, which knows our profile and the revocation lists.
    context.set_verify(SSL.VERIFY_NONE, None)
    return context
