"""Hostile packets, records and proofs: one refusal, in bounded memory, however many come.

Run as a program it does a number of inputs and prints rate and memory:
``python -m tests.fuzz.test_epochs 1000000``.
"""

import random
import resource
import sys
import time
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.parties import TOPIC, Party
from tests.unit.crypto.refusals import assert_refused

from cronos.crypto.epoch import Epoch, parse_epoch
from cronos.crypto.merkle import proof_signer, sign_batch, verify_one
from cronos.crypto.records import record_epoch, record_seq
from cronos.crypto.refusal import REFUSED, refused
from cronos.crypto.signatures import VerifyingKey
from cronos.crypto.suites import HYBRID, RATE
from cronos.errors import DeniedError

GATE_INPUTS = 20_000
SOAK_INPUTS = 10_000_000
MAX_GROWTH_KIB = 32 * 1024
TEXT = str(refused())


class RefusingKey(VerifyingKey):
    """A double: a real key whose `verify` refuses at once, so that the parsing gets the time."""

    def verify(self, message, context, signature):
        raise refused()


PARTY = Party(RATE)
SIGNED, WRITER = PARTY.begin()
UNSIGNED, _ = PARTY.begin(signed=False)
LARGE, _ = Party(HYBRID).begin(topic="t" * 255)
RECORD = WRITER.seal(b"hello", b"context")
READER = PARTY.open(SIGNED)
PROOFS = [sign_batch([b"hello"] * size, PARTY.signer, b"")[-1] for size in (1, 6, 300)]
REFUSING = RefusingKey(PARTY.verifying.scheme, PARTY.verifying.public)


def open_packet(data):
    """Open as a receiver would, with doubles for the two slow steps: any signature, no key."""
    return PARTY.open(
        data, unwrap=lambda *_: bytes(32), verify=lambda *_: None, unsigned_ok=True, topic=TOPIC
    )


DECODERS = (
    (open_packet, (SIGNED, UNSIGNED, LARGE)),
    (parse_epoch, (SIGNED, UNSIGNED, LARGE)),
    (READER.open, (RECORD,)),
    (record_seq, (RECORD,)),
    (lambda proof: verify_one(b"hello", proof, REFUSING, b""), tuple(PROOFS)),
    (proof_signer, tuple(PROOFS)),
)
# Where lengths and counts stand: mutations there lead further than anywhere else.
HOT = (0, 4, 5, 6, 17, 20, 21, 24, 47, 87, 88, 95, 111, 112)


def mutated(rng, seed):
    """Give a seed with some bytes changed, cut, doubled or put in."""
    data = bytearray(seed)
    for _ in range(rng.randrange(1, 4)):
        at = rng.choice(HOT) if rng.random() < 0.4 else rng.randrange(len(data) + 1)
        how = rng.randrange(6)
        if how == 0:
            del data[at:]
        elif how == 1:
            data[at:at] = rng.randbytes(rng.choice((1, 16, 48, 300)))
        elif how == 2:
            del data[at : at + rng.randrange(1, 64)]
        elif at < len(data):
            data[at] = rng.choice((0, 1, 64, 65, 127, 128, 255, data[at] ^ 1 << rng.randrange(8)))
    return bytes(data)


def attack(rng):
    """Try one input on one decoder; anything but an answer or the refusal leaves as it is."""
    decoder, seeds = rng.choice(DECODERS)
    data = (
        rng.randbytes(rng.randrange(200)) if rng.random() < 0.1 else mutated(rng, rng.choice(seeds))
    )
    try:
        decoder(data)
    except DeniedError as error:
        if error.code != REFUSED or str(error) != TEXT or error.__cause__ is not None:
            raise AssertionError(data.hex()) from error
        return True
    except Exception as error:
        raise AssertionError(data.hex()) from error
    return False


def run(count, seed):
    """Try `count` inputs; give how many were refused, and the growth of memory in KiB."""
    rng = random.Random(seed)
    for _ in range(2000):
        attack(rng)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusals = sum(attack(rng) for _ in range(count))
    return refusals, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


@pytest.fixture
def inputs(request):
    soak = request.config.getoption("--hypothesis-profile") == "soak"
    return SOAK_INPUTS if soak else GATE_INPUTS


def test_mutated_input_is_refused_in_one_text_and_in_bounded_memory(inputs):
    refusals, growth = run(inputs, seed=1)

    assert refusals > inputs // 2
    assert growth < MAX_GROWTH_KIB


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data):
    for decoder, _ in DECODERS:
        if decoder not in (record_seq, proof_signer):
            assert_refused(decoder, data)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_that_name_an_epoch_have_the_form_of_a_record(data):
    try:
        name = record_epoch(data)
    except DeniedError:
        return
    assert len(data) >= 30
    assert data[0] == 1
    assert name == data[2:6]


@settings(max_examples=300)
@given(st.sampled_from([SIGNED, UNSIGNED, LARGE]), st.data())
def test_a_changed_packet_is_refused_or_is_read_as_what_it_says(packet, data):
    at = data.draw(st.integers(0, len(packet) - 1))
    value = data.draw(st.integers(0, 255))
    changed = packet[:at] + bytes((value,)) + packet[at + 1 :]
    try:
        epoch = parse_epoch(changed)
    except DeniedError:
        return
    assert rebuilt(epoch) == changed


@pytest.mark.parametrize("count", [0, 65, 255])
def test_a_count_that_promises_more_than_there_is_reads_nothing(count):
    at = 88 + len(TOPIC) + 16
    bomb = UNSIGNED[:at] + bytes((count,)) + b"x" * 100

    assert_refused(partial(parse_epoch, bomb))


def rebuilt(epoch: Epoch) -> bytes:
    """Write a packet from what was read, by the table in the documentation."""
    topic = epoch.topic.encode()
    parts = [
        b"CRE1\1",
        bytes((epoch.suite.number, epoch.signed)),
        epoch.epoch_id,
        epoch.producer,
        epoch.not_before_ns.to_bytes(8, "big"),
        epoch.not_after_ns.to_bytes(8, "big"),
        epoch.previous,
        bytes((len(topic),)),
        topic,
        epoch.signer,
        bytes((len(epoch.recipients),)),
        *(part for pair in epoch.recipients for part in pair),
        epoch.commitment,
        epoch.signature,
    ]
    return b"".join(parts)


if __name__ == "__main__":
    WANTED = int(sys.argv[1])
    BEGAN = time.process_time()
    REFUSALS, GROWTH = run(WANTED, seed=int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    RATE_S = WANTED / (time.process_time() - BEGAN)
    print(f"{WANTED} inputs, {REFUSALS} refused, {RATE_S:,.0f}/s, memory +{GROWTH} KiB")  # noqa: T201
