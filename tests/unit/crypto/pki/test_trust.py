"""The trust: one pin over domain and both roots."""

import msgspec
import pytest
from tests.unit.crypto.pki.plant import shared_plant

from cronos.crypto.pki.trust import pack_trust, unpack_trust
from cronos.errors import DeniedError


def test_it_comes_back_as_it_was():
    trust = shared_plant().trust

    assert unpack_trust(pack_trust(trust)) == trust
    assert len(trust.fingerprint) == 48


@pytest.mark.parametrize("field", ["domain", "p384_root", "mldsa_root"])
def test_each_part_changes_the_pin(field):
    trust = shared_plant().trust
    value = getattr(trust, field)
    other = value + ("x" if isinstance(value, str) else b"x")

    assert msgspec.structs.replace(trust, **{field: other}).fingerprint != trust.fingerprint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([2, "plant.example", b"a", b"b"]),
        msgspec.msgpack.encode([1, "Plant!", b"a", b"b"]),
        msgspec.msgpack.encode([1, "plant.example", b"a", b"b" * 20_000]),
        msgspec.msgpack.encode([1, "plant.example", b"", b"b"]),
        b"\x91" * 100_000,
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(DeniedError) as refused:
        unpack_trust(data)

    assert refused.value.code == "crypto.refused"
