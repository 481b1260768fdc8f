import pytest

from cronos.errors import InputError
from cronos.respond.nftrules import Segment, prefix_commands, segments_of, skeleton


def test_every_hook_drops_before_it_limits():
    lines = list(skeleton(1000, -10))
    for hook in ("input", "forward", "output"):
        rules = [line for line in lines if line.startswith(f"add rule inet cronos {hook} ")]
        limits = [i for i, rule in enumerate(rules) if "@limit" in rule]
        assert limits == list(range(len(rules) - 4, len(rules)))
        assert all("drop" in rule or "jump" in rule for rule in rules)


def test_a_prefix_length_has_one_set_and_two_rules():
    lines = list(prefix_commands("net6_48", 10))
    assert [line.split()[1] for line in lines] == ["set", "rule", "rule"]
    assert "ip6 daddr & ffff:ffff:ffff:: @net6_48 drop" in lines[2]
    assert list(prefix_commands("deny4", 10)) == []


def test_a_segments_networks_are_merged_since_intervals_may_not_overlap():
    segment = Segment("cell", ["10.0.0.0/25", "10.0.0.0/24", "10.0.1.0/24", "2001:db8::/64"])
    assert segment.members == {4: ["10.0.0.0/23"], 6: ["2001:db8::/64"]}


@pytest.mark.parametrize(
    "networks", [(), ("10.0.0.1/24",), ("x",), ("10.0.0.0/24",) * 1025, ("10.0.0.0/8 } ; x",)]
)
def test_a_segment_that_is_not_understood_ends_the_start(networks):
    with pytest.raises(InputError) as refused:
        segments_of({"cell": networks})
    assert refused.value.code == "respond.segment_invalid"


def test_too_many_segments_end_the_start():
    with pytest.raises(InputError):
        segments_of({f"cell-{n}": ("10.0.0.0/24",) for n in range(257)})


def test_no_command_holds_the_name_of_a_segment():
    (segment,) = segments_of({"cell } ; flush ruleset": ("10.0.0.0/24",)}).values()
    assert "cell" not in "\n".join(segment.commands())
