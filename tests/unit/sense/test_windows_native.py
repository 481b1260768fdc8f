import pytest

from cronos.sense.windows_native import flatten, moment


def test_event_data_in_text_is_read_as_json_or_as_xml():
    json = flatten({"EventID": 3, "EventData": '{"Image": "a", "EventID": "9"}'})
    assert json["Image"] == "a"
    assert json["EventID"] == 3
    xml = flatten(
        {"EventID": 1, "EventData": '<EventData><Data Name="Image">a &amp; b</Data></EventData>'}
    )
    assert xml["Image"] == "a & b"


def test_a_flat_record_keeps_all_it_had():
    record = {"EventID": "4624", "Hostname": "H", "SourceName": "S", "x": [1]}
    assert flatten(dict(record)) == {
        **record,
        "EventID": 4624,
        "Computer": "H",
        "Provider_Name": "S",
    }


def test_sysmons_event_type_comes_back_from_where_nxlog_moved_it():
    view = flatten({"EventID": 13, "EventType": "INFO", "EventTypeOrignal": "SetValue"})
    assert view["EventType"] == "SetValue"


def test_user_data_counts_as_event_data():
    event = {
        "System": {"EventID": 1102, "Channel": "Security"},
        "UserData": {"LogFileCleared": {"SubjectUserName": "bob"}},
    }
    assert flatten({"Event": event})["SubjectUserName"] == "bob"


def test_data_without_names_stays_a_list():
    event = {"System": {"EventID": 400}, "EventData": {"Data": ["a", {"#text": "b"}], "Binary": ""}}
    assert flatten({"Event": event})["Data"] == ["a", "b"]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"EventID": None},
        {"EventID": {"a": 1}},
        {"winlog": 5},
        {"Event": {"System": 5}},
        {"Event": {"System": {"EventID": []}, "EventData": [1], "UserData": 7}},
        {"event_id": "x", "log_name": "y"},
    ],
)
def test_what_is_no_event_is_none(record):
    assert flatten(record) is None


def test_the_best_clock_wins():
    assert moment({"EventTime": "local", "UtcTime": "utc", "@timestamp": "shipper"}) == "utc"
    assert moment({}) is None
