"""`cronos mesh`: what a running node says of its peers, as lines and as a document."""

import argparse
import json

import pytest
from tests.unit.mesh.test_serving import Stage

from cronos.errors import InputError, UnreachableError
from cronos.front.commands import mesh
from cronos.front.documents_mesh import LoadView, MeshDocument, PeerView, RecoveredDocument
from cronos.front.federated import DUTIES, ROLES

PEERS = (
    PeerView("east", "127.0.0.1:2", "alive", 3, True, DUTIES["east"], ROLES, 0.7, 5),
    PeerView("south\x1b[2J", "127.0.0.1:3", "dead", 1, False),
)
STATUS = MeshDocument("north", "127.0.0.1:1", 7, 2, ("defense",), ROLES, PEERS, {"sent": 9})


def run(monkeypatch, *given, answer=STATUS):
    asked = []

    def ask(path, call, *_):
        asked.append((path, call.verb))
        return json.dumps(json.loads(mesh.msgspec.json.encode(answer))).encode()

    monkeypatch.setattr(mesh, "ask", ask)
    parser = argparse.ArgumentParser()
    mesh.arguments(parser)
    parser.add_argument("--json", action="store_true")
    return mesh.execute(parser.parse_args(given)), asked


def test_the_status_names_roles_round_trips_and_queues(monkeypatch, capsys):
    code, asked = run(monkeypatch, "status", "--state", "/s")
    shown = capsys.readouterr().out

    assert code == 0
    assert str(asked[0][0]) == "/s/local/run/mesh.sock"
    assert "view 2" in shown
    (east,) = [line for line in shown.splitlines() if "east" in line]
    assert "0.7 ms" in east
    assert "queue 5" in east
    assert "incarnation 3" in east
    assert "no link" in shown
    assert "\x1b" not in shown


def test_what_a_peer_holds_is_what_it_does_by_itself_and_what_it_took_over(monkeypatch, capsys):
    """Of two that live, one has taken over what only the dead did."""
    run(monkeypatch, "peers")
    shown = capsys.readouterr().out
    (east,) = [line for line in shown.splitlines() if "east" in line]
    held = {mesh.held(STATUS, name) for name in ("north", "east")}

    assert set().union(*held) == set(ROLES)
    assert "operations" in east.partition("holds")[2].partition("may")[0]


def test_health_load_breaker_and_what_is_held_are_shown_and_in_the_document(monkeypatch, capsys):
    busy = mesh.replace(PEERS[0], breaker="open", load=LoadView(5, 1, 4))
    status = mesh.replace(STATUS, peers=(busy, PEERS[1]), health="east busy\x1b")
    run(monkeypatch, "status", answer=status)
    shown = capsys.readouterr().out
    (east,) = [line for line in shown.splitlines() if "127.0.0.1:2" in line]

    assert "health      east busy" in shown
    assert "\x1b" not in shown
    assert "load 5/4" in east
    assert "breaker open" in east
    run(monkeypatch, "peers", "--json", answer=status)
    document = json.loads(capsys.readouterr().out)
    assert {*document["holds"], *document["peers"][0]["holds"]} == set(ROLES)
    assert document["peers"][1]["holds"] == []
    assert document["peers"][0]["load"] == {"queued": 5, "kept_mib": 1, "health": 4}


def test_leaving_is_asked_for_by_its_own_verb(monkeypatch, capsys):
    left = mesh.msgspec.structs.replace(STATUS, left=True)
    code, asked = run(monkeypatch, "leave", answer=left)

    assert (code, asked[0][1]) == (0, "leave")
    assert "goes on alone" in capsys.readouterr().out


def test_indicators_are_asked_for_until_all_are_there(monkeypatch, capsys):
    def ask(_path, call, *_):
        first = json.loads(call.argument)["first"]
        objects = [{"id": f"indicator--{n}"} for n in range(first, min(first + 500, 700))]
        bundle = {"type": "bundle", "id": "bundle--1", "objects": objects, "x_total": 700}
        return json.dumps(bundle).encode()

    monkeypatch.setattr(mesh, "ask", ask)
    parser = argparse.ArgumentParser()
    mesh.arguments(parser)
    assert mesh.execute(parser.parse_args(["indicators"])) == 0
    shown = json.loads(capsys.readouterr().out)

    assert len(shown["objects"]) == 700
    assert set(shown) == {"type", "id", "objects"}


def test_no_peer_in_reach_is_told_by_the_exit_code(monkeypatch):
    alone = mesh.msgspec.structs.replace(STATUS, peers=PEERS[1:], view=1)

    assert run(monkeypatch, "status", "--json", answer=alone)[0] == 1


def test_without_a_node_it_says_so(tmp_path):
    parser = argparse.ArgumentParser()
    mesh.arguments(parser)
    with pytest.raises(UnreachableError):
        mesh.execute(parser.parse_args(["status", "--state", str(tmp_path)]))


def test_the_socket_of_the_command_is_that_of_the_process(tmp_path):
    assert Stage(tmp_path).path.name == mesh.MESH_SOCKET


def test_a_recovery_says_what_came_back_and_what_contradicts_it(monkeypatch, capsys):
    asked = []
    found = RecoveredDocument("north", "east", 7, "ab", {"east": 7, "west": 5}, ("west",), "/l")

    def recover(config, state, seeds, *, watch):
        asked.append((str(state), seeds))
        watch.tell("slow\x1b")
        return found

    monkeypatch.setattr(mesh, "recover", recover)
    code, _ = run(monkeypatch, "recover", "--state", "/s", "--join", "127.0.0.1:7")
    shown = capsys.readouterr()

    assert code == 0
    assert asked == [("/s", ("127.0.0.1:7",))]
    assert "7 records of north came from east" in shown.out
    assert "east 7, west 5" in shown.out
    assert "another chain: west" in shown.out
    assert "\x1b" not in shown.err
    run(monkeypatch, "recover", "--state", "/s", "--join", "127.0.0.1:7", "--json")
    assert json.loads(capsys.readouterr().out)["schema"] == "cronos.mesh-recover/1"


def test_without_a_peer_to_ask_nothing_is_recovered(monkeypatch):
    with pytest.raises(InputError, match="No peer is named"):
        run(monkeypatch, "recover", "--state", "/s")
