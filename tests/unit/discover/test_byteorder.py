"""Which byte comes first."""

import numpy as np

from cronos.discover.byteorder import NAMES, byte_order, orders, signs
from cronos.discover.evidence import Corpus
from cronos.discover.messages import Message
from cronos.discover.shipped import shipped


def numbers(order):
    rng = np.random.default_rng(3)
    return Corpus(
        [
            Message(
                b"".join(int(v).to_bytes(w, order) for v, w in zip(row, (2, 4, 2, 4), strict=True)),
                "1",
                "c2s",
                float(n),
            )
            for n, row in enumerate(rng.integers(1, 4000, (200, 4)))
        ]
    )


def test_small_numbers_show_their_order():
    assert byte_order(numbers("little"), 0, shipped().order) == -1
    assert byte_order(numbers("big"), 0, shipped().order) == 1


def test_what_detectors_claim_is_weighed():
    for order in ("big", "little"):
        told, untold = (orders(numbers(order), claim, shipped().order) for claim in (1, 0))
        assert told.seen == untold.seen == untold.likely
        assert told.likely >= untold.likely
        assert told.claimed == 1
    assert byte_order(Corpus([]), 0, shipped().order) == 0


def test_signs_are_finite_for_any_messages():
    for payloads in ([b""], [b"\0"], [b"text only"], [bytes(9), b"\xff" * 3]):
        found = signs(Corpus([Message(p) for p in payloads]), 0)

        assert len(found) == len(NAMES)
        assert np.isfinite(found).all()
