from cronos.detect import claims
from cronos.types import Entity, EntityKind, Observation, Provenance

PLAIN = Observation("tap", 7, 0, "network_activity", Provenance.SPOOFABLE)


def test_ids_come_from_the_observation():
    assert claims.finding_id("scan", PLAIN) == "scan:tap#7"
    assert claims.finding_id("scan", PLAIN, "hosts") == "scan.hosts:tap#7"
    assert claims.mark(PLAIN) == "tap#7"


def test_a_claim_is_as_strong_as_the_weakest_it_needs():
    assert claims.needed([2, 2, 0, 0], 2) is Provenance.AUTHENTICATED
    assert claims.needed([2, 1, 0], 2) is Provenance.BIDIRECTIONAL
    assert claims.needed([2, 0], 3) is Provenance.SPOOFABLE
    assert claims.needed([], 1) is Provenance.SPOOFABLE


def test_a_flow_needs_both_ends():
    assert claims.flow(PLAIN) is None
    whole = Observation(
        "tap", 7, 0, "network_activity", Provenance.SPOOFABLE,
        fields={"src_endpoint.ip": "192.0.2.7", "src_endpoint.port": 1,
                "dst_endpoint.ip": "192.0.2.8", "dst_endpoint.port": 2},
    )  # fmt: skip
    assert claims.flow(whole) == Entity(EntityKind.FLOW, "tcp/192.0.2.7:1>192.0.2.8:2")
    assert claims.client(whole) == "192.0.2.7"
    assert claims.server(whole) == "192.0.2.8"


def test_numbers_are_numbers():
    odd = Observation(
        "s", 1, 0, "x", Provenance.SPOOFABLE, fields={"a": True, "b": "5", "c": 5, "d": None}
    )
    assert [claims.number(odd, name) for name in "abcde"] == [None, None, 5, None, None]
    assert [claims.text(odd, name) for name in "abcde"] == ["True", "5", "5", "", ""]


def test_durations_read_like_a_sentence():
    spans = [claims.span(n) for n in (0, 820_000_000, 3_200_000_000, 840_000_000_000)]
    assert spans == ["1 ms", "820 ms", "3.2 s", "14 min"]
    assert claims.plural(1, "port") == "1 port"
    assert claims.plural(2, "port") == "2 ports"
