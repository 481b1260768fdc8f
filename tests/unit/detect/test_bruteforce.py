import pytest
from msgspec.structs import replace

from cronos.detect.bruteforce import BruteForceConfig, BruteForceDetector
from cronos.types import Entity, EntityKind, Observation, Provenance

SECOND = 1_000_000_000
ATTACKER = Entity(EntityKind.ADDRESS, "192.0.2.7")
SERVER = Entity(EntityKind.HOST, "bastion")


def login(seq, status="failure", user="root", actor=ATTACKER, at_s=None):
    return Observation(
        source="auth.log",
        seq=seq,
        time_ns=int((seq if at_s is None else at_s) * SECOND),
        activity="authentication",
        provenance=Provenance.BIDIRECTIONAL,
        actor=actor,
        target=SERVER,
        fields={"user.name": user, "status": status, "service.name": "sshd"},
    )


def detect(*observations):
    return BruteForceDetector(BruteForceConfig()).detect(observations)


def failures(count, **more):
    return [login(seq, **more) for seq in range(1, count + 1)]


def test_ten_failures_are_guessing():
    (finding,) = detect(*failures(12))
    assert finding.techniques == ("T1110.001",)
    assert finding.finding_id == "brute-force.guess:auth.log#10"
    assert "192.0.2.7 failed 10 times to authenticate to bastion within 9.0 s" in (
        finding.explanation
    )
    assert finding.provenance is Provenance.BIDIRECTIONAL


def test_a_success_after_the_failures_is_worse_and_told_once():
    findings = detect(*failures(12), login(13, "success"), login(14, "success"))
    assert [f.severity for f in findings] == [3, 5]
    assert findings[1].techniques == ("T1110.001", "T1078")
    assert "right after 12 failures" in findings[1].explanation


def test_an_owner_who_mistypes_three_times_is_left_alone():
    assert detect(*failures(3), login(4, "success")) == []


def test_a_success_long_after_the_failures_is_left_alone():
    findings = detect(*failures(12), login(13, "success", at_s=5000))
    assert [f.title for f in findings] == ["Password guessing"]


def test_many_users_from_one_address_are_a_spray():
    sprayed = [login(n, user=f"user{n}", at_s=n * 60) for n in range(1, 10)]
    (finding,) = detect(*sprayed)
    assert finding.techniques == ("T1110.003",)
    assert finding.target is None
    assert "8 different users" in finding.explanation


def test_a_user_without_an_address_can_guess_but_not_spray():
    actor = Entity(EntityKind.USER, "SHIRE\\eve")
    findings = detect(*failures(12, actor=actor))
    assert [f.actor for f in findings] == [actor]


def test_an_event_that_names_nobody_is_left_out():
    assert detect(*failures(50, actor=None)) == []


def test_failures_spread_over_hours_are_left_alone():
    assert detect(*[login(n, at_s=n * 600) for n in range(1, 60)]) == []


def test_a_saved_state_goes_on_where_it_was():
    first, second = (BruteForceDetector(BruteForceConfig()) for _ in range(2))
    first.detect(failures(9))
    second.restore(first.snapshot())
    assert second.detect([login(10)]) == first.detect([login(10)]) != []


def test_a_broken_state_is_refused():
    with pytest.raises(ValueError, match="not a saved"):
        BruteForceDetector(BruteForceConfig()).restore(b"[")


def forged(observation):
    return replace(observation, provenance=Provenance.SPOOFABLE)


def test_forged_failures_do_not_silence_what_is_proven_later():
    lies = [forged(login(seq, at_s=1)) for seq in range(1, 101)]
    truth = [login(seq, at_s=2) for seq in range(101, 112)]
    found = [one.provenance for one in detect(*lies, *truth)]
    assert found == [Provenance.SPOOFABLE] * 3 + [Provenance.BIDIRECTIONAL]


def test_a_forged_success_does_not_wipe_out_the_proven_failures():
    findings = detect(*failures(12), forged(login(13, "success")), login(14, "success"))
    assert [(one.severity, one.provenance) for one in findings] == [
        (3, Provenance.BIDIRECTIONAL),
        (5, Provenance.SPOOFABLE),
        (5, Provenance.BIDIRECTIONAL),
    ]
