"""`cronos keys`: make, list, rotate, export, import, destroy and protect keys."""

import argparse
import functools
import getpass
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cronos.config import Config
from cronos.errors import DeniedError, InputError, UnreachableError
from cronos.front import keyring, membership, plugins, settings
from cronos.front.documents_keys import KeysDocument, KeyView, view
from cronos.front.result import print_json
from cronos.front.text import console
from cronos.link.text import plain
from cronos.types import KeyInfo, KeyState

_MAX_FILE_BYTES: Final = 16 << 20
_DAY_S: Final = 86_400
_LOOKS: Final = 4
_UNREADY: Final = ("crypto.no_passphrase", "crypto.machine_key_missing")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    settings.shared(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _declare_use(actions)
    _declare_carry(actions)


def _declare_use(actions: Any) -> None:
    new = _action(actions, "new", "make a key; without a name, those that a node needs")
    new.add_argument("name", nargs="?", default="", metavar="NAME")
    new.add_argument("--algorithm", default="hybrid", help="a suite, ml-dsa-87 …, or p-384")
    new.add_argument("--life-days", type=int, default=0, metavar="N", help="default: for good")
    new.add_argument(
        "--context",
        action="append",
        metavar="PREFIX",
        help="what contexts of its signatures begin with (default: cronos-)",
    )
    new.add_argument("--forget", action="store_true", help="destroy it once expired and replaced")
    new.add_argument("--pending", action="store_true", help="not to be used before `rotate`")
    _action(actions, "list", "show all keys, the destroyed ones too")
    rotate = _action(actions, "rotate", "replace a key; the old one still opens what it sealed")
    rotate.add_argument("key", metavar="KEY", help="a name, an id (name.version) or a fingerprint")
    destroy = _action(actions, "destroy", "destroy the secret of a key, for good")
    destroy.add_argument("key", metavar="KEY")
    destroy.add_argument("--yes", action="store_true", help="you know what only it can open")


def _declare_carry(actions: Any) -> None:
    export = _action(actions, "export", "write an encrypted backup, or a public key")
    export.add_argument("key", nargs="?", default="", metavar="KEY", help="default: all keys")
    export.add_argument("-o", "--output", type=Path, metavar="FILE")
    to = export.add_mutually_exclusive_group(required=True)
    to.add_argument("--passphrase-file", type=Path, metavar="F", help="lock it with a passphrase")
    to.add_argument("--to", type=Path, metavar="KEYFILE", help="lock it to a public key")
    to.add_argument("--public", action="store_true", help="the public half, as a line of text")
    take = _action(actions, "import", "take in the keys of a backup")
    take.add_argument("file", type=Path, metavar="FILE")
    take.add_argument("--passphrase-file", type=Path, metavar="F", help="what the backup needs")
    protect = _action(actions, "protect", "lock the keystore with another root key")
    how = protect.add_mutually_exclusive_group(required=True)
    how.add_argument("--passphrase-file", type=Path, metavar="F", help="with a passphrase")
    how.add_argument("--root", choices=plugins.names("root-key"), help="as [plugin.<root>] says")


def _action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    own: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=f"{summary.capitalize()}."
    )
    # Said once before the action or after it: what stands after it wins, if it stands there.
    own.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    own.add_argument("--state", type=Path, metavar="DIR", default=argparse.SUPPRESS)
    own.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    return own


def execute(options: argparse.Namespace) -> int:
    """Do it and tell: 0, or 1 where `list` shows that something was tampered with."""
    place = _Place(options)
    document = _ACTIONS[options.action](options, place)
    if options.json:
        print_json(document)
    else:
        _print(document)
    return 1 if document.remarks and document.done == "listed" and document.verified else 0


class _Place:
    """Which keystore is meant, and how it is unlocked."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.config: Config = settings.config_of(options)
        self.folder = keyring.folder_of(settings.state_of(options), self.config)
        self._keystore: Any = None

    def exists(self) -> bool:
        """Say whether there is a keystore."""
        return plugins.load("entry", "keystore-image")(self.folder) is not None

    @functools.cached_property
    def ask(self) -> Callable[[], str] | None:
        """Give a way to ask a person for the passphrase once, where there is a person."""
        if not sys.stdin.isatty():
            return None
        return functools.cache(functools.partial(_passphrase, new=not self.exists()))

    @contextmanager
    def keystore(self, *, make: bool = False) -> Generator[Any]:
        """Open the keystore for a while; says what to do where an agent holds it.

        Raises:
            InputError: there is none, and none is to be made.
        """
        if not make and not self.exists():
            raise keyring.no_keystore(self.folder)
        clock = plugins.load("entry", "clock")()
        keystore = keyring.open_keystore(self.config, self.folder, clock, ask=self.ask)
        self._keystore = keystore
        try:
            yield keystore
        finally:
            keystore.close()

    def root(self, name: str = "", **given: str) -> Any:
        """Give the root key, or another one."""
        return keyring.root_key(self.config, self.folder, name=name, given=given, ask=self.ask)

    def new_root(self, name: str) -> Any:
        """Give the root key that is to be; who types a new passphrase types it twice."""
        ask = functools.partial(_passphrase, new=True) if self.ask else None
        return keyring.root_key(self.config, self.folder, name=name, ask=ask)

    def passphrase(self, file: Path) -> Any:
        """Give a passphrase in a file as a root key."""
        return self.root("passphrase", passphrase_file=str(file.absolute()), credential="")

    def agent(self) -> Any:
        """Give the key agent's keys, as one who can unlock the keystore."""
        socket = self.folder / keyring.AGENT_SOCKET
        return plugins.make("keys", "key-agent", self.config, socket=socket)

    def admin_key(self) -> bytes:
        """Show the agent that we could unlock the keystore ourselves."""
        key: bytes = plugins.load("entry", "keystore-admin-key")(self.folder, self.root())
        return key

    def document(self, done: str, keys: Sequence[KeyInfo], **more: Any) -> KeysDocument:
        """Tell what was done, and what the keystore found out about itself meanwhile.

        What is told was read from a keystore that was unlocked.
        """
        if self._keystore is not None:
            more.setdefault("remarks", self._keystore.remarks)
        image = plugins.load("entry", "keystore-image")(self.folder)
        root = image.root if image else ""
        protection = more.pop("protection", "")
        return KeysDocument(
            done,
            str(self.folder),
            root,
            protection,
            verified=more.pop("verified", True),
            keys=tuple(view(info) for info in keys),
            **more,
        )


def _new(options: argparse.Namespace, place: _Place) -> KeysDocument:
    if not options.name:
        return _standard(place)
    if options.life_days < 0:
        raise InputError("keys.life", "A key cannot live less than 0 days.", "Give 0 or more.")
    life_s = options.life_days * _DAY_S
    plain_key = not (options.context or options.forget or options.pending)

    def create(keystore: Any) -> KeyInfo:
        info: KeyInfo = keystore.create(
            options.name,
            options.algorithm,
            life_s=life_s,
            contexts=options.context,
            forget=options.forget,
            pending=options.pending,
        )
        return info

    def ask_agent(agent: Any) -> KeyInfo:
        info: KeyInfo = agent.create(place.admin_key(), options.name, options.algorithm, life_s)
        return info

    made = _done(place, create, ask_agent if plain_key else None, make=True)
    return place.document("created", [made])


def _standard(place: _Place) -> KeysDocument:
    with place.keystore(make=True) as keystore:
        before = {info.key_id for info in keystore.listed()}
        keystore.ensure()
        made = [info for info in keystore.listed() if info.key_id not in before]
        return place.document("created", made, protection=keystore.protection)


def _rotate(options: argparse.Namespace, place: _Place) -> KeysDocument:
    def rotate(keys: Any) -> KeyInfo:
        new: str = keys.rotate(options.key)
        return _find(keys.listed(), new)

    return place.document("rotated", [_done(place, rotate, rotate)])


def _destroy(options: argparse.Namespace, place: _Place) -> KeysDocument:
    if not options.yes:
        raise DeniedError(
            "keys.not_confirmed",
            f"What only the key {options.key} opens would be lost for good; nothing was done.",
            "Say --yes if that is what you want.",
        )

    def destroy(keystore: Any) -> KeyInfo:
        _move_stores(place, keystore, _find(keystore.listed(), options.key))
        info: KeyInfo = keystore.destroy(options.key)
        return info

    def ask_agent(agent: Any) -> KeyInfo:
        chosen = _find(agent.listed(), options.key)
        _move_stores(place, agent, chosen)
        agent.destroy(place.admin_key(), chosen.key_id)
        return _find(agent.listed(), chosen.key_id)

    return place.document("destroyed", [_done(place, destroy, ask_agent)])


def _move_stores(place: _Place, keys: Any, doomed: KeyInfo) -> None:
    """Wrap what is sealed below the node's folder to the active key, before another one goes.

    Raises:
        DeniedError: it is the active key that would go, or a store cannot be moved.
    """
    sealing = plugins.settings_of(plugins.load("sealer", "epochs"), "epochs", place.config, None)
    if doomed.key_id.rpartition(".")[0] != sealing.state_key:
        return
    stores = plugins.load("entry", "sealed-stores")(place.folder.parent)
    if stores and doomed.state is KeyState.ACTIVE:
        raise DeniedError(
            "keys.in_use",
            f"The key {doomed.key_id} is what this node's state is sealed to; nothing was done.",
            f"Rotate it first (`cronos keys rotate {sealing.state_key}`); to erase the state as a"
            " whole, delete its folder.",
        )
    clock = plugins.load("entry", "clock")()
    for folder, store in stores:
        sealer = plugins.make(
            "sealer", "epochs", place.config, folder=folder, keys=keys, clock=clock, store=store
        )
        sealer.rewrap()


def _done(
    place: _Place,
    here: Callable[[Any], KeyInfo],
    there: Callable[[Any], KeyInfo] | None,
    *,
    make: bool = False,
) -> KeyInfo:
    """Do something in the keystore, or have its agent do it while one holds it."""
    try:
        with place.keystore(make=make) as keystore:
            return here(keystore)
    except DeniedError as error:
        socket = place.folder / keyring.AGENT_SOCKET
        if error.code != keyring.IN_USE or there is None or not socket.is_socket():
            raise
    agent = place.agent()
    try:
        return there(agent)
    finally:
        agent.close()


def _list(options: argparse.Namespace, place: _Place) -> KeysDocument:
    """List without the lock: a running agent is not disturbed."""
    del options
    if not place.exists():
        raise keyring.no_keystore(place.folder)
    try:
        root = place.root()
        find = functools.partial(plugins.load("entry", "keystore-find"), place.folder, root)
        found = find()
        for _ in range(_LOOKS - 1):
            # What looks wrong may be a change that its agent is just making: look again.
            if _remarks(found):
                found = find()
    except InputError as error:
        if error.code not in _UNREADY:
            raise
        return _unverified(place, error.sentence)
    except UnreachableError as error:
        return _unverified(place, error.sentence)
    keys = [key.info() for key in found.image.keys]
    return place.document("listed", keys, protection=root.protection, remarks=_remarks(found))


def _unverified(place: _Place, why: str) -> KeysDocument:
    image = plugins.load("entry", "keystore-image")(place.folder)
    remark = f"Nothing vouches for what is shown: {why}"
    keys = [key.info() for key in image.keys]
    return place.document("listed", keys, verified=False, remarks=(remark,))


def _remarks(found: Any) -> tuple[str, ...]:
    """Say what is wrong between keystore and key log."""
    if found.log is None or found.log.broken:
        return ("The key log was cut or changed.",)
    ahead = len(found.log.events) - found.image.log_size
    if ahead and not found.unfinished:
        return (f"The keystore is older than its key log: {ahead} events are missing from it.",)
    if any(event.what == "log-broken" for event in found.log.events):
        return ("The key log was begun anew: the one before was cut or changed.",)
    if any(event.what == "recovered" for event in found.log.events):
        return ("The keystore was once older than its key log: an old copy had been put back.",)
    return ()


def _export(options: argparse.Namespace, place: _Place) -> KeysDocument:
    if options.public:
        return _export_public(options, place)
    if options.output is None:
        raise InputError(
            "keys.no_output", "A backup needs a file to lie in.", "Say where with -o FILE."
        )
    if options.to is not None:
        recipient = plugins.load("entry", "encryption-key")(_read(options.to, "key"))
        kid, wrap = recipient.kid, recipient.seal
    else:
        kid, wrap = bytes(16), place.passphrase(options.passphrase_file).wrap
    with place.keystore() as keystore:
        data = keystore.export(options.key, kid, wrap)
        every = keystore.listed()
    plugins.load("entry", "write-private")(options.output.absolute(), data)
    chosen = [_find(every, options.key)] if options.key else every
    return place.document("exported", chosen, output=str(options.output))


def _export_public(options: argparse.Namespace, place: _Place) -> KeysDocument:
    if not options.key:
        raise InputError(
            "keys.which", "A public key is that of one key.", "Name it: `cronos keys list`."
        )
    found = plugins.load("entry", "keystore-find")(place.folder, place.root())
    if found is None:
        raise keyring.no_keystore(place.folder)
    info = _find([key.info() for key in found.image.keys], options.key)
    if not info.public:
        raise InputError(
            "crypto.key_destroyed",
            f"The key {info.key_id} was destroyed, and its public half went with it.",
            "Use its successor; see `cronos keys list`.",
        )
    line: str = plugins.load("entry", "key-line")(info.algorithm, info.public)
    if options.output is not None:
        plugins.load("entry", "write-private")(options.output.absolute(), line.encode())
    return place.document(
        "exported", [info], text=line, output=str(options.output or ""), protection=""
    )


def _import(options: argparse.Namespace, place: _Place) -> KeysDocument:
    data = _read(options.file, "backup")
    kid = plugins.load("entry", "read-backup")(data)
    with place.keystore(make=options.passphrase_file is not None) as keystore:
        if any(kid):
            unwrap = functools.partial(keystore.unwrap, kid.hex())
        elif options.passphrase_file is None:
            raise InputError(
                "keys.passphrase_needed",
                "The backup is locked with a passphrase.",
                "Name the file that holds it with --passphrase-file.",
            )
        else:
            unwrap = place.passphrase(options.passphrase_file).unwrap
        return place.document("imported", keystore.bring(data, unwrap))


def _protect(options: argparse.Namespace, place: _Place) -> KeysDocument:
    if options.passphrase_file is not None:
        root = place.passphrase(options.passphrase_file)
    else:
        root = place.new_root(options.root)
    with place.keystore() as keystore:
        clock = plugins.load("entry", "clock")()
        state = place.folder.parent.parent
        settle = membership.carried(place.config, state, clock, place.root(), root)
        keystore.protect(root)
        settle()
        return place.document("protected", [], protection=root.protection)


_ACTIONS: Final[dict[str, Callable[[argparse.Namespace, _Place], KeysDocument]]] = {
    "new": _new,
    "list": _list,
    "rotate": _rotate,
    "destroy": _destroy,
    "export": _export,
    "import": _import,
    "protect": _protect,
}


def _find(keys: Sequence[KeyInfo], wanted: str) -> KeyInfo:
    """Find a key by its id, its name (the active version) or its fingerprint."""
    for info in keys:
        name = info.key_id.rpartition(".")[0]
        active = info.state is KeyState.ACTIVE and name == wanted
        if active or wanted in (info.key_id, info.kid.hex()):
            return info
    raise InputError("crypto.no_key", f"There is no key `{wanted}`.", "See `cronos keys list`.")


def _read(path: Path, what: str) -> bytes:
    # A link is followed here: these are files of the person who names them.
    real = Path(os.path.realpath(path))
    data: bytes | None = plugins.load("entry", "read-bounded")(real, _MAX_FILE_BYTES)
    if data is None:
        raise InputError(
            "keys.no_file", f"The {what} {path} is not there.", "Give the path of a file."
        )
    return data


def _passphrase(*, new: bool) -> str:
    try:
        found = getpass.getpass(f"{'New passphrase' if new else 'Passphrase'} of the keystore: ")
        same = not new or getpass.getpass("Once more: ") == found
    except (EOFError, UnicodeError):
        raise InputError(
            "keys.passphrase_unread", "No passphrase could be read.", "Type it, in UTF-8."
        ) from None
    if not same:
        raise InputError("keys.passphrase_differs", "The two differ.", "Type it twice alike.")
    return found


def _print(document: KeysDocument) -> None:
    for remark in document.remarks:
        print(plain(remark), file=sys.stderr)
    if document.done == "listed":
        _print_table(document.keys)
        print(f"\n{plain(document.folder)}, locked by {document.root}.")
    elif document.text and not document.output:
        print(document.text, end="")
    else:
        _print_done(document)


def _print_done(document: KeysDocument) -> None:
    for key in document.keys:
        print(f"{document.done} {key.key}  {key.algorithm}  {key.state}  {key.fingerprint}")
    if not document.keys and document.done != "protected":
        print("Nothing was to be done: all of it is here already.")
    if document.output:
        print(f"written to {plain(document.output)}")
    if document.protection:
        print(f"A thief of {plain(document.folder)} also needs {plain(document.protection)}.")
    if document.done == "protected":
        print(f'Set root = "{document.root}" under [plugin.keystore] if another is named there;')
        print("copies made before still open with the root key before.")


def _print_table(keys: Sequence[KeyView]) -> None:
    from rich.table import Table  # noqa: PLC0415 - a third of a second, only for tables

    table = Table(show_edge=False, pad_edge=False)
    for name in ("key", "algorithm", "state", "expires", "fingerprint"):
        table.add_column(name, overflow="fold")
    for key in keys:
        expires = key.expires[:16].replace("T", " ") or "never"
        table.add_row(key.key, key.algorithm, key.state, expires, f"{key.fingerprint[:16]}...")
    console().print(table)
