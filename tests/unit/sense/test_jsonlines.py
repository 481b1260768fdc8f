from tests.unit.sense.logs import lines, one, read_all

from cronos.sense.jsonlines import JsonLinesConfig, JsonLinesSensor
from cronos.types import Provenance

TRAIL = {
    "eventTime": "2020-09-14T00:44:23Z",
    "eventSource": "ec2.amazonaws.com",
    "sourceIPAddress": "203.0.113.9",
}


def test_a_record_is_kept_whole_and_believed_in_nothing():
    seen = one(JsonLinesSensor(JsonLinesConfig(product="aws")), TRAIL)
    assert seen.activity == "base_event"
    assert seen.native == TRAIL
    assert seen.actor is None
    assert seen.provenance is Provenance.SPOOFABLE
    assert seen.fields == {"metadata.product": "aws", "metadata.log_name": "ec2.amazonaws.com"}
    assert seen.time_ns == 1_600_044_263_000_000_000


def test_a_torn_first_line_does_not_make_the_file_a_document():
    seen, defects = read_all(JsonLinesSensor(JsonLinesConfig()), b'{"a": 1, "b\n' + lines(TRAIL))
    assert [defect.position for defect in defects] == [1]
    assert [observation.seq for observation in seen] == [2]


def test_an_idle_source_is_passed_on():
    seen, _ = read_all(JsonLinesSensor(JsonLinesConfig()), lines(TRAIL, TRAIL), (1, 0))
    assert [observation.seq for observation in seen] == [1, 2]


def test_json_of_any_shape_is_recognised_and_other_text_is_not():
    recognise = JsonLinesSensor.recognise
    assert recognise(lines(TRAIL)) == 0.4
    assert recognise(b"[\n  {") == 0.3
    assert recognise("\ufeff{}".encode("utf-16-le")) == 0.0
    assert recognise('\ufeff{"a": 1}'.encode("utf-16-le")) == 0.4
    assert recognise(b"Event Type,Event Name\n") == 0.0
    assert recognise(b"\x00\x01\x02") == 0.0
