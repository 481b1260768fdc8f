"""`cronos up`: the command line's sources stand behind those of the configuration."""

import argparse

import pytest

from cronos.config import Config, SourceEntry
from cronos.errors import InputError
from cronos.front.commands import up


def options(*given):
    parser = argparse.ArgumentParser()
    up.arguments(parser)
    return parser.parse_args(given)


def with_sources(*given, config=None):
    return up.with_sources(config or Config(), options(*given))


def test_syslog_listens_on_both_transports():
    udp, tcp = with_sources("--syslog", "127.0.0.1:5514").source
    assert (udp.kind, tcp.kind) == ("syslog-udp", "syslog-tcp")
    assert udp.given == tcp.given == {"host": "127.0.0.1", "port": 5514}


def test_an_address_of_version_six_stands_in_brackets():
    udp, _ = with_sources("--syslog", "[::1]:5514").source
    assert udp.given["host"] == "::1"


def test_followed_files_and_an_interface_stand_behind_the_configurations_own(tmp_path):
    file = tmp_path / "a.log"
    file.write_text("x")
    own = Config(source=(SourceEntry("stdin"),))
    config = with_sources("--follow", str(file), "--interface", "lo", config=own)
    assert [one.kind for one in config.source] == ["stdin", "follow", "interface"]
    assert config.source[2] == SourceEntry("interface", "pcap", {"interface": "lo"})


def test_the_tap_brings_its_service_its_feed_and_its_enforcement_point():
    config = with_sources("--tap", "127.0.0.1:1502=192.0.2.1:502")
    assert config.services == ("forwarding-tap",)
    assert config.executors == ("tap",)
    assert config.source == (SourceEntry("tap-feed", "tap-frames"),)
    assert config.plugin["forwarding-tap"] == {
        "listen_host": "127.0.0.1",
        "listen_port": 1502,
        "upstream_host": "192.0.2.1",
        "upstream_port": 502,
    }


@pytest.mark.parametrize("given", ["", "5514", "host:", ":5514", "host:port", "host:99999"])
def test_what_is_no_endpoint_is_a_sentence_with_an_example(given):
    with pytest.raises(InputError) as refused:
        up._endpoint(given)
    assert refused.value.code == "up.bad_endpoint"
    assert "127.0.0.1:5514" in refused.value.remedy


def test_nothing_to_watch_is_said_at_once(tmp_path):
    given = options("--state", str(tmp_path / "state"))
    with pytest.raises(InputError) as refused:
        up.execute(given)
    assert refused.value.code == "up.nothing_to_watch"
    assert not (tmp_path / "state").exists()
