"""A key agent as a real process, on a keystore locked by a machine key; its log is its stderr."""

import ctypes
import os
import signal
import sys
from pathlib import Path

from cronos.crypto.keystore import Keystore, KeystoreConfig
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.errors import CronosError
from cronos.link.keyagent import run_agent
from cronos.runtime.telemetry import Log
from cronos.runtime.world import SystemClock

NOBODY = 65534


def become_nobody():
    """Go on as the user nobody, as open to that user as a program which it started itself."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: a change of user has cleared it


def main(folder, name, user=""):
    if user == "nobody":
        become_nobody()
    clock = SystemClock()
    log = Log("test", clock)

    def opened():
        root = MachineRoot(MachineConfig(), folder)
        keys = Keystore(KeystoreConfig(suite="rate"), folder, root, clock)
        keys.ensure()
        return keys

    def ready(server):
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "stopping", True))
        log.write("info", "ready")

    try:
        run_agent(opened, folder / name, clock, log.write, ready)
    except CronosError as error:
        log.write("error", error.code, detail=error.sentence, remedy=error.remedy)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
