"""Training the labeller: lessons, the CRF's likelihood, and ONNX that says what PyTorch says."""

import numpy as np
import pytest

from cronos.discover.labeller import Labeller
from cronos.discover.labeller_train import drawn, train, written
from cronos.discover.tagging import OUTSIDE


def test_every_twelfth_lesson_is_noise_in_which_all_is_outside():
    noise, protocol = drawn(range(12, 14), 20)

    assert all((tags == OUTSIDE).all() for _, tags in noise.rows)
    assert any((tags != OUTSIDE).all() for _, tags in protocol.rows)


def test_training_lowers_the_loss():
    pytest.importorskip("torch", reason="the extra train is not installed")
    lessons, told = list(drawn([13], 30)), []

    train(lessons, told.append, steps=100)

    # 23 tags without any knowledge: ln 23 = 3.1 nats a byte.
    assert float(told[-1].rsplit(" ", 1)[1]) < 2.5


def test_the_written_network_gives_what_was_trained():
    torch = pytest.importorskip("torch", reason="the extra train is not installed")
    pytest.importorskip("onnx", reason="the extra train is not installed")
    lessons = list(drawn(range(13, 15), 30))

    network = train(lessons, lambda _: None, steps=12)
    served = Labeller(written(network, ["modbus", "dns"]))

    assert served.learnt == ("dns", "modbus")
    described = lessons[0].rows[0][0]
    scores, moves = served._score([described])
    with torch.no_grad():
        expected = network.emissions(
            torch.from_numpy(described.data)[None], torch.from_numpy(described.features)[None]
        )[0]
    assert np.allclose(scores[:, 0], expected.numpy(), atol=1e-3)
    assert np.allclose(moves, network.moves.detach().numpy())
