"""One frozen tree: safe without a line of configuration, strict with one."""

import pytest

from cronos.config import Config, parse
from cronos.errors import InputError


def test_the_defaults_change_nothing_in_the_world():
    config = parse({}, "nothing")

    assert config == Config()
    assert config.executors == ("recording",)
    assert config.egress == ()


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({"nodes": {}}, "nodes"),
        ({"node": {"name": "x"}}, "name"),
        ({"node": {"instance": "../../etc"}}, "instance"),
        ({"lease": {"default_s": 0}}, "default_s"),
        ({"policy": {"autonomy": "yes"}}, "autonomy"),
        # What cannot be written down as a 64-bit number of nanoseconds must not be found out late.
        ({"policy": {"version": 10**23}}, "version"),
        ({"lease": {"default_s": 10**11, "max_s": 10**11}}, "default_s"),
        ({"lease": {"default_s": 400, "max_s": 300}}, "400 s"),
        ({"lease": {"default_s": 4000}}, "3600 s"),
        ({"pipeline": {"parsers": "two"}}, "parsers"),
        ({"egress": [{"host": "a", "port": 70000}]}, "egress"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_a_remedy(table, word):
    with pytest.raises(InputError) as caught:
        parse(table, "cronos.toml")

    assert caught.value.code == "config.invalid"
    assert word in caught.value.sentence
    assert "cronos.toml" in caught.value.sentence


def test_the_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        Config().executors = ("nftables",)
