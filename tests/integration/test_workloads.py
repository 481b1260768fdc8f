"""Work that depends on an isolated asset: really paused by a command, and really restored."""

from tests.integration.product import (
    cronos,
    modbus_capture,
    policy_file,
    remove,
    short_folder,
    until,
)


def configuration(tmp_path, lease_s):
    path = tmp_path / "cronos.toml"
    path.write_text(
        f"""
[lease]
default_s = {lease_s}
max_s = {lease_s}
[[workload]]
name = "batch"
assets = ["203.0.113.5"]
lease_s = 6
[plugin.command.workload.batch]
pause = ["touch", "{tmp_path}/paused"]
restore = ["touch", "{tmp_path}/restored"]
"""
    )
    return path


def test_a_workload_is_paused_with_its_asset_and_restored_though_the_run_is_over(tmp_path):
    state = short_folder()
    try:
        done = cronos(
            "run", "--json", "--enforce", "--state", state,
            "--config", configuration(tmp_path, 6), "--policy", policy_file(tmp_path),
            modbus_capture(tmp_path / "plant.pcap", ["203.0.113.5"]),
        )  # fmt: skip

        assert done.code == 1, done.err
        assert (tmp_path / "paused").exists()
        # The enforcer has stayed: it ends the workload's lease when nobody else is left.
        until((tmp_path / "restored").exists)
    finally:
        remove(state)


def test_a_run_that_does_not_enforce_pauses_nothing(tmp_path):
    done = cronos(
        "run", "--json", "--state", tmp_path / "state",
        "--config", configuration(tmp_path, 2), "--policy", policy_file(tmp_path),
        modbus_capture(tmp_path / "plant.pcap", ["203.0.113.5"]),
    )  # fmt: skip

    assert done.code == 1, done.err
    assert not (tmp_path / "paused").exists()
