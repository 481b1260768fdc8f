"""What the engines of bulk streams share: no patterns, nothing far and plain, no half of TLS."""

import pytest

from cronos.errors import DeniedError, ExtraMissingError, InputError
from cronos.mesh import bulk


def test_a_library_that_is_missing_is_named_by_its_extra():
    assert bulk.library("json", "nats", "It").loads("1") == 1
    with pytest.raises(ExtraMissingError, match=r"cronos\[nats\]"):
        bulk.library("no_such_library", "nats", "It")


@pytest.mark.parametrize("subject", ["a", "records.alpha-1", "a.b.c.d.e.f.g.h"])
def test_subjects_pass(subject):
    assert bulk.require_subject(subject) == subject


@pytest.mark.parametrize(
    "subject", ["", ".", "a.", "*", "a.>", "A", "a b", "$x", ".".join("abcdefghi")]
)
def test_what_is_no_subject_is_refused(subject):
    with pytest.raises(InputError) as refused:
        bulk.require_subject(subject)
    assert refused.value.code == "mesh.bad_subject"


def test_a_message_is_no_longer_than_a_frame():
    assert bulk.require_message(bytes(1 << 20)) == bytes(1 << 20)
    with pytest.raises(InputError):
        bulk.require_message(bytes((1 << 20) + 1))


def test_only_loopback_goes_without_tls():
    assert bulk.places_of(("127.0.0.1:1", "[::1]:2", "localhost:3"), secure=False, table="t") == [
        ("127.0.0.1", 1), ("::1", 2), ("localhost", 3)]  # fmt: skip
    assert bulk.places_of(("b.example:1",), secure=True, table="t") == [("b.example", 1)]
    with pytest.raises(InputError) as plain:
        bulk.places_of(("127.0.0.1:1", "b.example:1"), secure=False, table="t")
    assert plain.value.code == "mesh.plain_broker"


def test_tls_is_mutual_or_not_at_all(tmp_path):
    assert bulk.tls_of("", "", "") is None
    with pytest.raises(InputError) as half:
        bulk.tls_of("ca.pem", "", "")
    assert half.value.code == "mesh.half_tls"
    (tmp_path / "pem").write_text("no certificate")
    for name in ("pem", "none"):
        file = str(tmp_path / name)
        with pytest.raises(DeniedError) as bad:
            bulk.tls_of(file, file, file)
        assert bad.value.code == "mesh.bad_tls_files"


def test_an_engine_that_is_away_is_told_in_a_sentence():
    error = bulk.away("NATS", TimeoutError("x" * 1000))
    assert error.code == "mesh.engine_away"
    assert len(error.sentence) < 300
