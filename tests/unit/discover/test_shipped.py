"""The models that are shipped: those files, and no others."""

import hashlib
import pathlib

import pytest

from cronos.discover import scorer
from cronos.discover.shipped import FILES, SHA256, compared, load, pinned, shipped
from cronos.errors import InputError

MODELS = pathlib.Path(scorer.__file__).parent / "models"


def test_the_shipped_models_are_small_and_read():
    models = shipped()

    assert len(models.first.names) > 100
    assert models.second.pairs.shape == (18, 17)


def test_the_models_beside_the_program_are_those_that_are_pinned():
    for name, digest in SHA256.items():
        data = (MODELS / f"{name}.npz").read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        assert pinned(data, digest) == data


def test_another_file_is_refused_unless_its_folder_is_named(tmp_path):
    for name in FILES:
        (tmp_path / f"{name}.npz").write_bytes((MODELS / f"{name}.npz").read_bytes())
    changed = (MODELS / "order.npz").read_bytes() + b"\0"
    with pytest.raises(InputError, match="not the one that was shipped"):
        pinned(changed, SHA256["order"])
    (tmp_path / "order.npz").write_bytes((MODELS / "keys.npz").read_bytes())

    assert load(tmp_path).order.names == load(tmp_path).keys.names


def test_a_file_that_was_trained_is_said_to_be_the_one_or_another():
    data = (MODELS / "order.npz").read_bytes()

    assert compared("order.npz", data, SHA256["order"]).endswith(", as shipped")
    assert "not the one" in compared("order.npz", data + b"x", SHA256["order"])


def test_published_protocols_have_trees_each():
    published = shipped().published

    assert {"dns", "modbus", "smb2"} <= set(published.names)
    assert all(len(published.trees(name).names) > 20 for name in published.names)
