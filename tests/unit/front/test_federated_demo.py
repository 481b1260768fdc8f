"""The federated demo: its configuration is one a user could write, and a failure is no success."""

import asyncio
import pathlib

from cronos import config as configuration
from cronos.errors import UnreachableError
from cronos.front import federated_demo
from cronos.front.federated_demo import SECOND, FederatedStage
from cronos.front.plant import ATTACKER, OPERATOR


def test_its_configuration_is_whole_and_lets_nobody_write_but_the_operator():
    config = configuration.parse(federated_demo._table(1502), "it")
    (server,) = config.plugin["modbus-policy"]["policy"]["server"]

    assert config.executors == ("tap",)
    functions = {one["address"]: one["functions"] for one in server["client"]}
    assert functions == {OPERATOR: [3, 6], ATTACKER: [3], SECOND: [3]}


def test_a_play_that_breaks_off_does_not_pass(monkeypatch):
    async def broken(_self, _federation):
        raise UnreachableError("front.not_met", "They do not meet.", "See their log lines.")

    class Silent:
        async def start(self):
            pass

        async def listen(self):
            pass

        async def end(self):
            pass

        async def must(self, _event, _timeout_s):
            return {"port": 1502}

    said = []
    monkeypatch.setattr(FederatedStage, "_play", broken)
    monkeypatch.setattr(federated_demo, "Actor", lambda *_: Silent())
    document = asyncio.run(FederatedStage(pathlib.Path("/tmp/none"), said.append).play())

    assert not document.passed
    assert document.ledgers == ()
    assert document.steps[-1].name == "They do not meet."
    assert any(line.startswith("  NOT They do not meet") for line in said)


def test_a_step_that_did_not_hold_is_pointed_out(tmp_path):
    said = []
    stage = FederatedStage(tmp_path, said.append)
    stage._step("four nodes meet", "yes", held=True)
    stage._step("nothing is lost", "it \x1b[2J was", held=False)

    assert said[0].startswith("  ok  four nodes meet")
    assert said[1].startswith("  NOT nothing is lost")
    assert "\x1b" not in said[1]
