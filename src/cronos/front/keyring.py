"""The node's keys, opened as the configuration says: the root key first, then the keystore.

Nothing here knows a primitive: both are plug-ins, found by their names.
"""

import contextlib
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

from cronos.config import Config
from cronos.errors import DeniedError, InputError
from cronos.front import plugins
from cronos.front.plugins import Table
from cronos.link.egress import EgressGate
from cronos.ports import Clock, KeyProvider, RootKey

FOLDER: Final = "keys"
AGENT_SOCKET: Final = "agent.sock"
DEFAULT_ROOT: Final = "machine-key"
IN_USE: Final = "crypto.keystore_in_use"


def folder_of(state: Path, config: Config) -> Path:
    """Give the folder of a node's keystore."""
    return state / config.node.instance / FOLDER


def open_keystore(
    config: Config,
    folder: Path,
    clock: Clock,
    *,
    ensure: bool = False,
    ask: Callable[[], str] | None = None,
) -> Any:
    """Open the keystore of a folder; one without a keystore gets a new one.

    Args:
        config: [plugin.keystore], and the table of its root key.
        folder: of the keystore.
        clock: for the lives of keys.
        ensure: whether the keys `state`, `identity` and `node` are made where they lack.
        ask: asks a person for a passphrase, where the configuration names no source of one.

    Raises:
        InputError: the keystore cannot be read, or the root key cannot be had.
        DeniedError: another process holds it, or the root key is another one.
        UnreachableError: the root key does not answer.
    """
    root = root_key(config, folder, ask=ask)
    keystore = plugins.make("keys", "keystore", config, folder=folder, root=root, clock=clock)
    if ensure:
        try:
            keystore.ensure()
        except BaseException:
            keystore.close()
            raise
    return keystore


@contextlib.contextmanager
def using_keys(
    config: Config,
    state: Path,
    *,
    ensure: bool = False,
    ask: Callable[[], str] | None = None,
) -> Generator[KeyProvider]:
    """Give a node's keys for a while: its key agent's while one holds them, else the keystore's.

    Args:
        config: as for `open_keystore`.
        state: the state folder.
        ensure: whether a keystore, and the standard keys in it, are made where they lack.
        ask: as for `open_keystore`.

    Raises:
        InputError: there is no keystore, or as `open_keystore` does.
    """
    folder = folder_of(state, config)
    if not ensure and plugins.load("entry", "keystore-image")(folder) is None:
        raise no_keystore(folder)
    clock = plugins.load("entry", "clock")()
    try:
        keys = open_keystore(config, folder, clock, ensure=ensure, ask=ask)
    except DeniedError as error:
        if error.code != IN_USE or not (folder / AGENT_SOCKET).is_socket():
            raise
        keys = plugins.make("keys", "key-agent", config, socket=folder / AGENT_SOCKET)
    try:
        yield keys
    finally:
        keys.close()


def no_keystore(folder: Path) -> InputError:
    """Give the error of a folder that never had a keystore."""
    return InputError(
        "crypto.no_keystore",
        f"There is no keystore in {folder}.",
        "Make one with `cronos keys new`, or name its state folder with --state.",
    )


def root_key(
    config: Config,
    folder: Path,
    *,
    name: str = "",
    given: Table | None = None,
    ask: Callable[[], str] | None = None,
) -> RootKey:
    """Make the root key that a keystore is locked by, or the one called `name`.

    `given` are settings over those of its table.
    """
    found = name or root_name(config, folder)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    root: RootKey = plugins.make(
        "root-key",
        found,
        config,
        given=given,
        folder=folder,
        egress=EgressGate(config.egress),
        credentials=Path(credentials) if credentials else None,
        ask=ask,
    )
    return root


def root_name(config: Config, folder: Path) -> str:
    """Name the root key: what is configured, else what the keystore says, else the default."""
    keystore = plugins.load("keys", "keystore")
    chosen = plugins.settings_of(keystore, "keystore", config, None).root
    if chosen:
        return str(chosen)
    image = plugins.load("entry", "keystore-image")(folder)
    return DEFAULT_ROOT if image is None else str(image.root)
