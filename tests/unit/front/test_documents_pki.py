"""The document of `cronos pki`: times, states and what is stale."""

from cronos.crypto.pki.registry import Issued, IssuerRow, TokenRow
from cronos.crypto.pki.revocation import Standing
from cronos.front.documents_pki import (
    certificate_view,
    issuer_view,
    list_view,
    moment,
    token_view,
)

S_NS = 1_000_000_000


def test_a_time_is_iso_8601_in_utc_and_never_is_empty():
    assert moment(1_790_000_000 * S_NS + 5) == "2026-09-21T14:13:20Z"
    assert moment(0) == ""


def test_a_certificate_shows_its_roles_and_its_revocation():
    row = Issued(
        "ab", "node", "alpha", "defense,audit", "p-384", "i", S_NS, 2 * S_NS, 3 * S_NS, "r"
    )
    view = certificate_view(row)

    assert view.roles == ("defense", "audit")
    assert view.revoked == "1970-01-01T00:00:03Z"
    assert view.reason == "r"


def test_an_issuer_shows_its_kinds():
    view = issuer_view(IssuerRow("operators", "operator", b"", b"", S_NS))

    assert (view.kinds, view.revoked) == (("operator",), "")


def test_a_token_is_open_used_or_expired():
    fresh = TokenRow(b"i", "alpha", "audit", b"v", 10)
    used = TokenRow(b"i", "alpha", "audit", b"v", 10, 5)

    assert token_view(fresh, 9).state == "open"
    assert token_view(fresh, 10).state == "expired"
    assert token_view(used, 9).state == "used"


def test_a_list_past_its_time_is_stale():
    row = Standing("issuer-1", 7, 2, S_NS, 9)

    assert not list_view(row, 8).stale
    assert list_view(row, 9).stale
