"""The service that shows a node's metrics to whoever collects them: text over HTTP.

Everything is asked of the running node over its control socket when somebody looks, and what became
of decisions is counted from the ledger now and then, in a thread, for that reads all of it. Nothing
can be told to it: a request is a first line, the rest is passed over, and every connection ends
with its answer.

Source: OpenMetrics 1.0 and Prometheus text format 0.0.4.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import msgspec

from cronos.config import Section
from cronos.errors import CronosError, InputError
from cronos.link.asking import ask
from cronos.ports import Clock, Tasks
from cronos.types import ControlCall, Manifest

_MAX_REQUEST_BYTES: Final = 8_192
_REQUEST_S: Final = 5.0
_ASK_S: Final = 5.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_]")
_QUANTILES: Final = {"p50": "0.5", "p99": "0.99"}
_SHARES: Final = (
    "autonomy",
    "escalation",
    "isolated",
    "verified",
    "false_positives",
    "false_isolations",
    "shadow",
)
_OF_TECHNIQUES: Final = ("isolated", "verified", "false_positives")
_MOST_TECHNIQUES: Final = 200

Line = tuple[str, str, float]


class MetricsConfig(Section, frozen=True):
    """Settings of `[plugin.metrics]`."""

    listen_host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "127.0.0.1"
    listen_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 7490
    # How often what became of decisions is counted from the ledger; 0 for never.
    rates_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 300
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 16

    def __post_init__(self) -> None:
        """Refuse an address that others reach: there is no TLS here."""
        if self.listen_host not in _LOOPBACK:
            raise ValueError("metrics are served on this machine alone: 127.0.0.1 or ::1")


class MetricsService:
    """Serves ``GET /metrics``; a `Service`.

    Args:
        config: see `MetricsConfig`.
        clock: the time.
        tasks: where the counting runs.
        control: the node's control socket.
        rates: counts what became of decisions; blocks for as long as the ledger takes to read.
        gauges: what other services of the node tell of themselves.

    Attributes:
        port: where it listens, once it has started.
    """

    manifest = Manifest(
        name="metrics",
        summary="Serves the node's metrics as text for Prometheus and its like.",
        capabilities=("observe",),
    )
    config_type: ClassVar[type[Section]] = MetricsConfig

    def __init__(
        self,
        config: MetricsConfig,
        *,
        clock: Clock,
        tasks: Tasks,
        control: Path,
        rates: Callable[[], Any],
        gauges: Callable[[], Mapping[str, float]] = dict[str, float],
    ) -> None:
        self.port: int | None = None
        self._config = config
        self._clock = clock
        self._tasks = tasks
        self._control = control
        self._rates = rates
        self._gauges = gauges
        self._counted: Any = None
        self._counted_wall_ns = 0
        self._server: asyncio.Server | None = None
        self._connections = 0
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Listen.

        Raises:
            InputError: the port is taken, or not this user's.
        """
        host, port = self._config.listen_host, self._config.listen_port
        try:
            self._server = await asyncio.start_server(
                self._answer, host, port, limit=_MAX_REQUEST_BYTES
            )
        except OSError as error:
            raise InputError(
                "link.metrics_port",
                f"Metrics cannot be served at {host}:{port}: {error.strerror}.",
                "Choose another `listen_port` under [plugin.metrics]; 0 takes a free one.",
            ) from error
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._stopping.clear()
        if self._config.rates_s:
            self._tasks.spawn(self._count(), "metrics-rates")

    async def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            await server.wait_closed()

    async def health(self) -> str:
        """Give ``ok``, or a sentence on what is wrong."""
        return "ok" if self._server is not None else "Metrics are not served."

    async def _count(self) -> None:
        while not self._stopping.is_set():
            # A ledger that is sealed and whose keys are away, or that does not exist yet.
            with contextlib.suppress(CronosError, OSError):
                self._counted = await asyncio.to_thread(self._rates)
                self._counted_wall_ns = self._clock.now().wall_ns
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._config.rates_s)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= self._config.max_connections:
                async with asyncio.timeout(_REQUEST_S + _ASK_S):
                    writer.write(await self._reply(reader))
                    await writer.drain()
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            pass  # who does not speak HTTP, slowly or at all, is not answered
        finally:
            self._connections -= 1
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(_REQUEST_S):
            head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"Metrics can only be read.\n")
        if path != b"/metrics":
            return _response("404 Not Found", b"There is /metrics, and nothing else.\n")
        body = "".join(await asyncio.to_thread(self._lines)).encode()
        return _response("200 OK", b"" if method == b"HEAD" else body, len(body))

    def _lines(self) -> list[str]:
        """Give the whole text; a node that does not answer is a node that is down."""
        try:
            status = msgspec.json.decode(
                ask(self._control, ControlCall(1, "status"), _ASK_S), type=dict[str, Any]
            )
        except CronosError:
            return ["# TYPE cronos_up untyped\ncronos_up 0\n"]
        rates = rate_lines(self._counted, self._counted_wall_ns) if self._counted else ()
        return list(exposed([*status_lines(status), *rates, *gauge_lines(self._gauges())]))


def status_lines(status: Mapping[str, Any]) -> Iterator[Line]:
    """Translate what a node says of itself: name, labels and value of each sample."""
    yield "cronos_up", "", 1
    for name in ("open", "active", "closed", "waiting"):
        yield "cronos_incidents", _labels(state=name), float(status.get(name, 0))
    yield "cronos_recorded", "", float(bool(status.get("recorded")))
    yield "cronos_killed", "", float(bool(status.get("kill", {}).get("engaged")))
    for worker in sorted(status.get("workers", {})):
        yield "cronos_worker_up", _labels(worker=worker), 1
    for key, value in sorted(status.get("metrics", {}).items()):
        name, *rest = key.split(".")
        kind = _QUANTILES.get(rest[-1]) if rest else None
        if kind is not None:
            yield f"cronos_{_fit('_'.join((name, *rest[:-1])))}", _labels(quantile=kind), value
        elif len(rest) == 1 and rest[0] != "count":
            yield f"cronos_{_fit(name)}", _labels(kind=rest[0]), value
        elif len(rest) == 2 and rest[1] != "count":
            yield f"cronos_{_fit(name)}", _labels(kind=rest[0], result=rest[1]), value
        else:
            yield f"cronos_{_fit('_'.join((name, *rest)))}", "", value


def gauge_lines(gauges: Mapping[str, float]) -> Iterator[Line]:
    """Translate what other services tell: `a.b` is a name, `a.b.c` has `c` for its kind."""
    for key, value in sorted(gauges.items()):
        name, *rest = key.split(".")
        labels = _labels(kind=rest[1]) if len(rest) == 2 else ""
        yield f"cronos_{_fit('_'.join((name, *rest[:1])))}", labels, float(value)


def rate_lines(tracked: Any, at_wall_ns: int) -> Iterator[Line]:
    """Translate what became of decisions: counts, so that a share can be made over any time."""
    yield "cronos_outcomes_counted_seconds", "", at_wall_ns / 1e9
    yield "cronos_outcomes_incidents", "", float(tracked.incidents)
    for name in _SHARES:
        yield from _share(name, getattr(tracked, name))
    yield "cronos_outcomes_resolved", "", float(tracked.resolved)
    for quantile, name in (("0.5", "resolution_p50_s"), ("0.95", "resolution_p95_s")):
        labels = _labels(quantile=quantile)
        yield "cronos_outcomes_resolution_seconds", labels, getattr(tracked, name)
    for one in tracked.techniques[:_MOST_TECHNIQUES]:
        for name in _OF_TECHNIQUES:
            yield from _share(name, getattr(one, name), technique=one.technique)


def _share(name: str, share: Any, **more: str) -> Iterator[Line]:
    kind = "technique_outcomes" if more else "outcomes"
    for part in ("right", "of"):
        labels = _labels(outcome=name, count=part, **more)
        yield f"cronos_{kind}", labels, float(getattr(share, part))


def exposed(lines: list[Line]) -> Iterator[str]:
    """Write samples as text, those of one name together, as the format asks."""
    by_name: dict[str, list[Line]] = {}
    for line in lines:
        by_name.setdefault(line[0], []).append(line)
    for name, samples in by_name.items():
        yield f"# TYPE {name} untyped\n"
        for _, labels, value in samples:
            yield f"{name}{labels} {value:.17g}\n"


def _labels(**values: str) -> str:
    told = ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())
    return f"{{{told}}}"


def _escaped(value: str) -> str:
    text = "".join(mark if mark.isprintable() else "?" for mark in value[:128])
    return text.replace("\\", r"\\").replace('"', r"\"")


def _fit(name: str) -> str:
    return _UNFIT.sub("_", name)


def _response(status: str, body: bytes, length: int | None = None) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\n"
        "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n"
        "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
