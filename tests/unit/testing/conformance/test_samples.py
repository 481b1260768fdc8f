"""The suites' samples are sound data of the vocabulary."""

from cronos.testing.conformance.samples import deny, finding, incident, question
from cronos.types import decode, encode


def test_every_sample_survives_a_round_trip():
    for datum in (deny("memory", "192.0.2.7"), incident(), finding(), question(1)):
        assert decode(encode(datum)) == datum


def test_actions_on_different_addresses_have_different_ids():
    ids = {deny(point, address).action_id for point in "ab" for address in ("::1", "::2")}
    assert len(ids) == 4
