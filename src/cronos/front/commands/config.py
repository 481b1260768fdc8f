"""`cronos config explain`: every setting of the core, its value and where it came from."""

import argparse
from typing import Any

import msgspec

from cronos.front import settings
from cronos.front.result import ConfigDocument, Setting, print_json
from cronos.link.text import plain


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=("explain",), help="what to do with the configuration")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Print them all; an invalid file is an error that names the key."""
    config = settings.config_of(options)
    given = settings.read_table(options.config) if options.config else {}
    document = ConfigDocument(tuple(_walk("", config, given, str(options.config))))
    if options.json:
        print_json(document)
        return 0
    for one in document.settings:
        print(f"{one.key:<36} {plain(one.value, 80):<40} {plain(one.origin)}")
    return 0


def _walk(
    prefix: str, section: msgspec.Struct, given: dict[str, Any], origin: str
) -> list[Setting]:
    """List the settings of a section and of those below it."""
    found: list[Setting] = []
    for name in section.__struct_fields__:
        value: Any = getattr(section, name)
        told: Any = given.get(name)
        key = f"{prefix}{name}"
        if isinstance(value, msgspec.Struct):
            found += _walk(f"{key}.", value, told or {}, origin)
        else:
            shown = msgspec.json.encode(value).decode()
            found.append(Setting(key, shown, origin if told is not None else "default"))
    return found
