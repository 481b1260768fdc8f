"""The life of a key, as a table, and what is due when: pure, for a keystore to carry out.

    pending ──▶ active ──▶ decrypt-only ──▶ destroyed
       └───────────┴───────────────────────────▲

Rule 1: a key only ever moves down this list; nothing revives one, whatever the clock says.
Rule 2: a name has at most one active key, and a version is used once.
Rule 3: only a key that was made to be forgotten is destroyed by itself, once it has expired and
its successor has stood since an earlier look. All others wait for a person.
"""

from collections.abc import Sequence
from typing import Final, assert_never

import msgspec

from cronos.crypto import keykinds
from cronos.crypto.keyfile import KeyEntry, KeystoreImage
from cronos.errors import DeniedError
from cronos.types import KeyState

SECOND_NS: Final = 1_000_000_000
_SHORT_LIFE_NS: Final = 7 * 86_400 * SECOND_NS
MAX_TOMBSTONES: Final = 1024
MAX_LIFE_S: Final = 100 * 366 * 86_400

ALLOWED: Final[dict[KeyState, frozenset[KeyState]]] = {
    KeyState.PENDING: frozenset({KeyState.ACTIVE, KeyState.DESTROYED}),
    KeyState.ACTIVE: frozenset({KeyState.DECRYPT_ONLY, KeyState.DESTROYED}),
    KeyState.DECRYPT_ONLY: frozenset({KeyState.DESTROYED}),
    KeyState.DESTROYED: frozenset(),
}


def moved(key: KeyEntry, state: KeyState) -> KeyEntry:
    """Give the key in its next state; a destroyed one keeps no secret.

    Raises:
        DeniedError: the table has no such step.
    """
    if state not in ALLOWED[key.state]:
        raise DeniedError(
            "crypto.key_state",
            f"The key {key.key_id} is {key.state}; it cannot become {state}.",
            "See `cronos keys list`; a key only ever moves from pending to destroyed.",
        )
    match state:
        case KeyState.PENDING | KeyState.ACTIVE | KeyState.DECRYPT_ONLY:
            return msgspec.structs.replace(key, state=state)
        case KeyState.DESTROYED:
            # A signature outlives its key and needs the public half; nothing needs the other.
            public = b"" if keykinds.encrypts(key.algorithm) else key.public
            return msgspec.structs.replace(key, state=state, sealed=b"", public=public)
        case _:
            assert_never(state)


def replaced(image: KeystoreImage, *changed: KeyEntry) -> KeystoreImage:
    """Give the image with these keys in place of their former selves, or beside the others.

    Keys stay sorted by name and version. Of the destroyed ones of a name only the last 1,024
    stay; `versions` keeps their numbers from being used again.
    """
    keys = {(key.name, key.version): key for key in (*image.keys, *changed)}
    versions = dict(image.versions)
    for key in changed:
        versions[key.name] = max(versions.get(key.name, 0), key.version)
    kept = tuple(_pruned([keys[at] for at in sorted(keys)]))
    return msgspec.structs.replace(image, keys=kept, versions=tuple(sorted(versions.items())))


def _pruned(keys: Sequence[KeyEntry]) -> list[KeyEntry]:
    kept: list[KeyEntry] = []
    tombstones: dict[str, int] = {}
    for key in reversed(keys):
        if key.state is KeyState.DESTROYED:
            tombstones[key.name] = tombstones.get(key.name, 0) + 1
            if tombstones[key.name] > MAX_TOMBSTONES:
                continue
        kept.append(key)
    return kept[::-1]


def next_version(image: KeystoreImage, name: str) -> int:
    """Give the version of the next key of a name."""
    return dict(image.versions).get(name, 0) + 1


def renewal_ns(life_ns: int) -> int:
    """Say how long after its making a key or a certificate of this life is replaced; 0 is never.

    A life of up to a week at its half (24 h after 12 h), a longer one after two thirds (90 days
    after 60): the rest is the overlap. There is no other rule: keys, the certificates of nodes and
    those of services all come here.
    """
    return life_ns // 2 if life_ns <= _SHORT_LIFE_NS else life_ns * 2 // 3


def due(ends_ns: int, life_ns: int, now_ns: int) -> bool:
    """Say whether what ends at `ends_ns` is to be replaced by now; see `renewal_ns`.

    `life_ns` is the life of its kind. One that was cut short, because its issuer ends before it,
    is due while as much is left as of any other.
    """
    return now_ns >= ends_ns - (life_ns - renewal_ns(life_ns))


def life_ahead(ends_ns: int, life_ns: int, now_ns: int) -> int:
    """Give the life that what was made just now is measured by, so that it is not due at once.

    That of its kind; or what is left, where its issuer ends so soon that it is due already. Else
    one renewal would follow on another's heels until the issuer's end.
    """
    return max(1, ends_ns - now_ns) if due(ends_ns, life_ns, now_ns) else life_ns


def to_destroy(image: KeystoreImage, now_ns: int) -> tuple[KeyEntry, ...]:
    """Give the keys that are to be forgotten now; see rule 3."""
    return tuple(
        key
        for key in image.keys
        if key.forget
        and key.state is KeyState.DECRYPT_ONLY
        and key.expires_ns
        and now_ns >= key.expires_ns
    )


def to_renew(image: KeystoreImage, now_ns: int) -> tuple[KeyEntry, ...]:
    """Give the active keys whose successor is due."""
    return tuple(
        key
        for key in image.keys
        if key.state is KeyState.ACTIVE and key.renew_ns and now_ns >= key.renew_ns
    )


def expired(key: KeyEntry, now_ns: int) -> bool:
    """Say whether the life of a key is over."""
    return bool(key.expires_ns) and now_ns >= key.expires_ns
