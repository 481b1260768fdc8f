import pytest

from cronos.detect.sigma_source import LogSource, Origin, applies, origin
from cronos.types import Observation, Provenance

SYSMON = "Microsoft-Windows-Sysmon/Operational"


def kind(product=None, log="", activity="base_event", **native):
    fields = {"metadata.product": product, "metadata.log_name": log} if product else {}
    observation = Observation(
        "s", 1, 0, activity, Provenance.SPOOFABLE, fields=fields, native=native
    )
    return origin(observation, frozenset({"conn", "auditd", "sshd", "dns"}))


WINDOWS_PROCESS = LogSource("windows", "process_creation")


@pytest.mark.parametrize(
    ("source", "seen", "expected"),
    [
        (WINDOWS_PROCESS, kind("windows", SYSMON, EventID=1), True),
        (WINDOWS_PROCESS, kind("windows", SYSMON, EventID="1"), True),
        (WINDOWS_PROCESS, kind("windows", "Security", EventID=4688), True),
        (WINDOWS_PROCESS, kind("windows", SYSMON, EventID=3), False),
        (WINDOWS_PROCESS, kind("windows", "Application", EventID=1), False),
        (WINDOWS_PROCESS, kind("linux", "auditd", "process_activity"), False),
        (LogSource("windows", "", "security"), kind("windows", "Security", EventID=1), True),
        (LogSource("windows", "", "system"), kind("windows", "Security", EventID=1), False),
        (LogSource("windows"), kind("windows", "anything"), True),
        (LogSource("linux", "process_creation"), kind("linux", "x", "process_activity"), True),
        (LogSource("linux", "", "auditd"), kind("linux", "auditd"), True),
        (LogSource("linux", "", "sshd"), kind("linux", "sshd"), True),
        (LogSource("linux", "", "syslog"), kind("linux", "whatever"), True),
        (LogSource("zeek", "", "dns"), kind("zeek", "dns", "dns_activity"), True),
        (LogSource("zeek", "", "dns"), kind("zeek", "conn"), False),
        (LogSource("", "dns"), kind("zeek", "dns", "dns_activity"), True),
        (LogSource("", "webserver"), kind("suricata", "http", "http_activity"), True),
        (LogSource("aws", "", "cloudtrail"), kind(eventSource="s3", eventName="x"), True),
        (LogSource("aws", "", "cloudtrail"), kind(eventSource="s3"), False),
    ],
)
def test_a_rule_is_asked_about_its_own_log_source_only(source, seen, expected):
    assert applies(source, seen) is expected


def test_kinds_stay_few_whatever_comes():
    kinds = {kind("linux", f"program{n}") for n in range(100)}
    kinds |= {kind("windows", f"channel{n}", EventID=100_000 + n) for n in range(100)}
    assert kinds == {
        Origin("linux", "", 0, "base_event"),
        Origin("windows", "", 0, ""),
    }
