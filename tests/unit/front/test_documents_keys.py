"""The document of `cronos keys` shows times and fingerprints as people read them."""

import json

from cronos.front.documents_keys import KeysDocument, KeyView, view
from cronos.front.result import to_json
from cronos.types import KeyInfo, KeyState


def info(**change):
    fields = {"created_wall_ns": 1_700_000_000_000_000_000, "expires_wall_ns": 0, **change}
    return KeyInfo("state.1", "hybrid", KeyState.ACTIVE, b"\xab" * 16, b"public", **fields)


def test_a_key_is_shown_with_times_in_utc():
    assert view(info()) == KeyView(
        "state.1", "hybrid", "active", "ab" * 16, "2023-11-14T22:13:20Z", ""
    )
    assert view(info(expires_wall_ns=1_700_000_001_999_999_999)).expires == "2023-11-14T22:13:21Z"


def test_a_time_beyond_the_calendar_is_shown_as_a_number():
    assert view(info(created_wall_ns=1 << 62)).created.endswith("Z")
    assert view(info(created_wall_ns=1 << 70)).created == f"{1 << 70} ns"


def test_the_document_names_its_schema():
    document = KeysDocument("listed", "/f", "machine-key", "", verified=True, keys=(view(info()),))
    assert json.loads(to_json(document))["schema"] == "cronos.keys/1"
