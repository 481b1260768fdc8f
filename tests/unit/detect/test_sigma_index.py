from cronos.detect.sigma_event import Event
from cronos.detect.sigma_index import Index
from cronos.detect.sigma_rule import read_rule
from cronos.types import Observation, Provenance


def rule(name, detection, source="product: windows, service: security"):
    text = f"id: {name}\nlogsource: {{{source}}}\ndetection: {{a: {detection}, condition: a}}\n"
    return read_rule(text.encode(), name)


def seen(**native):
    fields = {"metadata.product": "windows", "metadata.log_name": "Security"}
    return Observation("s", 1, 0, "x", Provenance.AUTHENTICATED, fields=fields, native=native)


def match(rules, observation):
    found = Index(rules).bucket(observation).match(Event(observation))
    return [one.rule_id for one in found]


def test_rules_come_in_the_order_in_which_they_were_loaded():
    rules = [
        rule("path", "{Image|endswith: '\\cmd.exe'}"),
        rule("free", "{Image|contains: cmd}"),
        rule("id", "{EventID: 5}"),
        rule("both", "{EventID: 5, Image: ['c:\\cmd.exe', 'c:\\x']}"),
    ]
    assert match(rules, seen(EventID=5, Image="C:\\CMD.exe")) == ["path", "free", "id", "both"]
    assert match(rules, seen(EventID="5", Image="other")) == ["id"]
    assert match(rules, seen()) == []


def test_each_of_several_values_finds_its_rules():
    assert match([rule("many", "{a: x}")], seen(a=["y", "X"])) == ["many"]


def test_a_rule_of_another_log_source_is_not_asked():
    rules = [rule("system", "{EventID: 5}", "product: windows, service: system")]
    assert match(rules, seen(EventID=5)) == []
