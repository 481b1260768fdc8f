"""`cronos audit`: recompute every hash of the ledger, or erase a subject from it."""

import argparse
import contextlib
import hashlib
import ipaddress
import re
from pathlib import Path
from typing import Any

from cronos.config import Config
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.front import settings
from cronos.front.keyring import using_keys
from cronos.front.plugins import load, make
from cronos.front.result import AuditDocument, ErasureDocument, print_json
from cronos.front.sealed import sealer_of, seals
from cronos.link.text import plain
from cronos.types import AuditRecord, Checkpoint, Entity, EntityKind, encode


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=("verify", "erase"), help="what to do with the ledger")
    parser.add_argument(
        "subject", nargs="*", metavar="KIND VALUE", help="whom to erase: address 192.0.2.7"
    )
    parser.add_argument(
        "--checkpoint", metavar="SIZE:HEAD", help="a checkpoint kept elsewhere, to be contained"
    )
    parser.add_argument(
        "--yes", action="store_true", help="erase: what is erased stays erased; stop the node first"
    )
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Verify: 0 when every hash holds, 1 when one does not. Erase: 0 when it is done."""
    config = settings.config_of(options)
    state = settings.state_of(options)
    if options.what == "erase":
        return _erase(config, state, options)
    if options.subject:
        raise InputError(
            "audit.no_subject", "`audit verify` takes no subject.", "Leave it out, or use `erase`."
        )
    anchor = _checkpoint(options.checkpoint) if options.checkpoint else None
    document = _verified(config, state, anchor)
    if options.json:
        print_json(document)
    elif document.verified:
        _print(document)
    else:
        print(f"The ledger does not hold: {plain(document.problem)}")
    return 0 if document.verified else 1


def _print(document: AuditDocument) -> None:
    print(f"{document.records} records, every hash recomputed, {document.sealing}.")
    print(f"head {document.head}")
    if document.unopened:
        print(f"Chain verified, contents not opened: {plain(document.unopened)}")
    elif document.opened or document.erased:
        print(f"Opened: {document.opened}. Erased: {document.erased}.")
    if document.former_records:
        proved = "they are the same" if document.former_proved else "not compared with it"
        print(f"{document.former_records} records are of the former, readable ledger: {proved}.")


def _verified(config: Config, state: Path, anchor: Checkpoint | None) -> AuditDocument:
    """Verify; that there is no ledger, or that it may not be read, is for the caller to say."""
    folder = state / config.node.instance / "ledger"
    try:
        found, unopened = _examined(config, state, folder, anchor)
    except (InputError, DeniedError):
        raise
    except CronosError as error:
        return AuditDocument(str(folder), 0, "", "", verified=False, problem=str(error))
    checkpoint = found.checkpoint
    return AuditDocument(
        str(folder),
        checkpoint.size,
        checkpoint.head.hex(),
        checkpoint.sealing,
        verified=True,
        opened=found.opened,
        erased=found.erased,
        unopened=unopened if checkpoint.sealing != "unsealed" else "",
        former_records=found.former_size,
        former_proved=found.former_proved,
    )


def _examined(
    config: Config, state: Path, folder: Path, anchor: Checkpoint | None
) -> tuple[Any, str]:
    """Examine the ledger, with the keys if they can be had; give also why they cannot."""
    examine = load("entry", "examine-ledger")
    path = folder / "ledger.db"
    unopened = "the configuration seals nothing"
    if seals(config) and path.is_file():
        clock = load("entry", "clock")()
        try:
            with using_keys(config, state) as keys:
                sealer = sealer_of(config, folder, clock, "ledger", lambda: keys)
                return examine(path, sealer, anchor), ""
        except (UnreachableError, DeniedError, InputError) as error:
            if error.code.startswith("govern."):
                raise
            unopened = error.sentence
    return examine(path, None, anchor), unopened


def _checkpoint(given: str) -> Checkpoint:
    size, _, head = given.partition(":")
    if re.fullmatch("[0-9]{1,19}", size) and re.fullmatch("[0-9a-fA-F]{64}", head):
        return Checkpoint(int(size), bytes.fromhex(head), "", 0)
    raise InputError(
        "audit.bad_checkpoint",
        f"`{plain(given, 100)}` is no checkpoint.",
        "Write SIZE:HEAD as `audit verify` prints them: 1200:9f86…, 64 hex digits.",
    )


def _erase(config: Config, state: Path, options: argparse.Namespace) -> int:
    """Destroy a subject's key; the ledger tells that it was done, by the name's hash."""
    subject = _subject(options.subject)
    folder = state / config.node.instance / "ledger"
    if not (folder / "ledger.db").is_file():
        raise InputError(
            "govern.no_ledger", f"There is no ledger in {folder}.", "Give its --state folder."
        )
    if not options.yes:
        raise InputError(
            "audit.not_confirmed",
            f"Erasing {subject.kind} {plain(subject.value, 100)} cannot be undone.",
            "Add --yes to do it.",
        )
    if not seals(config):
        # Nothing may be on record as erased that lies readable all the same.
        raise DeniedError(
            "audit.not_erasable",
            f"The configuration seals nothing: what {folder} holds lies readable.",
            'Set sealer = "epochs"; the ledger is then sealed, and the subject erased.',
        )
    clock = load("entry", "clock")()
    with using_keys(config, state) as keys:
        sealer = sealer_of(config, folder, clock, "ledger", lambda: keys)
        ledger = _opened(config, folder, sealer, clock)
        with contextlib.closing(ledger):
            digest = hashlib.sha256(f"{subject.kind} {subject.value}".encode()).hexdigest()
            now = clock.now()
            told = encode(Entity(subject.kind, f"sha256:{digest}"))
            record = AuditRecord(config.node.instance, "erased", now.wall_ns, now.boot_ns, "", told)
            # On record first: an erasure that nobody can tell of would be a hole in the ledger.
            position = ledger.append([encode(record)])
            known = sealer.shred(f"{subject.kind} {subject.value}")
        found = load("entry", "examine-ledger")(folder / "ledger.db", sealer)
    document = ErasureDocument(
        str(folder), subject.kind.value, digest, known, position, found.erased
    )
    if options.json:
        print_json(document)
    else:
        was = "Its key is destroyed" if known else "Nothing was known to be sealed for it"
        print(f"{was}; {found.erased} records are erased in all. On record at {position}.")
    return 0


def _opened(config: Config, folder: Path, sealer: Any, clock: Any) -> Any:
    """Open the ledger for writing; a node that runs is its only writer."""
    try:
        return make("ledger", "sqlite", config, folder=folder, sealer=sealer, clock=clock)
    except DeniedError as error:
        if error.code != "govern.ledger_in_use":
            raise
        raise DeniedError(
            "audit.node_running",
            f"A node writes to the ledger in {folder}; nothing was erased.",
            "Stop the node, erase the subject, and start it again.",
        ) from error


def _subject(given: list[str]) -> Entity:
    """Read whom to erase, spelled as records spell it."""
    kinds = [kind.value for kind in EntityKind]
    if len(given) != 2 or given[0] not in kinds or not given[1]:
        raise InputError(
            "audit.bad_subject",
            "Whom to erase is not said.",
            f"Give KIND VALUE, such as `address 192.0.2.7`; kinds: {', '.join(kinds)}.",
        )
    kind, value = EntityKind(given[0]), given[1]
    try:
        value.encode()
        if kind is EntityKind.ADDRESS:
            value = _address(value)
    except ValueError:
        raise InputError(
            "audit.bad_subject",
            f"`{plain(value, 100)}` is no {kind}.",
            "Give one as the incidents show it, such as `address 2001:db8::7`.",
        ) from None
    return Entity(kind, value.lower() if kind is EntityKind.HOST else value)


def _address(value: str) -> str:
    """Spell an address as sensors do; ValueError where it is none."""
    address = ipaddress.ip_address(value)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
