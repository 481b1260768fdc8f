"""A change tells in its events all that it does to the image."""

import msgspec
import pytest
from tests.unit.crypto.test_keyfile import IMAGE

from cronos.crypto.keyfile import MAX_KEYS, KeyPlan
from cronos.crypto.keylog import KeyEvent
from cronos.crypto.master import new_master
from cronos.crypto.rotation import Change
from cronos.errors import DeniedError, InputError
from cronos.types import KeyState


@pytest.fixture
def change():
    empty = msgspec.structs.replace(IMAGE, keys=(), versions=())
    return Change(empty, new_master(bytes(16)), 1_000)


def told(change):
    return [f"{event.what} {event.key_id}" for event in change.events]


def test_a_successor_has_what_its_predecessor_had_and_times_of_its_own(change):
    old = change.create(KeyPlan("n", "ml-dsa-44", life_s=10, contexts=("a",), forget=True))
    change.now_ns += 500
    new = change.rotate(old)
    assert new.key_id == "n.2"
    assert (new.contexts, new.forget, new.algorithm) == (("a",), True, "ml-dsa-44")
    assert (new.created_ns, new.renew_ns, new.expires_ns) == (1_500, 5_000_001_500, 10_000_001_500)
    assert change.image.find("n") == new
    assert change.image.find("n.1").state is KeyState.DECRYPT_ONLY
    assert told(change) == ["created n.1", "created n.2", "rotated n.1"]
    assert {event.generation for event in change.events} == {IMAGE.generation + 1}


def test_a_replaced_key_is_not_replaced_again(change):
    old = change.create(KeyPlan("n", "ml-dsa-44"))
    change.rotate(old)
    with pytest.raises(DeniedError):
        change.rotate(change.image.find("n.1"))


def test_a_renewal_time_may_be_given_without_an_end(change):
    made = change.create(KeyPlan("n", "ml-dsa-44", renew_s=3))
    assert (made.renew_ns, made.expires_ns) == (3_000_001_000, 0)


def test_what_the_log_tells_is_done_again_without_using_a_version_twice(change):
    first = change.create(KeyPlan("n", "ml-dsa-44"))
    kid = first.kid.hex()
    change.repeat(KeyEvent("created", "n.7", "00" * 16, 9, 5_000))
    change.repeat(KeyEvent("rotated", "n.1", kid, 9, 5_000))
    assert change.image.find("n").key_id == "n.8"
    assert change.image.find("n.1").state is KeyState.DECRYPT_ONLY
    change.repeat(KeyEvent("destroyed", "n.1", kid, 9, 6_000))
    assert change.image.find("n.1").state is KeyState.DESTROYED
    change.repeat(KeyEvent("destroyed", "n.1", kid, 9, 6_000))
    assert change.now_ns == 6_000


def test_what_the_log_tells_of_another_key_of_that_id_touches_nothing(change):
    change.create(KeyPlan("n", "ml-dsa-44"))
    for event in (
        KeyEvent("destroyed", "n.1", "00" * 16, 9, 5_000),
        KeyEvent("exported", "", "", 9, 5_000),
        KeyEvent("created", "", "", 9, 5_000),
    ):
        change.repeat(event)
    assert change.image.find("n").state is KeyState.ACTIVE


def test_a_full_keystore_takes_no_more(change):
    made = change.create(KeyPlan("n", "ml-dsa-44"))
    change.image = msgspec.structs.replace(change.image, keys=(made,) * MAX_KEYS)
    with pytest.raises(InputError, match="takes no more") as caught:
        change.create(KeyPlan("m", "ml-dsa-44"))
    # It is refused before a secret is drawn that a traceback could show.
    assert all("secret" not in frame.frame.f_locals for frame in caught.traceback)


def test_a_context_that_could_not_be_written_down_is_refused(change):
    for context in ("\udcff", "c" * 65):
        with pytest.raises(InputError) as caught:
            change.create(KeyPlan("n", "ml-dsa-44", contexts=(context,)))
        assert caught.value.code == "crypto.bad_terms"
