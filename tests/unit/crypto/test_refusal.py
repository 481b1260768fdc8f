"""The one error of everything that does not open."""

from tests.unit.crypto.refusals import assert_refused

from cronos.crypto.refusal import refused
from cronos.crypto.signatures import ML_DSA_44, SigningKey
from cronos.crypto.suites import CNSA, DecryptionKey
from cronos.errors import DeniedError


def test_a_refusal_has_a_code_a_sentence_and_a_remedy():
    error = refused()

    assert isinstance(error, DeniedError)
    assert error.code == "crypto.refused"
    assert error.sentence.endswith(".")
    assert error.remedy.endswith(".")


def test_two_refusals_are_two_objects_so_that_no_traceback_is_shared():
    assert refused() is not refused()


def test_opening_and_verifying_refuse_in_the_same_words():
    key = DecryptionKey(CNSA, bytes(64))
    signing = SigningKey(ML_DSA_44, bytes(32))

    assert_refused(key.open, b"", b"")
    assert_refused(key.open, bytes(2000), b"")
    assert_refused(signing.verifying_key().verify, b"", b"", b"")
    assert_refused(signing.verifying_key().verify, b"", b"", bytes(ML_DSA_44.signature_bytes))
