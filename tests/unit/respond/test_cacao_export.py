import json

import pytest
from tests.unit.respond.playbooks import EXAMPLES, document, manual, openc2, read, simple

from cronos.respond.cacao import read_playbook
from cronos.respond.cacao_export import write_playbook

EVERYTHING = document(
    {
        "start": ("start", {"on_completion": "if"}),
        "if": (
            "if-condition",
            {
                "condition": "__severity__ >= 3 AND __confidence__ > 0.905 OR __labels__ = 'card'",
                "on_true": "loop",
                "on_false": "ask",
                "on_completion": "both",
                "name": "Grave?",
                "description": "Ünïcode \u2713",
            },
        ),
        "loop": (
            "while-condition",
            {"condition": "NOT <act> = 'ok'", "on_true": "act", "on_completion": "end"},
        ),
        "act": ("action", {**openc2(), "on_success": "end", "on_failure": "second"}),
        "second": (
            "action",
            {**openc2("contain", "device", {"hostname": "plc-1"}), "on_success": "end"},
        ),
        "ask": ("action", {**manual("Sure?"), "on_success": "third"}),
        "third": (
            "action",
            {**openc2("stop", "process", "__process__:value"), "on_completion": "end"},
        ),
        "both": ("parallel", {"next_steps": ["fourth", "fifth"], "on_completion": "end"}),
        "fourth": (
            "action",
            {**openc2("deny", "ipv6_net", "2001:db8::/64"), "on_completion": "end"},
        ),
        "fifth": (
            "action",
            {
                **openc2(
                    "deny",
                    "ipv4_connection",
                    {"protocol": "tcp", "dst_addr": "198.51.100.2", "dst_port": 502},
                ),
                "on_completion": "end",
            },
        ),
        "end": ("end", {}),
    },
    applies={"min_confidence": 0.9, "assets": ["historian"], "actor_kinds": ["address"]},
    priority=3,
    labels=["plant"],
)


@pytest.mark.parametrize("written", [EVERYTHING, simple()])
def test_what_is_written_is_read_back_as_the_same(written):
    playbook = read(written)
    again = read_playbook(write_playbook(playbook), "again.json")

    assert again == playbook
    assert write_playbook(again) == write_playbook(playbook)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.name)
def test_the_shipped_playbooks_are_written_as_they_lie_there(path):
    assert write_playbook(read_playbook(path.read_bytes(), path.name)) == path.read_bytes()


def test_the_variables_that_are_used_are_declared_as_filled_from_outside():
    written = json.loads(write_playbook(read(EVERYTHING)))

    assert set(written["playbook_variables"]) == {"__actor__", "__process__"}
    assert all(one["external"] for one in written["playbook_variables"].values())
