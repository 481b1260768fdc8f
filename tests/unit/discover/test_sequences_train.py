"""Training the transformer: conversations of automata, and ONNX that says what PyTorch says."""

import numpy as np
import pytest

from cronos.discover.sequences import CONTEXT, INPUTS, KINDS, Foreseer
from cronos.discover.sequences_train import conversation, train, written


def test_conversations_have_flows_sides_and_numbered_kinds():
    for seed in range(20):
        turns = conversation(np.random.default_rng(seed), 90)
        assert len(turns) == 90
        assert turns[0].kind == 0
        assert max(turn.kind for turn in turns) < KINDS


def test_the_written_network_gives_what_was_trained():
    torch = pytest.importorskip("torch", reason="the extra train is not installed")
    pytest.importorskip("onnx", reason="the extra train is not installed")
    network = train(lambda _: None, steps=2)
    turns = np.random.default_rng(1).integers(0, 3, (1, CONTEXT, INPUTS))

    served = Foreseer(written(network))._session.run(None, {"turns": turns})[0]

    with torch.no_grad():
        expected = network.scores(torch.from_numpy(turns)).numpy()
    assert np.allclose(served, expected, atol=1e-4)
