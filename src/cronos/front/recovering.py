"""Gets a node's ledger back from its peers, before that node starts: `cronos mesh recover`.

The keystore and the credential must be there already, from their own backups: no peer has them.
"""

import asyncio
import contextlib
import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from cronos.config import Config
from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.front import keyring, plugins
from cronos.front.documents_mesh import RecoveredDocument
from cronos.front.membership import holder_of
from cronos.front.sealed import sealer_of, seals
from cronos.link.egress import EgressGate
from cronos.ports import KeyProvider
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.world import SequenceIds, SystemClock

# A peer keeps a gibibyte at most, and what is beside it: whoever gives more makes it up.
_MOST_BYTES: Final = (1 << 30) + (64 << 20)


class Watch(NamedTuple):
    """Who is told how many records of how many have come, and what goes wrong on the way."""

    progress: Callable[[int, int], None] = lambda _done, _total: None
    tell: Callable[[str], None] = lambda _sentence: None


def recover(
    config: Config,
    state: Path,
    seeds: Sequence[str],
    *,
    listen: str = "127.0.0.1:0",
    patience_s: float = 10.0,
    watch: Watch | None = None,
) -> RecoveredDocument:
    """Fill an empty ledger with what peers keep of it; every record is opened first.

    Raises:
        DeniedError: there is a ledger, the node does not seal, or its keys are not those.
        UnreachableError: no peer keeps anything of it, or those that do stopped.
        CronosError: what was given does not verify.
    """
    home = state / config.node.instance
    ledger, fresh = home / "ledger", home / "ledger.recovering"
    _require_empty(config, ledger)
    with keyring.using_keys(config, state) as keys:
        wrong: dict[str, CronosError] = {}
        while True:
            if fresh.exists():
                shutil.rmtree(fresh)  # what a recovery that was stopped, or deceived, had got
            how = _How(tuple(seeds), listen, patience_s, frozenset(wrong), watch or Watch())
            made = asyncio.run(_fetch(config, state, how))
            if made is None:
                raise next(iter(wrong.values()), None) or _nothing_kept(config)
            copy, found = made
            try:
                _settle(config, copy, ledger, keys)
            except CronosError as error:
                # It claimed the longest copy, and no key of ours opens it: the next one then.
                wrong[found.peer] = error
                how.watch.tell(f"{found.peer}: {error.sentence}")
            else:
                break
    return RecoveredDocument(
        config.node.instance,
        found.peer,
        found.size,
        found.head.hex(),
        found.kept,
        found.contradicts,
        str(ledger),
    )


class _How(NamedTuple):
    seeds: tuple[str, ...]
    listen: str
    patience_s: float
    avoid: frozenset[str]
    watch: Watch


def _nothing_kept(config: Config) -> UnreachableError:
    return UnreachableError(
        "front.nothing_kept",
        f"No peer that could be reached keeps records of {config.node.instance}.",
        "Name other peers with --join, or start the node with an empty ledger.",
    )


def _require_empty(config: Config, ledger: Path) -> None:
    if not seals(config):
        raise DeniedError(
            "front.not_sealed",
            "A node that does not seal its state has no copies at its peers.",
            'Set sealer = "epochs".',
        )
    if ledger.exists() and any(ledger.iterdir()):
        raise DeniedError(
            "front.ledger_there",
            f"There is a ledger in {ledger}; records are recovered onto an empty place only.",
            "Move it away first, while the node is stopped.",
        )


async def _fetch(config: Config, state: Path, how: _How) -> Any:
    me, watch = config.node.instance, how.watch
    home, clock = state / me, SystemClock()
    tasks = AsyncTasks(lambda task, error: watch.tell(f"{task}: {error!r}"))

    def logged(_level: str, event: str, **more: object) -> None:
        watch.tell(f"{event} {more.get('detail', '')}")

    def said(peer: str, _code: str, sentence: str) -> None:
        watch.tell(f"{peer}: {sentence}")

    mesh = plugins.make(
        "mesh",
        "grpc",
        config,
        given={"listen": how.listen},
        clock=clock,
        tasks=tasks,
        egress=EgressGate(config.egress),
        ids=SequenceIds(me, 0),
        holder=functools.partial(holder_of, config, state, clock),
        report=logged,
    )

    def place(owner: str) -> Any:
        folder = home / "ledger.recovering" if owner == me else home / "replica" / owner
        return plugins.load("entry", "ledger-copy")(folder, _MOST_BYTES)

    around = plugins.load("entry", "recover-around")(
        me,
        mesh,
        plugins.load("entry", "ledger-source")(home / "ledger"),
        place,
        clock,
        tasks,
        said,
        how.avoid,
    )
    try:
        fill = plugins.load("entry", "recover-records")
        return await fill(around, how.seeds, how.patience_s, watch.progress)
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await tasks.cancel()


def _settle(config: Config, copy: Any, ledger: Path, keys: KeyProvider) -> None:
    sealer = sealer_of(config, copy.folder, SystemClock(), "ledger", lambda: keys)
    plugins.load("entry", "settle-copy")(copy, ledger, sealer)
