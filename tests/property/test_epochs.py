"""Epochs, records, windows and batches, whatever is done to them and in whatever order."""

import itertools
from functools import partial

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.parties import TOPIC, Party, terms
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.epoch import begin_epoch, parse_epoch, rewrap_epoch
from cronos.crypto.merkle import BatchVerifier, sign_batch, verify_one
from cronos.crypto.records import record_seq
from cronos.crypto.suites import HYBRID, RATE
from cronos.crypto.window import ReplayWindow
from cronos.errors import CronosError, DeniedError

PARTY = Party()
TEMPLATE = parse_epoch(PARTY.begin(signed=False)[0])


@pytest.fixture
def stride(request):
    """Give how many bits to leave out: soak leaves out none."""
    soak = request.config.getoption("--hypothesis-profile") == "soak"
    return lambda bits: 1 if soak else bits


def tried(action):
    """Give what `action` gives, or the one refusal that it may raise."""
    try:
        return action()
    except DeniedError as error:
        return error.code


# -- changed, cut and extended -------------------------------------------------------------------


@pytest.mark.parametrize("suite", [HYBRID, RATE], ids=lambda suite: suite.name)
def test_every_changed_bit_of_a_signed_packet_is_refused(suite, stride):
    party = Party(suite)
    packet, _ = party.begin()
    fields = 88 + len(TOPIC) + 16 + 1 + 16
    body = len(packet) - 4627
    bits = itertools.chain(
        range(fields * 8),
        range(fields * 8, (body - 32) * 8, stride(61)),
        range((body - 32) * 8, body * 8),
        range(body * 8, len(packet) * 8, stride(211)),
    )

    for bit in bits:
        assert_refused(partial(party.open, flip(packet, bit)))


def test_every_changed_bit_of_an_unsigned_packet_is_refused(stride):
    packet, _ = PARTY.begin(signed=False)

    for bit in range(0, len(packet) * 8, stride(7)):
        assert_refused(partial(PARTY.open, flip(packet, bit), unsigned_ok=True))


@pytest.mark.parametrize("signed", [True, False])
def test_every_cut_and_every_extension_of_a_packet_is_refused(signed):
    packet, _ = PARTY.begin(signed=signed)

    for end in range(len(packet)):
        assert_refused(parse_epoch, packet[:end])
        assert_refused(parse_epoch, packet[end + 1 :])
    for more in (b"\0", bytes(4627), packet):
        assert_refused(parse_epoch, packet + more)
        assert_refused(parse_epoch, more + packet)


@settings(max_examples=20)
@given(st.binary(max_size=600), st.binary(max_size=40), st.data())
def test_no_change_to_a_record_and_no_other_context_opens_it(plain, context, data):
    packet, writer = PARTY.begin(signed=False)
    reader = PARTY.open(packet, unsigned_ok=True)
    record = writer.seal(plain, context)

    assert reader.open(record, context) == plain
    assert len(record) == len(plain) + 30
    bits = data.draw(st.lists(st.integers(0, len(record) * 8 - 1), min_size=1, max_size=30))
    for bit in bits:
        assert_refused(reader.open, flip(record, bit), context)
    assert_refused(reader.open, record, context + b"\0")
    assert_refused(reader.open, record[: data.draw(st.integers(0, len(record) - 1))], context)
    assert_refused(reader.open, record + data.draw(st.binary(min_size=1, max_size=40)), context)


def test_all_these_refusals_are_one_text(stride):
    packet, writer = PARTY.begin()
    record = writer.seal(b"hello")
    proof = sign_batch([b"hello"], PARTY.signer, b"")[0]
    reader = PARTY.open(packet)
    texts = set()

    for bit in range(0, 4000 * 8, stride(331)):
        for action in (
            partial(PARTY.open, flip(packet, bit)),
            partial(reader.open, flip(record, bit % (len(record) * 8))),
            partial(verify_one, b"hello", flip(proof, bit), PARTY.verifying, b""),
        ):
            with pytest.raises(DeniedError) as caught:
                action()
            error = caught.value
            texts.add((error.code, error.sentence, error.remedy, str(error), error.blame))

    assert len(texts) == 1


# -- canonical, and rewrapped ---------------------------------------------------------------------


@settings(max_examples=40)
@given(
    topic=st.text(max_size=60).filter(lambda text: text.isprintable()),
    producer=st.binary(min_size=16, max_size=16),
    previous=st.binary(min_size=32, max_size=32),
    began=st.integers(0, (1 << 64) - 2),
    life=st.integers(1, 1 << 62) | st.none(),
    recipients=st.integers(1, 4),
)
def test_a_packet_says_again_what_it_was_made_of(
    topic, producer, previous, began, life, recipients
):
    ended = 0 if life is None else min(began + life, (1 << 64) - 1)
    parties = [PARTY, *(Party() for _ in range(recipients - 1))]
    made = terms(
        topic=topic, producer=producer, previous=previous, not_before_ns=began, not_after_ns=ended
    )
    packet, _ = begin_epoch(made, [one.public for one in parties], None)
    epoch = parse_epoch(packet)

    said = (epoch.topic, epoch.producer, epoch.previous, epoch.not_before_ns, epoch.not_after_ns)
    assert said == (topic, producer, previous, began, ended)
    assert [kid for kid, _ in epoch.recipients] == [one.key.kid for one in parties]
    assert epoch.signed_part == packet
    for one in parties:
        assert one.open(packet, topic=topic, unsigned_ok=True).short_id == epoch.short_id


@settings(max_examples=15)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_records_open_after_any_number_of_rewrappings(steps):
    packet, writer = PARTY.begin()
    holder, records = PARTY, [writer.seal(b"0")]
    for step, count in enumerate(steps, 1):
        heirs = [Party() for _ in range(count)]
        public = [heir.public for heir in heirs]
        packet = rewrap_epoch(
            packet,
            unwrap=holder.unwrap,
            verify=(holder if step > 1 else PARTY).verify,
            recipients=public,
            sign=heirs[-1].signer,
        )
        holder = heirs[-1]
        records.append(writer.seal(b"%d" % step))

    reader = holder.open(packet)
    assert [reader.open(record) for record in records] == [b"%d" % n for n in range(len(records))]
    assert_refused(partial(Party().open, packet, verify=holder.verify))


# -- numbers --------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from(["seal", "many", "into"]), st.integers(0, 600)), max_size=12
    ),
    st.integers(1, 2000),
)
def test_no_number_is_used_twice_and_none_above_the_limit(steps, limit):
    packet, writer = PARTY.begin(signed=False, max_records=limit)
    reader, numbers, out = PARTY.open(packet, unsigned_ok=True), [], bytearray(40)
    for way, count in steps:
        try:
            if way == "seal":
                records = [writer.seal(b"x")]
            elif way == "many":
                records = writer.seal_many([b"x"] * count)
            else:
                records = [bytes(out[: writer.seal_into(b"x", b"", out)])]
        except CronosError as error:
            assert error.code == "crypto.epoch_spent"  # noqa: PT017 - most sequences raise nothing
            continue
        numbers += map(record_seq, records)
        assert all(reader.open(record) == b"x" for record in records)

    assert numbers == sorted(set(numbers))
    assert not numbers or numbers[-1] < limit
    assert writer.sealed <= limit


# -- the replay window, against a set -------------------------------------------------------------


class Model:
    """The window as one would write it with unlimited memory: sets of all that was admitted."""

    def __init__(self, size, max_epochs):
        self.size, self.max_epochs = size, max_epochs
        self.kept, self.dropped = {}, -1

    def admit(self, began, seq):
        if began not in self.kept:
            full = len(self.kept) >= self.max_epochs
            if began <= self.dropped or (full and began < min(self.kept)):
                return False
            if full:
                self.dropped = min(self.kept)
                del self.kept[self.dropped]
            self.kept[began] = set()
        seen = self.kept[began]
        if seq in seen or (seen and seq <= max(seen) - self.size):
            return False
        seen.add(seq)
        return True


@settings(max_examples=300)
@given(
    st.integers(1, 70),
    st.integers(1, 3),
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.integers(0, 150) | st.integers(0, 2**64 - 1) | st.integers(2**64 - 80, 2**64 - 1),
        ),
        max_size=80,
    ),
)
def test_the_window_admits_what_a_set_would(size, max_epochs, arrivals):
    window, model = ReplayWindow(size=size, max_epochs=max_epochs), Model(size, max_epochs)
    admitted = []
    for began, seq in arrivals:
        epoch = msgspec.structs.replace(TEMPLATE, not_before_ns=began)
        said = tried(partial(window.admit, epoch, seq)) is None
        assert said == model.admit(began, seq)
        if said:
            admitted.append((began, seq))

    assert len(admitted) == len(set(admitted))


# -- batches --------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=70), st.binary(max_size=20))
def test_every_proof_of_a_batch_verifies_and_serves_no_other_message(messages, context):
    proofs = sign_batch(messages, PARTY.signer, context)
    verifier = BatchVerifier(PARTY.verifying)

    for index, (message, proof) in enumerate(zip(messages, proofs, strict=True)):
        verifier.verify(message, proof, context)
        other = messages[(index + 1) % len(messages)]
        if other != message and index < 4:
            assert_refused(verifier.verify, other, proof, context)
    assert_refused(verifier.verify, messages[0], proofs[0], context + b"\0")
    assert len(set(proofs)) == len(messages)


@pytest.mark.parametrize("size", [1, 6])
def test_every_changed_bit_of_a_proof_is_refused(size, stride):
    messages = [b"%d" % n for n in range(size)]
    proof = sign_batch(messages, PARTY.signer, b"c")[-1]
    body = (len(proof) - 4627) * 8

    for bit in (*range(body), *range(body, len(proof) * 8, stride(211))):
        assert_refused(verify_one, messages[-1], flip(proof, bit), PARTY.verifying, b"c")


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 40))
def test_proofs_of_two_batches_cannot_be_spliced(first, second):
    one = sign_batch([b"%d" % n for n in range(first)], PARTY.signer, b"")
    two = sign_batch([b"%d" % n for n in range(second)], PARTY.signer, b"")

    if first != second:
        assert_refused(verify_one, b"0", one[0][:-4627] + two[0][-4627:], PARTY.verifying, b"")
    assert_refused(verify_one, b"0", two[0][:25] + one[0][25:-4627] * 2, PARTY.verifying, b"")
