"""Sealed stores are found by their packets, wherever below the folder they lie."""

import pytest
from tests.unit.crypto.sealed_store import keystore, sealer

from cronos.crypto.stores import sealed_stores
from cronos.errors import DeniedError


@pytest.fixture
def keys(tmp_path):
    opened = keystore(tmp_path / "keys")
    yield opened
    opened.close()


def test_every_store_is_found_and_named(tmp_path, keys):
    sealer(tmp_path / "ledger", keys).seal(b"x", b"c")
    sealer(tmp_path / "run" / "epochs" / "scorer", keys, store="scorer").seal(b"x", b"c")

    assert sealed_stores(tmp_path) == [
        (tmp_path / "ledger", "ledger"),
        (tmp_path / "run" / "epochs" / "scorer", "scorer"),
    ]


def test_where_nothing_is_sealed_nothing_is_found(tmp_path):
    (tmp_path / "epochs").write_bytes(b"")

    assert sealed_stores(tmp_path) == []
    assert sealed_stores(tmp_path / "nowhere") == []


def test_a_store_whose_packets_are_damaged_is_not_passed_over(tmp_path, keys):
    sealer(tmp_path / "ledger", keys).seal(b"x", b"c")
    for name in ("epochs", "epochs.bak"):
        (tmp_path / "ledger" / name).write_bytes(b"noise")

    with pytest.raises(DeniedError) as refused:
        sealed_stores(tmp_path)

    assert refused.value.code == "crypto.epochs_lost"
