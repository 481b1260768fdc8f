import pytest

pytest.importorskip("pymodbus", reason="the extra `demo` is not installed")

from cronos.testing.plant import Tank, main


def test_the_tank_holds_its_setpoint():
    tank = Tank(level=300)
    for _ in range(200):
        tank.step(500)
    assert 490 <= tank.level <= 510


def test_an_unsafe_setpoint_fills_the_tank_to_the_brim():
    tank = Tank()
    for _ in range(200):
        tank.step(60_000)
    assert tank.level == 1000
    assert tank.pump


@pytest.mark.parametrize("role", ["operator", "attacker"])
def test_without_a_plant_both_callers_end_with_a_failure(role, capsys):
    # Port 1 of a loopback address that nobody uses refuses at once.
    given = ["--host", "127.0.0.99", "--port", "1", "--duration-s", "0.05"]
    assert main([role, *given]) == 1
    assert '"event"' in capsys.readouterr().out
