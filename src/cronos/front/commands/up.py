"""`cronos up`: watch live sources with all four agencies until stopped."""

import argparse
import asyncio
import signal
from pathlib import Path

from msgspec.structs import replace

from cronos.config import Config, SourceEntry
from cronos.errors import InputError
from cronos.front import federated, settings
from cronos.front.commands.run import files, with_detection
from cronos.front.compose import Node, run_loop
from cronos.front.layout import Layout
from cronos.front.result import UpDocument, print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    watching(parser)
    federated.arguments(parser)
    settings.shared(parser)


def watching(parser: argparse.ArgumentParser) -> None:
    """Declare what is watched."""
    parser.add_argument(
        "--follow", action="append", default=[], metavar="FILE", help="a growing log"
    )
    parser.add_argument("--syslog", metavar="HOST:PORT", help="listen for syslog, UDP and TCP")
    parser.add_argument("--interface", metavar="NAME", help="capture here (needs permission)")
    parser.add_argument(
        "--tap",
        metavar="LISTEN=UPSTREAM",
        help="forward HOST:PORT=HOST:PORT, see Modbus in it, and cut who breaks the policy",
    )
    parser.add_argument("--policy", type=Path, help="the declared Modbus policy (TOML)")
    parser.add_argument("--rules", type=Path, action="append", help="a folder of Sigma rules")


def execute(options: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM."""
    if options.federated:
        return federated.execute(options)
    config = with_sources(with_detection(settings.config_of(options), options), options)
    if not config.source:
        raise InputError(
            "up.nothing_to_watch",
            "No source is given.",
            "Give --follow, --syslog, --interface or --tap, or [[source]] in the configuration.",
        )
    document = run_loop(watch(config, settings.state_of(options)))
    if options.json:
        print_json(document)
    return 1 if document.incidents else 0


def with_sources(config: Config, options: argparse.Namespace) -> Config:
    """Put the command line's sources behind the configuration's own."""
    sources = list(config.source)
    for given in options.follow:
        sources += files(given, "", follow=True)
    if options.syslog:
        host, port = _endpoint(options.syslog)
        for kind in ("syslog-udp", "syslog-tcp"):
            sources.append(SourceEntry(kind, "syslog", {"host": host, "port": port}))
    if options.interface:
        sources.append(SourceEntry("interface", "pcap", {"interface": options.interface}))
    if not options.tap:
        return replace(config, source=tuple(sources))
    listen, _, upstream = options.tap.partition("=")
    (host, port), (up_host, up_port) = _endpoint(listen), _endpoint(upstream)
    table = {
        **config.plugin.get("forwarding-tap", {}),
        "listen_host": host,
        "listen_port": port,
        "upstream_host": up_host,
        "upstream_port": up_port,
    }
    executors = tuple(name for name in config.executors if name != "recording")
    return replace(
        config,
        source=(*sources, SourceEntry("tap-feed", "tap-frames")),
        services=(*config.services, "forwarding-tap"),
        executors=(*executors, "tap"),
        plugin={**config.plugin, "forwarding-tap": table},
    )


def _endpoint(given: str) -> tuple[str, int]:
    host, _, port = given.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InputError(
            "up.bad_endpoint", f"`{given}` is not HOST:PORT.", "Write it like 127.0.0.1:5514."
        )
    return host.strip("[]"), int(port)


async def watch(config: Config, state: Path) -> UpDocument:
    """Be a node until told to stop."""
    layout = Layout(state, config.node.instance, session=False)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        node = Node(config, layout, config.source, live=True, log_level="info")
        try:
            await node.start()
            node.hurry()
            await node.watch(stopped)
        finally:
            await asyncio.shield(node.stop())
        return UpDocument(
            node.incidents(), sum(node.processed.values()), node.restarts, node.metrics()
        )
    finally:
        layout.close()
