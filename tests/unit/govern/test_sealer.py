"""The sealer that does not seal says so."""

import msgspec
import pytest

from cronos.govern.sealer import PlaintextConfig, PlaintextSealer


def test_bytes_lie_as_they_came_and_are_called_unsealed():
    sealer = PlaintextSealer(PlaintextConfig())
    assert sealer.seal(b"record", b"1/local") == b"record"
    assert sealer.open(b"record", b"anything") == b"record"
    assert (sealer.sealing, sealer.seal_version) == ("unsealed", 0)


def test_a_key_in_its_configuration_is_refused():
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"key": "hunter2"}, PlaintextConfig)
