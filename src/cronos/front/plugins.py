"""Names become plug-ins: the catalogue is looked up and a plug-in imported on first use."""

import importlib
import inspect
from typing import Any, Final, TypeAlias

from cronos import config as configuration
from cronos.catalog import CATALOG
from cronos.config import Config
from cronos.errors import ExtraMissingError, InputError

_EXTRAS: Final = {
    "pymodbus": "demo",
    "pkcs11": "pkcs11",
    "boto3": "aws",
    "botocore": "aws",
    "hvac": "vault",
    "requests": "vault",
    "pyarrow": "arrow",
}

Table: TypeAlias = dict[str, Any]


def load(kind: str, name: str) -> Any:
    """Import what the catalogue has under a kind and a name.

    Raises:
        InputError: the catalogue has no such name.
        ExtraMissingError: the plug-in's library is not installed.
    """
    place = CATALOG[kind].get(name)
    if place is None:
        raise InputError(
            "catalog.unknown",
            f"There is no {kind} called `{name}`.",
            f"Choose one of: {', '.join(sorted(CATALOG[kind]))}.",
        )
    module, _, attribute = place.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ExtraMissingError(extra, f"The {kind} `{name}`") from error


def make(kind: str, name: str, config: Config, *, given: Table | None = None, **ports: Any) -> Any:
    """Build a plug-in from its own table of the configuration and the ports that it names.

    A plug-in takes its settings first; each further parameter of its constructor that is called
    like one of `ports` gets that port. `given` are settings that the command line or the node
    decides, over those of the table.
    """
    plugin = load(kind, name)
    own = settings_of(plugin, name, config, given)
    wanted = inspect.signature(plugin).parameters
    return plugin(own, **{port: one for port, one in ports.items() if port in wanted})


def settings_of(plugin: Any, name: str, config: Config, given: Table | None) -> Any:
    """Check a plug-in's own settings: its table, and `given` over it."""
    table = {**config.plugin.get(name, {}), **(given or {})}
    return configuration.convert(table, plugin.config_type, f"[plugin.{name}]")


def names(kind: str) -> tuple[str, ...]:
    """List the catalogue's names of a kind, sorted."""
    return tuple(sorted(CATALOG[kind]))
