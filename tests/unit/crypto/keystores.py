"""Keystores in a folder of their own, and children that die or run out of disk at any step."""

import contextlib
import os
import resource
import signal
import sys

from cronos.crypto.keystore import Keystore, KeystoreConfig
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.crypto.roots.passphrase import PassphraseConfig, PassphraseRoot
from cronos.testing.clock import VirtualClock

HOUR_NS = 3_600 * 1_000_000_000
DAY_NS = 24 * HOUR_NS
DATA_KEY = bytes(range(32))
# What writing to a disk is made of; a child can be told to die at any of them.
STEPS = ("open", "write", "fsync", "replace", "link", "unlink", "ftruncate", "truncate", "rename")


def opened(folder, clock=None, root=None, **config):
    """Open a keystore; without a root key with that of the machine."""
    return Keystore(
        KeystoreConfig(**config),
        folder,
        MachineRoot(MachineConfig(), folder) if root is None else root,
        VirtualClock() if clock is None else clock,
    )


def passphrase_root(passphrase="five random words", **config):
    """Give a passphrase as root key that costs next to nothing."""
    cheap = {"memory_kib": 1024, "passes": 1, "lanes": 1}
    return PassphraseRoot(PassphraseConfig(**{**cheap, **config}), ask=lambda: passphrase)


def states(keystore):
    """Give the state of each key by its id."""
    return {info.key_id: str(info.state) for info in keystore.listed()}


def child(work):
    """Run `work` in a forked child and give its exit code; a signal is negative."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        with contextlib.suppress(BaseException):
            code = work() or 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(step, work):
    """Run `work` in a child that is killed at the `step`-th call, 0 the first; False if it ended.

    A write that is killed has written half.
    """
    code = child(lambda: _armed(step, work))
    assert code in (0, -signal.SIGKILL), code
    return code == -signal.SIGKILL


def _armed(step, work):
    count = -1

    def arm(name, original):
        def call(*args, **more):
            nonlocal count
            count += 1
            if count == step:
                if name == "write":
                    original(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            # A killed process loses nothing that it wrote: syncing would only take time.
            return None if name == "fsync" else original(*args, **more)

        return call

    for name in STEPS:
        setattr(os, name, arm(name, getattr(os, name)))
    work()


def with_disk_of(size, work):
    """Run `work` in a child whose files cannot grow beyond `size` bytes; give its exit code."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return work()

    return child(limited)


def disk_is_large_again():
    """Take the limit of `with_disk_of` off, in the child."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
