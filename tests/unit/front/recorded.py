"""A ledger with recorded incidents in it, as a node writes them."""

import msgspec

from cronos.config import Config
from cronos.front.workers import open_ledger
from cronos.kernel.policy import decide
from cronos.testing.clock import VirtualClock
from cronos.types import (
    Action,
    AuditRecord,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Now,
    Operation,
    Option,
    Outcome,
    Provenance,
    Snapshot,
    Verb,
    action_id,
    encode,
)

ATTACKER = Entity(EntityKind.ADDRESS, "192.0.2.66")
SERVER = Entity(EntityKind.ADDRESS, "198.51.100.2")
PLAIN = Config(sealer="plaintext")


def snapshot(case="local-1-1", **changes):
    """Give a snapshot of a brute force that is blocked at once."""
    option = Option("recording", Verb.DENY, ATTACKER, 0.4, 0.7, budget=2_000)
    given = {
        "now": Now(1, 2),
        "incident_id": case,
        "confidence": 0.97,
        "severity": 4,
        "evidence": EvidenceClass.DECLARED,
        "provenance": Provenance.AUTHENTICATED,
        "options": (option,),
        "protected": False,
        "autonomy": "act",
        "killed": False,
        "budget": 2_000,
        "lease_ns": 300_000_000_000,
        "techniques": ("T1110",),
        **changes,
    }
    return Snapshot(**given)


def finding(case="local-1-1"):
    return Finding(
        f"f-{case}", "brute-force", "Brute force", "Many failures.", EvidenceClass.DECLARED,
        Provenance.AUTHENTICATED, 0.97, 4, 0, ("T1110",), ATTACKER, SERVER,
    )  # fmt: skip


def record(kind, body, case="local-1-1"):
    return encode(AuditRecord("local", kind, 0, 0, case, encode(body)))


def story(case="local-1-1", **changes):
    """Give the records of one case: found, decided, applied."""
    asked = snapshot(case, **changes)
    decided = decide(asked)
    records = [
        record("finding", finding(case), case),
        record("snapshot", asked, case),
        record("decision", decided, case),
    ]
    if isinstance(decided.action, Action):
        name = action_id("recording", Verb.DENY, ATTACKER)
        done = Outcome(name, case, Operation.APPLY, ok=True, verified=True, detail="")
        records.append(record("outcome", done, case))
    return records


def write(state, records, config=PLAIN, sealer=None):
    """Write records into the ledger of a state folder."""
    from cronos.govern.sealer import PlaintextConfig, PlaintextSealer  # noqa: PLC0415

    own = sealer or PlaintextSealer(PlaintextConfig())
    ledger = open_ledger(config, state / "local" / "ledger", VirtualClock(), own)
    ledger.append(records)
    ledger.close()


def toml(path, **tables):
    """Write a configuration that seals nothing."""
    lines = ['sealer = "plaintext"']
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_value(value)}" for key, value in table.items()]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def _value(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_value(one)}' for key, one in value.items()) + "}"
    return msgspec.json.encode(value).decode()
