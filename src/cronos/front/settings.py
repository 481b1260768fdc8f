"""Options that commands share, and the configuration file they name."""

import argparse
import tomllib
from pathlib import Path
from typing import Any

from cronos import config as configuration
from cronos.config import Config
from cronos.errors import InputError
from cronos.front.layout import default_state

_MAX_CONFIG_BYTES = 1 << 20


def shared(parser: argparse.ArgumentParser) -> None:
    """Declare --config and --state."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (cronos.toml)")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help=f"where the ledger and all other state lie (default: {default_state()})",
    )


def state_of(options: argparse.Namespace) -> Path:
    """Give the state folder that was asked for, as an absolute path."""
    return Path(options.state).absolute() if options.state else default_state()


def read_table(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: it cannot be read, or is no TOML.
    """
    try:
        data = path.read_bytes()[: _MAX_CONFIG_BYTES + 1]
        if len(data) > _MAX_CONFIG_BYTES:
            raise InputError("config.too_long", f"{path} is longer than 1 MiB.", "Shorten it.")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise InputError(
            "config.unreadable",
            f"{path} cannot be read: {error.strerror}.",
            "Give the path of a readable file with --config.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            "config.not_toml", f"{path} is not TOML: {error}.", "Correct that line."
        ) from error


def config_of(options: argparse.Namespace) -> Config:
    """Read the configuration that was asked for; the defaults where none was."""
    if options.config is None:
        return Config()
    return configuration.parse(read_table(options.config), str(options.config))
