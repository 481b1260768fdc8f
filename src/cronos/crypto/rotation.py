"""A change of a keystore in the making: the next image, and the events that tell of it."""

from typing import Final

import msgspec

from cronos.crypto import keykinds, lifecycle
from cronos.crypto.keybackup import Carried
from cronos.crypto.keyfile import MAX_KEYS, KeyEntry, KeyPlan, KeystoreImage
from cronos.crypto.keylog import KeyEvent
from cronos.crypto.master import Master
from cronos.errors import InputError
from cronos.types import KeyState

_KID_HEX: Final = 32


class Change:
    """Collects what one commit changes; nothing is in force before the commit.

    Args:
        image: the image in force.
        master: seals new secrets.
        now_ns: Unix time as the keystore sees it.
    """

    def __init__(self, image: KeystoreImage, master: Master, now_ns: int) -> None:
        self.image = image
        self.now_ns = now_ns
        self.events: list[KeyEvent] = []
        self._master = master

    def note(self, what: str, key: KeyEntry | None, detail: str = "") -> None:
        """Add an event."""
        key_id, kid = (key.key_id, key.kid.hex()) if key else ("", "")
        generation = self.image.generation + 1
        self.events.append(KeyEvent(what, key_id, kid, generation, self.now_ns, detail))

    def create(self, plan: KeyPlan) -> KeyEntry:
        """Draw a key of a name that has no active one (a pending one may stand beside it).

        Raises:
            InputError: a bad name or algorithm, the name is in use, or the keystore is full.
        """
        algorithm = keykinds.algorithm_named(plan.algorithm)
        _check_name(plan.name)
        _check_terms(plan)
        if self.image.find(plan.name) is not None and not plan.pending:
            raise InputError(
                "crypto.key_exists",
                f"There is a key `{plan.name}` already.",
                f"Replace it with `cronos keys rotate {plan.name}`, or choose another name.",
            )
        blank = KeyEntry(
            name=plan.name,
            version=1,
            algorithm=algorithm,
            state=KeyState.PENDING if plan.pending else KeyState.ACTIVE,
            kid=bytes(16),
            public=b"",
            created_ns=0,
            renew_ns=plan.renew_s * lifecycle.SECOND_NS
            or lifecycle.renewal_ns(plan.life_s * lifecycle.SECOND_NS),
            expires_ns=plan.life_s * lifecycle.SECOND_NS,
            forget=plan.forget,
            contexts=plan.contexts,
            sealed=b"",
        )
        return self._draw(blank, "created")

    def rotate(self, old: KeyEntry) -> KeyEntry:
        """Replace a key by the pending one of its name, or by a new one like it.

        Raises:
            DeniedError: it was replaced already.
        """
        if old.state is KeyState.PENDING:
            new, old_active = old, self.image.find(old.name)
            if old_active is not None:
                self._retire(old_active, new.key_id)
            return self._activate(new)
        retired = lifecycle.moved(old, KeyState.DECRYPT_ONLY)
        waiting = [
            key for key in self.image.keys if key.name == old.name and key.state is KeyState.PENDING
        ]
        # The old one first: no moment has two active keys of a name, not even in the log.
        self.image = lifecycle.replaced(self.image, retired)
        new = self._activate(waiting[-1]) if waiting else self._draw(_like(old), "created")
        self.note("rotated", retired, f"replaced by {new.key_id}")
        return new

    def destroy(self, key: KeyEntry) -> KeyEntry:
        """Forget the secret of a key.

        Raises:
            DeniedError: it is destroyed already.
        """
        gone = lifecycle.moved(key, KeyState.DESTROYED)
        self.image = lifecycle.replaced(self.image, gone)
        self.note("destroyed", gone)
        return gone

    def bring(self, carried: Carried) -> KeyEntry | None:
        """Take in a key of a backup; None where it is here already, in whatever state.

        Raises:
            InputError: its id stands for another key here, or the keystore is full.
        """
        entry = carried.entry
        here = next((key for key in self.image.keys if key.key_id == entry.key_id), None)
        if here is not None and here.kid != entry.kid:
            raise InputError(
                "crypto.key_conflict",
                f"The id {entry.key_id} stands for another key in this keystore.",
                "Import into a new keystore, or destroy nothing and keep both apart.",
            )
        if here is not None or any(key.kid == entry.kid for key in self.image.keys):
            return None
        _check_name(entry.name)
        self._check_room()
        if entry.state is KeyState.ACTIVE and self.image.find(entry.name) is not None:
            entry = lifecycle.moved(entry, KeyState.DECRYPT_ONLY)
        if not carried.secret and entry.state is not KeyState.DESTROYED:
            entry = lifecycle.moved(entry, KeyState.DESTROYED)
        if entry.state is not KeyState.DESTROYED:
            sealed = self._master.seal(entry, carried.secret)
            entry = msgspec.structs.replace(entry, sealed=sealed)
        self.image = lifecycle.replaced(self.image, entry)
        self.note("imported", entry)
        return entry

    def repeat(self, event: KeyEvent) -> None:
        """Carry out once more what the log tells and the image does not know of.

        A secret that is lost stays lost, but its version is not used again; what was destroyed is
        destroyed, and what was replaced is replaced, by a new key.
        """
        name, _, version = event.key_id.rpartition(".")
        self.now_ns = max(self.now_ns, event.wall_ns)
        if event.what in ("created", "imported") and name and version.isdecimal():
            versions = dict(self.image.versions)
            versions[name] = max(versions.get(name, 0), int(version))
            self.image = msgspec.structs.replace(
                self.image, versions=tuple(sorted(versions.items()))
            )
        key = self.image.find(event.key_id)
        if key is None or key.kid.hex() != event.kid:
            return
        if event.what == "destroyed" and key.state is not KeyState.DESTROYED:
            self.destroy(key)
        if event.what == "rotated" and key.state is KeyState.ACTIVE:
            self.rotate(key)

    def _retire(self, old: KeyEntry, successor: str) -> None:
        self.image = lifecycle.replaced(self.image, lifecycle.moved(old, KeyState.DECRYPT_ONLY))
        self.note("rotated", old, f"replaced by {successor}")

    def _activate(self, waiting: KeyEntry) -> KeyEntry:
        new = lifecycle.moved(waiting, KeyState.ACTIVE)
        self.image = lifecycle.replaced(self.image, new)
        self.note("activated", new)
        return new

    def _draw(self, like: KeyEntry, what: str) -> KeyEntry:
        """Draw a key like another; `renew_ns` and `expires_ns` count from its making."""
        self._check_room()
        secret = keykinds.generate(like.algorithm)
        key = keykinds.secret_key(like.algorithm, secret)
        entry = msgspec.structs.replace(
            like,
            version=lifecycle.next_version(self.image, like.name),
            kid=key.kid,
            public=key.public,
            created_ns=self.now_ns,
            renew_ns=like.renew_ns and self.now_ns + like.renew_ns,
            expires_ns=like.expires_ns and self.now_ns + like.expires_ns,
        )
        entry = msgspec.structs.replace(entry, sealed=self._master.seal(entry, secret))
        self.image = lifecycle.replaced(self.image, entry)
        self.note(what, entry, entry.algorithm)
        return entry

    def _check_room(self) -> None:
        if len(self.image.keys) >= MAX_KEYS:
            raise InputError(
                "crypto.keystore_full",
                f"The keystore holds {MAX_KEYS} keys; it takes no more.",
                "Use fewer names: destroyed keys of a name make room by themselves.",
            )


def _like(old: KeyEntry) -> KeyEntry:
    """Give what a successor has of its predecessor; its times count from its making."""
    return msgspec.structs.replace(
        old,
        state=KeyState.ACTIVE,
        renew_ns=old.renew_ns and old.renew_ns - old.created_ns,
        expires_ns=old.expires_ns and old.expires_ns - old.created_ns,
    )


def _check_terms(plan: KeyPlan) -> None:
    lives = all(0 <= life_s <= lifecycle.MAX_LIFE_S for life_s in (plan.life_s, plan.renew_s))
    fit = len(plan.contexts) <= 16 and all(map(_fits, plan.contexts))
    if not (lives and fit):
        raise InputError(
            "crypto.bad_terms",
            "A key lives at most 100 years, and has at most 16 contexts of 64 characters (UTF-8).",
            "Give less.",
        )


def _fits(context: str) -> bool:
    # A byte of a command line that is no UTF-8 arrives as half of a surrogate pair.
    return len(context) <= 64 and not any("\ud800" <= one <= "\udfff" for one in context)


def _check_name(name: str) -> None:
    allowed = name.replace("-", "").replace("_", "")
    fits = name[:1].isalnum() and allowed.isalnum() and name.isascii() and name == name.lower()
    looks_like_a_kid = len(name) == _KID_HEX and set(name) <= set("0123456789abcdef")
    if not fits or len(name) > 63 or looks_like_a_kid:
        raise InputError(
            "crypto.bad_name",
            f"`{name[:64]}` is no name for a key.",
            "Use up to 63 of a-z, 0-9, - and _, beginning with a letter or digit.",
        )
