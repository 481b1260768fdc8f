"""What holds for every decision: guardrails only lower it, evidence only raises it, replay repeats.

Each property is first put to `decide` with any snapshot, and then to the whole kernel with any
story: what it does to the world (`Do`) and whom it asks (`Ask`) is all that counts there.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cronos.config import Asset, Config, Policy
from cronos.kernel.policy import ACTING, CAUTION, decide
from cronos.testing.story import POINTS, Story, finding, obedient
from cronos.types import (
    Ability,
    Answer,
    Ask,
    Blast,
    Bulletin,
    BulletinKind,
    Dial,
    Do,
    Entity,
    EntityKind,
    Evidence,
    EvidenceClass,
    Impact,
    Kill,
    Note,
    Now,
    Operation,
    Option,
    Propose,
    Provenance,
    Release,
    Reversal,
    Snapshot,
    Unanswered,
    Verb,
    Verdict,
    decode,
    encode,
    flow_entity,
)

SRC = Path(__file__).parents[2] / "src"
WIDTH = {Blast.NARROW: 0, Blast.IDENTITY: 1, Blast.SERVICE: 2, Blast.HOST: 3, Blast.FLEET: 4}
DIALS = {"act": 0, "ask": 1, "observe": 2}
ATTACKER = "192.0.2.66"
# The edges of the matrix and their neighbours come up as often as all else together.
UNIT = st.one_of(
    st.sampled_from([0.05, 0.2999, 0.3, 0.4999, 0.5, 0.6999, 0.7, 0.8499, 0.85, 0.95, 0.97, 1.0]),
    st.floats(0.01, 1.0),
)
ADDRESSES = st.sampled_from([ATTACKER, "192.0.2.67", "198.51.100.2"])
CLAIMS = st.lists(
    st.builds(
        Evidence,
        st.sampled_from(["a", "b", "c", "d"]),
        UNIT,
        st.sampled_from([*EvidenceClass, EvidenceClass.DECLARED]),
        st.sampled_from([*Provenance, Provenance.BIDIRECTIONAL]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda claim: claim.detector,
)
OPTIONS = st.lists(
    st.builds(
        Option,
        st.just("recording"),
        st.sampled_from([Verb.DENY, Verb.CONTAIN, Verb.LIMIT]),
        st.builds(Entity, st.sampled_from([EntityKind.ADDRESS, EntityKind.HOST]), ADDRESSES),
        UNIT.map(lambda risk: min(risk, 0.99)),
        st.floats(-1e6, 1e6),
        reversal=st.sampled_from([*Reversal, Reversal.KERNEL, Reversal.LEASED]),
        blast=st.sampled_from([*Blast, Blast.NARROW, Blast.NARROW, Blast.NARROW]),
        dial=st.sampled_from([*Dial, Dial.ACT, Dial.ACT]),
        protected=st.sampled_from([False, False, False, True]),
        budget=st.sampled_from([0, 1, 5, 5, 5]),
    ),
    max_size=4,
).map(lambda options: tuple(sorted(options, key=lambda one: -one.utility)))
SNAPSHOTS = st.builds(
    Snapshot,
    now=st.just(Now(1, 2)),
    incident_id=st.just("local-1-1"),
    confidence=UNIT,
    severity=st.integers(1, 5),
    evidence=st.sampled_from([*EvidenceClass, EvidenceClass.DECLARED]),
    provenance=st.sampled_from([*Provenance, Provenance.BIDIRECTIONAL]),
    options=OPTIONS,
    protected=st.sampled_from([False, False, False, True]),
    autonomy=st.sampled_from(["act", "act", "act", "ask", "observe"]),
    killed=st.sampled_from([False, False, False, True]),
    budget=st.sampled_from([0, 1, 5, 5, 5]),
    lease_ns=st.just(300_000_000_000),
    claims=st.one_of(st.just(()), CLAIMS.map(tuple)),
    impact=st.builds(Impact, maintenance=st.sampled_from([False, False, False, True])),
)


def of_options(change):
    """Make a guardrail out of a change to one option, or to all of them."""

    def guard(snapshot, which):
        options = snapshot.options
        chosen = range(len(options)) if which is None else [which % max(1, len(options))]
        return replace(
            snapshot,
            options=tuple(
                change(option) if place in chosen else option
                for place, option in enumerate(options)
            ),
        )

    return guard


def of_claims(**changes):
    """Make a guardrail out of a change to one claim, or to all of them and the snapshot's own."""

    def guard(snapshot, which):
        claims = snapshot.claims
        chosen = range(len(claims)) if which is None else [which % max(1, len(claims))]
        snapshot = replace(
            snapshot,
            claims=tuple(
                replace(claim, **changes) if place in chosen else claim
                for place, claim in enumerate(claims)
            ),
        )
        return replace(snapshot, **changes) if which is None or not claims else snapshot

    return guard


def turned(dial, to):
    return to if DIALS[to] > DIALS[dial] else dial


GUARDRAILS = {
    "protected snapshot": lambda s, _: replace(s, protected=True),
    "protected option": of_options(lambda one: replace(one, protected=True)),
    "autonomy ask": lambda s, _: replace(s, autonomy=turned(s.autonomy, "ask")),
    "autonomy observe": lambda s, _: replace(s, autonomy="observe"),
    "dial ask": of_options(lambda one: replace(one, dial=Dial(turned(one.dial, "ask")))),
    "dial observe": of_options(lambda one: replace(one, dial=Dial.OBSERVE)),
    "budget 0": lambda s, _: replace(s, budget=0),
    "budget of an option 0": of_options(lambda one: replace(one, budget=0)),
    "killed": lambda s, _: replace(s, killed=True),
    "maintenance": lambda s, _: replace(s, impact=replace(s.impact, maintenance=True)),
    "spoofable": of_claims(provenance=Provenance.SPOOFABLE),
    "statistical": of_claims(evidence=EvidenceClass.STATISTICAL),
    "irreversible": of_options(lambda one: replace(one, reversal=Reversal.NONE)),
}


def blast(snapshot, decision):
    """Say how wide what happens at once is; -1 where nothing does."""
    action = decision.action
    if decision.disposition not in ACTING or action is None:
        return -1
    return max(
        WIDTH[one.blast]
        for one in snapshot.options
        if (one.verb, one.target) == (action.verb, action.target)
    )


def one_each(snapshot):
    """Leave one option for each effect, as the kernel does: two would be told apart by nothing."""
    seen = {}
    for option in snapshot.options:
        seen.setdefault((option.verb, option.target), option)
    return replace(snapshot, options=tuple(seen.values()))


TWO_NARROW = Snapshot(
    Now(1, 2),
    "local-1-1",
    0.97,
    4,
    EvidenceClass.DECLARED,
    Provenance.BIDIRECTIONAL,
    (
        Option("recording", Verb.DENY, Entity(EntityKind.ADDRESS, ATTACKER), 0.3, 9.0),
        Option("recording", Verb.LIMIT, Entity(EntityKind.ADDRESS, ATTACKER), 0.2, 5.0),
    ),
    protected=False,
    autonomy="act",
    killed=False,
    budget=5,
    lease_ns=300_000_000_000,
)


@settings(max_examples=600)
@given(SNAPSHOTS, st.lists(st.sampled_from(sorted(GUARDRAILS)), min_size=1, max_size=3), st.data())
def test_a_guardrail_never_makes_a_decision_bolder_nor_its_blast_wider(snapshot, names, data):
    snapshot = one_each(snapshot)
    before = decide(snapshot)
    guarded = snapshot
    for name in names:
        which = data.draw(st.one_of(st.none(), st.integers(0, 3)))
        guarded = GUARDRAILS[name](guarded, which)
    after = decide(guarded)

    assert CAUTION[after.disposition] >= CAUTION[before.disposition], (names, before, after)
    assert blast(guarded, after) <= blast(snapshot, before), (names, before, after)


def test_a_narrow_lease_that_holds_while_people_are_asked_is_always_reviewed():
    """With the dial of the best option at `ask`, the other one must not become bolder than it."""
    before = decide(TWO_NARROW)
    first, *others = TWO_NARROW.options
    after = decide(replace(TWO_NARROW, options=(replace(first, dial=Dial.ASK), *others)))

    assert after.proposal == before.action
    assert CAUTION[after.disposition] >= CAUTION[before.disposition]


@settings(max_examples=600)
@given(SNAPSHOTS, CLAIMS, st.data())
def test_more_evidence_in_a_snapshot_never_makes_the_decision_more_careful(snapshot, claims, data):
    snapshot = replace(one_each(snapshot), claims=tuple(claims))
    before = decide(snapshot)
    more = list(claims)
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(more) - 1))
        more[place] = replace(more[place], confidence=max(more[place].confidence, data.draw(UNIT)))
    else:
        other = data.draw(CLAIMS)[0]
        more.append(replace(other, detector="another"))
    after = decide(replace(snapshot, claims=tuple(more)))

    assert CAUTION[after.disposition] <= CAUTION[before.disposition], (claims, more, before, after)
    assert after.confidence >= before.confidence or not any(map(acts, claims))


def acts(claim):
    """Say whether evidence may act."""
    return (
        claim.evidence is not EvidenceClass.STATISTICAL
        and claim.provenance is not Provenance.SPOOFABLE
    )


@given(SNAPSHOTS)
def test_nothing_acts_that_could_not_be_taken_back_nor_on_what_is_protected(snapshot):
    snapshot = one_each(snapshot)
    decision = decide(snapshot)
    if decision.disposition in ACTING:
        (option,) = (
            one
            for one in snapshot.options
            if (one.verb, one.target) == (decision.action.verb, decision.action.target)
        )
        assert option.reversal is not Reversal.NONE
        assert not option.protected
        assert not snapshot.protected
        assert min(option.budget, snapshot.budget) > 0
        assert not snapshot.killed
        assert not snapshot.claims or any(map(acts, snapshot.claims))


REPLAY = """
import hashlib, sys
from cronos.kernel.policy import decide
from cronos.types import decode, encode
data, said = sys.stdin.buffer.read(), hashlib.sha256()
while data:
    size = int.from_bytes(data[:4], "big")
    said.update(encode(decide(decode(data[4:4 + size]))))
    data = data[4 + size:]
print(said.hexdigest())
"""


@settings(max_examples=3)
@given(st.lists(SNAPSHOTS, min_size=60, max_size=60), st.integers(1, 2**32 - 1))
def test_decisions_replay_byte_for_byte_in_another_process_under_another_seed(snapshots, seed):
    told = Story()
    for number in range(20):
        told.tell(finding(number, attacker=f"192.0.2.{number}", confidence=0.4 + number / 40))
    recorded = [
        note.body for note in told.said(Note) if note.kind == "snapshot"
    ]  # what the ledger would hold
    every = [*snapshots, *recorded]
    said = hashlib.sha256()
    for one in every:
        said.update(encode(decide(decode(encode(one)))))
        assert encode(decide(one)) == encode(decide(decode(encode(one))))
    data = b"".join(len(encode(one)).to_bytes(4, "big") + encode(one) for one in every)
    for hash_seed in ("0", str(seed)):
        done = subprocess.run(
            [sys.executable, "-c", REPLAY],
            input=data,
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(SRC), "PYTHONHASHSEED": hash_seed},
        )
        assert done.stdout.decode().strip() == said.hexdigest()


# --- the whole kernel ------------------------------------------------------------------------

CONTROLLERS = st.sampled_from(["198.51.100.2", "198.51.100.3", "198.51.100.4", ""])
WEAK = EvidenceClass.STATISTICAL


@st.composite
def findings(draw, *, acting=None, attacker=None):
    """Draw a finding; `acting` says whether it may act."""
    spoofable = draw(st.booleans())
    evidence = draw(st.sampled_from(EvidenceClass))
    provenance = draw(st.sampled_from(Provenance))
    if acting is True:
        evidence, provenance = EvidenceClass.DECLARED, Provenance.BIDIRECTIONAL
    elif acting is False:
        evidence = evidence if spoofable else WEAK
        provenance = Provenance.SPOOFABLE if spoofable else provenance
    who = attacker or draw(st.sampled_from([ATTACKER, "192.0.2.67", "127.0.0.1", "10.9.9.9"]))
    number = draw(st.integers(1, 10**9))
    made = finding(
        number,
        attacker=who,
        confidence=draw(UNIT),
        evidence=evidence,
        provenance=provenance,
    )
    asset = draw(CONTROLLERS)
    detector = draw(st.sampled_from(["modbus-policy", "sigma", "scan"]))
    return replace(
        made,
        detector=detector,
        finding_id=f"{detector}:{number}",
        severity=draw(st.integers(1, 5)),
        target=Entity(EntityKind.ADDRESS, asset) if asset else None,
        flow=made.flow if draw(st.booleans()) else None,
    )


def always_at_work(*addresses):
    """Give a system in a maintenance window that never ends."""
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    return Asset("press", addresses, maintenance=tuple(f"{day} 00:00-00:00" for day in days))


SITES = st.sampled_from(
    [
        Config(),
        Config(
            asset=(
                Asset("spare", ("198.51.100.3",), criticality=1),
                Asset("press", ("198.51.100.4",), criticality=5, legacy=True),
                Asset("kiosk", (ATTACKER,), criticality=1),
            )
        ),
        Config(policy=Policy(dial={"deny:address": "ask"})),
        Config(policy=Policy(dial={"deny:flow": "observe"})),
        Config(asset=(Asset("press", ("198.51.100.4",), maintenance=("thu 00:00-00:00",)),)),
        Config(asset=(always_at_work("198.51.100.4"),)),
    ]
)


def response(config, told):
    """Give how far the kernel goes with these findings: 2 acts, 1 asks, 0 watches."""
    story = Story(config)
    for one in told:
        # Named after the object: one name for two claims would be a redelivery.
        story.tell(replace(one, finding_id=f"{one.detector}:{id(one)}"))
    if any(do.operation is Operation.APPLY for do in story.said(Do)):
        return 2
    return int(bool(story.said(Ask)))


@settings(max_examples=400)
@given(
    SITES,
    st.lists(findings(attacker=ATTACKER), max_size=6),
    findings(acting=True, attacker=ATTACKER),
)
def test_one_more_acting_finding_never_lowers_the_response(config, told, more):
    assert response(config, [*told, more]) >= response(config, told)


@settings(max_examples=400)
@given(
    SITES,
    st.lists(findings(attacker=ATTACKER), max_size=5),
    findings(acting=True, attacker=ATTACKER),
    st.integers(0, 5),
)
def test_nor_does_it_wherever_in_the_story_it_comes(config, told, more, place):
    with_it = [*told[:place], more, *told[place:]]
    assert response(config, with_it) >= response(config, told)


# --- whatever else arrives --------------------------------------------------------------------

STEPS = tuple(
    Option("recording", verb, Entity(kind, value), 0.0, 1e9)
    for verb, kind, value in (
        (Verb.DENY, EntityKind.ADDRESS, ATTACKER),
        (Verb.DENY, EntityKind.ADDRESS, "127.0.0.1"),
        (Verb.CONTAIN, EntityKind.HOST, "plc-1"),
        (Verb.DENY, EntityKind.NETWORK, "127.0.0.0/8"),
        (Verb.DENY, EntityKind.NETWORK, "192.0.2.0/24"),
    )
)
WIDE = {
    "recording": (
        *POINTS["recording"],
        Ability(
            Verb.DENY, EntityKind.NETWORK, "", "", Reversal.LEASED, Blast.FLEET, 50, 0.6, 0.9, 0.5
        ),
        Ability(Verb.DELETE, EntityKind.HOST, "", "", Reversal.NONE, Blast.HOST, 50, 0.9, 0.9, 0.9),
    )
}
EVENTS = st.one_of(
    st.tuples(st.just("kill"), st.booleans(), st.booleans()),
    st.tuples(st.just("answer"), st.booleans(), st.integers(0, 5)),
    st.tuples(st.just("release"), st.integers(0, 5)),
    st.tuples(st.just("verdict"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("propose"), st.integers(0, 5), st.sampled_from(STEPS)),
    st.tuples(st.just("silence"), st.integers(0, 5)),
    st.tuples(st.just("bulletin"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 5, 61, 400, 4000])),
)


def happen(story, event, number):
    """Let one more thing happen, to whatever incident or question there is at the time."""
    kind, *rest = event
    cases = [*story.kernel.cases.open.values(), *story.kernel.cases.closed.values()]
    asked = story.said(Ask)
    if kind == "kill":
        story.tell(Kill(number, *rest, subject="ann"))
    elif kind == "wait":
        story.wait(rest[0])
    elif kind == "answer" and asked:
        one = asked[rest[1] % len(asked)].question
        named = (one.question_id, one.incident_id, one.action.action_id)
        story.tell(Answer(*named, rest[0], f"p{number}", one.digest))
    elif kind in ABOUT and cases:
        case = cases[rest[0] % len(cases)]
        about = ABOUT[kind](case, number, *rest[1:])
        story.tell(about)


def silence(case, _number):
    action = case.decision.action if case.decision else None
    return Unanswered(case.incident_id, action.action_id if action else "", 1)


def bulletin(case, number):
    action = case.decision.action if case.decision else None
    return Bulletin(
        f"peer-{number}", BulletinKind.ISOLATED, "peer", "peer-1-1", number, case.actor,
        case.target, (), 1.0, action, 10**12,
    )  # fmt: skip


# What may be told of an incident, by name.
ABOUT = {
    "release": lambda case, _: Release(case.incident_id, "ann"),
    "verdict": lambda case, _, malicious: Verdict(case.incident_id, "ann", malicious),
    "propose": lambda case, _, step: Propose(case.incident_id, (step,), "playbook"),
    "silence": silence,
    "bulletin": bulletin,
}


def started(config):
    story = Story(config)
    story.kernel = type(story.kernel)(config, 1, WIDE)
    return story


@settings(max_examples=300)
@given(
    SITES,
    st.lists(
        st.one_of(
            findings(acting=False),
            findings(acting=False),
            # What a peer tells is evidence of its own: see the tests of trust.
            EVENTS.filter(lambda event: event[0] != "bulletin"),
        ),
        max_size=20,
    ),
)
def test_forgeable_or_statistical_evidence_alone_never_changes_the_world(config, happenings):
    story = started(config)
    for number, one in enumerate(happenings, 1):
        happen(story, one, number) if isinstance(one, tuple) else story.tell(one)
    story.wait(10_000)

    assert [do for do in story.said(Do) if do.operation is Operation.APPLY] == []
    assert story.said(Ask) == []


PROTECTED = ("127.0.0.1", "::1", ATTACKER, "10.9.0.0/16", "plc-1")


@settings(max_examples=300)
@given(SITES, st.lists(st.one_of(findings(), findings(acting=True), EVENTS), max_size=20))
@example(Config(), [finding(1, attacker="127.0.0.1"), ("propose", 0, STEPS[3])])
def test_nothing_is_ever_done_to_a_protected_target(config, happenings):
    config = replace(config, policy=replace(config.policy, protected=PROTECTED))
    story = started(config)
    for number, one in enumerate(happenings, 1):
        happen(story, one, number) if isinstance(one, tuple) else story.tell(one)
    story.wait(10_000)

    guarded = ("127.", "10.9.", ATTACKER, "plc-1")
    for do in story.said(Do):
        value = do.action.target.value.removeprefix("tcp/")
        assert not value.startswith(guarded), do
        assert value != "192.0.2.0/24", do
    for ask in story.said(Ask):
        assert not ask.question.action.target.value.removeprefix("tcp/").startswith(guarded), ask


def test_these_stories_do_act_where_they_may():
    """The properties above would hold for a kernel that never does anything: this one does."""
    story = started(Config())
    story.tell(finding())
    assert [do.operation for do in story.said(Do)] == [Operation.APPLY]
    assert obedient(Operation.APPLY, story.said(Do)[0].action).ok
    assert flow_entity("tcp", ATTACKER, 1, "198.51.100.2", 502).value.startswith("tcp/")


def test_what_came_first_does_not_shut_a_case_to_what_may_be_done_about_the_rest():
    """A breach without a flow, where addresses are asked about; then one whose flow may be cut."""
    config = Config(policy=Policy(dial={"deny:address": "ask"}))
    first, second = replace(finding(1), flow=None), finding(2)

    assert response(config, [second]) == 2
    assert response(config, [first, second]) == 2


def test_nor_does_an_attack_on_a_system_at_which_people_are_at_work():
    config = Config(asset=(always_at_work("198.51.100.4"),))
    first = replace(finding(1), target=Entity(EntityKind.ADDRESS, "198.51.100.4"))

    assert response(config, [finding(2)]) == 2
    assert response(config, [first, finding(2)]) == 2
