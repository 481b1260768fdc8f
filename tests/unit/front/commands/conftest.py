"""What the commands for people talk to, and what they sign with."""

import pytest
from tests.unit.crypto.pki.plant import PASSPHRASE, Plant, passphrase_root
from tests.unit.front.commands.office import Office

from cronos.crypto.pki.files import write_credential
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock


@pytest.fixture
def office(tmp_path, capsys):
    """A node's office, closed as yet."""
    return Office(tmp_path, capsys)


@pytest.fixture
def credential(tmp_path):
    """An operator's sealed credential, valid now, and the options that open it."""
    clock = SystemClock()
    plant = Plant(tmp_path / "plant", clock=VirtualClock(wall_ns=clock.now().wall_ns))
    operator = plant.authority.issue("operator", "mia", ["manager"])
    path = tmp_path / "mia.credential"
    write_credential(path, operator, passphrase_root(tmp_path))
    file = tmp_path / f"passphrase-{len(PASSPHRASE)}"
    return plant, ("--as", str(path), "--passphrase-file", str(file))
