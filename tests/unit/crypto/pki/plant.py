"""A trust domain in a temporary folder, for the tests of the PKI and of what stands on it."""

import functools
import pathlib
import tempfile

from cronos.crypto.pki.authority import Authority, found
from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.tokens import parse_token
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.crypto.roots.passphrase import PassphraseConfig, PassphraseRoot
from cronos.testing.clock import VirtualClock

DOMAIN = "plant.example"
NOW_NS = 1_790_000_000_000_000_000
S_NS = 1_000_000_000
HOUR_NS = 3600 * S_NS
PASSPHRASE = "correct horse battery staple"


def passphrase_root(folder, text=PASSPHRASE):
    """A passphrase root that costs little to guess: for tests alone."""
    path = folder / f"passphrase-{len(text)}"
    path.write_text(text)
    path.chmod(0o600)
    config = PassphraseConfig(passphrase_file=str(path), memory_kib=1024, passes=1, lanes=1)
    return PassphraseRoot(config)


class Plant:
    """An authority, its clock, and the nodes that joined it."""

    def __init__(self, folder, domain=DOMAIN, clock=None):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.ca = folder / "ca"
        self.home = folder / "stick"
        self.clock = clock or VirtualClock(wall_ns=NOW_NS)
        self.offline = passphrase_root(folder)
        self.online = MachineRoot(MachineConfig(), self._made("machine"))
        self.authority = found(self.ca, domain, self.home, self.offline, self.online, self.clock)

    @property
    def trust(self):
        return self.authority.trust

    def reopened(self):
        return Authority(self.ca, self.online, self.clock)

    def token(self, name="alpha", roles=("defense", "audit"), address="", life_s=3600):
        return parse_token(self.authority.invite(name, roles, address, life_s))

    def holder(self, name="alpha"):
        return Holder(self.folder / f"node-{name}", self.online, self.clock)

    def joined(self, name="alpha", roles=("defense", "audit"), address=""):
        holder = self.holder(name)
        holder.accept(self.authority.admit(holder.request(self.token(name, roles, address))))
        return holder

    def credential(self, name="alpha", roles=("defense", "audit")):
        return self.joined(name, roles).membership().credential

    def _made(self, name):
        path = self.folder / name
        path.mkdir(mode=0o700)
        return path


@functools.cache
def shared_plant():
    """One plant for the tests that only read it."""
    folder = tempfile.TemporaryDirectory(prefix="cronos-pki-")
    plant = Plant(pathlib.Path(folder.name) / "plant")
    plant.keep = folder
    return plant


@functools.cache
def shared_credential(name="alpha"):
    return shared_plant().credential(name)
