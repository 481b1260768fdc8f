"""`cronos demo`: its configuration is one a user could write, and a failure is no success."""

import pytest

from cronos.config import Config
from cronos.errors import UnreachableError
from cronos.front.commands import demo
from cronos.front.plant import ATTACKER, OPERATOR
from cronos.front.result import DemoDocument, DemoStep, LedgerView


def test_its_configuration_is_whole_and_protects_the_operator():
    config = demo._config(1502)
    assert isinstance(config, Config)
    assert config.executors == ("tap",)
    assert config.lease.default_s == config.lease.max_s == demo._LEASE_S
    assert config.plugin["forwarding-tap"]["protected"] == [OPERATOR]
    (server,) = config.plugin["modbus-policy"]["policy"]["server"]
    assert {one["address"] for one in server["client"]} == {OPERATOR, ATTACKER}


def test_a_step_that_did_not_hold_is_pointed_out(capsys):
    stage = demo.Stage(None, quiet=False)
    stage._step("the plant runs", "yes", held=True)
    stage._step("the attack ends", "it \x1b[2J went on", held=False)
    shown = capsys.readouterr().out
    assert "ok  the plant runs" in shown
    assert "NOT the attack ends" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(("passed", "said"), [(True, "Every step held"), (False, "NOT")])
def test_the_conclusion_is_honest(capsys, passed, said):
    steps = (DemoStep("a step", "shown", passed),)
    demo._conclude(DemoDocument(passed, steps, (), LedgerView("", 0, "", "")))
    shown = capsys.readouterr()
    assert said in shown.out + shown.err


def test_a_play_that_breaks_off_does_not_pass(monkeypatch, tmp_path):
    def broken(_self):
        raise UnreachableError("demo.actor_silent", "The server is silent.", "Install it.")

    monkeypatch.setattr(demo.Stage, "_plant", broken)
    document = demo.run_loop(demo.Stage(tmp_path, quiet=True).play())
    assert not document.passed
    assert document.steps[-1].name == "The server is silent."
