"""Four nodes on one machine: their own trust domain, a process tree each, nobody in the middle.

The authority is founded in the state folder and every node joins it with a token, as it would over
the network; only the tokens are carried by hand. A node is ``cronos node`` with a configuration of
its own; one that ends is started again. All of them defend, and each has one more thing that it
does for all.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from cronos import config as configuration
from cronos.config import Config
from cronos.errors import CronosError, InputError, UnreachableError
from cronos.front import keyring, membership, plugins, settings
from cronos.front.documents_mesh import FederatedDocument, FellowView, MeshDocument
from cronos.front.enrolling import SERVICE, Enrolling
from cronos.front.federation import MESH_SOCKET
from cronos.front.result import print_json
from cronos.link.asking import SOCKET_NAME, ask
from cronos.link.freeports import free_ports
from cronos.ports import Clock
from cronos.types import ControlCall

NAMES: Final = ("north", "east", "south", "west")
DUTIES: Final = {
    "north": ("defense",),
    "east": ("defense", "operations"),
    "south": ("defense", "audit"),
    "west": ("defense", "communication"),
}
ROLES: Final = ("defense", "operations", "audit", "communication")
DOMAIN: Final = "federation.example"
_READY_S: Final = 60.0
_POLL_S: Final = 0.05
_END_S: Final = 15.0
_AGAIN_S: Final = 1.0
_TOKEN_S: Final = 600
_MAX_STATE: Final = 56

Table = dict[str, Any]


class Fellow:
    """One node: where it lies, where it listens, and its process."""

    def __init__(self, name: str, state: Path, port: int) -> None:
        self.name = name
        self.state = state
        self.address = f"127.0.0.1:{port}"
        self.restarts = 0
        self.process: asyncio.subprocess.Process | None = None

    @property
    def file(self) -> Path:
        """Give its configuration file."""
        return self.state / "cronos.toml"

    @property
    def run(self) -> Path:
        """Give the folder of its sockets."""
        return self.state / self.name / "run"

    def view(self) -> FellowView:
        """Show it."""
        return FellowView(
            self.name, self.address, str(self.state), self.process.pid if self.process else 0
        )


class Federation:
    """The nodes of one machine.

    Args:
        state: the folder that theirs lie in.
        table: the configuration that they share; of [node], [mesh] and [policy] budget_share each
            has its own.
        own: what a node has over that.
        clock: the time.
        renewing: whether an enrolment service runs beside, so that certificates never run out.
    """

    def __init__(
        self,
        state: Path,
        table: Table,
        clock: Clock,
        own: dict[str, Table] | None = None,
        *,
        renewing: bool = False,
    ) -> None:
        if len(os.fsencode(state)) > _MAX_STATE:
            raise InputError(
                "front.long_state",
                f"{state} is too long for the sockets of nodes below it.",
                "Name a shorter --state.",
            )
        self.state = state
        self.clock = clock
        self._table = table
        self._own = own or {}
        self.enrolling = Enrolling() if renewing else None
        ports = free_ports(len(NAMES))
        self.fellows = {
            name: Fellow(name, state / name, port) for name, port in zip(NAMES, ports, strict=True)
        }

    def prepare(self) -> None:
        """Write each node's configuration; found the trust domain and let the nodes join it.

        Raises:
            CronosError: the configuration is not valid, or a folder cannot be used.
        """
        for fellow in self.fellows.values():
            table = self._table_of(fellow)
            configuration.parse(json.loads(json.dumps(table)), str(fellow.file))
            fellow.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            fellow.file.write_text(toml_of(table), encoding="utf-8")
        folder = self.state / "authority"
        founded = (folder / "trust").exists()
        if founded and self.enrolling is None:
            return  # they have joined it before
        authority = self._authority(folder, founded=founded)
        for fellow in self.fellows.values():
            if not founded or self._ended(authority, fellow):
                self._join(authority, fellow)
        if self.enrolling is not None:
            pki = plugins.settings_of(plugins.load("entry", "pki"), "pki", Config(), None)
            log = plugins.load("entry", "log")("federation", self.clock)

            def report(event: str, who: str) -> None:
                log.write("info", event, who=who)

            self.enrolling.start(authority, self.clock, pki.grace_s, report)

    def _authority(self, folder: Path, *, founded: bool) -> Any:
        """Open the authority of the trust domain, or found it."""
        config = Config()
        online = keyring.root_key(config, folder, name="machine-key")
        if founded:
            return plugins.load("entry", "pki")(folder, online, self.clock)
        offline = keyring.root_key(config, folder / "root", name="machine-key")
        found = plugins.load("entry", "pki-found")
        return found(folder, DOMAIN, folder / "root", offline, online, self.clock)

    def _ended(self, authority: Any, fellow: Fellow) -> bool:
        """Say whether a certificate ended while all stood still; one that was revoked has not."""
        config = configuration.parse(settings.read_table(fellow.file), str(fellow.file))
        holder = membership.holder_of(config, fellow.state, self.clock)
        holder.learn(authority.lists())
        own = holder.own()
        late = self.clock.now().wall_ns >= own.not_after_ns
        return bool(late and not holder.revocations().is_revoked(own.issuer, own.serial))

    async def start(self, name: str) -> None:
        """Start a node's process; see `ready`."""
        fellow = self.fellows[name]
        fellow.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cronos.front.cli", "node"),
            *("--config", str(fellow.file), "--state", str(fellow.state), "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )

    async def ready(self, *names: str, view: int = 0) -> None:
        """Wait until nodes answer and each sees `view` nodes, itself included.

        Raises:
            UnreachableError: one has ended, or they do not meet.
        """
        for _ in range(int(_READY_S / _POLL_S)):
            for name in names:
                process = self.fellows[name].process
                if process is None or process.returncode is not None:
                    raise UnreachableError(
                        "front.node_ended", f"The node {name} has ended.", "See its log lines."
                    )
            seen = [await self.mesh(name) for name in names]
            if all(one is not None and (not view or one.view == view) for one in seen):
                return
            await asyncio.sleep(_POLL_S)
        raise UnreachableError(
            "front.not_met",
            f"{', '.join(names)} did not come to see {view} nodes within {_READY_S:g} s.",
            "See their log lines; a machine without free memory is usual.",
        )

    async def mesh(self, name: str) -> MeshDocument | None:
        """Give what a node says of the federation; None where it does not answer."""
        return await asyncio.to_thread(self._asked, name, MESH_SOCKET, "status", MeshDocument)

    async def node(self, name: str, verb: str, argument: Any = None) -> Any:
        """Give what a node answers on its control socket; None where it does not."""
        return await asyncio.to_thread(self._asked, name, SOCKET_NAME, verb, Any, argument)

    async def kill(self, *names: str) -> None:
        """End nodes as `kill -9` of all their processes does: nobody says good-bye."""
        for name in names:
            process = self.fellows[name].process
            if process is not None and process.returncode is None:
                for pid in (process.pid, *_below(process.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await process.wait()

    async def stop(self, *, whole: bool = False) -> None:
        """Let every node end; `whole` ends their enforcers too, which else outlast their leases."""
        left = [
            pid
            for one in self.fellows.values()
            if whole and one.process is not None
            for pid in _below(one.process.pid)
        ]
        running = [
            one.process
            for one in self.fellows.values()
            if one.process is not None and one.process.returncode is None
        ]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in running:
            try:
                await asyncio.wait_for(process.wait(), _END_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for pid in left:
            _end_worker(pid)
        if self.enrolling is not None:
            await asyncio.to_thread(self.enrolling.stop)

    async def keep(self, stopped: asyncio.Event) -> None:
        """Start again whoever ends, until told to stop."""
        while not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), _AGAIN_S)
            for name, fellow in self.fellows.items():
                ended = fellow.process is not None and fellow.process.returncode is not None
                if ended and not stopped.is_set():
                    fellow.restarts += 1
                    await self.start(name)

    def _table_of(self, fellow: Fellow) -> Table:
        """Give a node's whole configuration."""
        own = self._own.get(fellow.name, {})
        shared = self._table.get("mesh", {})
        # Where a registry is named they find one another there, as nodes of many machines would.
        others = [
            one.address
            for one in self.fellows.values()
            if one is not fellow and not shared.get("registry")
        ]
        mesh = {"listen": fellow.address, "join": others, "roles": list(DUTIES[fellow.name])}
        share = {"budget_share": 1.0 / len(self.fellows)}
        plugin = {**self._table.get("plugin", {}), **own.get("plugin", {})}
        services: list[str] = list(own.get("services") or self._table.get("services") or ())
        if self.enrolling is not None:
            plugin[SERVICE] = {**plugin.get(SERVICE, {}), **self.enrolling.settings()}
            services = [*services, *({SERVICE} - set(services))]
        return {
            **self._table,
            **own,
            "services": services,
            "plugin": plugin,
            "policy": {**self._table.get("policy", {}), **own.get("policy", {}), **share},
            "node": {"instance": fellow.name},
            "mesh": {**shared, **mesh},
        }

    def _join(self, authority: Any, fellow: Fellow) -> None:
        config = configuration.parse(settings.read_table(fellow.file), str(fellow.file))
        token = authority.invite(fellow.name, ROLES, "", _TOKEN_S)
        holder = membership.holder_of(config, fellow.state, self.clock)
        with membership.bound_of(config, fellow.state) as bound:
            request = holder.request(plugins.load("entry", "pki-token")(token), bound)
        holder.accept(authority.admit(request))

    def _asked(
        self, name: str, file: str, verb: str, kind: Any, argument: Any = None
    ) -> Any | None:
        words = msgspec.json.encode({} if argument is None else argument)
        try:
            answer = ask(self.fellows[name].run / file, ControlCall(1, verb, words), 2.0)
            return msgspec.json.decode(answer, type=kind)
        except CronosError:
            return None


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--federated",
        action="store_true",
        help="four nodes on this machine, in a trust domain of their own",
    )


def execute(options: argparse.Namespace) -> int:
    """Be four nodes until SIGINT or SIGTERM."""
    table = settings.read_table(options.config) if options.config else {}
    clock = plugins.load("entry", "clock")()
    federation = Federation(settings.state_of(options), table, clock, renewing=True)
    asyncio.run(_watch(federation))
    if options.json:
        nodes = tuple(one.view() for one in federation.fellows.values())
        restarts = sum(one.restarts for one in federation.fellows.values())
        print_json(FederatedDocument(DOMAIN, nodes, restarts))
    return 0


async def _watch(federation: Federation) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        await asyncio.to_thread(federation.prepare)
        for name in NAMES:
            await federation.start(name)
        await federation.ready(*NAMES, view=len(NAMES))
        for fellow in federation.fellows.values():
            print(f"{fellow.name} at {fellow.address}, state {fellow.state}", file=sys.stderr)
        await federation.keep(stopped)
    finally:
        await asyncio.shield(federation.stop())


def toml_of(table: Table) -> str:
    """Write a configuration as TOML: each top-level key on a line of its own."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(one)}" for key, one in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, cast("list[Any]", value))) + "]"
    return json.dumps(value)


def _end_worker(pid: int) -> None:
    """End a worker that has outlasted its node, if that is what still has the number."""
    with contextlib.suppress(OSError):
        if b"cronos.front.workers" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


def _below(pid: int) -> list[int]:
    """Give the processes below one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text(encoding="ascii").split()):
                found += [child, *_below(child)]
    return found
