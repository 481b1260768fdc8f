"""The worker of the mesh: without a certificate there is no mesh, and it says so."""

import subprocess
import sys

import pytest

from cronos.config import Config, Mesh
from cronos.errors import InputError
from cronos.front import meshing
from cronos.runtime.world import SequenceIds

# In a process of its own: the worker takes descriptor 2 for what gRPC says, as a whole process may.
JOINED_NO_DOMAIN = """
import functools, pathlib, sys
from cronos.config import Config, Mesh
from cronos.errors import InputError
from cronos.front import meshing
from cronos.runtime.world import SystemClock
from cronos.testing.memory_govern import MemorySealer

home = pathlib.Path(sys.argv[1])
place = meshing.Place(home / "run", home, 1)
config = Config(mesh=Mesh(listen="127.0.0.1:0"))
try:
    meshing.serve(config, place, MemorySealer(), functools.partial(object), SystemClock())
except InputError as refused:
    print(refused.remedy)
"""


def test_a_node_that_has_joined_no_domain_is_told_how(tmp_path):
    home = tmp_path / "local"
    (home / "keys").mkdir(parents=True, mode=0o700)
    (home / "run").mkdir()

    done = subprocess.run(
        [sys.executable, "-c", JOINED_NO_DOMAIN, str(home)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "cronos " in done.stdout


def test_registry_and_engine_are_made_by_their_catalogue_names_with_their_own_tables():
    tables = {
        "etcd": {"url": "http://127.0.0.1:2379", "prefix": "/plant/"},
        "amqp": {"servers": ["127.0.0.1:5673"]},
    }
    config = Config(mesh=Mesh(registry="etcd", bulk="amqp"), plugin=tables)
    ids = SequenceIds("local", 1)

    assert meshing._registry(config).manifest.name == "etcd"
    assert meshing._engine(config, ids).manifest.name == "amqp"
    assert meshing._engine(Config(mesh=Mesh(bulk="nats")), ids).manifest.name == "nats"
    assert meshing._registry(Config()) is None
    assert meshing._engine(Config(), ids) is None


@pytest.mark.parametrize("mesh", [Mesh(registry="zookeeper"), Mesh(bulk="pigeons")])
def test_what_no_catalogue_has_is_refused(mesh):
    make = meshing._registry if mesh.registry else made_engine
    with pytest.raises(InputError) as unknown:
        make(Config(mesh=mesh))
    assert unknown.value.code == "catalog.unknown"


def made_engine(config):
    return meshing._engine(config, SequenceIds("local", 1))
