"""The life of a key is a table, and goes one way only."""

import itertools

import msgspec
import pytest
from tests.unit.crypto.pki.plant import NOW_NS, S_NS
from tests.unit.crypto.test_keyfile import ENTRY, IMAGE

from cronos.crypto import lifecycle
from cronos.crypto.pki.profile import LIFE_NS
from cronos.errors import DeniedError
from cronos.types import KeyState

ORDER = list(KeyState)


def key(**change):
    return msgspec.structs.replace(ENTRY, **change)


def image(*keys):
    return lifecycle.replaced(msgspec.structs.replace(IMAGE, keys=(), versions=()), *keys)


@pytest.mark.parametrize(("was", "will"), list(itertools.product(ORDER, ORDER)))
def test_a_key_only_moves_down_the_list(was, will):
    if will in lifecycle.ALLOWED[was]:
        assert ORDER.index(will) > ORDER.index(was)
        assert lifecycle.moved(key(state=was), will).state is will
    else:
        with pytest.raises(DeniedError, match="cannot become"):
            lifecycle.moved(key(state=was), will)


def test_a_destroyed_key_keeps_no_secret_and_a_signing_key_its_public_half():
    gone = lifecycle.moved(key(), KeyState.DESTROYED)
    assert (gone.sealed, gone.public) == (b"", b"")
    signer = lifecycle.moved(key(algorithm="ml-dsa-87"), KeyState.DESTROYED)
    assert (signer.sealed, signer.public) == (b"", b"public")


def test_keys_are_sorted_by_name_and_number_and_versions_only_rise():
    made = image(key(version=10), key(version=9), key(name="a", version=3))
    assert [one.key_id for one in made.keys] == ["a.3", "state.9", "state.10"]
    assert dict(made.versions) == {"a": 3, "state": 10}
    assert lifecycle.next_version(made, "state") == 11
    assert lifecycle.next_version(made, "new") == 1


@pytest.mark.parametrize(
    ("life_s", "renew_s"), [(0, 0), (86_400, 43_200), (7 * 86_400, 302_400), (7_776_000, 5_184_000)]
)
def test_a_day_is_renewed_at_its_half_and_90_days_at_60(life_s, renew_s):
    assert lifecycle.renewal_ns(life_s * S_NS) == renew_s * S_NS


@pytest.mark.parametrize(("kind", "left_s"), [("node", 43_200), ("service", 30 * 86_400)])
def test_a_certificate_is_due_when_what_is_left_is_the_overlap_and_not_before(kind, left_s):
    ends_ns = NOW_NS + LIFE_NS[kind]
    moment = ends_ns - left_s * S_NS
    assert not lifecycle.due(ends_ns, LIFE_NS[kind], moment - 1)
    assert lifecycle.due(ends_ns, LIFE_NS[kind], moment)
    assert lifecycle.due(ends_ns, LIFE_NS[kind], ends_ns + 1)


def test_a_certificate_that_was_cut_short_is_due_while_as_much_is_left_as_of_any_other():
    short_ns = NOW_NS + 20 * 86_400 * S_NS
    assert lifecycle.due(short_ns, LIFE_NS["service"], NOW_NS)


@pytest.mark.parametrize("state", ORDER)
@pytest.mark.parametrize("forget", [True, False])
def test_only_an_expired_replaced_forgettable_key_is_destroyed_by_itself(state, forget):
    one = image(key(state=state, forget=forget, expires_ns=100))
    due = state is KeyState.DECRYPT_ONLY and forget
    assert bool(lifecycle.to_destroy(one, 100)) == due
    assert lifecycle.to_destroy(one, 99) == ()
    never = image(key(state=state, forget=forget, expires_ns=0))
    assert lifecycle.to_destroy(never, 1 << 62) == ()


@pytest.mark.parametrize("state", ORDER)
def test_only_an_active_key_is_renewed_and_only_when_due(state):
    one = image(key(state=state, renew_ns=50))
    assert bool(lifecycle.to_renew(one, 50)) == (state is KeyState.ACTIVE)
    assert lifecycle.to_renew(one, 49) == ()
    assert lifecycle.to_renew(image(key(state=state, renew_ns=0)), 1 << 62) == ()


def test_a_life_ends_at_its_last_nanosecond():
    assert lifecycle.expired(key(expires_ns=9), 9)
    assert not lifecycle.expired(key(expires_ns=9), 8)
    assert not lifecycle.expired(key(expires_ns=0), 1 << 62)


def test_what_is_due_as_soon_as_it_is_made_is_measured_by_what_is_left():
    day = 86_400 * lifecycle.SECOND_NS
    assert lifecycle.life_ahead(90 * day, 90 * day, 0) == 90 * day
    assert lifecycle.life_ahead(30 * day + 1, 90 * day, 0) == 90 * day
    assert lifecycle.life_ahead(30 * day, 90 * day, 0) == 30 * day
    assert lifecycle.life_ahead(30 * day, 90 * day, 31 * day) == 1
