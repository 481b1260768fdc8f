"""`cronos discover`: the whole path, from an input to fields, documents and a stored profile."""

import json
import random
import struct

import pytest
from tests.unit.discover.pump import PROFILE
from tests.unit.discover.wires import CLIENT, SERVER, Talk, pcap, udp

from cronos.discover.store import ProfileStore
from cronos.front.cli import main
from cronos.front.commands import discover as command
from cronos.front.documents_discover import DiscoverDocument, ServiceView
from cronos.front.profiles import store_of


def messages(seed=1, count=120):
    rng = random.Random(seed)
    return [
        struct.pack(">HBH", n, rng.choice((1, 2)), size) + bytes(rng.choices(b"ABCD0123", k=size))
        for n in range(count)
        for size in [rng.randint(4, 40)]
    ]


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "plant.jsonl"
    path.write_bytes(
        b"".join(
            json.dumps(
                {"payload_hex": one.hex(), "flow": n % 4, "direction": "c2s", "ts": n}
            ).encode()
            + b"\n"
            for n, one in enumerate(messages())
        )
    )
    return path


@pytest.fixture
def discover(tmp_path):
    def run(*words):
        return main(["discover", *map(str, words), "--state", str(tmp_path / "state")])

    return run


def test_each_message_gets_a_line_with_its_fields(lines, discover, tmp_path, capsys):
    out = tmp_path / "predictions.jsonl"
    assert discover(lines, "--predictions", out) == 0
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]

    assert [row["i"] for row in rows] == list(range(120))
    for row, payload in zip(rows, messages(), strict=True):
        assert set(row) == {"i", "fields", "message_type"}
        ends = [(one["offset"], one["length"]) for one in row["fields"]]
        assert sum(length for _, length in ends) == len(payload)
        assert ends == sorted(ends)
    assert "120 messages in 4 flows, unknown" in capsys.readouterr().out
    assert discover(lines, "--predictions", out) == 0


def test_the_document_says_what_was_found_and_what_it_took(lines, discover, capsysbinary):
    assert discover(lines, "--json") == 0
    document = json.loads(capsysbinary.readouterr().out)
    (service,) = document["services"]

    assert document["schema"] == "cronos.discover/1"
    assert (service["service"], service["messages"], service["verdict"]) == (
        "plant",
        120,
        "unknown",
    )
    assert "length.rest" in service["claims"]
    assert service["seconds"]["boundaries and meaning"] >= 0


def test_documents_are_written_for_each_service(discover, tmp_path, capsysbinary):
    talk = Talk()
    for one in messages(2, 40):
        talk.c(one)
    frames = talk.frames + [udp(CLIENT, 40_000, SERVER, 161, one) for one in messages(3, 30)]
    frames += [udp(CLIENT, 40_001, SERVER, 162, b"x")]
    capture = tmp_path / "c.pcap"
    capture.write_bytes(pcap(frames))
    assert discover(capture, "--out", tmp_path / "out", "--json") == 0
    document = json.loads(capsysbinary.readouterr().out)

    assert {one["service"] for one in document["services"]} == {"tcp/502", "udp/161"}
    assert document["left_out"] == {"udp/162": 1}
    for folder in ("tcp_502", "udp_161"):
        assert (tmp_path / "out" / folder / "protocol.md").read_text().startswith("# Protocol")
        assert main(["parse", str(tmp_path / "out" / folder), str(capture), "--json"]) == 0
        assert (
            "Content-Security-Policy" in (tmp_path / "out" / folder / "protocol.html").read_text()
        )


def test_a_filter_leaves_one_service_whose_files_lie_in_the_folder_itself(discover, tmp_path):
    capture = tmp_path / "c.pcap"
    frames = [udp(CLIENT, 40_000, SERVER, 161, one) for one in messages()]
    capture.write_bytes(pcap([*frames, udp(CLIENT, 40_000, SERVER, 9, b"x")]))

    assert discover(capture, "--filter", "port 161", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "protocol.md").is_file()


@pytest.mark.parametrize(
    "words", [["{tmp}/nowhere"], ["{tmp}/plant.jsonl", "--filter", "tcp"], ["{tmp}"]]
)
def test_what_cannot_be_read_is_refused(words, lines, discover, tmp_path):
    assert discover(*[word.format(tmp=tmp_path) for word in words]) == 2


@pytest.mark.parametrize(
    "words",
    [["--max-seconds", "0"], ["--max-memory", "x"], ["--max-messages", "-1"], ["--jobs", "z"]],
)
def test_limits_that_are_none_are_refused(words, lines, discover, capsys):
    with pytest.raises(SystemExit):
        discover(lines, *words)
    assert "invalid" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_said(lines, discover, tmp_path):
    assert discover(lines, "--predictions", tmp_path / "no" / "where") == 4
    assert discover(lines, "--out", lines / "below") == 4


@pytest.fixture
def stored(tmp_path):
    import argparse  # noqa: PLC0415

    with store_of(argparse.Namespace(config=None, state=tmp_path / "state")) as store:
        assert isinstance(store, ProfileStore)
        store.add(PROFILE)
        store.add(PROFILE)


def test_profiles_are_shown_promoted_compared_retired_and_forgotten(stored, discover, capsysbinary):
    def shown(*words):
        assert discover("profiles", *words, "--json") == 0
        return json.loads(capsysbinary.readouterr().out)

    assert [(one["name"], one["status"]) for one in shown()["profiles"]] == [
        ("pump", "candidate"), ("pump", "candidate"),
    ]  # fmt: skip
    assert [one["status"] for one in shown("--promote", "pump@2")["profiles"]] == [
        "candidate", "active",
    ]  # fmt: skip
    assert shown("--diff", "pump")["differences"] == ["They parse alike."]
    assert shown("--retire", "pump@1")["changed"] == "pump@1 is out of use."
    assert shown("--forget", "pump")["profiles"] == []


def test_profiles_are_told_to_people_too(stored, discover, capsys):
    assert discover("profiles") == 0
    assert "pump@1  candidate" in capsys.readouterr().out
    assert discover("profiles", "--promote", "pump") == 2
    assert discover("profiles", "--promote", "valve@1") == 2
    assert discover("profiles", "--forget", "pump", "--diff", "pump") == 0
    assert "nothing to compare" in capsys.readouterr().out


def test_a_known_protocol_is_recognised_and_not_learnt_again(
    stored, discover, tmp_path, capsysbinary
):
    from tests.unit.discover.pump import reading  # noqa: PLC0415

    assert discover("profiles", "--promote", "pump@1", "--json") == 0
    capsysbinary.readouterr()
    path = tmp_path / "known.jsonl"
    path.write_text(
        "".join(json.dumps({"payload_hex": reading(float(n)).hex()}) + "\n" for n in range(60))
    )
    out = tmp_path / "p.jsonl"
    assert discover(path, "--json", "--predictions", out) == 0
    (service,) = json.loads(capsysbinary.readouterr().out)["services"]

    assert (service["verdict"], service["profile"]) == ("known", "pump")
    assert len(json.loads(out.read_bytes().splitlines()[0])["fields"]) == 7
    assert discover(path, "--json", "--relearn") == 0
    (service,) = json.loads(capsysbinary.readouterr().out)["services"]
    assert service["verdict"] == "unknown"


def view(**given):
    shown = {
        "service": "tcp/1", "verdict": "unknown", "why": "", "profile": "", "messages": 1,
        "bytes": 9, "flows": 1, "learnt_from": 1, "message_types": 1, "fields": 2, "claims": (),
        "held_back": 9, "reparsed": 1.0, "exact": 1.0, "noise_refused": 0.5, "seconds": {},
        "stopped": "", "remarks": (), "written": (),
    }  # fmt: skip
    return ServiceView(**{**shown, **given})


def test_a_parser_that_did_not_pass_is_said_not_to_be_fit_for_use(capsys):
    command._print(DiscoverDocument("x", (view(), view(noise_refused=1.0)), {}, "", 1.0))
    text = capsys.readouterr().out

    assert text.count("not fit for use") == 1
    assert "tcp/1: 1 message in 1 flow, unknown." in text
    assert "1 message type, 2.0 fields a message" in text


def test_of_thousands_of_services_a_dozen_are_named_and_none_steers_a_terminal(capsys):
    left = {f"tcp/{n}\x1b[31m": n for n in range(2_000)}
    command._print(DiscoverDocument("x", (view(claims=("\x1b[2J",)),), left, "", 1.0))
    text = capsys.readouterr().out

    assert "\x1b" not in text
    assert "tcp/1999" in text
    assert "and 1988 others" in text
    assert len(text) < 2_000
