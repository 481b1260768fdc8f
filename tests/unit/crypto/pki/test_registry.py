"""The book: all of a piece of work, or nothing of it."""

import sqlite3

import pytest

from cronos.crypto.pki.registry import Issued, Registry, TokenRow
from cronos.errors import CronosError


@pytest.fixture
def registry(tmp_path):
    made = Registry(tmp_path / "registry.db")
    made.create()
    return made


def row(serial="00" * 16, name="alpha", kind="node", ends=100, issuer="issuer-1"):
    return Issued(serial, kind, name, "audit", "p-384", issuer, 1, ends)


def test_work_that_fails_leaves_no_trace(registry):
    def fail():
        with registry.work() as book:
            book.add_issued([row()])
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        fail()

    with registry.work() as book:
        assert book.issued() == []


def test_a_token_is_used_once(registry):
    with registry.work() as book:
        book.add_token(TokenRow(b"i", "alpha", "audit", b"v", 100))

        assert book.use_token(b"i", 5)
        assert not book.use_token(b"i", 6)
        assert book.token(b"i").used_ns == 5
        assert not book.use_token(b"j", 5)
        assert book.token(b"j") is None


def test_names_kinds_and_numbers_find_their_certificates(registry):
    with registry.work() as book:
        book.add_issued([row("0a" * 16), row("0b" * 16, "eve"), row("0c" * 16, "eve", "operator")])

        assert [one.serial for one in book.find("0b" * 16)] == ["0b" * 16]
        assert len(book.find("eve")) == 2
        assert [one.kind for one in book.find("operator/eve")] == ["operator"]
        assert book.find("' or 1=1 --") == []


def test_the_first_revocation_counts_and_expired_ones_leave_the_list(registry):
    with registry.work() as book:
        book.add_issued([row("0a" * 16, ends=10), row("0b" * 16, ends=100)])
        book.revoke(["0a" * 16, "0b" * 16], 5, "superseded")
        book.revoke(["0b" * 16], 6, "key-compromise")

        assert [one.serial for one in book.revoked_by("issuer-1", 50)] == ["0b" * 16]
        assert book.find("0b" * 16)[0].revoked_ns == 5
        assert book.revoked_by("issuer-2", 0) == []


def test_a_blocked_holder_has_no_roles_until_it_is_admitted_again(registry):
    with registry.work() as book:
        book.admit("node", "alpha", "audit")
        assert book.holder("node", "alpha") == "audit"
        book.block("node", "alpha")
        assert book.holder("node", "alpha") is None
        book.admit("node", "alpha", "defense")
        assert book.holder("node", "alpha") == "defense"


def test_old_rows_are_forgotten(registry):
    with registry.work() as book:
        book.add_issued([row("0a" * 16, ends=10), row("0b" * 16, ends=100)])
        book.add_token(TokenRow(b"i", "alpha", "audit", b"v", 10))
        book.forget(50)

        assert [one.serial for one in book.issued()] == ["0b" * 16]
        assert book.tokens() == []


@pytest.mark.parametrize("version", [0, 2])
def test_a_book_of_another_version_is_not_touched(registry, tmp_path, version):
    with sqlite3.connect(tmp_path / "registry.db") as book:
        book.execute(f"pragma user_version = {version}")
    book.close()

    with pytest.raises(CronosError) as refused, registry.work():
        pass
    assert refused.value.code == ("crypto.newer_version" if version else "crypto.registry_damaged")


def test_noise_is_no_book(tmp_path):
    (tmp_path / "registry.db").write_bytes(b"x" * 4096)

    with pytest.raises(CronosError) as refused, Registry(tmp_path / "registry.db").work():
        pass
    assert refused.value.code == "crypto.registry_damaged"
