"""Where profiles are found: a file, a folder, or the node's store of them."""

import argparse
import contextlib
import functools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

from cronos.config import Config
from cronos.front import settings
from cronos.front.keyring import using_keys
from cronos.front.plugins import load
from cronos.front.sealed import held_in, sealer_of, seals
from cronos.ports import Clock

FOLDER: Final = "profiles"


def profile_of(options: argparse.Namespace, given: str) -> Any:
    """Read a profile from where it was said to be.

    Raises:
        InputError: there is none there, or it may not run.
    """
    path = Path(given)
    if path.exists() or not _may_be_stored(given):
        return load("entry", "read-profile")(path)
    with store_of(options) as store:
        return store.active(given)


def _may_be_stored(given: str) -> bool:
    return "/" not in given and "." not in given


@contextlib.contextmanager
def store_of(options: argparse.Namespace) -> Generator[Any]:
    """Open the node's store of profiles, sealed as its other state is.

    Raises:
        DeniedError: another process writes to it, or the keys do not open it.
    """
    config, state = settings.config_of(options), settings.state_of(options)
    with contextlib.ExitStack() as held:
        keys: Any = None
        if seals(config):
            keys = held.enter_context(using_keys(config, state, ensure=True))
        clock = load("entry", "clock")()
        yield held.enter_context(node_store(config, state, clock, lambda: keys))


@contextlib.contextmanager
def node_store(
    config: Config, state: Path, clock: Clock, keys: Callable[[], Any]
) -> Generator[Any]:
    """Open a node's store of profiles with its keys.

    Raises:
        DeniedError: another process writes to it, or the keys do not open it.
    """
    folder = state / config.node.instance / FOLDER
    # Each opening that writes begins an epoch: those that no record names any more have to go.
    stored = functools.partial(held_in, folder)
    sealer = sealer_of(config, folder, clock, FOLDER, keys, stored)
    store = load("entry", "profile-store")(folder, sealer, clock)
    try:
        yield store
    finally:
        store.close()
