"""A node's membership in its trust domain, as commands and services of the node reach it."""

import contextlib
import functools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

from cronos.config import Config
from cronos.front import keyring, plugins
from cronos.ports import Clock, RootKey

_FOLDER: Final = "pki"


def holder_of(
    config: Config, state: Path, clock: Clock, *, ask: Callable[[], str] | None = None
) -> Any:
    """Open a node's own credential, sealed under the root key of its keystore."""
    root = keyring.root_key(config, keyring.folder_of(state, config), ask=ask)
    return plugins.load("entry", "pki-holder")(_folder_of(state, config), root, clock)


def known_of(config: Config, state: Path, clock: Clock) -> Any:
    """Give what knows a node's operators: its trust domain, read when it is asked for.

    Nobody is asked for a passphrase: where the root key needs a person, no operator is believed.
    """
    open_it = functools.partial(holder_of, config, state, clock)
    return plugins.load("entry", "pki-membership")(_folder_of(state, config), open_it)


def approvals_of(config: Config, state: Path, clock: Clock) -> Callable[[Any], Any]:
    """Give what tells the enforcer who approved an action; see `cronos.link.people.approvals`.

    It loads cryptography when it is asked first: an enforcer does not wait for that to start.
    """

    @functools.cache
    def made() -> Any:
        return plugins.load("entry", "approvals")(known_of(config, state, clock), clock)

    def approved(action: Any) -> Any:
        return made()(action)

    return approved


def carried(
    config: Config, state: Path, clock: Clock, old: RootKey, new: RootKey
) -> Callable[[], None]:
    """Make the credential ready for another root key; call what is given once it is in force."""
    folder = _folder_of(state, config)
    if not folder.exists():
        return lambda: None
    settle: Callable[[], None] = plugins.load("entry", "pki-holder")(folder, old, clock).carry(new)
    return settle


def _folder_of(state: Path, config: Config) -> Path:
    return state / config.node.instance / _FOLDER


@contextlib.contextmanager
def bound_of(
    config: Config, state: Path, *, ask: Callable[[], str] | None = None
) -> Generator[Any]:
    """Give the node's `identity` key, which signs above TLS and which the authority binds."""
    with keyring.using_keys(config, state, ensure=True, ask=ask) as keys:
        sign = functools.partial(keys.sign, "identity")
        yield plugins.load("entry", "pki-bound")(keys.public("identity"), sign)
