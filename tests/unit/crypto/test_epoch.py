"""Epochs: who opens a packet, and what is refused before a single record is decrypted."""

import hashlib
import os
import signal
import subprocess
import sys
from functools import partial

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.unit.crypto.parties import NOT_AFTER, NOT_BEFORE, PRODUCER, TOPIC, Party, terms
from tests.unit.crypto.refusals import assert_refused, flip
from tests.unit.crypto.salamander import collide

from cronos.crypto import epoch as epochs
from cronos.crypto.epoch import (
    MAX_RECIPIENTS,
    Signer,
    begin_epoch,
    open_epoch,
    parse_epoch,
    require_next,
    require_valid,
    rewrap_epoch,
)
from cronos.crypto.records import RecordReader, RecordWriter, derive_record_keys
from cronos.crypto.signatures import ML_DSA_44, SigningKey, generate_seed
from cronos.crypto.suites import CNSA, HYBRID, RATE, DecryptionKey, generate_secret
from cronos.errors import CronosError, InputError, UnreachableError

EACH = pytest.mark.parametrize("suite", [HYBRID, CNSA, RATE], ids=lambda suite: suite.name)
IMMUTABLE = 88 + len(TOPIC)


@pytest.fixture(scope="module")
def party():
    return Party()


@pytest.fixture(scope="module")
def signed(party):
    packet, writer = party.begin()
    return packet, writer.seal(b"hello", b"context")


@pytest.fixture(scope="module")
def unsigned(party):
    packet, writer = party.begin(signed=False)
    return packet, writer.seal(b"hello", b"context")


def code_of(action):
    with pytest.raises(CronosError) as caught:
        action()
    return caught.value.code


def refused_open(party, packet, **other):
    assert_refused(partial(party.open, packet, **other))


@EACH
def test_the_recipient_opens_the_packet_and_the_records(suite):
    party = Party(suite)
    packet, writer = party.begin()

    records = [writer.seal(b"%d" % n, b"context") for n in range(3)]
    reader = party.open(packet, allowed=[suite], kids=[party.key.kid], producer=PRODUCER)

    assert [reader.open(record, b"context") for record in records] == [b"0", b"1", b"2"]
    assert reader.short_id == writer.short_id == parse_epoch(packet).short_id


def test_a_packet_says_what_it_is_for(party, signed):
    packet, _ = signed
    epoch = parse_epoch(packet)

    assert (epoch.suite, epoch.producer, epoch.topic) == (CNSA, PRODUCER, TOPIC)
    assert (epoch.not_before_ns, epoch.not_after_ns) == (NOT_BEFORE, NOT_AFTER)
    assert epoch.previous == bytes(32)
    assert (epoch.signer, epoch.signed) == (party.signing.kid, True)
    assert [kid for kid, _ in epoch.recipients] == [party.key.kid]
    assert epoch.signed_part + epoch.signature == packet
    assert epoch.digest == hashlib.sha384(packet[:-4627]).digest()
    assert epoch.header_digest == hashlib.sha384(packet[:IMMUTABLE]).digest()


def test_a_hybrid_packet_for_one_recipient_is_six_and_a_half_kilobytes():
    packet, _ = Party(HYBRID).begin()

    assert len(packet) == IMMUTABLE + 16 + 1 + 16 + 32 + 1681 + 32 + 4627 == 6500


def test_each_of_64_recipients_opens_it_and_a_65th_is_too_many():
    party = Party()
    others = [DecryptionKey(CNSA, generate_secret(CNSA)) for _ in range(MAX_RECIPIENTS)]
    public = [key.encryption_key() for key in others]
    packet, writer = begin_epoch(terms(), public, party.signer)
    record = writer.seal(b"hello")

    for key in (others[0], others[33], others[-1]):
        reader = party.open(
            packet, unwrap=lambda _, wrapped, info, key=key: key.open(wrapped, info), kids=[key.kid]
        )
        assert reader.open(record) == b"hello"
    tried = []

    def unwrap(kid, wrapped, info):
        tried.append(kid)
        if kid != others[2].kid:
            raise InputError("crypto.no_key", "Not ours.", "None.")
        return others[2].open(wrapped, info)

    assert party.open(packet, unwrap=unwrap).open(record) == b"hello"
    assert tried == [key.kid for key in others[:3]]
    assert code_of(lambda: begin_epoch(terms(), [*public, party.public], None)) == (
        "crypto.bad_epoch"
    )


def test_two_epochs_of_one_producer_share_neither_id_nor_key_nor_commitment(party):
    made = [parse_epoch(party.begin()[0]) for _ in range(20)]

    for part in ("epoch_id", "short_id", "commitment", "recipients", "digest", "link"):
        assert len({getattr(one, part) for one in made}) == len(made)


def test_a_short_id_that_is_in_use_is_drawn_again(party, monkeypatch):
    taken, free = b"\1" * 16, b"\2" * 16
    drawn = iter([taken, taken, free])
    real = epochs.secrets.token_bytes
    monkeypatch.setattr(
        epochs.secrets, "token_bytes", lambda size: next(drawn) if size == 16 else real(size)
    )

    packet, writer = party.begin(avoid=[taken[:4]])

    assert parse_epoch(packet).epoch_id == free
    assert writer.short_id == free[:4]


def test_it_gives_up_when_every_short_id_is_in_use(party):
    class Everything:
        def __contains__(self, _):
            return True

    assert code_of(lambda: party.begin(avoid=Everything())) == "crypto.bad_epoch"


def test_nobody_else_opens_it(signed):
    packet, _ = signed
    stranger = Party()

    refused_open(stranger, packet, verify=lambda *_: None)
    refused_open(
        stranger,
        packet,
        unwrap=lambda _, wrapped, info: stranger.key.open(wrapped, info),
        verify=lambda *_: None,
    )


def test_a_packet_of_another_topic_producer_or_recipient_is_refused(party, signed):
    packet, _ = signed

    for topic in ("", "plant/8", "plant/7 ", "PLANT/7", "plant/70"):
        refused_open(party, packet, topic=topic)
    refused_open(party, packet, producer=b"another-producer")
    refused_open(party, packet, kids=[])
    refused_open(party, packet, kids=[bytes(16)])


def test_a_record_of_another_tenants_epoch_is_refused_though_all_keys_are_ours(party):
    here, there = party.begin(), party.begin(producer=b"another-producer")
    elsewhere = party.begin(topic="plant/8")
    reader = party.open(here[0])

    for _, writer in (there, elsewhere):
        record = writer.seal(b"hello")
        assert_refused(reader.open, record)
        assert_refused(reader.open, record[:2] + reader.short_id + record[6:])


def test_what_a_sends_to_b_cannot_be_reflected_to_a(party):
    other = Party()
    packet, writer = begin_epoch(terms(), [other.public], party.signer)
    record = writer.seal(b"hello")

    refused_open(party, packet)
    mine = party.open(party.begin()[0])
    assert_refused(mine.open, record)


def test_a_suite_that_is_not_allowed_is_refused(party, signed):
    packet, _ = signed

    refused_open(party, packet, allowed=[HYBRID, RATE])
    refused_open(party, packet, allowed=[])


def test_a_changed_suite_byte_is_refused_though_nobody_looks_at_the_signature(party, signed):
    packet, _ = signed

    for number in (0, HYBRID.number, RATE.number, 4, 255):
        changed = packet[:5] + bytes((number,)) + packet[6:]
        refused_open(party, changed)
        refused_open(party, changed, verify=lambda *_: None)


def test_the_wrapped_key_of_one_suite_does_not_open_as_anothers():
    # The same lattice key serves both, as a sloppy deployment might have it.
    lattice = generate_secret(CNSA)
    pure = DecryptionKey(CNSA, lattice)
    packet, _ = begin_epoch(terms(), [pure.encryption_key()], None)
    epoch = parse_epoch(packet)
    hybrid = DecryptionKey(HYBRID, lattice + generate_secret(HYBRID)[64:])

    assert_refused(hybrid.open, epoch.recipients[0][1], epochs.WRAP_LABEL + epoch.header_digest)
    made = {
        derive_record_keys(suite, epoch.epoch_id, epoch.header_digest, bytes(32)).key
        for suite in (HYBRID, CNSA, RATE)
    }
    assert len(made) == 3


def test_a_stripped_signature_is_refused_even_where_unsigned_packets_are_welcome(party, signed):
    packet, _ = signed
    bare = packet[:-4627]
    disguises = (
        bare,
        bare[:6] + b"\0" + bare[7:],
        bare[:IMMUTABLE] + bytes(16) + bare[IMMUTABLE + 16 :],
        bare[:6] + b"\0" + bare[7:IMMUTABLE] + bytes(16) + bare[IMMUTABLE + 16 :],
    )

    for disguise in disguises:
        refused_open(party, disguise, unsigned_ok=True)
        refused_open(party, disguise, unsigned_ok=True, verify=None)
        refused_open(party, disguise, unsigned_ok=True, verify=lambda *_: None)
    assert parse_epoch(disguises[-1]).signed is False, "the last one is well formed"


def test_an_unsigned_packet_opens_only_where_unsigned_ones_are_welcome(party, unsigned):
    packet, record = unsigned

    assert party.open(packet, unsigned_ok=True).open(record, b"context") == b"hello"
    assert party.open(packet, verify=None, unsigned_ok=True).open(record, b"context") == b"hello"
    refused_open(party, packet)
    refused_open(party, packet, verify=None)
    refused_open(party, packet, verify=lambda *_: None)


def test_a_signed_packet_is_refused_where_nobody_verifies(party, signed):
    packet, _ = signed

    refused_open(party, packet, verify=None)
    refused_open(party, packet, verify=None, unsigned_ok=True)


def test_the_signature_of_another_key_context_or_packet_is_refused(party, signed):
    packet, _ = signed
    body = packet[:-4627]
    stranger = Party()

    foreign = stranger.signing.sign(body, epochs.SIGN_CONTEXT)
    refused_open(party, body + foreign)
    refused_open(party, body + party.signing.sign(body, b"cronos-batch-v1"))
    refused_open(party, body + party.signing.sign(body, b""))
    refused_open(party, body + party.begin()[0][-4627:])
    again = body + party.signing.sign(body, epochs.SIGN_CONTEXT)
    assert again != packet
    assert party.open(again).short_id == parse_epoch(packet).short_id


def test_the_signature_is_looked_at_before_the_key_is_unwrapped(party, signed):
    packet, _ = signed
    asked = []

    refused_open(party, flip(packet, len(packet) * 8 - 1), unwrap=lambda *call: asked.append(call))

    assert asked == []


def test_every_changed_bit_of_the_immutable_part_is_refused_without_any_signature(party, signed):
    packet, _ = signed

    for bit in range(IMMUTABLE * 8):
        changed = flip(packet, bit)
        refused_open(party, changed, verify=lambda *_: None)
        refused_open(party, changed, unsigned_ok=True)


def test_a_topic_has_one_length_field_that_cannot_be_shifted(party):
    packet, _ = party.begin(topic="a" * 20)
    shifted = packet[:87] + b"\x13" + packet[88:107] + packet[108:]

    refused_open(party, shifted, topic="a" * 19, verify=lambda *_: None)


def test_a_topic_that_is_no_utf8_is_refused(party):
    packet, _ = party.begin(topic="ab")

    for bad in (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0"):
        assert_refused(parse_epoch, packet[:88] + bad + packet[90:])


def test_a_recipient_named_twice_none_at_all_and_too_many_are_refused(party, unsigned):
    packet, _ = unsigned
    at, length = IMMUTABLE + 16, 16 + 32 + CNSA.overhead
    one = packet[at + 1 : at + 1 + length]
    commitment = packet[-32:]

    for count, listed in ((2, one * 2), (0, b""), (65, one * 65), (255, one * 255), (2, one)):
        bad = packet[:at] + bytes((count,)) + listed + commitment
        assert_refused(parse_epoch, bad)


def test_a_short_packet_that_claims_64_recipients_is_refused_at_once(unsigned):
    packet, _ = unsigned

    assert_refused(parse_epoch, packet[: IMMUTABLE + 16] + b"\x40")


def test_a_signer_without_a_signature_and_a_signature_without_a_signer_are_refused(
    party, signed, unsigned
):
    at = IMMUTABLE
    named = unsigned[0][:at] + b"s" * 16 + unsigned[0][at + 16 :]
    nameless = signed[0][:at] + bytes(16) + signed[0][at + 16 :]

    refused_open(party, named, unsigned_ok=True)
    refused_open(party, nameless, unsigned_ok=True, verify=lambda *_: None)


def test_a_packet_with_more_behind_it_is_refused(signed, unsigned):
    for packet in (signed[0], unsigned[0]):
        for more in (b"\0", bytes(4627)):
            assert_refused(parse_epoch, packet + more)


def test_a_flag_is_nothing_but_zero_or_one(unsigned):
    packet, _ = unsigned

    for flag in (2, 3, 128, 255):
        assert_refused(parse_epoch, packet[:6] + bytes((flag,)) + packet[7:])


def test_an_epoch_that_ends_before_it_begins_is_refused(party, unsigned):
    packet, _ = unsigned
    backwards = packet[:47] + (NOT_BEFORE - 1).to_bytes(8, "big") + packet[55:]

    assert_refused(parse_epoch, backwards)
    assert code_of(lambda: party.begin(not_after_ns=NOT_BEFORE)) == "crypto.bad_epoch"


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_data_key_of_another_length_is_refused(party, length):
    assert_refused(partial(party.open, party.begin()[0], unwrap=lambda *_: bytes(length)))


def test_another_data_key_is_refused_by_the_commitment(party, signed):
    packet, _ = signed

    refused_open(party, packet, unwrap=lambda *_: os.urandom(32))


def test_a_refusing_key_agent_is_a_refusal_and_an_absent_one_is_not(party, signed):
    packet, _ = signed

    def absent(*_):
        raise UnreachableError("crypto.agent", "No answer.", "Start it.")

    def unknown(*_):
        raise InputError("crypto.no_key", "No such key.", "Name another.")

    refused_open(party, packet, unwrap=unknown)
    refused_open(party, packet, verify=unknown)
    assert code_of(lambda: party.open(packet, unwrap=absent)) == "crypto.agent"
    assert code_of(lambda: party.open(packet, verify=absent)) == "crypto.agent"


def two_faced(first, second, plain):
    """Give a packet that wraps another data key for each of two, and the record for both."""
    epoch_id, signer = os.urandom(16), bytes(16)
    immutable = epochs._immutable(terms(), CNSA, epoch_id, signed=False)
    digest = hashlib.sha384(immutable).digest()
    info = epochs.WRAP_LABEL + digest
    data_keys = [os.urandom(32), os.urandom(32)]
    made = [derive_record_keys(CNSA, epoch_id, digest, key) for key in data_keys]
    parts = [immutable, signer, b"\2"]
    for party, key in zip((first, second), data_keys, strict=True):
        parts += [party.key.kid, party.public.seal(key, info)]
    packet = b"".join([*parts, made[0].commitment])
    header = made[0].prefix + bytes(8)
    pairs = [(one.key, one.iv) for one in made]
    sealed = AESGCM(made[0].key).encrypt(made[0].iv, plain + bytes(16), header)[:-16]
    return packet, header + collide(*pairs, sealed, header), made


def test_a_ciphertext_for_two_keys_opens_under_both_and_the_commitment_refuses_one():
    first, second = Party(), Party()
    plain = b"the valve stays shut, says the order of today".ljust(48)
    packet, record, made = two_faced(first, second, plain)

    shown = [
        AESGCM(one.key).decrypt(one.iv, record[14:], record[:14]) for one in made
    ]  # what bare AES-GCM does: it accepts both, as two different texts
    assert shown[0].startswith(plain)
    assert shown[1] != shown[0]
    assert [RecordReader(one).open(record) for one in made] == shown

    assert first.open(packet, unsigned_ok=True).open(record) == shown[0]
    refused_open(second, packet, unsigned_ok=True)


def test_after_rewrapping_the_new_recipient_opens_what_was_sealed_and_is_still_sealed(party):
    packet, writer = party.begin()
    before = writer.seal(b"before")
    heir = Party()

    again = rewrap_epoch(
        packet,
        unwrap=party.unwrap,
        verify=party.verify,
        recipients=[heir.public],
        sign=heir.signer,
    )
    after = writer.seal(b"after")

    reader = heir.open(again)
    assert [reader.open(before), reader.open(after)] == [b"before", b"after"]
    refused_open(party, again, verify=heir.verify)
    old, new = parse_epoch(packet), parse_epoch(again)
    assert (new.epoch_id, new.commitment, new.link) == (old.epoch_id, old.commitment, old.link)
    assert new.digest != old.digest


def test_an_unsigned_epoch_is_rewrapped_unsigned_and_never_becomes_a_signed_one(party, unsigned):
    packet, record = unsigned
    heir = Party()
    rewrap = partial(rewrap_epoch, packet, unwrap=party.unwrap, recipients=[heir.public])

    again = rewrap(verify=None, sign=None)

    assert heir.open(again, unsigned_ok=True).open(record, b"context") == b"hello"
    assert_refused(partial(rewrap, verify=None, sign=heir.signer))


def test_only_who_opens_a_packet_rewraps_it(party, signed):
    packet, _ = signed
    heir = Party()
    rewrap = partial(rewrap_epoch, recipients=[heir.public], sign=heir.signer)

    assert_refused(partial(rewrap, packet, unwrap=heir.unwrap, verify=party.verify))
    assert_refused(partial(rewrap, packet, unwrap=party.unwrap, verify=heir.verify))
    assert_refused(partial(rewrap, packet, unwrap=party.unwrap, verify=None))
    broken = flip(packet, len(packet) * 8 - 1)
    assert_refused(partial(rewrap, broken, unwrap=party.unwrap, verify=party.verify))
    unsigned = partial(rewrap_epoch, recipients=[heir.public], sign=None)
    assert_refused(partial(unsigned, packet, unwrap=party.unwrap, verify=party.verify))


def test_an_epoch_does_not_move_to_another_suite(party, signed):
    packet, _ = signed
    heir = Party(HYBRID)

    assert (
        code_of(
            lambda: rewrap_epoch(
                packet,
                unwrap=party.unwrap,
                verify=party.verify,
                recipients=[heir.public],
                sign=heir.signer,
            )
        )
        == "crypto.bad_epoch"
    )


def test_the_chain_shows_a_missing_epoch(party):
    first = parse_epoch(party.begin()[0])
    second = parse_epoch(party.begin(previous=first.link)[0])
    third = parse_epoch(party.begin(previous=second.link)[0])
    foreign = parse_epoch(party.begin(previous=first.link, topic="plant/8")[0])
    stranger = parse_epoch(party.begin(previous=first.link, producer=b"another-producer")[0])

    require_next(first, None)
    require_next(second, first)
    require_next(third, second)
    for epoch, before in (
        (third, first),
        (second, None),
        (first, second),
        (foreign, first),
        (stranger, first),
        (first, first),
    ):
        assert code_of(partial(require_next, epoch, before)) == "crypto.epoch_missing"


def test_the_chain_outlives_rewrapping(party):
    packet, _ = party.begin()
    second = parse_epoch(party.begin(previous=parse_epoch(packet).link)[0])
    again = rewrap_epoch(
        packet,
        unwrap=party.unwrap,
        verify=party.verify,
        recipients=[Party().public],
        sign=party.signer,
    )

    require_next(second, parse_epoch(again))


def test_an_epoch_is_valid_in_its_time_give_or_take_the_skew(party, signed):
    epoch = parse_epoch(signed[0])

    for now, skew in ((NOT_BEFORE, 0), (NOT_AFTER, 0), (NOT_BEFORE - 5, 5), (NOT_AFTER + 5, 5)):
        require_valid(epoch, now, skew)
    for now, skew in ((NOT_BEFORE - 1, 0), (NOT_AFTER + 1, 0), (NOT_BEFORE - 6, 5), (0, 0)):
        assert code_of(partial(require_valid, epoch, now, skew)) == "crypto.epoch_out_of_time"


def test_an_epoch_without_an_end_stays_valid(party):
    endless = parse_epoch(party.begin(not_before_ns=0, not_after_ns=0)[0])

    require_valid(endless, 0)
    require_valid(endless, 1 << 70)


@pytest.mark.parametrize(
    "wrong",
    [
        {"producer": b"short"},
        {"previous": b"short"},
        {"topic": "x" * 256},
        {"topic": "\u20ac" * 86},
        {"topic": "\ud800"},
        {"not_before_ns": -1},
        {"not_after_ns": 1 << 64},
        {"max_records": 0},
        {"max_records": (1 << 32) + 1},
        {"max_bytes": 0},
        {"max_bytes": (1 << 42) + 1},
    ],
    ids=str,
)
def test_terms_out_of_their_bounds_are_an_error(party, wrong):
    assert code_of(lambda: party.begin(**wrong)) == "crypto.bad_epoch"


def test_the_longest_and_the_shortest_topic_come_back(party):
    for topic in ("", "x" * 255, "\u20ac" * 85, "\0\n"):
        packet, writer = party.begin(topic=topic)
        assert parse_epoch(packet).topic == topic
        assert party.open(packet, topic=topic).open(writer.seal(b"x")) == b"x"


def test_recipients_of_two_suites_or_named_twice_or_none_are_an_error(party):
    for recipients in ([party.public, Party(RATE).public], [party.public] * 2, []):
        assert code_of(partial(begin_epoch, terms(), recipients, None)) == "crypto.bad_epoch"


def test_a_signature_of_another_scheme_is_an_error(party):
    small = SigningKey(ML_DSA_44, generate_seed())
    for signer in (
        Signer(small.kid, small.sign),
        Signer(bytes(16), party.signing.sign),
        Signer(b"short", party.signing.sign),
    ):
        assert code_of(partial(begin_epoch, terms(), [party.public], signer)) == "crypto.bad_epoch"


def test_the_terms_bound_the_writer(party):
    _, writer = party.begin(max_records=2, max_bytes=10)

    writer.seal(b"12345")
    writer.seal(b"12345")

    assert code_of(partial(writer.seal, b"")) == "crypto.epoch_spent"


def test_neither_packet_nor_repr_shows_the_data_key(party, monkeypatch):
    drawn = []
    real = epochs.secrets.token_bytes
    monkeypatch.setattr(
        epochs.secrets, "token_bytes", lambda size: drawn.append(real(size)) or drawn[-1]
    )

    packet, writer = party.begin()
    data_key = next(one for one in drawn if len(one) == 32)
    epoch = parse_epoch(packet)

    assert data_key not in packet
    for shown in (repr(epoch), repr(writer), repr(party.open(packet))):
        assert data_key.hex() not in shown
        assert repr(data_key) not in shown


# A producer as it would run: it begins an epoch, seals until it is killed, and knows nothing else.
PRODUCING = """
import sys
from cronos.crypto.epoch import EpochTerms, begin_epoch
from cronos.crypto.suites import CNSA, EncryptionKey

public = EncryptionKey(CNSA, bytes.fromhex(sys.argv[1]))
packet, writer = begin_epoch(EpochTerms(b"producer-of-this", "plant/7", 1, 0), [public], None)
print(packet.hex(), flush=True)
while True:
    print(writer.seal(b"hello").hex(), flush=True)
"""


def run_until_killed(public, records):
    command = [sys.executable, "-c", PRODUCING, public.hex()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as producer:
        lines = [producer.stdout.readline() for _ in range(records + 1)]
        producer.send_signal(signal.SIGKILL)
        producer.stdout.read()
    assert producer.returncode == -signal.SIGKILL
    return [bytes.fromhex(line) for line in lines]


def test_a_producer_that_is_killed_and_started_again_repeats_no_key_and_no_nonce(party):
    used = set()
    total = 0
    for records in (1, 40, 300):
        packet, *sealed = run_until_killed(party.key.public, records)
        epoch = parse_epoch(packet)
        info = epochs.WRAP_LABEL + epoch.header_digest
        data_key = party.unwrap(*epoch.recipients[0], info)
        made = derive_record_keys(epoch.suite, epoch.epoch_id, epoch.header_digest, data_key)
        reader = open_epoch(
            packet, topic="plant/7", unwrap=party.unwrap, verify=None, unsigned_ok=True
        )
        for record in sealed:
            assert reader.open(record) == b"hello"
            number = int.from_bytes(record[6:14], "big")
            used.add((made.key, int.from_bytes(made.iv, "big") ^ number))
        total += records

    assert len(used) == total


def test_a_forked_process_begins_an_epoch_of_its_own(party):
    read, write = os.pipe()
    child = os.fork()
    packet, writer = party.begin(signed=False)
    if child == 0:
        os.write(write, packet + writer.seal(b"from the child"))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)

    theirs = told[: len(packet)]
    assert parse_epoch(theirs).commitment != parse_epoch(packet).commitment
    assert party.open(theirs, unsigned_ok=True).open(told[len(packet) :]) == b"from the child"
    assert isinstance(writer, RecordWriter)
