"""What SQLite reports becomes a sentence with a remedy."""

import pathlib
import sqlite3

import pytest

from cronos.errors import CronosError, DeniedError
from cronos.govern.ledger_errors import broken, explain, translate

_PATH = pathlib.Path("some/ledger.db")


def _error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("the reason")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, "govern.disk_full"),
        (sqlite3.SQLITE_BUSY, "govern.ledger_busy"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "govern.ledger_busy"),
        (sqlite3.SQLITE_LOCKED, "govern.ledger_busy"),
        (sqlite3.SQLITE_READONLY, "govern.ledger_readonly"),
        (sqlite3.SQLITE_IOERR_WRITE, "govern.ledger_io"),
        (sqlite3.SQLITE_IOERR_FSYNC, "govern.ledger_unsynced"),
        (sqlite3.SQLITE_CANTOPEN, "govern.ledger_unopened"),
        (sqlite3.SQLITE_CORRUPT, "govern.ledger_broken"),
        (sqlite3.SQLITE_NOTADB, "govern.ledger_broken"),
        (sqlite3.SQLITE_CONSTRAINT, "govern.ledger_broken"),
    ],
)
def test_each_kind_of_trouble_has_its_code_sentence_and_remedy(code, expected):
    error = explain(_PATH, _error(code))
    assert error.code == expected
    assert "some/ledger.db" in error.sentence
    assert "{" not in error.sentence + error.remedy
    assert error.remedy.endswith(".")


def test_a_permission_is_a_denial():
    assert isinstance(explain(_PATH, _error(sqlite3.SQLITE_READONLY)), DeniedError)


def test_a_closed_connection_has_no_code_of_its_own():
    database = sqlite3.connect(":memory:")
    database.close()
    with pytest.raises(CronosError) as raised, translate(_PATH):
        database.execute("SELECT 1")
    assert raised.value.code == "govern.ledger_closed"


def test_what_is_broken_says_how():
    assert "record 3 is gone" in broken(_PATH, "record 3 is gone").sentence
