"""The keystore keeps keys through crashes, full disks and wrong clocks, and gives none away."""

import copy
import pickle
import threading
import traceback

import pytest
from tests.unit.crypto.keystores import (
    DATA_KEY,
    DAY_NS,
    HOUR_NS,
    opened,
    passphrase_root,
    states,
)

from cronos.crypto.keyfile import KeyPlan
from cronos.crypto.keystore import KeystoreConfig, admin_key_of
from cronos.crypto.refusal import REFUSED
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.crypto.signatures import ML_DSA_87, VerifyingKey
from cronos.crypto.suites import RATE, DecryptionKey, EncryptionKey, generate_secret
from cronos.errors import CronosError, DeniedError, InputError
from cronos.ports import KeyProvider
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.key_provider import KeyProviderConformance


class Conforming(KeyProviderConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path / "keys"
        self.stores = []
        yield
        for store in self.stores:
            store.close()

    def root(self):
        return MachineRoot(MachineConfig(), self.folder)

    def make(self) -> KeyProvider:
        store = opened(self.folder, root=self.root(), suite="rate")
        self.stores.append(store)
        store.ensure()
        return store

    def key_id(self) -> str:
        return "state.1"

    def signing_key_id(self) -> str:
        return "identity.1"

    def signed(self, public: bytes, message: bytes, context: bytes, signature: bytes) -> bool:
        try:
            VerifyingKey(ML_DSA_87, public).verify(message, context, signature)
        except DeniedError:
            return False
        return True


class TestKeystoreWithMachineKey(Conforming):
    pass


class TestKeystoreWithPassphrase(Conforming):
    def root(self):
        return passphrase_root()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def store(folder, clock):
    store = opened(folder, clock, suite="rate")
    store.ensure()
    yield store
    store.close()


def reopened(store, folder, clock=None, **more):
    store.close()
    return opened(folder, clock, **more)


# --- what a node has ------------------------------------------------------------------------------


def test_a_node_has_three_keys_of_itself(store):
    assert states(store) == {"identity.1": "active", "node.1": "active", "state.1": "active"}
    assert [info.algorithm for info in store.listed()] == ["ml-dsa-87", "rate", "rate"]
    store.ensure()
    assert len(store.listed()) == 3


def test_what_was_wrapped_opens_after_a_restart(store, folder):
    wrapped = store.wrap("state", DATA_KEY, b"c")
    again = reopened(store, folder)
    assert again.unwrap("state.1", wrapped, b"c") == DATA_KEY
    assert again.remarks == ()
    again.close()


def test_the_hybrid_suite_is_the_default():
    assert KeystoreConfig().suite == "hybrid"


def test_the_identity_signs_only_contexts_of_ours(store):
    assert store.sign("identity", b"m", b"cronos-epoch-v1")
    for context in (b"", b"Cronos-epoch-v1", b"tls", b"x-cronos-"):
        with pytest.raises(DeniedError) as caught:
            store.sign("identity", b"m", context)
        assert caught.value.code == "crypto.context_denied"


def test_a_key_can_be_made_for_other_contexts(store):
    store.create("ca", "dilithium-5", contexts=["", "pki-"])
    assert store.sign("ca", b"certificate", b"")
    store.create("log", "ml-dsa-44", contexts=["pki-"])
    assert store.sign("log", b"m", b"pki-x")
    with pytest.raises(DeniedError):
        store.sign("log", b"m", b"")


def test_a_p384_key_signs_without_a_context(store):
    store.create("web", "P-384")
    assert store.sign("web", b"certificate", b"")
    with pytest.raises(InputError, match="cannot bind"):
        store.sign("web", b"m", b"cronos-x")


def test_an_encryption_key_does_not_sign_and_a_signing_key_does_not_encrypt(store):
    with pytest.raises(InputError, match="does not sign"):
        store.sign("state", b"m", b"cronos-x")
    with pytest.raises(InputError, match="encrypts nothing"):
        store.wrap("identity", DATA_KEY, b"c")
    with pytest.raises(DeniedError) as caught:
        store.unwrap("identity", b"x" * 2000, b"c")
    assert caught.value.code == REFUSED


@pytest.mark.parametrize("name", ["", "A", "a.b", "-a", "a/b", "ä", "a" * 64, "0" * 32, "a b"])
def test_a_name_that_could_be_mistaken_is_refused(store, name):
    with pytest.raises(InputError) as caught:
        store.create(name, "rate")
    assert caught.value.code == "crypto.bad_name"


def test_a_name_is_given_once(store):
    with pytest.raises(InputError, match="already"):
        store.create("state", "rate")


@pytest.mark.parametrize(
    "terms", [{"life_s": -1}, {"life_s": 1 << 60}, {"contexts": ["c" * 65]}, {"contexts": "c" * 17}]
)
def test_terms_that_could_not_be_written_down_are_refused(store, terms):
    with pytest.raises(InputError) as caught:
        store.create("x", "ml-dsa-44", **terms)
    assert caught.value.code == "crypto.bad_terms"


def test_an_algorithm_nobody_knows_is_named(store):
    with pytest.raises(InputError, match="rsa"):
        store.create("old", "rsa")


# --- life -----------------------------------------------------------------------------------------


def test_a_24_hour_key_is_renewed_after_12_hours_with_overlap(store, clock):
    old = store.wrap("node", DATA_KEY, b"c")
    clock.advance(12 * HOUR_NS - 1)
    assert store.step() == ()
    clock.advance(1)
    assert store.step() == ("The key node.1 was replaced by node.2.",)
    assert store.step() == ()
    assert store.unwrap("node.1", old, b"c") == DATA_KEY
    clock.advance(12 * HOUR_NS - 1)
    assert "node.1" not in "".join(store.step()) or states(store)["node.1"] == "decrypt-only"
    clock.advance(1)
    store.step()
    assert states(store)["node.1"] == "destroyed"
    with pytest.raises(DeniedError):
        store.unwrap("node.1", old, b"c")


def test_a_90_day_key_is_renewed_after_60_days_and_stays(store, clock):
    store.create("service", "p-384", life_s=90 * 86_400)
    clock.advance(60 * DAY_NS - 1)
    store.step()
    assert states(store)["service.1"] == "active"
    clock.advance(1)
    store.step()
    assert states(store)["service.1"] == "decrypt-only"
    clock.advance(400 * DAY_NS)
    store.step()
    assert states(store)["service.1"] == "decrypt-only"


def test_the_key_of_the_state_is_renewed_and_its_former_versions_never_destroyed(store, clock):
    wrapped = store.wrap("state", DATA_KEY, b"c")
    for _ in range(20):
        clock.advance(60 * DAY_NS)
        store.step()
    assert states(store)["state.21"] == "active"
    assert {states(store)[f"state.{n}"] for n in range(1, 21)} == {"decrypt-only"}
    assert store.unwrap("state.1", wrapped, b"c") == DATA_KEY


def test_an_expired_key_no_longer_wraps(store, clock):
    clock.advance(25 * HOUR_NS)
    with pytest.raises(DeniedError, match="is over"):
        store.wrap("node", DATA_KEY, b"c")
    store.step()
    assert store.wrap("node", DATA_KEY, b"c")


def test_a_node_that_was_away_for_long_gets_one_new_key_not_many(store, clock):
    clock.advance(30 * DAY_NS)
    assert store.step() == ("The key node.1 was replaced by node.2.",)
    assert states(store)["node.1"] == "decrypt-only"


def test_a_clock_set_back_neither_revives_nor_renews_twice(store, clock):
    began = clock.now().wall_ns
    clock.advance(13 * HOUR_NS)
    store.step()
    clock.advance(12 * HOUR_NS)
    store.step()
    before = states(store)
    assert before["node.1"] == "destroyed"
    for wall_ns in (began, 0, began - 1000 * DAY_NS):
        clock.set_wall(wall_ns)
        assert store.step() == ()
        assert states(store) == before


def test_a_clock_set_back_across_a_restart_does_not_unexpire(store, folder, clock):
    began = clock.now().wall_ns
    store.create("brief", "rate", life_s=7200)
    clock.advance(3 * HOUR_NS)
    store.step()
    active = states(store)
    with pytest.raises(DeniedError):
        store.wrap("brief.1", DATA_KEY, b"c")
    clock.set_wall(began)
    again = reopened(store, folder, clock)
    assert again.step() == ()
    assert states(again) == active
    with pytest.raises(DeniedError):
        again.wrap("brief.1", DATA_KEY, b"c")
    again.close()


def test_life_goes_on_behind_a_clock_that_was_once_far_ahead(store, folder, clock):
    right = clock.now().wall_ns
    clock.set_wall(right + 30_000 * DAY_NS)
    store.step()
    clock.set_wall(right)
    again = reopened(store, folder, clock)
    assert again.step() == ("The key node.1 was destroyed: its life is over.",)
    assert again.step() == ()
    clock.advance(12 * HOUR_NS)
    assert again.step() == ("The key node.2 was replaced by node.3.",)
    again.close()


def test_a_step_remembers_the_time_even_when_nothing_is_due(store, folder, clock):
    clock.advance(HOUR_NS)
    generation = store._image.generation
    store.step()
    assert store._image.generation == generation + 1
    assert store._image.time_ns == clock.now().wall_ns


def test_a_pending_key_is_not_used_before_its_rotation(store):
    store.create("state", "rate", pending=True)
    with pytest.raises(DeniedError, match="pending"):
        store.wrap("state.2", DATA_KEY, b"c")
    with pytest.raises(DeniedError):
        store.unwrap("state.2", b"x", b"c")
    public = store.public("state.2")
    assert store.rotate("state") == "state.2"
    assert store.public("state") == public
    assert states(store)["state.1"] == "decrypt-only"


def test_a_pending_key_can_be_made_active_by_its_own_id(store):
    store.create("state", "rate", pending=True)
    assert store.rotate("state.2") == "state.2"
    assert states(store)["state.1"] == "decrypt-only"
    store.create("fresh", "rate", pending=True)
    assert store.rotate("fresh.1") == "fresh.1"


# --- the end of a key -----------------------------------------------------------------------------


def test_a_destroyed_key_leaves_a_tombstone_and_its_id_is_never_used_again(store, folder):
    wrapped = store.wrap("state", DATA_KEY, b"c")
    sealed = store._image.find("state.1").sealed
    assert any(sealed in path.read_bytes() for path in folder.iterdir())
    assert str(store.destroy("state.1").state) == "destroyed"
    with pytest.raises(DeniedError):
        store.unwrap("state.1", wrapped, b"c")
    with pytest.raises(InputError, match="destroyed"):
        store.public("state.1")
    with pytest.raises(DeniedError, match="cannot become"):
        store.destroy("state.1")
    again = reopened(store, folder, suite="rate")
    assert not any(sealed in path.read_bytes() for path in folder.iterdir())
    again.ensure()
    assert states(again)["state.1"] == "destroyed"
    assert again.public("state") == again.public("state.2")
    again.close()


def test_the_public_half_of_a_destroyed_signing_key_stays(store):
    public = store.public("identity")
    store.destroy("identity.1")
    assert store.public("identity.1") == public


def test_a_thousand_tombstones_later_versions_still_count_on(folder, clock):
    store = opened(folder, clock, suite="rate")
    store.create("n", "ml-dsa-44")
    image = store._image
    grave = image.keys[0]
    from msgspec.structs import replace  # noqa: PLC0415

    from cronos.crypto.lifecycle import replaced  # noqa: PLC0415
    from cronos.types import KeyState  # noqa: PLC0415

    graves = [
        replace(grave, version=n, state=KeyState.DESTROYED, sealed=b"") for n in range(1, 1101)
    ]
    pruned = replaced(image, *graves)
    assert len(pruned.keys) == 1024
    assert dict(pruned.versions)["n"] == 1100
    store.close()


# --- another root ---------------------------------------------------------------------------------


def test_a_wrong_passphrase_is_refused_in_the_words_of_every_refusal(folder):
    opened(folder, root=passphrase_root()).close()
    with pytest.raises(DeniedError) as caught:
        opened(folder, root=passphrase_root("another passphrase"))
    assert caught.value.code == REFUSED
    assert caught.value.__cause__ is None


def test_a_root_of_another_kind_is_named(store, folder):
    store.close()
    with pytest.raises(InputError) as caught:
        opened(folder, root=passphrase_root())
    assert caught.value.code == "crypto.root_differs"
    assert "machine-key" in caught.value.sentence


def test_protecting_changes_the_root_and_no_key(store, folder):
    wrapped = store.wrap("state", DATA_KEY, b"c")
    sealed = {key.key_id: key.sealed for key in store._image.keys}
    store.protect(passphrase_root())
    assert "passphrase" in store.protection
    again = reopened(store, folder, root=passphrase_root())
    assert again.unwrap("state", wrapped, b"c") == DATA_KEY
    assert {key.key_id: key.sealed for key in again._image.keys} == sealed
    again.close()
    with pytest.raises(InputError, match="locked by `passphrase`"):
        opened(folder)


@pytest.mark.parametrize("passphrase", ["five random words", "another passphrase"])
def test_a_root_that_was_being_replaced_does_not_come_back(folder, passphrase):
    store = opened(folder, root=passphrase_root())
    store.ensure()
    before = (folder / "keystore").read_bytes()
    store.protect(passphrase_root("another passphrase"))
    store.close()
    # As a crash leaves it between the two names.
    (folder / "keystore.bak").write_bytes(before)
    if passphrase == "another passphrase":
        opened(folder, root=passphrase_root(passphrase)).close()
        assert (folder / "keystore.bak").read_bytes() != before
        return
    with pytest.raises(DeniedError) as caught:
        opened(folder, root=passphrase_root(passphrase))
    assert caught.value.code == REFUSED


def test_the_admin_key_is_had_by_who_can_unlock_and_without_the_lock(store, folder, tmp_path):
    root = MachineRoot(MachineConfig(), folder)
    assert admin_key_of(folder, root) == store.admin_key()
    assert len(store.admin_key()) == 32
    with pytest.raises(InputError, match="no keystore"):
        admin_key_of(tmp_path / "nowhere", root)


# --- backups --------------------------------------------------------------------------------------


def test_a_backup_restores_all_keys_into_an_empty_keystore(store, tmp_path):
    wrapped = store.wrap("state", DATA_KEY, b"c")
    store.rotate("state")
    store.destroy("node.1")
    data = store.export("", bytes(16), passphrase_root().wrap)
    other = opened(tmp_path / "other")
    brought = other.bring(data, passphrase_root().unwrap)
    assert states(other) == states(store)
    assert [info.key_id for info in brought] == [info.key_id for info in store.listed()]
    assert other.unwrap("state.1", wrapped, b"c") == DATA_KEY
    assert other.public("identity") == store.public("identity")
    assert other.bring(data, passphrase_root().unwrap) == ()
    other.close()


def test_a_backup_opens_for_its_recipient_alone(store, tmp_path):
    secret = generate_secret(RATE)
    recipient = DecryptionKey(RATE, secret)
    key = EncryptionKey(RATE, recipient.public)
    data = store.export("state", key.kid, key.seal)
    other = opened(tmp_path / "other")
    with pytest.raises(DeniedError):
        other.bring(data, DecryptionKey(RATE, generate_secret(RATE)).open)
    assert [info.key_id for info in other.bring(data, recipient.open)] == ["state.1"]
    other.close()


def test_an_import_revives_nothing_that_was_destroyed_here(store):
    data = store.export("", bytes(16), passphrase_root().wrap)
    store.destroy("state.1")
    assert store.bring(data, passphrase_root().unwrap) == ()
    assert states(store)["state.1"] == "destroyed"


def test_an_import_never_replaces_another_key_of_the_same_id(store, tmp_path):
    data = store.export("state", bytes(16), passphrase_root().wrap)
    other = opened(tmp_path / "other", suite="rate")
    other.ensure()
    with pytest.raises(InputError) as caught:
        other.bring(data, passphrase_root().unwrap)
    assert caught.value.code == "crypto.key_conflict"
    other.close()


def test_an_import_leaves_the_active_key_active(store, tmp_path):
    store.rotate("state")
    data = store.export("state.2", bytes(16), passphrase_root().wrap)
    other = opened(tmp_path / "other", suite="rate")
    other.ensure()
    other.bring(data, passphrase_root().unwrap)
    assert states(other)["state.1"] == "active"
    assert states(other)["state.2"] == "decrypt-only"
    assert other.rotate("state") == "state.3"
    other.close()


def test_each_thing_that_is_done_is_in_the_log(store, folder):
    store.create("x", "rate")
    store.rotate("x")
    store.export("x", bytes(16), passphrase_root().wrap)
    store.destroy("x.1")
    store.protect(passphrase_root())
    log = (folder / "events").read_text()
    for what in ("created", "rotated", "exported", "destroyed", "protected"):
        assert f'"what":"{what}"' in log


# --- secrets in memory ----------------------------------------------------------------------------


def ours(error):
    """Show what a traceback with all local variables shows of our own frames."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return [str(frame.locals) for frame in shown.stack if "src/cronos" in frame.filename]


def test_no_secret_shows_in_a_repr_a_pickle_or_a_traceback(store, folder):
    master = store._folder.master
    secrets = {master._key} | {master.open(key) for key in store._image.keys}
    shown = [
        repr(store),
        repr(store._folder),
        repr(master),
        repr(store.__dict__),
        repr(store._image),
    ]
    for thing in (store, master):
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                take(thing)
    for fail in (
        lambda: store.unwrap("state", b"x" * 1300, b"c"),
        lambda: store.sign("identity", b"m", b"other"),
        lambda: store.bring(b"CRKB" + bytes(99), passphrase_root().unwrap),
        lambda: opened(folder),
        lambda: store.destroy("nobody"),
    ):
        try:
            fail()
        except CronosError as error:
            shown += ours(error)
    text = "".join(shown)
    assert text
    for secret in secrets:
        assert repr(secret)[2:-1] not in text
        assert secret.hex() not in text


def test_a_passphrase_shows_in_no_traceback(folder):
    opened(folder, root=passphrase_root()).close()
    wrong = "a wrong passphrase of mine"
    with pytest.raises(DeniedError) as caught:
        opened(folder, root=passphrase_root(wrong))
    shown = ours(caught.value)
    assert shown
    assert wrong not in "".join(shown)


def test_threads_use_and_rotate_at_once(store):
    failed = []

    def use():
        try:
            for _ in range(40):
                wrapped = store.wrap("state", DATA_KEY, b"c")
                kid = next(i for i in store.listed() if i.key_id == "state.1").kid
                assert len(kid) == 16
                assert wrapped
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        store.rotate("state")
    for thread in threads:
        thread.join(30)
    assert not failed
    assert states(store)["state.6"] == "active"


def test_several_keys_are_made_together_or_not_at_all(store):
    with pytest.raises(InputError):
        store.create_all(KeyPlan("good", "rate"), KeyPlan("Bad", "rate"))
    assert "good.1" not in states(store)


def test_closing_twice_is_harmless_and_nothing_changes_after(store, folder):
    store.close()
    store.close()
    with pytest.raises(DeniedError, match="was closed"):
        store.rotate("state")
    opened(folder).close()
