"""A real node learns an unknown protocol from a real capture, and recognises it from then on."""

import contextlib
import pathlib
import urllib.request

import pytest
from tests.integration.product import Up, cronos, remove, short_folder, until

CAPTURE = pathlib.Path(__file__).parents[2] / ".." / "shared" / "data" / "captures"
MODBUS = CAPTURE / "modbus" / "ITI__pcaps_ModbusTCP_Modbus_modbus_test.pcap"
CONFIG = """
services = ["library", "metrics"]

[plugin.library]
window_s = 1
least_messages = 60
max_seconds = 40
nice = 0

[plugin.metrics]
listen_port = 0
"""
HEAD = 24  # of a capture, before its first packet
FIRST = 16_000


@pytest.fixture
def state():
    folder = short_folder()
    yield folder
    remove(folder)


def profiles(state, *given):
    done = cronos("discover", "profiles", "--state", state, "--json", *given)
    assert done.code == 0, done.err
    return done.document["profiles"]


def gauges(state):
    """Give what /metrics says of the library."""
    with contextlib.suppress(OSError, ValueError):
        (path,) = pathlib.Path(state).glob("*/run/metrics.port")
        with urllib.request.urlopen(f"http://127.0.0.1:{path.read_text()}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        pairs = [line.rpartition(" ") for line in lines if line.startswith("cronos_discover")]
        return {name: float(value) for name, _, value in pairs}
    return {}


def test_what_a_node_sees_becomes_a_candidate_and_is_known_once_it_is_promoted(state, tmp_path):
    if not MODBUS.is_file():
        pytest.skip("the captures (../shared/data/captures) are not here")
    config, wire = tmp_path / "c.toml", tmp_path / "wire.pcap"
    config.write_text(CONFIG)
    whole = MODBUS.read_bytes()
    wire.write_bytes(whole[:HEAD])
    running = Up("--state", state, "--config", config, "--follow", wire)
    try:
        # Nobody waits for the library: what comes before it listens, it does not see.
        until(lambda: gauges(state))
        with wire.open("ab") as file:
            file.write(whole[HEAD:FIRST])
        (learnt,) = running.wait_for("profile.learnt")[:1]
        (stored,) = [one for one in profiles(state) if one["name"] == learnt["profile"]]
        assert (stored["version"], stored["status"]) == (1, "candidate")
        assert learnt["detail"].startswith("tcp/502")
        before = gauges(state)
        assert before["cronos_discover_hit_rate"] < 1.0

        profiles(state, "--promote", f"{learnt['profile']}@1")
        with wire.open("ab") as file:
            file.write(whole[FIRST:])
        known = 'cronos_discover_flows{kind="known"}'
        until(lambda: gauges(state).get(known, 0) > before.get(known, 0))
        assert gauges(state)["cronos_discover_hit_rate"] > before["cronos_discover_hit_rate"]
        # Nothing is promoted by itself.
        found = profiles(state)
        assert [one["status"] for one in found if one["version"] == 1] == ["active"]
        assert all(one["status"] == "candidate" for one in found if one["version"] > 1)
    finally:
        running.kill()
