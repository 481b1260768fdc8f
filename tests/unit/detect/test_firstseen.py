import pytest

from cronos.detect.firstseen import FirstSeenConfig, FirstSeenDetector
from cronos.types import Entity, EntityKind, Observation, Provenance

SECOND = 1_000_000_000
CONFIG = FirstSeenConfig(learning_observations=100, learning_s=60)


def spoken(seq, client="192.0.2.20", code=None, status="open", **more):
    modbus = code is not None
    fields = {
        "src_endpoint.ip": client,
        "src_endpoint.port": 40000,
        "dst_endpoint.ip": "198.51.100.2",
        "dst_endpoint.port": more.get("port", 502),
        "connection_info.protocol_name": "tcp",
    }
    if modbus:
        fields |= {"modbus.function_code": code, "modbus.direction": "request"}
    else:
        fields["status"] = status
    return Observation(
        source="tap",
        seq=seq,
        time_ns=int(more.get("at_s", seq) * SECOND),
        activity="modbus" if modbus else "network_activity",
        provenance=more.get("provenance", Provenance.BIDIRECTIONAL),
        actor=Entity(EntityKind.ADDRESS, client),
        target=Entity(EntityKind.ADDRESS, "198.51.100.2"),
        fields=fields,
    )


def learnt(config=CONFIG):
    detector = FirstSeenDetector(config)
    assert detector.detect([spoken(n, code=3) for n in range(120)]) == []
    return detector


def test_nothing_is_told_while_learning():
    detector = FirstSeenDetector(CONFIG)
    assert detector.detect([spoken(n, client=f"192.0.2.{n}") for n in range(90)]) == []


def test_learning_takes_time_and_not_only_events():
    detector = FirstSeenDetector(CONFIG)
    detector.detect([spoken(n, at_s=1) for n in range(5000)])
    assert detector.detect([spoken(5001, client="192.0.2.99", at_s=2)]) == []


def test_a_new_client_is_told_once():
    detector = learnt()
    (finding,) = detector.detect([spoken(200, client="192.0.2.99"), spoken(201, "192.0.2.99")])
    assert finding.title == "New conversation"
    assert finding.explanation == (
        "192.0.2.99 spoke with 198.51.100.2:502 for the first time; "
        "no such conversation was seen in the learning period."
    )


def test_a_known_client_with_a_new_writing_function_is_told():
    (finding,) = learnt().detect([spoken(200, code=16)])
    assert finding.title == "New Modbus function"
    assert finding.techniques == ("T0855",)
    assert "it always used other functions there and this one writes" in finding.explanation


def test_what_was_learnt_is_never_told():
    assert learnt().detect([spoken(n, code=3) for n in range(200, 300)]) == []


def test_spoofable_packets_are_neither_learnt_nor_judged():
    detector = learnt()
    forged = {"client": "192.0.2.99", "provenance": Provenance.SPOOFABLE}
    assert detector.detect([spoken(200, **forged)]) == []
    assert len(detector.detect([spoken(201, client="192.0.2.99")])) == 1


def test_an_unanswered_connection_is_no_conversation():
    assert learnt().detect([spoken(200, client="192.0.2.99", status="no_answer")]) == []


def test_a_baseline_that_had_to_forget_falls_silent():
    config = FirstSeenConfig(learning_observations=100, learning_s=60, max_entries=10)
    detector = FirstSeenDetector(config)
    detector.detect([spoken(n, client=f"192.0.2.{n}") for n in range(120)])
    assert detector.detect([spoken(200, client="203.0.113.9")]) == []


def test_a_clock_set_back_does_not_shorten_learning():
    detector = FirstSeenDetector(CONFIG)
    jumps = [spoken(n, at_s=1000 - n % 2) for n in range(30)]
    detector.detect([*jumps, *[spoken(n, at_s=1) for n in range(100, 200)]])
    assert detector.detect([spoken(900, client="192.0.2.99", at_s=2)]) == []


def test_a_saved_baseline_goes_on_where_it_was():
    first, second = learnt(), FirstSeenDetector(CONFIG)
    second.restore(first.snapshot())
    new = [spoken(300, client="192.0.2.99")]
    assert second.detect(new) == first.detect(new) != []


def test_a_broken_state_is_refused():
    with pytest.raises(ValueError, match="not a saved"):
        FirstSeenDetector(CONFIG).restore(b"\x01")
