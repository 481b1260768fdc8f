"""The local keystore: keys in one file, locked by a root key, with a life and a log.

Three words to know: the *root key* locks the keystore's master key and is a plug-in of its own,
a *version* of a name is one key (``state.2``), and a *step* is what falls due with time.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, NoReturn

import msgspec
from msgspec import Meta

from cronos.config import Positive, Section
from cronos.crypto import keybackup, keykinds, lifecycle
from cronos.crypto.keybackup import Carried, Wrap
from cronos.crypto.keyfile import KeyEntry, KeyPlan, KeystoreImage
from cronos.crypto.keyfolder import KeyFolder, find
from cronos.crypto.keykinds import SecretKey
from cronos.crypto.refusal import refused
from cronos.crypto.rotation import Change
from cronos.crypto.suites import DecryptionKey, EncryptionKey, suite_named
from cronos.errors import DeniedError, InputError
from cronos.ports import Clock, RootKey
from cronos.types import KeyInfo, KeyState, Manifest

MAX_DATA_KEY: Final = 64
_REMEMBER_TIME_NS: Final = 3_600 * lifecycle.SECOND_NS
_OURS: Final = ("cronos-",)


class KeystoreConfig(Section, frozen=True):
    """What locks the keystore, and which keys a node has of itself.

    Attributes:
        root: catalogue name of the root key. Empty: what the keystore is locked by, and
            ``machine-key`` for a new one. A name refuses every other.
        suite: of the keys `state` and `node`.
        state_renew_s: after this the key that seals state at rest is replaced. It never expires,
            and its former versions stay until a person destroys them.
        node_life_s: the node's own key is replaced after half of this, and forgotten after it.
    """

    root: Annotated[str, Meta(pattern=r"^[a-z0-9-]{0,32}$")] = ""
    suite: str = "hybrid"
    state_renew_s: Positive = 60 * 86_400
    node_life_s: Positive = 86_400


class Keystore:
    """Holds keys in a folder, wraps and signs with them, and keeps their lives.

    Safe for threads; one process at a time. Secrets are unsealed on first use and kept as
    OpenSSL's objects. Time never goes back here: a clock that is set back neither revives a key
    nor renews one twice.

    Args:
        config: see `KeystoreConfig`; `root` is for whoever makes the root key.
        folder: of the keystore; one without a keystore gets a new one.
        root: locks it.
        clock: for lives and events.

    Raises:
        InputError: damaged, newer than this Cronos, gone, or locked by another kind of root key.
        DeniedError: held by another process, another root key, or a full disk.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "keystore",
        "Keeps keys in a local file, locked by a root key.",
        capabilities=("wrap", "unwrap", "sign", "public", "rotate", "listed"),
    )
    config_type: ClassVar[type[Section]] = KeystoreConfig

    def __init__(self, config: KeystoreConfig, folder: Path, root: RootKey, clock: Clock) -> None:
        self._config = config
        self._where = folder
        self._clock = clock
        self._opened: dict[bytes, SecretKey] = {}
        self._guard = threading.RLock()
        self._folder = KeyFolder(folder, root, clock.now().wall_ns)
        begun = clock.now()
        self._offset_ns = max(self._image.time_ns, begun.wall_ns) - begun.boot_ns
        self.protection = root.protection
        self.remarks: tuple[str, ...] = ()
        try:
            self._recover()
        except DeniedError as error:
            # What was found serves all the same; the next change tries again.
            self.remarks += (error.sentence,)
        except BaseException:
            self._folder.close()
            raise

    def wrap(self, key_id: str, data_key: bytes, context: bytes) -> bytes:
        """Encrypt a data key of at most 64 bytes to an active key; see `KeyProvider.wrap`."""
        with self._guard:
            entry = self._usable(key_id)
        if not keykinds.encrypts(entry.algorithm):
            raise _wrong_kind(entry, "encrypts nothing")
        if len(data_key) > MAX_DATA_KEY:
            raise InputError(
                "crypto.long_data_key",
                f"A data key of {len(data_key)} bytes is longer than {MAX_DATA_KEY}.",
                "Wrap a key, and seal the data with it.",
            )
        return EncryptionKey(suite_named(entry.algorithm), entry.public).seal(data_key, context)

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Give the data key back; see `KeyProvider.unwrap`."""
        with self._guard:
            entry = self._image.find(key_id)
            if entry is None or entry.state in (KeyState.PENDING, KeyState.DESTROYED):
                raise refused()
            secret = self._secret(entry)
        if not isinstance(secret, DecryptionKey):
            raise refused()
        return secret.open(wrapped, context)

    def sign(self, key_id: str, message: bytes, context: bytes) -> bytes:
        """Sign `message` in `context`; see `KeyProvider.sign`."""
        with self._guard:
            entry = self._usable(key_id)
            if keykinds.encrypts(entry.algorithm):
                raise _wrong_kind(entry, "does not sign")
            secret = self._secret(entry)
        if not any(context.startswith(prefix.encode()) for prefix in entry.contexts):
            raise DeniedError(
                "crypto.context_denied",
                f"The key {entry.key_id} may not sign in this context.",
                "Sign with a key that was made for it (`cronos keys new --context`).",
            )
        if isinstance(secret, DecryptionKey):  # what the type checker cannot know of `entry`
            raise _wrong_kind(entry, "does not sign")
        return secret.sign(message, context)

    def public(self, key_id: str) -> bytes:
        """Give the public half of a key; see `KeyProvider.public`."""
        entry = self._known(key_id)
        if not entry.public:
            raise InputError(
                "crypto.key_destroyed",
                f"The key {entry.key_id} was destroyed, and its public half went with it.",
                "Use its successor; see `cronos keys list`.",
            )
        return entry.public

    def listed(self) -> Sequence[KeyInfo]:
        """Give all keys, sorted by name and version."""
        return tuple(key.info() for key in self._image.keys)

    def rotate(self, key_id: str) -> str:
        """Make a successor, active at once, and give its id; the old key still unwraps.

        A pending key of the name becomes the successor; where there is none, one is drawn.

        Raises:
            InputError: no such key.
            DeniedError: it was replaced already, or the disk is full; nothing was changed.
        """
        with self._guard:
            change = self._change()
            new = change.rotate(self._known(key_id))
            self._commit(change)
            return new.key_id

    def create(
        self,
        name: str,
        algorithm: str,
        *,
        life_s: int = 0,
        contexts: Sequence[str] | None = None,
        forget: bool = False,
        pending: bool = False,
    ) -> KeyInfo:
        """Make a key; see `KeyPlan`. A signing key signs contexts that begin with ``cronos-``.

        Raises:
            InputError: a bad name, an unknown algorithm, or the name has an active key.
            DeniedError: the disk is full; nothing was changed.
        """
        given = tuple(contexts or ())
        if contexts is None:
            given = _default_contexts(keykinds.algorithm_named(algorithm))
        return self.create_all(KeyPlan(name, algorithm, life_s, given, forget, pending))[0]

    def create_all(self, *plans: KeyPlan) -> Sequence[KeyInfo]:
        """Make several keys in one change: all of them, or none."""
        with self._guard:
            change = self._change()
            made = [change.create(plan) for plan in plans]
            self._commit(change)
            return tuple(key.info() for key in made)

    def ensure(self) -> None:
        """Make the keys that a node needs of itself and that lack, and do what is due."""
        config = self._config
        standard = (
            KeyPlan("state", config.suite, renew_s=config.state_renew_s),
            KeyPlan("identity", "ml-dsa-87", contexts=_OURS),
            KeyPlan("node", config.suite, config.node_life_s, forget=True),
        )
        with self._guard:
            self.step()
            lacking = [plan for plan in standard if self._image.find(plan.name) is None]
            if lacking:
                self.create_all(*lacking)

    def destroy(self, key_id: str) -> KeyInfo:
        """Destroy the secret of a key, for good; its id stays and is never used again.

        Raises:
            InputError: no such key.
            DeniedError: it is destroyed already, or the disk is full; nothing was changed.
        """
        with self._guard:
            change = self._change()
            gone = change.destroy(self._known(key_id))
            self._commit(change)
            return gone.info()

    def step(self) -> Sequence[str]:
        """Do what is due and say what was done: renew keys, forget expired ones.

        Raises:
            DeniedError: the disk is full; nothing was changed, and the next step tries again.
        """
        with self._guard:
            change = self._change()
            done = [
                f"The key {change.destroy(key).key_id} was destroyed: its life is over."
                for key in lifecycle.to_destroy(change.image, change.now_ns)
            ]
            for key in lifecycle.to_renew(change.image, change.now_ns):
                new = change.rotate(key)
                done.append(f"The key {key.key_id} was replaced by {new.key_id}.")
            if done or change.now_ns - self._image.time_ns >= _REMEMBER_TIME_NS:
                self._commit(change)
            return tuple(done)

    def export(self, key_id: str, recipient: bytes, wrap: Wrap) -> bytes:
        """Give an encrypted backup of one key, or of all where `key_id` is empty; see `keybackup`.

        Args:
            key_id: which; a destroyed one is carried without a secret, so that it stays so.
            recipient: the fingerprint of the key that opens it; zeros for a passphrase.
            wrap: `EncryptionKey.seal` of that key, or `RootKey.wrap` of a passphrase.
        """
        with self._guard:
            chosen = [self._known(key_id)] if key_id else list(self._image.keys)
            carried = [self._carried(entry) for entry in chosen]
            data = keybackup.pack(carried, recipient, wrap)
            change = self._change()
            to = "a passphrase" if recipient == keybackup.PASSPHRASE else recipient.hex()
            change.note("exported", chosen[0] if key_id else None, f"to {to}")
            self._commit(change)
            return data

    def bring(self, data: bytes, unwrap: Wrap) -> Sequence[KeyInfo]:
        """Import a backup and give the keys that are new here.

        What is here already stays as it is; what was destroyed here stays destroyed.

        Raises:
            InputError: no backup, or an id stands for another key here.
            DeniedError: another passphrase or key, changed bytes, or a full disk.
        """
        carried = keybackup.unpack(data, unwrap)
        with self._guard:
            change = self._change()
            new = [key for one in carried if (key := change.bring(one)) is not None]
            if new:
                self._commit(change)
            return tuple(key.info() for key in new)

    def protect(self, root: RootKey) -> None:
        """Lock the keystore with another root key; copies made before open with the old one."""
        with self._guard:
            change = self._change()
            wrapped = self._folder.master.wrapped_by(root.wrap)
            change.image = msgspec.structs.replace(
                change.image, root=root.manifest.name, wrapped=wrapped
            )
            change.note("protected", None, f"by {root.manifest.name}")
            self._commit(change)
            self.protection = root.protection

    def admin_key(self) -> bytes:
        """Give the key with which one proves to the key agent that one can unlock this keystore."""
        return self._folder.master.admin_key()

    def close(self) -> None:
        """Let go of the folder; more than once is harmless."""
        with self._guard:
            self._opened.clear()
            self._folder.close()

    @property
    def _image(self) -> KeystoreImage:
        return self._folder.image

    def _now_ns(self) -> int:
        """Give Unix time as far as it only goes forward; boot time carries it on meanwhile."""
        now = self._clock.now()
        self._offset_ns = max(self._offset_ns, now.wall_ns - now.boot_ns)
        return now.boot_ns + self._offset_ns

    def _change(self) -> Change:
        """Begin a change; what a crash left, or others did, is put right first."""
        self._recover()
        now_ns = max(self._now_ns(), self._image.time_ns)
        return Change(self._image, self._folder.master, now_ns)

    def _commit(self, change: Change) -> None:
        image = msgspec.structs.replace(change.image, time_ns=change.now_ns)
        self._folder.commit(image, change.events)
        alive = {key.kid for key in self._image.keys if key.sealed}
        self._opened = {kid: key for kid, key in self._opened.items() if kid in alive}

    def _recover(self) -> None:
        """Bring keystore and log together after a crash, a rollback or a change by others."""
        folder = self._folder
        folder.settle()
        if not folder.ahead and not folder.lost_log:
            return
        if folder.lost_log:
            folder.begin_log()
        change = Change(folder.image, folder.master, max(self._now_ns(), folder.image.time_ns))
        for event in folder.ahead:
            change.repeat(event)
        remarks: list[str] = []
        if folder.ahead:
            missing = f"{len(folder.ahead)} events of its log were missing in it"
            remarks.append(f"The keystore was older than its key log: {missing}.")
            change.note("recovered", None, missing)
        if folder.lost_log:
            remarks.append("The key log was cut or changed; it was laid aside, and begun anew.")
            change.note("log-broken", None, "the log before this was cut or changed")
        self._commit(change)
        self.remarks += tuple(remarks)

    def _known(self, key_id: str) -> KeyEntry:
        entry = self._image.find(key_id)
        if entry is None:
            raise InputError(
                "crypto.no_key",
                f"There is no key `{key_id}`.",
                "See `cronos keys list`.",
            )
        return entry

    def _usable(self, key_id: str) -> KeyEntry:
        entry = self._known(key_id)
        if entry.state is not KeyState.ACTIVE:
            raise DeniedError(
                "crypto.key_not_active",
                f"The key {entry.key_id} is {entry.state}, not active.",
                f"Use `{entry.name}`, which stands for the active version.",
            )
        if lifecycle.expired(entry, self._now_ns()):
            raise DeniedError(
                "crypto.key_expired",
                f"The life of the key {entry.key_id} is over.",
                f"Replace it: cronos keys rotate {entry.name}",
            )
        return entry

    def _secret(self, entry: KeyEntry) -> SecretKey:
        if entry.kid not in self._opened:
            self._opened[entry.kid] = keykinds.secret_key(
                entry.algorithm, self._folder.master.open(entry)
            )
        return self._opened[entry.kid]

    def _carried(self, entry: KeyEntry) -> Carried:
        secret = self._folder.master.open(entry) if entry.sealed else b""
        return Carried(msgspec.structs.replace(entry, sealed=b""), secret)

    def __repr__(self) -> str:
        return f"Keystore({str(self._where)!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a keystore is neither copied nor pickled")


def admin_key_of(folder: Path, root: RootKey) -> bytes:
    """Give `Keystore.admin_key` of a keystore that another process holds; changes nothing.

    Raises:
        InputError: there is no keystore, or it cannot be read.
        DeniedError: the root key is another one.
    """
    found = find(folder, root)
    if found is None:
        raise InputError(
            "crypto.no_keystore",
            f"There is no keystore in {folder}.",
            "Make one with `cronos keys new`, or name its folder with --state.",
        )
    return found.master.admin_key()


def _default_contexts(algorithm: str) -> tuple[str, ...]:
    """Give what a key signs that nobody gave contexts: ours; P-384 cannot bind any."""
    if keykinds.encrypts(algorithm):
        return ()
    return ("",) if algorithm == keykinds.P384 else _OURS


def _wrong_kind(entry: KeyEntry, what: str) -> InputError:
    return InputError(
        "crypto.wrong_kind",
        f"The key {entry.key_id} ({entry.algorithm}) {what}.",
        "Use a key of the right kind; see `cronos keys list`.",
    )
