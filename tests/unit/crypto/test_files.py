"""Sealed files: to keys or to a passphrase, by someone or by nobody, whole or refused."""

import hashlib
import io

import msgspec
import pytest
from tests.unit.crypto.file_keys import (
    CHEAP,
    PASSPHRASE,
    FileKeysDouble,
    opened,
    seal,
    to_key,
    to_passphrase,
)
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.epoch import WRAP_LABEL, EpochTerms, begin_epoch, open_epoch, parse_epoch
from cronos.crypto.fileheader import CHUNK_LOG2, make_header, read_header
from cronos.crypto.filepass import Stretch
from cronos.crypto.files import MAX_FILE_BYTES, Opening, Sealing, open_file, seal_file
from cronos.crypto.records import RECORD_OVERHEAD, RecordWriter, derive_record_keys
from cronos.crypto.suites import SUITES
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.types import KeyState

KEYS = FileKeysDouble(
    state="hybrid",
    cnsa="cnsa",
    rate="rate",
    other="hybrid",
    identity="ml-dsa-87",
    mallory="ml-dsa-87",
    small="ml-dsa-44",
)
STRANGER = FileKeysDouble(state="hybrid", identity="ml-dsa-87")
ROOM = 1 << 12
CHUNK = ROOM - RECORD_OVERHEAD
PLAIN = bytes(range(256)) * 40
WITH_PASSPHRASE = Opening(passphrase=PASSPHRASE)
BY_IDENTITY = Opening(by=KEYS.line("identity"))


# --- what opens ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1]
)
@pytest.mark.parametrize("sign_by", ["", "identity"])
def test_a_file_of_any_length_comes_back(length, sign_by):
    sealed = seal(PLAIN[:length], to_key(sign_by=sign_by), KEYS)
    assert opened(sealed, keys=KEYS) == PLAIN[:length]


@pytest.mark.parametrize("name", ["state", "cnsa", "rate"])
def test_each_suite_opens_with_its_key(name):
    sealed = seal(PLAIN, to_key(key=name), KEYS)
    assert opened(sealed, keys=KEYS) == PLAIN
    assert opened(sealed, Opening(key=name), KEYS) == PLAIN
    assert opened(sealed, Opening(key=f"{name}.1"), KEYS) == PLAIN
    assert opened(sealed, Opening(key=KEYS.infos[name].kid.hex()), KEYS) == PLAIN


@pytest.mark.parametrize("suite", [suite.name for suite in SUITES.values()])
def test_a_passphrase_opens_what_was_sealed_to_it(suite):
    sealed = seal(PLAIN, to_passphrase(suite=suite))
    assert opened(sealed, WITH_PASSPHRASE) == PLAIN


def test_the_default_passphrase_costs_what_rfc_9106_recommends():
    sealed = seal(b"secret", Sealing(passphrase=PASSPHRASE))
    header = read_header(io.BytesIO(sealed))
    assert header.stretch == Stretch(header.stretch.salt, 64 << 10, 3, 4)
    assert header.chunk_log2 == CHUNK_LOG2 == 18
    assert opened(sealed, WITH_PASSPHRASE) == b"secret"


def test_sixty_four_keys_open_it_each_alone():
    friends = [FileKeysDouble(mine="rate") for _ in range(64)]
    to = tuple(friend.line("mine") for friend in friends)
    sealed = seal(PLAIN, Sealing(to=to))
    for friend in (friends[0], friends[31], friends[63]):
        assert opened(sealed, keys=friend) == PLAIN


def test_a_key_of_ours_and_keys_of_others_open_it():
    sealed = seal(PLAIN, to_key(to=(STRANGER.line("state"), KEYS.line("state"))), KEYS)
    assert opened(sealed, keys=KEYS) == opened(sealed, keys=STRANGER) == PLAIN
    assert len(parse_epoch(read_header(io.BytesIO(sealed)).packet).recipients) == 2


def test_what_was_done_is_told():
    sink, told = io.BytesIO(), []
    how = to_key(sign_by="identity")
    done = seal_file(io.BytesIO(PLAIN), sink, how, KEYS, told.append)
    assert (done.plain_bytes, done.suite) == (len(PLAIN), "hybrid")
    assert done.recipients == (KEYS.infos["state"].kid.hex(),)
    assert done.signer == KEYS.infos["identity"].kid.hex()
    assert told[-1] == len(PLAIN)
    found = open_file(io.BytesIO(sink.getvalue()), io.BytesIO(), BY_IDENTITY, KEYS, told.append)
    assert (found.signer, found.verified) == (done.signer, True)
    unasked = open_file(io.BytesIO(sink.getvalue()), io.BytesIO(), Opening(), KEYS, told.append)
    assert (unasked.signer, unasked.verified) == (done.signer, False)


def test_the_same_content_is_sealed_differently_each_time():
    one, other = seal(PLAIN, to_key(), KEYS), seal(PLAIN, to_key(), KEYS)
    assert one[-100:] != other[-100:]


# --- what does not -------------------------------------------------------------------------------


def test_a_wrong_passphrase_and_a_wrong_key_end_in_the_one_text():
    by_key, by_passphrase = seal(PLAIN, to_key(), KEYS), seal(PLAIN, to_passphrase())
    assert_refused(opened, by_passphrase, Opening(passphrase=b"not this one, I fear"))
    assert_refused(opened, by_key, Opening(), STRANGER)
    assert_refused(opened, by_key, Opening(key="other"), KEYS)
    assert_refused(opened, by_key, Opening(key="nobody"), KEYS)


def test_with_the_wrong_kind_of_key_people_are_told_the_right_one():
    with pytest.raises(InputError) as caught:
        opened(seal(PLAIN, to_passphrase()), Opening(), KEYS)
    assert caught.value.code == "crypto.needs_passphrase"
    with pytest.raises(InputError) as caught:
        opened(seal(PLAIN, to_key(), KEYS), WITH_PASSPHRASE)
    assert caught.value.code == "crypto.needs_key"


@pytest.mark.parametrize(
    "how", [to_key(key="rate"), to_passphrase(suite="rate")], ids=["key", "words"]
)
def test_every_bit_of_a_small_file_counts(how):
    sealed = seal(b"small", how, KEYS)
    opening, keys = (WITH_PASSPHRASE, None) if how.passphrase else (Opening(), KEYS)
    assert opened(sealed, opening, keys) == b"small"
    # The costs of stretching are bounded, not small: leave those out that would only cost time.
    costly = range(8 * 25, 8 * 31) if how.passphrase else ()
    # The wrapped key is long: every bit of its edges, then every seventh.
    packet = 8 * 200
    bits = [*range(packet), *range(packet, 8 * len(sealed) - 8 * 120, 11)]
    bits += range(8 * len(sealed) - 8 * 120, 8 * len(sealed))
    for bit in set(bits) - set(costly):
        with pytest.raises(CronosError) as caught:
            opened(flip(sealed, bit), opening, keys)
        assert caught.value.code in {
            "crypto.refused",
            "crypto.not_sealed",
            "crypto.newer_file",
            "crypto.needs_key",
            "crypto.needs_passphrase",
        }
        assert bit < 8 * 8 or caught.value.code == "crypto.refused"


def test_every_bit_of_a_signed_file_counts():
    sealed = seal(b"small", to_key(key="rate", sign_by="identity"), KEYS)
    for bit in range(8 * 8, 8 * len(sealed), 61):
        assert_refused(opened, flip(sealed, bit), BY_IDENTITY, KEYS)


def test_every_bit_of_the_signature_record_counts_though_nobody_asks_who_signed():
    sealed = seal(b"small", to_key(sign_by="identity"), KEYS)
    start = len(sealed) - 4627 - RECORD_OVERHEAD
    for bit in [*range(8 * start, 8 * start + 8 * 20), *range(8 * start, 8 * len(sealed), 97)]:
        assert_refused(opened, flip(sealed, bit), Opening(), KEYS)


@pytest.mark.parametrize("sign_by", ["", "identity"])
def test_a_file_that_is_cut_anywhere_is_refused(sign_by):
    sealed = seal(PLAIN[: CHUNK + 9], to_key(key="rate", sign_by=sign_by), KEYS)
    step = 1 if not sign_by else 13
    for length in [*range(0, len(sealed), step), len(sealed) - 1]:
        with pytest.raises(CronosError) as caught:
            opened(sealed[:length], keys=KEYS)
        assert caught.value.code == ("crypto.not_sealed" if length < 6 else "crypto.refused")


@pytest.mark.parametrize("sign_by", ["", "identity"])
def test_a_file_that_is_lengthened_or_joined_to_another_is_refused(sign_by):
    how = to_key(sign_by=sign_by)
    sealed, other = seal(PLAIN, how, KEYS), seal(PLAIN, how, KEYS)
    for more in (b"\0", bytes(29), bytes(30), bytes(5000), other, sealed, other[-60:]):
        assert_refused(opened, sealed + more, Opening(), KEYS)


def test_chunks_of_two_files_do_not_mix():
    one, other = seal(PLAIN, to_key(), KEYS), seal(PLAIN, to_key(), KEYS)
    start = len(read_header(io.BytesIO(one)).raw)
    for at in range(start, len(one), ROOM):
        mixed = one[:at] + other[at : at + ROOM] + one[at + ROOM :]
        assert_refused(opened, mixed, Opening(), KEYS)
    assert_refused(opened, one[:start] + other[start:], Opening(), KEYS)
    assert_refused(opened, other[:start] + one[start:], Opening(), KEYS)


def test_a_header_whose_chunk_size_was_changed_is_refused():
    sealed = bytearray(seal(PLAIN[: CHUNK * 2], to_key(), KEYS))
    for log2 in range(13, 21):
        sealed[8] = log2
        assert_refused(opened, bytes(sealed), Opening(), KEYS)


def test_the_costs_of_a_passphrase_are_part_of_what_is_authenticated():
    sealed = bytearray(seal(b"small", to_passphrase()))
    assert int.from_bytes(sealed[25:29], "big") == CHEAP["memory_kib"]
    sealed[25:29] = (CHEAP["memory_kib"] * 2).to_bytes(4, "big")
    assert_refused(opened, bytes(sealed), WITH_PASSPHRASE)
    sealed[25:29] = (100 << 20).to_bytes(4, "big")
    assert_refused(opened, bytes(sealed), WITH_PASSPHRASE)


# --- who signed ----------------------------------------------------------------------------------


def test_who_asks_for_a_signer_gets_nothing_unsigned_or_signed_by_another():
    unsigned = seal(PLAIN, to_key(), KEYS)
    theirs = seal(PLAIN, to_key(sign_by="mallory"), KEYS)
    assert_refused(opened, unsigned, BY_IDENTITY, KEYS)
    assert_refused(opened, theirs, BY_IDENTITY, KEYS)
    assert opened(theirs, Opening(by=KEYS.line("mallory")), KEYS) == PLAIN


def test_a_stripped_signature_does_not_make_an_unsigned_file():
    sealed = seal(PLAIN, to_key(sign_by="identity"), KEYS)
    header = read_header(io.BytesIO(sealed))
    chunks = sealed[len(header.raw) : -(4627 + RECORD_OVERHEAD)]
    packet = bytearray(header.packet[:-4627])
    packet[6] = 0
    signer = packet.index(KEYS.infos["identity"].kid)
    packet[signer : signer + 16] = bytes(16)
    stripped = make_header(None, bytes(packet), header.chunk_log2).raw + chunks
    assert not parse_epoch(bytes(packet)).signed
    assert_refused(opened, stripped, Opening(), KEYS)
    assert_refused(opened, stripped, BY_IDENTITY, KEYS)


def test_nothing_leaves_before_the_signer_is_known():
    theirs = seal(PLAIN, to_key(sign_by="mallory"), KEYS)
    sink = io.BytesIO()
    assert_refused(open_file, io.BytesIO(theirs), sink, BY_IDENTITY, KEYS, lambda _: None)
    assert sink.getvalue() == b""


def recipients_own_writer(header):
    """Do what a recipient's own code could: unwrap the data key and seal with it from number 0."""
    epoch = parse_epoch(header.packet)
    kid, wrapped = epoch.recipients[0]
    data_key = KEYS.unwrap(kid.hex(), wrapped, WRAP_LABEL + epoch.header_digest)
    keys = derive_record_keys(epoch.suite, epoch.epoch_id, epoch.header_digest, data_key)
    return RecordWriter(keys, 100, 1 << 20)


def test_one_who_may_open_a_file_cannot_put_other_words_under_its_signature():
    sealed = seal(b"pay Alice", to_key(sign_by="identity"), KEYS)
    header = read_header(io.BytesIO(sealed))
    trailer = sealed[-(4627 + RECORD_OVERHEAD) :]
    bound = hashlib.sha384(b"cronos sealed file v1\0" + header.raw).digest()
    words = recipients_own_writer(header).seal(b"pay Mallory", bound + b"\1")
    forged = header.raw + words + trailer
    assert opened(forged, Opening(), KEYS) == b"pay Mallory"  # nobody asked who signed
    assert_refused(opened, forged, BY_IDENTITY, KEYS)


def test_the_last_signature_is_over_the_label_and_the_hash_of_header_and_chunks():
    sealed = seal(PLAIN, to_key(sign_by="identity"), KEYS)
    header = read_header(io.BytesIO(sealed))
    end = len(sealed) - 4627 - RECORD_OVERHEAD
    chunks = [sealed[at : min(at + ROOM, end)] for at in range(len(header.raw), end, ROOM)]
    leaves = b"".join(hashlib.sha512(b"\0" + one).digest() for one in (header.raw, *chunks))
    epoch = parse_epoch(header.packet)
    reader = open_epoch(
        header.packet,
        topic="file",
        unwrap=lambda kid, wrapped, info: KEYS.unwrap(kid.hex(), wrapped, info),
        verify=lambda *_: None,
    )
    bound = hashlib.sha384(b"cronos sealed file v1\0" + header.raw).digest()
    signature = reader.open(sealed[end:], bound + b"\2")
    message = b"cronos sealed file v1\0" + hashlib.sha512(b"\1" + leaves).digest()
    assert epoch.signer == KEYS.infos["identity"].kid
    verifying = KEYS.held["identity"].verifying_key()
    verifying.verify(message, b"cronos-sealed-v1", signature)
    with pytest.raises(DeniedError):
        verifying.verify(flip(message, 8 * 40), b"cronos-sealed-v1", signature)


def test_an_epoch_of_another_topic_is_no_file():
    terms = EpochTerms(bytes(16), "stream/1", 0, 0)
    packet, writer = begin_epoch(terms, [KEYS.held["state"].encryption_key()], None)
    header = make_header(None, packet, 12)
    bound = hashlib.sha384(b"cronos sealed file v1\0" + header.raw).digest()
    data = header.raw + writer.seal(b"from a stream", bound + b"\1")
    assert_refused(opened, data, Opening(), KEYS)


# --- what cannot be asked for --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (Sealing(), "crypto.recipients"),
        (Sealing(key="state", passphrase=PASSPHRASE), "crypto.key_and_passphrase"),
        (Sealing(passphrase=b"short"), "crypto.weak_passphrase"),
        (Sealing(key="state", to=(KEYS.line("cnsa"),)), "crypto.mixed_suites"),
        (Sealing(key="state", suite="cnsa"), "crypto.mixed_suites"),
        (Sealing(key="state", suite="rot13"), "crypto.unknown_suite"),
        (Sealing(key="identity"), "crypto.wrong_kind_of_key"),
        (Sealing(key="nobody"), "crypto.no_key"),
        (Sealing(key="state", sign_by="state"), "crypto.wrong_kind_of_key"),
        (Sealing(key="state", sign_by="small"), "crypto.wrong_kind_of_key"),
        (Sealing(key="state", sign_by="nobody"), "crypto.no_key"),
        (Sealing(to=(KEYS.line("identity"),)), "crypto.wrong_kind_of_key"),
        (Sealing(to=(b"no key",)), "crypto.bad_key_text"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_does_not_fit_together_is_told_in_a_sentence(how, code):
    with pytest.raises(InputError) as caught:
        seal(PLAIN, how, KEYS)
    assert caught.value.code == code


def test_a_sixty_fifth_key_is_one_too_many():
    friends = tuple(FileKeysDouble(mine="rate").line("mine") for _ in range(65))
    with pytest.raises(InputError, match="1 to 64 keys, not to 65"):
        seal(PLAIN, Sealing(to=friends))


def test_kyber_1024_means_the_final_standard():
    sealed = seal(PLAIN, to_key(key="cnsa", suite="kyber-1024"), KEYS)
    assert parse_epoch(read_header(io.BytesIO(sealed)).packet).suite.name == "cnsa"


def test_a_destroyed_key_is_not_tried():
    sealed = seal(PLAIN, to_key(), KEYS)
    gone = FileKeysDouble()
    gone.held = dict(KEYS.held)
    gone.infos = {"state": msgspec.structs.replace(KEYS.infos["state"], state=KeyState.DESTROYED)}
    assert_refused(opened, sealed, Opening(), gone)


def test_a_file_that_is_too_long_for_one_key_says_so(monkeypatch):
    assert MAX_FILE_BYTES == 4 << 40
    monkeypatch.setattr("cronos.crypto.files.MAX_FILE_BYTES", 5000)
    with pytest.raises(InputError) as caught:
        seal(bytes(5001), to_key(), KEYS)
    assert caught.value.code == "crypto.file_too_long"


def test_a_signed_file_that_is_too_long_with_its_signature_says_so_too(monkeypatch):
    monkeypatch.setattr("cronos.crypto.files.MAX_FILE_BYTES", 5000)
    with pytest.raises(InputError) as caught:
        seal(bytes(4000), to_key(sign_by="identity"), KEYS)
    assert caught.value.code == "crypto.file_too_long"


def test_a_key_that_its_provider_wraps_nothing_for_is_not_sealed_to():
    class Replaced(FileKeysDouble):
        def wrap(self, key_id, data_key, context):
            raise DeniedError("crypto.key_not_active", "It is not active.", "Use another.")

    with pytest.raises(DeniedError) as caught:
        seal(PLAIN, to_key(), Replaced(state="hybrid"))
    assert caught.value.code == "crypto.key_not_active"


def test_a_key_that_went_away_in_between_is_told_in_a_sentence():
    class Vanishing(FileKeysDouble):
        def listed(self):
            return ()

    with pytest.raises(InputError, match="no key `state` any more"):
        seal(PLAIN, to_key(), Vanishing(state="hybrid"))


def test_a_passphrase_is_in_no_representation():
    for one in (Sealing(passphrase=PASSPHRASE), Opening(passphrase=PASSPHRASE)):
        assert PASSPHRASE.decode() not in repr(one)
        assert PASSPHRASE.decode() not in f"{one}"


def test_an_error_of_the_keystore_that_is_no_refusal_passes_through():
    class Silent(FileKeysDouble):
        def unwrap(self, key_id, wrapped, context):
            raise UnreachableError("agent.silent", "The agent is silent.", "Start it.")

    silent = Silent()
    silent.held, silent.infos = KEYS.held, KEYS.infos
    with pytest.raises(UnreachableError):
        opened(seal(PLAIN, to_key(), KEYS), Opening(), silent)
