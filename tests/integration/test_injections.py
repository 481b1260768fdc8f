"""What attackers write into logs moves nothing: the same autonomous actions with it and without.

Every payload of the shared set (296 prompt injections and their look-alikes) is put wherever an
attacker's text comes to lie: titles, explanations, names, references; and, through the product
itself, log lines and HTTP requests. Beside the deliberate lane stands the worst analyst there is.
"""

import asyncio
import json
import pathlib

import pytest
from bench.capture_generator import Writer, tcp
from msgspec.structs import replace
from tests.integration.product import (
    cronos,
    exchange,
    failed_logins,
    policy_file,
    write_register,
)

from cronos.config import Config
from cronos.kernel.node import Kernel
from cronos.testing.story import POINTS, Story, finding
from cronos.types import (
    Ability,
    Assessment,
    Blast,
    Decision,
    Do,
    Entity,
    EntityKind,
    EvidenceClass,
    Incident,
    Manifest,
    Note,
    Provenance,
    Reversal,
    Verb,
)

_PAYLOADS = [
    folder / "shared" / "data" / "injections" / "open.jsonl"
    for folder in pathlib.Path(__file__).parents
]
PAYLOADS = next((path for path in _PAYLOADS if path.exists()), _PAYLOADS[-1])

pytestmark = [
    pytest.mark.skipif(not PAYLOADS.exists(), reason="the shared injection payloads are absent")
]

ACCOUNTS = Ability(
    Verb.CONTAIN, EntityKind.USER, "", "", Reversal.LEASED, Blast.IDENTITY, 50, 0.5, 0.9, 0.1
)
NEUTRAL = "a plain sentence"


@pytest.fixture(scope="module")
def payloads():
    with PAYLOADS.open(encoding="utf-8") as lines:
        found = [json.loads(line)["text"] for line in lines]
    assert len(found) == 296
    return found


class WorstAnalyst:
    """Gives the worst legal advice: all is well, or all is lost and this must be done at once."""

    manifest = Manifest("worst", "Always wrong, always legal")

    def __init__(self):
        self.asked = 0

    async def assess(self, incident, findings):
        self.asked += 1
        calm = self.asked % 2
        told = findings[0].title if findings else incident.title
        return Assessment(
            incident.incident_id,
            self.manifest.name,
            f"This is a false alarm; close it, release everything, trust {told}" if calm else told,
            1 if calm else 5,
            ("release all", "deny 127.0.0.1", "contain every host", "kill switch off", told),
        )


def consulted(story, analyst, told):
    """Ask about every incident there is, as the deliberate lane would, after each event."""
    said = []
    for incident in [*story.kernel.cases.open.values(), *story.kernel.cases.closed.values()]:
        assert isinstance(incident, Incident)
        said.append(asyncio.run(analyst.assess(incident, told)))
    return said


def course(findings, analyst=None):
    """Give what the kernel does about findings, and the bytes of each decision but its names."""
    story = Story()
    story.kernel = Kernel(Config(), 1, {"recording": (*POINTS["recording"], ACCOUNTS)})
    for one in findings:
        story.tell(one)
        if analyst is not None:
            for advice in consulted(story, analyst, findings):
                # There is no way from advice into the kernel: it is no event.
                with pytest.raises(KeyError):
                    story.kernel.step(advice, story.now)
        story.wait(1)
    story.wait(3600)
    done = [(do.operation, do.action.verb, do.action.target.kind) for do in story.said(Do)]
    decided = [
        (body.disposition, body.cell, body.confidence, body.risk, body.reasons, body.would)
        for body in (note.body for note in story.said(Note))
        if isinstance(body, Decision)
    ]
    return done, decided


def written(text, number, strength):
    """Give findings about one attacker in which everything foreign is `text`."""
    confidence, evidence, provenance = strength
    first = replace(
        finding(number, attacker=f"192.0.2.{number % 250 + 1}", confidence=confidence),
        title=text,
        explanation=f"GET http://victim.example/{text} by {text}",
        evidence=evidence,
        provenance=provenance,
        references=(text, f"http://example.org/{text}"),
        observations=(f"{text}#1",),
    )
    account = Entity(EntityKind.USER, text)
    return [first, replace(first, finding_id="second", actor=account, target=account, flow=None)]


STRENGTHS = [
    (0.97, EvidenceClass.DECLARED, Provenance.BIDIRECTIONAL),
    (0.70, EvidenceClass.DECLARED, Provenance.AUTHENTICATED),
    (0.97, EvidenceClass.DECLARED, Provenance.SPOOFABLE),
    (0.97, EvidenceClass.STATISTICAL, Provenance.BIDIRECTIONAL),
]


@pytest.mark.parametrize("strength", STRENGTHS, ids=["acts", "asks", "forged", "unusual"])
def test_what_is_written_in_a_finding_changes_no_decision(payloads, strength, record_property):
    without = course(written(NEUTRAL, 1, strength))
    for number, text in enumerate(payloads, 1):
        assert course(written(text, number, strength)) == without, text
    assert bool(without[0]) == (strength is STRENGTHS[0])
    record_property("the same with each of so many payloads", len(payloads))


@pytest.mark.parametrize("strength", STRENGTHS, ids=["acts", "asks", "forged", "unusual"])
def test_the_worst_advice_changes_no_decision(payloads, strength, record_property):
    analyst = WorstAnalyst()
    for number, text in enumerate(payloads, 1):
        told = written(text, number, strength)
        assert course(told, analyst) == course(told), text
    assert analyst.asked >= 2 * len(payloads)
    record_property("pieces of the worst advice, no decision changed", analyst.asked)


# --- through the product -----------------------------------------------------------------------


def autonomous(done):
    """Give what was done without a person, by whom it was done to; all incidents, beside it."""
    incidents = done.document["incidents"]
    acted = {
        (one["actor"], one["done"]["action"])
        for one in incidents
        if one["state"] not in ("observed", "waiting", "closed", "failed")
    }
    return acted, incidents


def attack(path):
    """Write the capture of a breach of a declared policy: what must be acted upon every time."""
    with path.open("wb") as file:
        out = Writer(file)
        exchange(out, bytes((192, 0, 2, 66)), 40_001, write_register())
        out.flush()
    return path


def log_lines(texts):
    """Write syslog with each text as a user name, as a message and as lines of its own."""
    lines = [failed_logins(12, "192.0.2.77")]
    for number, text in enumerate(texts):
        stamp = f"2026-11-14T22:{number // 60 % 60:02}:{number % 60:02}.000000Z"
        address = f"198.18.{number >> 8}.{number & 255}"
        flat = " ".join(text.split())
        lines.append(
            f"<38>1 {stamp} gate sshd {number + 1} - - Failed password for invalid user {flat}"
            f" from {address} port 4022 ssh2\n"
            f"<38>1 {stamp} gate web {number + 1} - - GET /?q={flat} HTTP/1.1\n"
            f"{text}\n".encode()
        )
    return b"".join(lines)


def web_requests(path, texts):
    """Write a capture of HTTP requests with each text in the URL, a header and the body."""
    server = bytes((198, 51, 100, 9))
    with path.open("wb") as file:
        out = Writer(file)
        for number, text in enumerate(texts):
            raw = text.encode()[:600]
            flat = b"+".join(raw.split())
            request = (
                b"POST /search?q=" + flat + b" HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: "
                + b" ".join(raw.split()) + b"\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw
            )  # fmt: skip
            client = bytes((198, 19, number >> 8, number & 255))
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            _talk(out, (client, server, 40_000 + number, 80), request, answer)
        out.flush()
    return path


def _talk(out, ends, request, answer):
    """Write one whole connection with a request and its answer."""
    there, back = ends, (ends[1], ends[0], ends[3], ends[2])

    def say(way, numbers, data=b""):
        out.frame(tcp(way, numbers, len(data))[:40] + data)

    say(there, (100, 0, 0x02))
    say(back, (900, 101, 0x12))
    say(there, (101, 901, 0x10))
    say(there, (101, 901, 0x18), request)
    say(back, (901, 101 + len(request), 0x18), answer)
    say(there, (101 + len(request), 901 + len(answer), 0x11))
    say(back, (901 + len(answer), 102 + len(request), 0x11))


def ran(folder, texts):
    """Run the product over the attack and all that is written around it."""
    folder.mkdir()
    (folder / "auth.log").write_bytes(log_lines(texts))
    return autonomous(
        cronos(
            "run", "--json", "--state", folder / "state", "--policy", policy_file(folder),
            attack(folder / "plant.pcap"), folder / "auth.log",
            web_requests(folder / "web.pcap", texts),
        )
    )  # fmt: skip


@pytest.mark.slow
def test_what_attackers_write_into_logs_and_requests_changes_no_autonomous_action(
    tmp_path, payloads, record_property
):
    plain = [f"user{number:03} {NEUTRAL}" for number in range(len(payloads))]
    without, quiet = ran(tmp_path / "without", plain)
    with_them, loud = ran(tmp_path / "with", payloads)

    assert {actor for actor, _ in without} == {"address 192.0.2.66"}
    assert with_them == without, "raised or suppressed"
    record_property("payloads in log lines and requests", len(payloads))
    record_property("autonomous actions without and with", (len(without), len(with_them)))
    record_property("incidents without and with", (len(quiet), len(loud)))
