"""Detached signatures: over this file, by this key, or refused."""

import base64
import io

import pytest
from tests.unit.crypto.file_keys import FileKeysDouble
from tests.unit.crypto.refusals import assert_refused

from cronos.crypto.chunks import fill
from cronos.crypto.filesign import sign_file, signer_named, verify_file
from cronos.errors import InputError

KEYS = FileKeysDouble(identity="ml-dsa-87", other="ml-dsa-87", state="hybrid", small="ml-dsa-44")
CONTENT = b"what is signed" * 50_000


def nobody(_done):
    """Tell nobody."""


def sign(content=CONTENT, name="identity"):
    return sign_file(io.BytesIO(content), name, KEYS, nobody)


def verify(content, line, by="identity"):
    return verify_file(io.BytesIO(content), line, KEYS.line(by), nobody)


LINE = sign().line.encode()


def test_a_signature_verifies_and_says_who_signed_how_much():
    found = verify(CONTENT, LINE)
    assert found.kid == KEYS.infos["identity"].kid.hex()
    assert found.length == len(CONTENT)


@pytest.mark.parametrize("length", [0, 1, 262_143, 262_144, 262_145])
def test_a_file_of_any_length_can_be_signed(length):
    verify(b"x" * length, sign(b"x" * length).line.encode())


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_it_may_end_as_editors_and_mail_end_lines(end):
    verify(CONTENT, LINE.rstrip(b"\n") + end)


def test_another_content_is_refused():
    for content in (b"", CONTENT[:-1], CONTENT + b"\0", CONTENT[::-1], b"W" + CONTENT[1:]):
        assert_refused(verify, content, LINE)


def test_another_key_is_refused():
    assert_refused(verify, CONTENT, LINE, "other")


def test_a_signature_under_another_fingerprint_is_refused():
    theirs = sign(name="other").line.encode()
    forged = theirs.replace(
        KEYS.infos["other"].kid.hex().encode(), KEYS.infos["identity"].kid.hex().encode()
    )
    assert_refused(verify, CONTENT, forged)


def test_every_changed_character_is_refused():
    mark = len(b"cronos-signature1 ")
    places = [*range(mark, 90), *range(90, len(LINE) - 1, 97)]
    for at in places:
        changed = bytearray(LINE)
        changed[at] ^= 1
        assert_refused(verify, b"short", bytes(changed))


def test_every_cut_signature_is_refused():
    for length in range(len(b"cronos-signature1 "), len(LINE) - 1, 41):
        assert_refused(verify, b"short", LINE[:length])


def test_a_signature_for_another_purpose_is_refused():
    kid = KEYS.infos["identity"].kid.hex()
    epoch = KEYS.sign("identity", b"message", b"cronos-epoch-v1")
    encoded = LINE.split()[-1]
    assert len(epoch) == 4627
    forged = LINE.replace(encoded, base64.b64encode(epoch))
    assert kid.encode() in forged
    assert_refused(verify, CONTENT, forged)


def test_a_huge_text_is_refused_before_it_is_read():
    assert_refused(verify, CONTENT, LINE + b"A" * 100_000_000)


@pytest.mark.parametrize(
    "text", [b"", b"-----BEGIN PGP SIGNATURE-----", b"\xff" * 50, b"cronos-key1 "]
)
def test_what_is_no_signature_is_told_so(text):
    with pytest.raises(InputError) as caught:
        verify(CONTENT, text)
    assert caught.value.code == "crypto.not_a_signature"


@pytest.mark.parametrize("name", ["state", "small"])
def test_only_ml_dsa_87_signs_files(name):
    with pytest.raises(InputError, match="does not sign with ML-DSA-87"):
        sign(name=name)
    with pytest.raises(InputError):
        signer_named(name, KEYS)


def test_a_key_that_is_not_there_is_told_so():
    with pytest.raises(InputError, match="There is no key nobody"):
        sign(name="nobody")


def test_a_signature_by_a_key_that_seals_is_no_question():
    with pytest.raises(InputError, match="No key of `hybrid` signs"):
        verify(CONTENT, LINE, "state")


def test_progress_is_told_in_bytes():
    told = []
    sign_file(io.BytesIO(CONTENT), "identity", KEYS, told.append)
    assert told[-1] == len(CONTENT)
    assert told == sorted(told)


def test_a_long_file_is_read_in_pieces():
    class Watched(io.BytesIO):
        most = 0

        def readinto(self, buffer):
            self.most = max(self.most, len(buffer))
            return super().readinto(buffer)

    source = Watched(CONTENT)
    sign_file(source, "identity", KEYS, nobody)
    assert source.most <= 1 << 20
    assert fill(source, memoryview(bytearray(1))) == 0
