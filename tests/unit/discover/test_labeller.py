"""The labeller at work: Viterbi finds the best path, and any messages get fields that tile them."""

import itertools

import numpy as np
import pytest
from tests.unit.discover.detectors.noise import messages

from cronos.discover.detectors.registry import claims
from cronos.discover.engine import LABELLED, discover
from cronos.discover.labeller import MAX_MODEL_BYTES, Labeller, read, viterbi
from cronos.discover.labeller_train import Network, written
from cronos.discover.messages import Message
from cronos.discover.model import Limits
from cronos.discover.synthetic import samples
from cronos.discover.tagging import MOST_BYTES
from cronos.errors import InputError
from cronos.testing.clock import VirtualClock


@pytest.fixture(scope="module")
def network():
    """Write a network that learnt nothing: what is asked here holds for any."""
    pytest.importorskip("torch", reason="the extra train is not installed")
    pytest.importorskip("onnx", reason="the extra train is not installed")
    return written(Network(1), ["one"])


def test_viterbi_finds_the_best_of_all_paths():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(5, 3, 4)).astype(np.float32)
    moves = rng.normal(size=(4, 4)).astype(np.float32)
    sizes = np.array([5, 1, 3])

    for row, found in enumerate(viterbi(scores, moves, sizes)):
        paths = itertools.product(range(4), repeat=int(sizes[row]))
        best = max(
            paths,
            key=lambda path, row=row: (
                sum(scores[at, row, tag] for at, tag in enumerate(path))
                + sum(moves[a, b] for a, b in itertools.pairwise(path))
            ),
        )
        assert tuple(found) == best


def test_fields_tile_every_message_whatever_its_bytes(network):
    rng = np.random.default_rng(2)
    given = [Message(b""), Message(b"\x00"), Message(rng.bytes(3000)), *messages(samples(2, 20))]

    labelled = Labeller(network).label(given, claims(given))

    for message, fields in zip(given, labelled, strict=True):
        at = 0
        for offset, length, _ in fields:
            assert offset == at
            at += length
        assert at == min(len(message.payload), MOST_BYTES)


def test_labelling_gives_the_same_fields_again(network):
    given = messages(samples(4, 30))
    labeller = Labeller(network)

    assert labeller.label(given, []) == labeller.label(given, [])


def test_a_damaged_network_is_refused(network):
    for bad in (b"", network[:200], b"\x01" * 100):
        with pytest.raises(InputError):
            Labeller(bad)


def test_a_discovery_lets_a_network_set_the_fields_where_one_is_named(network, tmp_path):
    file = tmp_path / "labeller.onnx"
    file.write_bytes(network)
    given = [*messages(samples(6, 30)), Message(b"\x07" * (MOST_BYTES + 50))]

    result = discover(
        given, Limits(labeller=str(file)), VirtualClock(), lambda _phase, _share: None
    )

    said = Labeller(network).label(given, result.claims)
    for message, fields, expected in zip(given, result.fields, said, strict=True):
        assert [(one.offset, one.length, one.sem) for one in fields][: len(expected)] == expected
        assert sum(one.length for one in fields) == len(message.payload)
        assert {one.confidence for one in fields[: len(expected)]} <= {LABELLED}


def test_a_file_that_is_no_network_is_refused(tmp_path):
    large = tmp_path / "large"
    large.write_bytes(bytes(MAX_MODEL_BYTES + 1))

    for file in (tmp_path / "none", tmp_path, large):
        with pytest.raises(InputError):
            read(file)
