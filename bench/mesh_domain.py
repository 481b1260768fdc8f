"""A trust domain for benches: an authority, and a credential for each node, in one folder."""

from pathlib import Path

from cronos.crypto.pki.authority import found
from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.tokens import parse_token
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.crypto.roots.passphrase import PassphraseConfig, PassphraseRoot
from cronos.runtime.world import SystemClock


def holder_in(folder: Path, name: str) -> Holder:
    """Give what holds a node's credential; its keys are sealed under the folder's machine key."""
    root = MachineRoot(MachineConfig(), folder / "machine")
    return Holder(folder / f"{name}.pki", root, SystemClock())


def make_domain(folder: Path, *names: str) -> None:
    """Found an authority and have each node join it."""
    (folder / "machine").mkdir(mode=0o700)
    word = folder / "passphrase"
    word.write_text("a bench's passphrase")
    word.chmod(0o600)
    cheap = PassphraseConfig(passphrase_file=str(word), memory_kib=1024, passes=1, lanes=1)
    online = MachineRoot(MachineConfig(), folder / "machine")
    authority = found(
        folder / "ca", "bench.example", folder / "stick", PassphraseRoot(cheap), online,
        SystemClock(),
    )  # fmt: skip
    for name in names:
        holder = holder_in(folder, name)
        token = parse_token(authority.invite(name, ("defense", "audit"), "", 3_600))
        holder.accept(authority.admit(holder.request(token)))
