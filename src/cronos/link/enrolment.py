"""Enrolment over the network: a node joins with its token, and later renews with its certificate.

One connection, at most three messages, each a u32 length and msgpack. The server greets with its
roots; whoever joins compares them with the pin in its token and verifies the server before it says
anything. Renewal is mutual TLS: the present certificate is the permission.
"""

import errno
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from cronos.crypto.lifecycle import due, life_ahead
from cronos.crypto.pki.chain import Identity, certified, verify_chain
from cronos.crypto.pki.credential import Credential
from cronos.crypto.pki.names import NODE, SERVICE
from cronos.crypto.pki.node import Holder, Membership
from cronos.crypto.pki.profile import LIFE_NS, MAX_GRACE_NS, MLDSA
from cronos.crypto.pki.requests import MAX_REQUEST_BYTES, Bound
from cronos.crypto.pki.revocation import MAX_BUNDLE_BYTES, Revocations
from cronos.crypto.pki.tokens import Token
from cronos.crypto.pki.trust import Trust, pack_trust, unpack_trust
from cronos.crypto.refusal import refused
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.tls import CLOSED, Endpoint, TlsLink, connect_unverified
from cronos.ports import Clock, Egress

SERVICE_NAME: Final = "enrolment"
_MAX_MESSAGE: Final = MAX_REQUEST_BYTES + 1024
_MAX_ANSWER: Final = MAX_BUNDLE_BYTES + (256 << 10)
_MOST_AT_ONCE: Final = 16
_MOST_MESSAGES: Final = 3
_ACCEPT_S: Final = 0.5
_PAUSE_S: Final = 0.05
_S_NS: Final = 1_000_000_000
_UPKEEP_NS: Final = 60 * _S_NS
_LISTENS_NO_MORE: Final = (errno.EBADF, errno.EINVAL)
# Operators are persons: they get a new certificate from a person, never from the network.
_RENEWS: Final = (NODE, SERVICE)
Text = Annotated[str, Meta(max_length=2_000)]


class Join(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """Asks for certificates with a join token's proof."""

    request: Annotated[bytes, Meta(max_length=MAX_REQUEST_BYTES)]


class Renew(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """Asks for new certificates; the link says who asks."""

    request: Annotated[bytes, Meta(max_length=MAX_REQUEST_BYTES)]


class Lists(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """Asks for the revocation lists, which are public."""


class Given(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """The answer to each of the three."""

    data: Annotated[bytes, Meta(max_length=_MAX_ANSWER)]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """Why there is no answer."""

    code: Annotated[str, Meta(max_length=80)]
    sentence: Text
    remedy: Text
    denied: bool


_ENCODER: Final = msgspec.msgpack.Encoder()
_ASKED: Final = msgspec.msgpack.Decoder(Join | Renew | Lists)
_ANSWERS: Final = msgspec.msgpack.Decoder(Given | Refused)
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)


class Issuing(Protocol):
    """The authority, as this service sees it; see `crypto.pki.authority.Authority`."""

    trust: Trust

    def admit(self, data: bytes) -> bytes:
        """Answer a joining node."""
        ...

    def renew(self, identity: Identity, data: bytes) -> bytes:
        """Answer a holder that proved its certificate."""
        ...

    def lists(self) -> bytes:
        """Give the revocation lists."""
        ...

    def issue(self, kind: str, name: str, roles: tuple[str, ...]) -> Credential:
        """Make a credential."""
        ...

    def refresh(self) -> tuple[str, ...]:
        """Renew what lists are due."""
        ...


class Renewing(Protocol):
    """Who holds a credential that is renewed here: `node.Holder`, or `pemfolder.PemFolder`."""

    def membership(self) -> Membership:
        """Give the credential that stands."""
        ...

    def revocations(self) -> Revocations:
        """Give the lists that are known."""
        ...

    def renew(self, ask: Callable[[bytes], bytes], bound: Bound | None = None) -> Identity:
        """Ask for new certificates and let them take the place of the present ones."""
        ...


class EnrolmentServer:
    """Serves an authority to whoever joins or renews.

    Its own certificate is made when it starts and again when it is due; its keys never touch a
    disk. A peer that stalls, babbles or floods costs one of sixteen places, for ten seconds
    with each of handshake and messages.

    Args:
        authority: what it serves.
        listener: a listening TCP socket.
        clock: the time.
        report: told what happened: an event's name, and who.
        grace_s: for how long after its end a certificate may still be renewed: no node is lost
            because no issuer could be reached. Told each time; a revoked one never may.
    """

    def __init__(
        self,
        authority: Issuing,
        listener: socket.socket,
        clock: Clock,
        report: Callable[[str, str], None] = lambda _event, _who: None,
        grace_s: int = 0,
    ) -> None:
        self._authority = authority
        self._listener = listener
        self._clock = clock
        self._report = report
        self._revoked = Revocations(authority.trust, authority.lists())
        self._credential = self._fresh()
        self._endpoint = Endpoint(
            self._credential,
            authority.trust,
            self._revoked,
            clock,
            grace_ns=min(grace_s * _S_NS, MAX_GRACE_NS),
        )
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._upkeep_ns = clock.now().boot_ns
        self._never = threading.Event()
        self._hearing = threading.Lock()
        self.stopping = False

    def serve(self) -> None:
        """Accept until `stopping`; then let what runs end."""
        self._listener.settimeout(_ACCEPT_S)
        with ThreadPoolExecutor(_MOST_AT_ONCE, "enrolment") as workers:
            while not self.stopping:
                self._tend()
                try:
                    connected, _ = self._listener.accept()
                except TimeoutError:
                    continue
                except OSError as error:
                    if error.errno in _LISTENS_NO_MORE:
                        break
                    # A peer that broke off, or no descriptor left for now.
                    self._report("enrolment.accept_failed", error.strerror or "")
                    self._never.wait(_PAUSE_S)
                    continue
                if self._places.acquire(blocking=False):
                    workers.submit(self._serve_one, connected).add_done_callback(self._served)
                else:
                    connected.close()

    def _served(self, conversation: "Future[None]") -> None:
        error = conversation.exception()
        if error is not None:
            self._report("enrolment.fault", type(error).__name__)

    def _tend(self) -> None:
        """Once a minute: fresh lists, and a fresh certificate of our own when it is due."""
        now = self._clock.now()
        if now.boot_ns < self._upkeep_ns:
            return
        self._upkeep_ns = now.boot_ns + _UPKEEP_NS
        try:
            self._authority.refresh()
            self._renew_own()
        except CronosError as error:
            self._report("enrolment.upkeep_failed", error.code)

    def _hear(self) -> None:
        """Take over what other commands revoked.

        One at a time: lists that were read before another's update would look like a rollback.
        """
        with self._hearing:
            self._revoked.update(self._authority.lists())

    def _renew_own(self) -> None:
        self._hear()
        try:
            own = self._credential.identity(self._clock.now(), self._revoked)
        except DeniedError:
            own = None
        if own is None or due(own.not_after_ns, self._life_ns, self._clock.now().wall_ns):
            self._credential = self._fresh()
            self._endpoint.renew(self._credential)

    def _fresh(self) -> Credential:
        made = self._authority.issue(SERVICE, SERVICE_NAME, ())
        ends_ns = certified(made.chains.mldsa, made.trust).not_after_ns
        self._life_ns = life_ahead(ends_ns, LIFE_NS[SERVICE], self._clock.now().wall_ns)
        return made

    def _serve_one(self, connected: socket.socket) -> None:
        try:
            # A revocation by another command counts for the very next handshake.
            self._hear()
            link = self._endpoint.accept(connected, "optional")
        except CronosError as error:
            connected.close()
            self._report("enrolment.refused", error.code)
        else:
            try:
                self._converse(link)
            except CronosError as error:
                # That a peer hangs up when it has what it wants is how each conversation ends.
                if error.code != CLOSED:
                    self._report("enrolment.ended", error.code)
            finally:
                self._endpoint.release(link)
        finally:
            self._places.release()

    def _converse(self, link: TlsLink) -> None:
        link.send_frame(pack_trust(self._authority.trust))
        for _ in range(_MOST_MESSAGES):
            link.send_frame(_ENCODER.encode(self._answer(link, link.receive_frame(_MAX_MESSAGE))))

    def _answer(self, link: TlsLink, data: bytes) -> Given | Refused:
        who = link.identity.name if link.identity else "a newcomer"
        try:
            asked = _ASKED.decode(data)
        except _UNREADABLE:
            raise refused() from None
        try:
            answer = self._given(link, asked)
        except CronosError as error:
            self._report("enrolment.denied", f"{who}: {error.code}")
            denied = isinstance(error, DeniedError)
            return Refused(error.code, error.sentence, error.remedy, denied)
        self._report(f"enrolment.{type(asked).__name__.lower()}", who)
        return Given(answer)

    def _given(self, link: TlsLink, asked: Join | Renew | Lists) -> bytes:
        match asked:
            case Join(request):
                return self._authority.admit(request)
            case Renew(request):
                return self._authority.renew(self._renewable(link.identity), request)
            case Lists():
                return self._authority.lists()

    def _renewable(self, identity: Identity | None) -> Identity:
        """Give who may renew: a node or a service, in time or within the grace."""
        if identity is None:
            raise refused()
        if identity.kind not in _RENEWS:
            raise DeniedError(
                "link.not_renewable",
                f"The certificate of {identity.kind} {identity.name} is not renewed here.",
                "Ask the authority for a new one: `cronos pki issue --operator`.",
            )
        if self._clock.now().wall_ns >= identity.not_after_ns:
            self._report("enrolment.grace", f"{identity.kind}/{identity.name}")
        return identity


def join(
    holder: Holder, token: Token, clock: Clock, egress: Egress, bound: Bound | None = None
) -> Identity:
    """Join the trust domain of a token, and keep the credential in `holder`.

    Raises:
        InputError: the token names no address.
        UnreachableError: nobody answers there.
        DeniedError: whoever answers is not the pinned authority, or does not take the token.
    """
    link = connect_unverified(_permitted(token.address, egress), clock)
    try:
        trust = unpack_trust(link.receive_frame(_MAX_MESSAGE))
        # First the pin, then the server, and only then a word of ours.
        if trust.fingerprint != token.pin:
            raise refused()
        _require_enrolment(verify_chain(link.chain, trust, clock.now(), Revocations(trust)))
        return holder.accept(_asked(link, Join(holder.request(token, bound))))
    finally:
        link.close()


def renew(
    holder: Renewing, clock: Clock, egress: Egress, bound: Bound | None = None, address: str = ""
) -> Identity:
    """Renew the credential of `holder` with the present one, and take the newest lists.

    Args:
        holder: keeps the credential.
        clock: the time.
        egress: the gate that the call passes.
        bound: the signing key to bind; see `Holder.request`.
        address: of another enrolment service than the one that was joined at; a service's folder
            knows of none.

    Raises:
        UnreachableError: nobody answers.
        DeniedError: the present credential is revoked or expired, or the server is not ours.
    """
    link = _connected(holder, clock, egress, address)
    try:
        return holder.renew(lambda request: _asked(link, Renew(request)), bound)
    finally:
        link.close()


def fetch_lists(holder: Holder, clock: Clock, egress: Egress, address: str = "") -> Revocations:
    """Fetch the revocation lists and make them durable; `address` as for `renew`.

    Raises:
        UnreachableError: nobody answers.
        DeniedError: the lists do not verify, or are older than those known.
    """
    link = _connected(holder, clock, egress, address)
    try:
        bundle = _asked(link, Lists())
    finally:
        link.close()
    return holder.learn(bundle)


def _connected(holder: Renewing, clock: Clock, egress: Egress, other: str) -> TlsLink:
    member = holder.membership()
    address = _permitted(other or member.address, egress)
    trust = member.credential.trust
    endpoint = Endpoint(member.credential, trust, holder.revocations(), clock)
    link = endpoint.connect(address, (SERVICE,), SERVICE_NAME)
    try:
        link.receive_frame(_MAX_MESSAGE)
    except UnreachableError:
        link.close()
        # It had taken our handshake and then hung up: it knows something of our certificate.
        own = member.credential.identity(clock.now(), holder.revocations())
        raise _hung_up(own) from None
    except CronosError:
        link.close()
        raise
    return link


def _asked(link: TlsLink, message: Join | Renew | Lists) -> bytes:
    """Ask one thing and give the answer.

    Raises:
        DeniedError: it was refused, with the server's reason.
    """
    link.send_frame(_ENCODER.encode(message))
    try:
        answer = _ANSWERS.decode(link.receive_frame(_MAX_ANSWER))
    except _UNREADABLE:
        raise refused() from None
    if isinstance(answer, Given):
        return answer.data
    kind = DeniedError if answer.denied else InputError
    raise kind(answer.code, answer.sentence, answer.remedy)


def _require_enrolment(identity: Identity) -> None:
    if (identity.kind, identity.name, identity.algorithm) != (SERVICE, SERVICE_NAME, MLDSA):
        raise refused()


def _permitted(address: str, egress: Egress) -> tuple[str, int]:
    """Give host and port, if the egress gate lets us."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal():
        raise InputError(
            "link.no_address",
            "The token names no address: its authority expects files.",
            "Use `cronos pki join TOKEN --request FILE`, then --accept with the answer.",
        )
    egress.permit(host.strip("[]"), int(port), "enrolment")
    return host.strip("[]"), int(port)


def _hung_up(own: Identity) -> DeniedError:
    again = "Join again with a new token" if own.kind == NODE else "Issue it a new folder"
    return DeniedError(
        "link.enrolment_refused",
        f"The enrolment service does not take the certificate of {own.name}.",
        f"It may be revoked. {again} (`cronos pki issue --{own.kind} {own.name}`).",
    )
