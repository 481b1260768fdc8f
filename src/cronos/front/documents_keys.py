"""The JSON document of `cronos keys`; fingerprints are in hex, times in ISO 8601, UTC."""

import datetime as dt

import msgspec

from cronos.types import KeyInfo


class KeyView(msgspec.Struct, frozen=True):
    """One key; `expires` is empty for one without an end."""

    key: str
    algorithm: str
    state: str
    fingerprint: str
    created: str
    expires: str


class KeysDocument(msgspec.Struct, frozen=True):
    """The document of every `cronos keys … --json`.

    Attributes:
        done: what was done: listed, created, rotated, exported, imported, destroyed, protected.
        root: what the keystore is locked by; `protection` is what a thief would need besides it.
        verified: whether the root key vouched for what is shown; if not, `remarks` say why.
        keys: of `listed` all, else those it was done to.
        output: the file that was written, if any.
        text: the public key, of ``export --public``.
    """

    done: str
    folder: str
    root: str
    protection: str
    verified: bool
    keys: tuple[KeyView, ...]
    remarks: tuple[str, ...] = ()
    output: str = ""
    text: str = ""
    schema: str = "cronos.keys/1"


def view(info: KeyInfo) -> KeyView:
    """Show a key."""
    return KeyView(
        info.key_id,
        info.algorithm,
        info.state.value,
        info.kid.hex(),
        _time(info.created_wall_ns),
        _time(info.expires_wall_ns) if info.expires_wall_ns else "",
    )


def _time(wall_ns: int) -> str:
    """Give a time as text; one beyond the calendar (a clock gone wild) as its nanoseconds."""
    try:
        moment = dt.datetime.fromtimestamp(wall_ns // 1_000_000_000, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{wall_ns} ns"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
