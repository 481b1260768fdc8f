"""`cronos replay`: a past decision comes out the same, or what differs is named."""

import json

import msgspec
import pytest

from cronos.config import Config
from cronos.front.cli import main
from cronos.front.commands import replay as command
from cronos.front.keyring import using_keys
from cronos.front.sealed import sealer_of
from cronos.front.workers import open_ledger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.kernel.node import Kernel
from cronos.kernel.policy import decide
from cronos.respond.nftables import NftablesExecutor
from cronos.runtime.world import SystemClock
from cronos.types import (
    AuditRecord,
    Decision,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Note,
    Provenance,
    Snapshot,
    decode,
    encode,
)


def finding(n, address="192.0.2.7", confidence=0.97):
    actor = Entity(EntityKind.ADDRESS, address)
    return Finding(
        f"modbus-policy:{n}", "modbus-policy", "Modbus write", "", EvidenceClass.DECLARED,
        Provenance.BIDIRECTIONAL, confidence, 4, 0, ("T0855",), actor,
    )  # fmt: skip


def noted(*findings):
    """Let the real kernel decide and give its notes as records; then the first incident's id."""
    clock = SystemClock()
    kernel = Kernel(Config(), 1, {"nftables": NftablesExecutor.manifest.abilities})
    records, names = [], []
    for one in findings:
        now = clock.now()
        for effect in kernel.step(one, now):
            if isinstance(effect, Note):
                names.append(effect.incident_id)
                body = encode(effect.body)
                records.append(
                    encode(
                        AuditRecord(
                            "local", effect.kind, now.wall_ns, now.boot_ns, effect.incident_id, body
                        )
                    )
                )
    return records, names[0]


@pytest.fixture
def state(tmp_path):
    """Keep records in a readable ledger and give its state folder."""

    def kept(records):
        sealer = PlaintextSealer(PlaintextConfig())
        ledger = open_ledger(Config(), tmp_path / "local" / "ledger", SystemClock(), sealer)
        ledger.append(records)
        ledger.close()
        return str(tmp_path)

    return kept


def changed(records, kind, change):
    """Give the records with the body of one kind changed."""
    given = []
    for data in records:
        record = decode(data)
        if record.kind == kind:
            record = msgspec.structs.replace(record, body=change(record.body))
        given.append(encode(record))
    return given


def replay(state, name, capsysbinary):
    code = main(["replay", name, "--state", state, "--json"])
    return code, json.loads(capsysbinary.readouterr().out)


def test_what_was_decided_comes_out_the_same_byte_for_byte(state, capsysbinary):
    weak = finding(1, confidence=0.6)
    records, name = noted(weak, finding(2), finding(3, "192.0.2.99"))

    code, document = replay(state(records), name, capsysbinary)

    assert code == 0
    assert document["identical"] is True
    assert len(document["decisions"]) == 2
    assert [one["disposition"] for one in document["decisions"]] == ["ask_analyst", "auto_approve"]
    assert not any(one["appended"] or one["difference"] for one in document["decisions"])
    assert document["schema"] == "cronos.replay/1"


def test_people_are_told_why_and_that_it_is_the_same(state, capsys):
    records, name = noted(finding(1))

    assert main(["replay", name, "--state", state(records)]) == 0
    text = capsys.readouterr().out
    assert "auto_approve in cell 0.95-1.00/medium: identical." in text
    assert "Would have asked an analyst below 0.85." in text
    assert "PYTHONHASHSEED=4711: identical byte for byte." in text


def test_a_forged_decision_is_named_with_the_field_that_differs(state, capsysbinary):
    def forge(body):
        return encode(msgspec.structs.replace(decode(body), confidence=0.5))

    records, name = noted(finding(1))

    code, document = replay(state(changed(records, "decision", forge)), name, capsysbinary)

    assert code == 1
    assert document["identical"] is False
    (one,) = document["decisions"]
    assert one["difference"] == "confidence: recorded 0.5, replayed 0.97"


def test_a_forged_snapshot_shows_as_well(state, capsysbinary):
    def forge(body):
        return encode(msgspec.structs.replace(decode(body), killed=True))

    records, name = noted(finding(1))

    code, document = replay(state(changed(records, "snapshot", forge)), name, capsysbinary)

    assert code == 1
    assert document["decisions"][0]["difference"].startswith("disposition")


def test_records_of_an_older_version_are_compared_in_what_they_hold(state, capsysbinary):
    def older(body):
        fields = msgspec.msgpack.decode(body[2 + body[1] :])
        return body[: 2 + body[1]] + msgspec.msgpack.encode(fields[:9])

    records, name = noted(finding(1))

    code, document = replay(state(changed(records, "decision", older)), name, capsysbinary)

    assert code == 0
    assert document["decisions"][0]["appended"] is True


def test_a_decision_without_a_snapshot_is_counted_and_not_replayed(state, capsysbinary):
    records, name = noted(finding(1))
    again = [data for data in records if decode(data).kind == "decision"]

    code, document = replay(state(records + again), name, capsysbinary)

    assert (code, len(document["decisions"]), document["unpaired"]) == (0, 1, 1)


def test_damage_and_nonsense_in_bodies_is_a_difference_and_no_crash(state, capsysbinary):
    records, name = noted(finding(1))
    damaged = []
    for kind in ("snapshot", "decision"):
        damaged += changed(records, kind, lambda _: b"\x01\x08Decision\xc1")
        damaged.append(encode(AuditRecord("local", "x", 0, 0, name, b"")))

    code, document = replay(state(records + damaged), name, capsysbinary)

    assert code == 1
    assert [one["identical"] for one in document["decisions"]] == [True, False, False]
    assert "damaged" in document["decisions"][1]["difference"]


def test_who_is_not_in_the_ledger_is_said(state, capsys):
    records, _ = noted(finding(1))

    assert main(["replay", "nobody", "--state", state(records)]) == 2
    assert "holds nothing about `nobody`" in capsys.readouterr().err
    assert main(["replay", "nobody", "--state", "/nonexistent"]) == 2


def test_a_sealed_ledger_is_replayed_with_its_keys_and_while_its_writer_runs(
    tmp_path, capsysbinary
):
    records, name = noted(finding(1))
    folder = tmp_path / "local" / "ledger"
    with using_keys(Config(), tmp_path, ensure=True) as keys:
        sealer = sealer_of(Config(), folder, SystemClock(), "ledger", lambda: keys)
        writer = open_ledger(Config(), folder, SystemClock(), sealer)
        writer.append(records)
    try:
        code, document = replay(str(tmp_path), name, capsysbinary)
    finally:
        writer.close()

    assert (code, document["identical"]) == (0, True)


def test_the_replayed_decision_is_that_of_the_kernel():
    records, _ = noted(finding(1))
    bodies = [decode(decode(data).body) for data in records]
    (snapshot,) = [one for one in bodies if isinstance(one, Snapshot)]
    (decision,) = [one for one in bodies if isinstance(one, Decision)]

    assert decide(snapshot) == decision


def test_what_is_beyond_the_bounds_is_counted_and_said(state, capsysbinary, monkeypatch):
    monkeypatch.setattr(command, "_MAX_DECISIONS", 1)
    records, name = noted(finding(1, confidence=0.6), finding(2))
    folder = state(records)

    assert replay(folder, name, capsysbinary)[1]["left_out"] == 1
    assert main(["replay", name, "--state", folder]) == 0
    assert b"1 more are beyond what is replayed at once." in capsysbinary.readouterr().out

    monkeypatch.setattr(command, "_MAX_BYTES", 10)
    case = command.collect(enumerate(records, 1), name)
    assert (case.pairs, case.left_out) == ([], 2)
