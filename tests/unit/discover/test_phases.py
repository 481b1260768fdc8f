"""The course of a discovery: phases, limits, the best result so far."""

import pytest
from msgspec.structs import replace
from tests.unit.discover import plain

from cronos.discover.learned import Phase, Verdict
from cronos.discover.messages import Message, Service
from cronos.discover.model import Limits, Sem
from cronos.discover.phases import Known, Teller, learn, sampled
from cronos.errors import InputError
from cronos.testing.clock import VirtualClock

MESSAGES = tuple(Message(bytes((1 + n % 2, n, n)), str(n % 3)) for n in range(30))
SERVICE = Service("tcp/1", MESSAGES, tuple(range(30)))


def course(service=SERVICE, clock=None, **parts):
    told, so_far = [], []
    learned = learn(
        service,
        Limits(),
        clock or VirtualClock(),
        plain.PARTS._replace(**parts),
        Teller(told.append, so_far.append),
    )
    return learned, told, so_far


def test_the_phases_follow_one_another_and_each_tells_what_it_found():
    learned, told, so_far = course()

    assert [one.phase for one in told if one.share == 1] == [
        Phase.STATISTICS, Phase.CLASSIFICATION, Phase.TYPES, Phase.BOUNDARIES, Phase.GRAMMAR,
        Phase.PARSER, Phase.VALIDATION,
    ]  # fmt: skip
    assert all(one.found for one in told if one.share == 1)
    assert learned == so_far[-1]
    assert [bool(one.discovery) for one in so_far] == [False, False, *[True] * 5]
    assert learned.files == {"parser.txt": learned.grammar[:9]}
    assert learned.validation.passed
    assert learned.stopped == ""
    assert set(learned.seconds) == {
        "statistics", "classification", "message types", "boundaries and meaning", "grammar",
        "parser", "validation",
    }  # fmt: skip


@pytest.mark.parametrize("verdict", [Verdict.ENCRYPTED, Verdict.KNOWN])
def test_what_is_encrypted_or_known_is_said_and_nothing_is_learnt(verdict):
    learned, told, _ = course(classify=lambda _: Known(verdict, "Because.", "plant", b"{}"))

    assert (learned.verdict, learned.why, learned.profile) == (verdict, "Because.", "plant")
    assert learned.discovery is None
    assert told[-1].phase is Phase.CLASSIFICATION


def test_messages_without_bytes_are_nothing_to_learn_from():
    learned, _, _ = course(Service("tcp/1", (Message(b""), Message(b"")), (0, 1)))

    assert learned.verdict is Verdict.EMPTY
    assert learned.discovery is None


def test_when_the_time_is_up_the_result_so_far_is_given():
    clock = VirtualClock()

    def late(*given):
        clock.advance(31 * 10**9)
        return plain.discover(*given)

    learned, _, _ = course(clock=clock, discover=late)

    assert learned.discovery is not None
    assert learned.grammar == b""
    assert "before grammar" in learned.stopped


def test_the_engine_gets_most_of_the_time_that_is_left():
    clock, given = VirtualClock(), []

    def classify(_messages):
        clock.advance(10 * 10**9)
        return Known(Verdict.UNKNOWN)

    def engine(messages, limits, *others):
        given.append(limits.max_seconds)
        return plain.discover(messages, limits, *others)

    course(clock=clock, classify=classify, discover=engine)
    assert given == [pytest.approx(14.0)]


def test_running_out_of_memory_ends_a_phase_and_not_the_result():
    def greedy(*_):
        raise MemoryError

    learned, _, _ = course(infer=greedy)

    assert learned.discovery is not None
    assert "1024 MiB" in learned.stopped


def test_a_refusal_of_a_later_phase_ends_it_with_its_sentence():
    def refuse(*_):
        raise InputError("discover.grammar_refused", "Too many types.", "Nothing.")

    learned, _, _ = course(infer=refuse)

    assert learned.stopped == "grammar stopped: Too many types."
    assert learned.discovery is not None


def test_what_is_learnt_from_is_chosen_evenly():
    many = tuple(Message(bytes((1, n % 256))) for n in range(5_000))
    numbers, messages = sampled(many, Limits(max_messages=100))

    assert numbers == list(range(0, 5_000, 50))
    assert [message.payload for message in messages] == [many[n].payload for n in numbers]


def test_large_messages_are_fewer_and_at_last_shorter():
    large = tuple(Message(bytes(64 << 10)) for _ in range(1_000))
    numbers, messages = sampled(large, Limits())

    assert 64 <= len(numbers) < 200
    assert sum(len(message.payload) for message in messages) <= 1024 * 2_000
    assert all(len(message.payload) == 16_384 for message in messages)
    assert len(sampled(large, Limits(max_memory_mb=64))[1][0].payload) <= 2_048


def test_what_was_cut_off_for_learning_comes_back_as_bytes():
    service = replace(SERVICE, messages=(Message(b"\x01" * 20_000), *MESSAGES[1:]))
    learned, _, _ = course(service)

    assert learned.discovery.messages[0].payload == b"\x01" * 20_000
    assert [(f.offset, f.length) for f in learned.discovery.fields[0]] == [
        (0, 1), (1, 16_383), (16_384, 3_616),
    ]  # fmt: skip
    assert learned.discovery.fields[0][-1].sem is Sem.BYTES


def test_empty_messages_are_not_learnt_from():
    service = replace(SERVICE, messages=(Message(b""), *MESSAGES[1:]))
    learned, _, _ = course(service)

    assert learned.sample == tuple(range(1, 30))
