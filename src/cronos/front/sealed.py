"""Who seals what: each store of a node gets a sealer, made when it is first needed.

Cryptography is imported late, beside other work: a process that is about to isolate someone does
not wait for it, and one that seals nothing never loads it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from cronos.config import Config
from cronos.front.plugins import make
from cronos.ports import Clock, KeyProvider, Sealer

PLAINTEXT: Final = "plaintext"
_SEALING: Final = "AES-256-GCM"
_SEAL_VERSION: Final = 1
_PIECE_BYTES: Final = 1 << 20
_OVERLAP_BYTES: Final = 16


class LateSealer:
    """A sealer that is made at its first use, or by `warm` in a thread beside."""

    sealing: str = _SEALING
    seal_version: int = _SEAL_VERSION

    def __init__(self, build: Callable[[], Sealer]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._made: Sealer | None = None

    def seal(self, plain: bytes, context: bytes, subject: str = "") -> bytes:
        """See `Sealer.seal`."""
        return (self._made or self._ready()).seal(plain, context, subject)

    def seal_all(self, items: Sequence[tuple[bytes, bytes, str]]) -> list[bytes]:
        """See `Sealer.seal_all`."""
        return (self._made or self._ready()).seal_all(items)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """See `Sealer.open`."""
        return (self._made or self._ready()).open(sealed, context)

    def shred(self, subject: str) -> bool:
        """See `Sealer.shred`."""
        return (self._made or self._ready()).shred(subject)

    def warm(self, *, begin: bool) -> None:
        """Make it in a thread; with `begin` its first epoch too, which the first seal waits for."""
        threading.Thread(target=self._warm, args=(begin,), daemon=True).start()

    def _warm(self, begin: bool) -> None:
        try:
            sealer = self._ready()
            if begin:
                sealer.seal(b"", b"warm")
        except Exception:  # noqa: BLE001, S110 - whoever needs it meets the same error, and says so
            pass

    def _ready(self) -> Sealer:
        with self._lock:
            if self._made is None:
                self._made = self._build()
            return self._made


def agent_keys(config: Config, socket: Path) -> KeyProvider:
    """Give the keys that the node's key agent holds; it is asked when one is needed."""
    keys: KeyProvider = make("keys", "key-agent", config, socket=socket)
    return keys


def seals(config: Config) -> bool:
    """Say whether state is sealed at all."""
    return config.sealer != PLAINTEXT


def sealer_of(
    config: Config,
    folder: Path,
    clock: Clock,
    store: str,
    keys: Callable[[], KeyProvider],
    stored: Callable[[], Iterable[bytes]] | None = None,
) -> Any:
    """Give the sealer of one store.

    Args:
        config: names the sealer, and holds its table.
        folder: where its epoch packets lie.
        clock: ends epochs.
        store: what it seals for; nothing of another store opens with it.
        keys: gives the node's keys, when they are needed.
        stored: gives what the store holds, so that packets which it names nowhere can go.
    """
    if not seals(config):
        return make("sealer", PLAINTEXT, config)
    return LateSealer(
        lambda: make(
            "sealer",
            config.sealer,
            config,
            folder=folder,
            keys=keys(),
            clock=clock,
            store=store,
            stored=stored,
        )
    )


def held_in(folder: Path, pattern: str = "**/*") -> Iterator[bytes]:
    """Give what lies in the files of a folder, in pieces that overlap by a record's start.

    Epoch packets are left out: they name themselves.
    """
    for path in sorted(folder.glob(pattern)):
        packets = any(part.startswith("epochs") for part in path.relative_to(folder).parts)
        if not packets and path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                left = b""
                while chunk := file.read(_PIECE_BYTES):
                    yield left + chunk
                    left = (left + chunk)[-_OVERLAP_BYTES:]
