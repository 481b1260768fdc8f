import pytest

from cronos.sense.normal import time_ns
from cronos.sense.syslog_header import YearRule, parse

NOW = YearRule(now_ns=time_ns("2024-01-02T00:00:00Z"))


def test_rfc_5424_gives_all_its_parts():
    header = parse(
        '<165>1 2003-10-11T22:14:15.003Z host.example su 77 ID47 [ex@1 a="x\\]y\\"" b="2"][c d="3"]'
        " \ufeffthe message",
        NOW,
    )
    assert (header.facility, header.severity) == (20, 5)
    assert header.time_ns == time_ns("2003-10-11T22:14:15.003Z")
    assert (header.host, header.program, header.pid) == ("host.example", "su", "77")
    assert header.data == {"ex@1.a": 'x]y"', "ex@1.b": "2", "c.d": "3"}
    assert header.message == "the message"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ('[id k="\\\\"]', {"id.k": "\\"}),
        ('[id k="\\"\\]" l="\\a"]', {"id.k": '"]', "id.l": "\\a"}),
        ('[id k="]\\="x"]', {}),
        ('[id k="a\\"]', {}),
        ('[id k="a" l="b]', {}),
        ('[id k="a"', {}),
    ],
)
def test_a_value_ends_at_its_own_quote_and_what_is_no_element_gives_no_data(data, told):
    header = parse(f"<13>1 - h p - - {data} m", NOW)
    assert header.data == told
    assert header.message == ("m" if told else f"{data} m")


def test_rfc_5424_with_nothing_but_dashes():
    header = parse("<0>1 - - - - - -", NOW)
    assert (header.time_ns, header.host, header.program, header.data) == (0, "", "", {})
    assert parse("<34>1 ", NOW).message == ""


@pytest.mark.parametrize(
    "line",
    [
        "<34>Oct 11 22:14:15 web1 sshd[1234]: hello there",
        "Oct 11 22:14:15 web1 sshd[1234]: hello there",
        "2023-10-11T22:14:15.000000+00:00 web1 sshd[1234]: hello there",
        "Oct 11 22:14:15 web1 /usr/sbin/sshd[1234]: hello there",
    ],
)
def test_rfc_3164_and_files_give_host_program_and_message(line):
    header = parse(line, NOW)
    assert (header.host, header.program, header.pid) == ("web1", "sshd", "1234")
    assert header.message == "hello there"
    assert header.time_ns == time_ns("2023-10-11T22:14:15Z")


def test_a_time_without_a_year_is_never_in_the_future():
    assert parse("Jan  1 10:00:00 h p: m", NOW).time_ns == time_ns("2024-01-01T10:00:00Z")
    assert parse("Dec 31 10:00:00 h p: m", NOW).time_ns == time_ns("2023-12-31T10:00:00Z")


def test_without_a_clock_the_configured_year_and_zone_count():
    rule = YearRule(year=2001, utc_offset_minutes=60)
    assert parse("Oct 11 22:14:15 h p: m", rule).time_ns == time_ns("2001-10-11T21:14:15Z")


def test_a_date_that_does_not_exist_is_no_time():
    assert parse("Feb 31 10:00:00 h p: m", NOW).time_ns == 0


def test_a_priority_alone_is_a_message_and_nothing_at_all_is_none():
    assert parse("<13>just text", NOW).message == "just text"
    assert parse("<999>just text", NOW) is None
    assert parse("just text", NOW) is None


def test_hostile_structured_data_ends_in_time():
    for rest in ("[" * 50_000, "[a " + 'b="\\' * 20_000, '[a b="' + "\\" * 50_000):
        assert parse("<1>1 - - - - - " + rest, NOW) is not None
