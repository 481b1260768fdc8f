import pytest

from cronos.sense.windows_events import OTHER, claim, entities, lookup
from cronos.types import EntityKind, Provenance

SYSMON = "Microsoft-Windows-Sysmon/Operational"


@pytest.mark.parametrize(
    ("channel", "number", "activity"),
    [
        *((SYSMON, n, "process_activity") for n in (1, 5, 8, 10)),
        (SYSMON, 3, "network_activity"),
        (SYSMON, 7, "module_activity"),
        (SYSMON, 11, "file_activity"),
        *((SYSMON, n, "registry_activity") for n in (12, 13, 14)),
        (SYSMON, 22, "dns_activity"),
        *(
            ("security", n, "authentication")
            for n in (4624, 4625, 4634, 4648, 4672, 4768, 4769, 4771, 4776)
        ),
        ("Security", 4688, "process_activity"),
        *(("Security", n, "file_activity") for n in (5140, 5145)),
        *(("Security", n, "base_event") for n in (1102, 4697, 4698, 4720)),
        ("Microsoft-Windows-PowerShell/Operational", 4104, "base_event"),
        ("System", 7045, "base_event"),
    ],
)
def test_each_known_event_has_its_activity(channel, number, activity):
    rule = lookup({"EventID": number, "Channel": channel})
    assert rule is not OTHER
    assert rule.activity == activity


def test_the_provider_stands_in_for_a_channel_that_is_not_named():
    view = {"EventID": 4624, "Provider_Name": "Microsoft-Windows-Security-Auditing"}
    assert lookup(view).status == "success"
    assert lookup({"EventID": 4624}) is OTHER
    assert lookup({"EventID": 4624, "Channel": ["Security"]}) is OTHER


def test_an_address_that_is_none_is_taken_out_of_the_fields():
    rule = lookup({"EventID": 4624, "Channel": "Security"})
    fields = {"src_endpoint.ip": "LOCAL"}
    actor, _ = entities({"TargetUserName": "bob"}, rule, fields)
    assert fields == {}
    assert actor.kind is EntityKind.USER


@pytest.mark.parametrize(("code", "status"), [("0x0", "success"), ("0xc000006a", "failure")])
def test_a_status_code_tells_success_from_failure(code, status):
    rule = lookup({"EventID": 4776, "Channel": "Security"})
    fields = {}
    entities({"Status": code}, rule, fields)
    assert fields["status"] == status


def test_who_did_it_is_the_subject_where_the_event_has_one():
    rule = lookup({"EventID": 4688, "Channel": "Security"})
    actor, _ = entities({"SubjectUserName": "bob", "SubjectDomainName": "CORP"}, rule, {})
    assert actor.value == "CORP\\bob"


def test_an_event_without_doubt_is_authenticated():
    assert claim({}, OTHER) is Provenance.AUTHENTICATED
