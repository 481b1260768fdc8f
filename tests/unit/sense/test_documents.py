import json

import pytest
from tests.unit.sense.logs import read_all

from cronos.sense.documents import Documents, looks_like_documents
from cronos.sense.jsonlines import JsonLinesConfig, JsonLinesSensor

RECORDS = [{"a": 1, "b": {"c": ["}", '"{', "\\"]}}, {"a": 2}, {"a": [{"x": 1}]}]


@pytest.mark.parametrize("cuts", [(), (1,), (7, 0, 3)])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2),
        json.dumps({"Records": RECORDS}),
        json.dumps({"records": RECORDS}, indent=1).replace('{\n "rec', '{"rec'),
        "\n".join(json.dumps(record, indent=2) for record in RECORDS),
        "\n\n[\n" + ",\n".join(json.dumps(record) for record in RECORDS) + "\n]\n",
    ],
)
def test_every_shape_of_document_gives_its_records_numbered_in_order(text, cuts):
    seen, defects = read_all(JsonLinesSensor(JsonLinesConfig()), text.encode(), cuts, first=5)
    assert not defects
    assert [observation.native for observation in seen] == RECORDS
    assert [observation.seq for observation in seen] == [5, 6, 7]


def test_a_document_that_ends_too_soon_gives_what_was_whole_and_a_defect():
    text = json.dumps(RECORDS, indent=2)[:-20]
    seen, defects = read_all(JsonLinesSensor(JsonLinesConfig()), text.encode())
    assert [observation.native for observation in seen] == RECORDS[:2]
    assert len(defects) == 1


def test_a_record_above_the_limit_is_left_out_in_bounded_memory():
    big = json.dumps([{"a": ["x" * 10] * 100}, {"a": 2}], indent=1)
    sensor = JsonLinesSensor(JsonLinesConfig(max_line_bytes=500))
    seen, defects = read_all(sensor, big.encode())
    assert [observation.native for observation in seen] == [{"a": 2}]
    assert [defect.position for defect in defects] == [1]


def test_lines_of_objects_are_no_document():
    assert not looks_like_documents(b'{"a": 1}')
    assert not looks_like_documents(b'{"a": 1, "Records": [')
    assert looks_like_documents(b"[")


def test_a_quote_that_never_ends_does_not_take_long():
    documents = Documents(1, 1 << 20)
    documents.cut([(1, b"{"), (2, b'"' + b"\\" * 500_001)])
    assert documents.cut([(3, b'"}' * 100_000)]) is not None
