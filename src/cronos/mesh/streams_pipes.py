"""Both ends of a gRPC stream, and what is said on it before it belongs to a link.

The dialler's gRPC has checked chain and host name of the server, the server's gRPC the chain of
the dialler. All else is found out here: kind, name, revocation, the proof, the version. Nobody is
waited for longer than `GREETING_S`, and no peer may have more than a few streams at this stage.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from cronos.crypto.pki.chain import Identity
from cronos.crypto.pki.presence import nonce
from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.link.text import plain
from cronos.link.upkeep import Report
from cronos.mesh.corelog import LONG, place_of
from cronos.mesh.door import Door
from cronos.mesh.streams_link import Attachment, Link, Pipe, Terms
from cronos.mesh.streams_session import require_peer
from cronos.mesh.streams_tls import Identities, chain_of, grpc_library
from cronos.mesh.streams_wire import (
    METHOD,
    MOST_STREAM_BYTES,
    Hello,
    Proof,
    Welcome,
    agreed,
    broken,
    decode,
    encode,
)
from cronos.ports import Clock

GREETING_S: Final = 5.0
_MOST_GREETING: Final = 4
_ENDED_NS: Final = 1_000_000_000
_BOTH: Final = (
    ("grpc.max_receive_message_length", MOST_STREAM_BYTES),
    ("grpc.max_send_message_length", MOST_STREAM_BYTES),
    # The second also becomes TCP_USER_TIMEOUT: what is not acknowledged for so long is gone.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 1_500),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_metadata_size", 8_192),
)
_CHANNEL: Final = (
    *_BOTH,
    # A new channel must not find the old one's connection, which has the old certificate.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
)
_SERVER: Final = (
    *_BOTH,
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.max_connection_idle_ms", 30_000),
    ("grpc.max_concurrent_streams", 4),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
)

ValueT = TypeVar("ValueT")


class ClientPipe:
    """The dialler's end; it has a channel, and so a connection, of its own."""

    def __init__(self, channel: Any, call: Any, grpc: Any) -> None:
        self.channel = channel
        self.call = call
        self._grpc = grpc

    async def read(self) -> bytes:
        """Give the next message; empty at the end, however it came.

        Raises:
            DeniedError: one of the two has sent what is longer than any message.
        """
        try:
            data = await self.call.read()
        except self._grpc.RpcError as error:
            if error.code() is self._grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise _too_long(str(error.details())) from None
            return b""
        return b"" if data is self._grpc.aio.EOF else data

    async def write(self, data: bytes) -> None:
        """Send a message."""
        await self.call.write(data)

    def cancel(self) -> None:
        """End the stream."""
        self.call.cancel()


class ServerPipe:
    """The other end: a call that gRPC has handed us, in a task of its own."""

    def __init__(self, context: Any, grpc: Any) -> None:
        self._context = context
        self._grpc = grpc
        self._task = asyncio.current_task()

    async def read(self) -> bytes:
        """Give the next message; empty at the end."""
        data = await self._context.read()
        return b"" if data is self._grpc.aio.EOF else data

    async def write(self, data: bytes) -> None:
        """Send a message."""
        await self._context.write(data)

    def cancel(self) -> None:
        """End the call by ending the task that answers it."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()


class Greeter:
    """The first words on a stream.

    Args:
        known: this node's credential and its judgement.
        clock: the time.
        link_of: gives the link to a peer, made if need be.
        terms_ns: says of a peer and of when its certificate ends how long a stream may stand.
        speaks: the version of the wire.
    """

    def __init__(
        self,
        known: Identities,
        clock: Clock,
        link_of: Callable[[str], Link],
        terms_ns: Callable[[str, int], tuple[int, int]],
        speaks: int,
    ) -> None:
        self.known = known
        self.link_of = link_of
        self._clock = clock
        self._terms_ns = terms_ns
        self._speaks = speaks

    async def dialled(self, pipe: Pipe, link: Link) -> Attachment | None:
        """Greet whom we dialled; None where another stream is kept instead of this one.

        Raises:
            DeniedError: it is not who it should be.
            UnreachableError: it went away, or took too long.
        """
        held = self.known.credential
        hello = encode(Hello(self._speaks, self.known.me, *link.session.greeting(), nonce()))
        await pipe.write(hello)
        proof = decode(await _in_time(pipe.read()))
        if not isinstance(proof, Proof):
            raise broken("gave no proof of who it is")
        welcome = decode(proof.welcome)
        if not isinstance(welcome, Welcome):
            raise broken("gave no welcome")
        identity = self.known.verify(welcome.chain)
        said = (hello, proof.welcome, held.chains.p384[0])
        self.known.require_present(welcome.chain[0], said, proof.signature)
        require_peer(welcome, identity.name, self.known.me)
        if identity.name != link.peer:
            raise broken(f"is not {link.peer}")
        stream = self._stream(pipe, self.known.me, welcome, identity, welcome.chain)
        return stream if link.attach(stream, welcome) else None

    async def accepted(
        self, pipe: Pipe, chain: tuple[bytes, ...], first: bytes
    ) -> tuple[Link, Attachment] | None:
        """Greet who dialled us; None where another stream is kept instead of this one.

        Raises:
            DeniedError: it may not come in.
        """
        identity = self.known.verify(chain)
        hello = decode(first)
        if not isinstance(hello, Hello):
            raise broken("did not greet")
        require_peer(hello, identity.name, self.known.me)
        link = self.link_of(identity.name)
        stream = self._stream(pipe, identity.name, hello, identity, chain)
        if not link.prefers(stream):
            return None
        held = self.known.credential
        greeting = link.session.greeting()
        welcome = encode(Welcome(self._speaks, self.known.me, *greeting, held.chains.p384))
        signature = self.known.prove(held, (first, welcome, chain[0]))
        await pipe.write(encode(Proof(welcome, signature)))
        return (link, stream) if link.attach(stream, hello) else None

    def _stream(
        self,
        pipe: Pipe,
        dialler: str,
        said: Hello | Welcome,
        identity: Identity,
        chain: tuple[bytes, ...],
    ) -> Attachment:
        own = self.known.verify(self.known.credential.chains.p384)
        expires_ns = min(own.not_after_ns, identity.not_after_ns)
        renew_ns, ends_ns = self._terms_ns(identity.name, expires_ns)
        version = agreed(self._speaks, said.version)
        terms = Terms(dialler, version, identity, chain, renew_ns, ends_ns, expires_ns)
        return Attachment(pipe, terms, said.session, self._clock.now().boot_ns)


class Calls:
    """Makes streams with gRPC, as client and as server.

    Args:
        greeter: says the first words.
        report: told who was refused.
        door: looks after connections without a stream.
        clock: the time.
    """

    def __init__(self, greeter: Greeter, report: Report, door: Door, clock: Clock) -> None:
        self._door = door
        self._clock = clock
        # Whose streams ended, and when, within the last second.
        self._ends: dict[str, int] = {}
        self._grpc = grpc_library()
        status = self._grpc.StatusCode
        self._refusals = frozenset({status.PERMISSION_DENIED, status.UNAUTHENTICATED})
        self._greeter = greeter
        self._report = report
        self._greeting: dict[str, int] = {}
        self._channels: set[Any] = set()

    def server(self, most: int) -> Any:
        """Make a server that bears `most` connections; it has no port yet."""
        options = (*_SERVER, ("grpc.max_allowed_incoming_connections", most))
        server = self._grpc.aio.server(options=options)
        method = self._grpc.stream_stream_rpc_method_handler(self._serve)
        server.add_generic_rpc_handlers((_Methods({METHOD: method}),))
        return server

    async def close(self) -> None:
        """Close what connections there are."""
        for channel in tuple(self._channels):
            await self._close(channel)

    async def dial(self, link: Link, target: str) -> Coroutine[Any, Any, None] | None:
        """Make a stream to a peer; gives what is to be run for as long as it stands.

        Raises:
            UnreachableError: nobody is there.
            DeniedError: one of the two refuses the other.
        """
        channel = self._greeter.known.channel(link.peer, target, _CHANNEL)
        self._channels.add(channel)
        pipe = ClientPipe(channel, channel.stream_stream(METHOD)(), self._grpc)
        stream = None
        try:
            stream = await self._greeted(pipe, link)
        finally:
            if stream is None:
                await self._close(channel)
        return None if stream is None else self._run(link, stream, channel)

    async def _greeted(self, pipe: ClientPipe, link: Link) -> Attachment | None:
        call = pipe.call
        try:
            await asyncio.wait_for(call.wait_for_connection(), GREETING_S)
            with link.opening():
                return await self._greeter.dialled(pipe, link)
        except (self._grpc.RpcError, TimeoutError, asyncio.InvalidStateError) as error:
            raise self._refused(link.peer, error) from None
        except CronosError:
            # It may have said why it went, before it was greeted: then that is the better reason.
            code = await call.code() if call.done() else None
            if code is self._grpc.StatusCode.ALREADY_EXISTS:
                return None
            if code in self._refusals:
                raise self._denied(link.peer, await call.details()) from None
            raise

    def _refused(self, peer: str, error: Exception) -> CronosError:
        code = getattr(error, "code", lambda: None)()
        text = plain(str(getattr(error, "details", lambda: "")() or "it did not answer in time"))
        if code in self._refusals:
            return self._denied(peer, text)
        return UnreachableError(
            "mesh.unreachable",
            f"{peer} cannot be reached: {text[:300]}",
            "Check its address, that it runs, and that its certificate is of this domain.",
        )

    def _denied(self, peer: str, why: str | None) -> DeniedError:
        text = plain(why or "it does not say why")[:300]
        return DeniedError("mesh.refused", f"{peer} refuses this node: {text}", "Ask it.")

    async def _run(self, link: Link, stream: Attachment, channel: Any) -> None:
        """Read a stream that we dialled until it ends."""
        try:
            await link.read(stream)
        except CronosError as error:
            self._report("warning", error.code, peer=link.peer, detail=error.sentence)
        except asyncio.CancelledError:
            if not stream.closed:
                raise
        finally:
            link.detach(stream)
            await self._close(channel)

    async def _close(self, channel: Any) -> None:
        self._channels.discard(channel)
        await channel.close()

    async def _serve(self, _requests: Any, context: Any) -> None:
        """Answer one call, from its first word to its end."""
        status = self._grpc.StatusCode
        try:
            chain = chain_of(_texts(context.auth_context()))
            pipe = ServerPipe(context, self._grpc)
            opened = await self._admitted(pipe, chain)
        except CronosError as error:
            self._report("warning", error.code, peer=_who(context), detail=error.sentence)
            code = status.PERMISSION_DENIED
            if isinstance(error, UnreachableError):
                code = status.UNAVAILABLE
            await context.abort(code, error.sentence)
            return
        if opened is None:
            await context.abort(status.ALREADY_EXISTS, "Another stream stands already.")
            return
        link, stream = opened
        place = place_of(str(context.peer()).encode()) or ("", 0)
        self._door.enter(place)
        try:
            await link.read(stream)
        except CronosError as error:
            self._report("warning", error.code, peer=link.peer, detail=error.sentence)
            await context.abort(status.PERMISSION_DENIED, error.sentence)
        finally:
            self._ends[link.peer] = self._clock.now().boot_ns
            self._door.leave(place)
            link.detach(stream)

    def too_long(self) -> None:
        """Tell that some peer's message was too long: one whose stream ended just now.

        gRPC says only that there was one; if several streams have ended, it was one of theirs.
        """
        since_ns = self._clock.now().boot_ns - _ENDED_NS
        for name in [name for name, at_ns in self._ends.items() if at_ns < since_ns]:
            del self._ends[name]
        names = sorted(self._ends)
        why = _too_long(f"it was that of {' or '.join(names) or 'a stranger'}").sentence
        self._report("warning", LONG, peer=names[0] if len(names) == 1 else "", detail=why)

    async def _admitted(
        self, pipe: ServerPipe, chain: tuple[bytes, ...]
    ) -> tuple[Link, Attachment] | None:
        name = self._greeter.known.verify(chain).name
        if self._greeting.get(name, 0) >= _MOST_GREETING:
            raise broken("opens stream after stream")
        self._greeting[name] = self._greeting.get(name, 0) + 1
        try:
            first = await _in_time(pipe.read())
            return await self._greeter.accepted(pipe, chain, first)
        finally:
            self._ends[name] = self._clock.now().boot_ns
            self._greeting[name] -= 1
            if not self._greeting[name]:
                del self._greeting[name]


class _Methods:
    """The one method that there is, by its path."""

    def __init__(self, methods: Mapping[str, Any]) -> None:
        self._methods = methods

    def service(self, details: Any) -> Any:
        """Give the handler of a call; None where there is no such method."""
        return self._methods.get(details.method)


async def _in_time(reading: Coroutine[Any, Any, bytes]) -> bytes:
    """Give a peer's next word.

    Raises:
        UnreachableError: it takes too long, or has gone.
    """
    try:
        data = await asyncio.wait_for(reading, GREETING_S)
    except TimeoutError:
        data = b""
    if not data:
        raise UnreachableError(
            "mesh.no_greeting",
            "A peer opened a stream and said nothing, or went away.",
            "If it comes again, look at what runs there.",
        )
    return data


def _too_long(why: str) -> DeniedError:
    return DeniedError(
        LONG,
        f"A stream was ended over a message of more than {MOST_STREAM_BYTES} bytes: {plain(why)}."[
            :400
        ],
        "See what runs at that peer: no node sends so much at once.",
    )


def _texts(context: Mapping[str, Any]) -> dict[str, tuple[bytes, ...]]:
    return {str(key): tuple(values) for key, values in context.items()}


def _who(context: Any) -> str:
    """Name a caller as far as it is known: what its certificate claims, or where it calls from."""
    claimed = _texts(context.auth_context()).get("peer_uri", ())
    text = claimed[0].decode("utf-8", "replace") if claimed else str(context.peer())
    return plain(text)[:200]
