"""The worker of the mesh: without a certificate there is no mesh, and it says so."""

import functools

import pytest

from cronos.config import Config, Mesh
from cronos.errors import InputError
from cronos.front import meshing
from cronos.runtime.world import SystemClock
from cronos.testing.memory_govern import MemorySealer


def test_a_node_that_has_joined_no_domain_is_told_how(tmp_path):
    home = tmp_path / "local"
    (home / "keys").mkdir(parents=True, mode=0o700)
    (home / "run").mkdir()
    config = Config(mesh=Mesh(listen="127.0.0.1:0"))

    with pytest.raises(InputError) as refused:
        meshing.serve(
            config,
            meshing.Place(home / "run", home, 1),
            MemorySealer(),
            functools.partial(object),
            SystemClock(),
        )

    assert refused.value.remedy
