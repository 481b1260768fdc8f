"""A store's folder and the keystore that opens it, for the tests that seal."""

from cronos.crypto.keystore import Keystore, KeystoreConfig
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.crypto.sealer import EpochsConfig, EpochSealer
from cronos.testing.clock import VirtualClock


def keystore(folder, clock=None):
    """Open a node's keystore, with its standard keys."""
    root = MachineRoot(MachineConfig(), folder)
    opened = Keystore(KeystoreConfig(), folder, root, clock or VirtualClock())
    opened.ensure()
    return opened


def sealer(folder, keys, clock=None, store="ledger", stored=None, **config):
    """Give the sealer of a store; `folder` holds its packets."""
    settings = EpochsConfig(**config)
    return EpochSealer(settings, folder, keys, clock or VirtualClock(), store, stored)
