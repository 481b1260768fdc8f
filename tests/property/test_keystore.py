"""Whatever is done with keys, in whatever order and at whatever time, none is lost or reused."""

import contextlib
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from tests.unit.crypto.keystores import DATA_KEY, opened, passphrase_root

from cronos.errors import CronosError
from cronos.testing.clock import VirtualClock
from cronos.types import KeyState

NAMES = ("alpha", "beta")
ORDER = list(KeyState)
LIVES = (0, 3_600, 86_400)


class Lives(RuleBasedStateMachine):
    """Keys that live, and what was ever wrapped to them."""

    wrapped = Bundle("wrapped")

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "keys"
        self.clock = VirtualClock()
        self.store = opened(self.path, self.clock)
        self.seen = {}
        self.active = {}
        self.backups = []

    @rule(name=st.sampled_from(NAMES), life_s=st.sampled_from(LIVES), forget=st.booleans())
    def create(self, name, life_s, forget):
        self._tried(lambda: self.store.create(name, "rate", life_s=life_s, forget=forget))

    @rule(name=st.sampled_from(NAMES))
    def prepare(self, name):
        self._tried(lambda: self.store.create(name, "rate", pending=True))

    @rule(target=wrapped, name=st.sampled_from(NAMES))
    def wrap(self, name):
        sealed = self._tried(lambda: self.store.wrap(name, DATA_KEY, b"c"))
        if sealed is None:
            return None
        return self.store._image.find(name).key_id, sealed

    @rule(one=wrapped)
    def unwrap(self, one):
        if one is None:
            return
        key_id, sealed = one
        if self.seen[key_id][1] is KeyState.DESTROYED:
            assert self._tried(lambda: self.store.unwrap(key_id, sealed, b"c")) is None
        else:
            assert self.store.unwrap(key_id, sealed, b"c") == DATA_KEY

    @rule(name=st.sampled_from(NAMES))
    def rotate(self, name):
        self._tried(lambda: self.store.rotate(name))

    @rule(name=st.sampled_from(NAMES), version=st.integers(1, 6))
    def destroy(self, name, version):
        self._tried(lambda: self.store.destroy(f"{name}.{version}"))

    @rule(hours=st.integers(0, 30))
    def pass_time(self, hours):
        self.clock.advance(hours * 3_600_000_000_000)
        self.store.step()

    @rule(days=st.integers(-500, 3))
    def set_clock(self, days):
        self.clock.set_wall(max(0, self.clock.now().wall_ns + days * 86_400_000_000_000))
        self.store.step()

    @rule()
    def restart(self):
        self.store.close()
        self.store = opened(self.path, self.clock)
        assert self.store.remarks == ()

    @rule()
    def back_up(self):
        self.backups.append(self.store.export("", bytes(16), passphrase_root().wrap))

    @rule(which=st.integers(0, 3))
    def bring_back(self, which):
        if which < len(self.backups):
            assert self.store.bring(self.backups[which], passphrase_root().unwrap) == ()

    @invariant()
    def no_key_is_lost_reused_or_revived(self):
        listed = {info.key_id: info for info in self.store.listed()}
        for key_id, (kid, state) in self.seen.items():
            assert listed[key_id].kid == kid
            assert ORDER.index(listed[key_id].state) >= ORDER.index(state)
        self.seen = {key_id: (info.kid, info.state) for key_id, info in listed.items()}
        for name in NAMES:
            states = [info.state for key_id, info in listed.items() if key_id.startswith(name)]
            assert states.count(KeyState.ACTIVE) <= 1
        assert len({info.kid for info in listed.values()}) == len(listed)

    @staticmethod
    def _tried(work):
        with contextlib.suppress(CronosError):
            return work()
        return None

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
