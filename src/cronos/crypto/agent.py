"""The key agent's side of each call, without sockets: a `KeyCall` in, a `KeyReply` out.

Whoever may connect may use keys. To make, destroy or take away one, a caller must show that it
could unlock the keystore itself: it asks for a challenge, good for one call of its connection, and
answers with an HMAC over challenge and call under the keystore's admin key.

| verb | key_id | data | context | reply |
|---|---|---|---|---|
| wrap, unwrap | key | data key, or wrapped | its context | data |
| sign | key | message | its context | data: signature |
| public | key | | | data: public key |
| rotate | key | | | data: the successor's id |
| listed | | first, u32 | | keys; data: where to go on, u32, or nothing |
| challenge | | | | data: 32 bytes |
| create | name | life in seconds, u64 | algorithm | keys: the new one |
| destroy | key | | | keys: what is left of it |

The last two need a proof. An error crosses as its code, sentence and remedy, its class in `data`.
"""

import hmac
import secrets
import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.ports import KeyProvider
from cronos.types import KeyCall, KeyInfo, KeyReply, encode

CHALLENGE_BYTES: Final = 32
MAX_DATA_KEY_BYTES: Final = 64
_MAX_NAME_CHARS: Final = 128
_MAX_SIGN_CONTEXT_BYTES: Final = 255
_PART_BYTES: Final = 1 << 19  # of a list: half a frame
_COUNT: Final = struct.Struct(">I")
_LIFE: Final = struct.Struct(">Q")
_PROOF_LABEL: Final = b"cronos key agent proof v1\0"
_KINDS: Final[dict[bytes, type[CronosError]]] = {
    kind.__name__.encode(): kind for kind in (InputError, UnreachableError, DeniedError)
}


class HeldKeys(KeyProvider, Protocol):
    """What an agent serves: a key provider that an agent also looks after."""

    def step(self) -> Sequence[str]:
        """Rotate what is due, forget what is over, and give a sentence for each."""
        ...

    def create(self, name: str, algorithm: str, *, life_s: int = 0) -> KeyInfo:
        """Make a key; `life_s` 0 is without end."""
        ...

    def destroy(self, key_id: str) -> KeyInfo:
        """Erase a key's secret, for good."""
        ...

    def admin_key(self) -> bytes:
        """Give the key that proofs are made with, derived from what unlocks the keystore."""
        ...

    def close(self) -> None:
        """Let go of the keystore."""
        ...


def proof_of(admin_key: bytes, challenge: bytes, call: KeyCall) -> bytes:
    """Show, for one call, that the caller could unlock the keystore."""
    bare = encode(msgspec.structs.replace(call, proof=b""))
    return hmac.digest(admin_key, _PROOF_LABEL + challenge + bare, "sha384")


class AgentSession:
    """One caller's calls, in order; holds the challenge it was given.

    Args:
        keys: what is served.
        fault: told the name of an error that is a fault of ours; it holds no text, for an
            error's text may hold what must not be told.
        before_rotation: called first; what it raises refuses the rotation.
    """

    def __init__(
        self,
        keys: HeldKeys,
        fault: Callable[[str], None],
        before_rotation: Callable[[], None],
    ) -> None:
        self._keys = keys
        self._fault = fault
        self._before_rotation = before_rotation
        self._challenge = b""

    def answer(self, call: KeyCall) -> KeyReply:
        """Carry out a call; whatever goes wrong becomes the reply."""
        try:
            data, keys = self._carry_out(call)
        except CronosError as error:
            return _failed(call, error)
        except Exception as error:  # noqa: BLE001 - one bad call must not end the agent
            self._fault(type(error).__name__)
            return _failed(call, _faulty())
        return KeyReply(call.request_id, data, keys)

    def _carry_out(self, call: KeyCall) -> tuple[bytes, tuple[KeyInfo, ...]]:
        if len(call.key_id) > _MAX_NAME_CHARS:
            raise _too_long("A key's name", _MAX_NAME_CHARS)
        if call.verb == "rotate":
            self._before_rotation()
        if call.verb in _USES:
            return _USES[call.verb](self._keys, call), ()
        if call.verb == "listed":
            return _listed(self._keys.listed(), call.data)
        if call.verb == "challenge":
            self._challenge = secrets.token_bytes(CHALLENGE_BYTES)
            return self._challenge, ()
        if call.verb not in _CHANGES:
            raise InputError(
                "crypto.agent_verb",
                "The key agent does not know this call.",
                "Run both processes from the same version of Cronos.",
            )
        self._require_proof(call)
        return b"", _CHANGES[call.verb](self._keys, call)

    def _require_proof(self, call: KeyCall) -> None:
        """Refuse who cannot unlock the keystore; a challenge is used up by one attempt."""
        challenge, self._challenge = self._challenge, b""
        expected = proof_of(self._keys.admin_key(), challenge, call)
        if not (challenge and hmac.compare_digest(expected, call.proof)):
            raise DeniedError(
                "crypto.agent_proof",
                "Keys are made and destroyed only by who can unlock the keystore.",
                "Use `cronos keys`, with the passphrase, file or token of this keystore.",
            )


def _wrap(keys: HeldKeys, call: KeyCall) -> bytes:
    if len(call.data) > MAX_DATA_KEY_BYTES:
        raise _too_long("A data key", MAX_DATA_KEY_BYTES)
    return keys.wrap(call.key_id, call.data, call.context)


def _unwrap(keys: HeldKeys, call: KeyCall) -> bytes:
    return keys.unwrap(call.key_id, call.data, call.context)


def _sign(keys: HeldKeys, call: KeyCall) -> bytes:
    if len(call.context) > _MAX_SIGN_CONTEXT_BYTES:
        raise _too_long("The context of a signature", _MAX_SIGN_CONTEXT_BYTES)
    return keys.sign(call.key_id, call.data, call.context)


def _public(keys: HeldKeys, call: KeyCall) -> bytes:
    return keys.public(call.key_id)


def _rotate(keys: HeldKeys, call: KeyCall) -> bytes:
    return keys.rotate(call.key_id).encode()


def _create(keys: HeldKeys, call: KeyCall) -> tuple[KeyInfo, ...]:
    if len(call.data) != _LIFE.size or len(call.context) > _MAX_NAME_CHARS:
        raise _too_long("The description of a key", _MAX_NAME_CHARS)
    (life_s,) = _LIFE.unpack(call.data)
    algorithm = call.context.decode("ascii", errors="replace")
    return (keys.create(call.key_id, algorithm, life_s=life_s),)


def _destroy(keys: HeldKeys, call: KeyCall) -> tuple[KeyInfo, ...]:
    return (keys.destroy(call.key_id),)


_USES: Final[dict[str, Callable[[HeldKeys, KeyCall], bytes]]] = {
    "wrap": _wrap,
    "unwrap": _unwrap,
    "sign": _sign,
    "public": _public,
    "rotate": _rotate,
}
_CHANGES: Final[dict[str, Callable[[HeldKeys, KeyCall], tuple[KeyInfo, ...]]]] = {
    "create": _create,
    "destroy": _destroy,
}


def _listed(keys: Sequence[KeyInfo], data: bytes) -> tuple[bytes, tuple[KeyInfo, ...]]:
    """Give the keys from a position on, as many as fit, and the next position."""
    first = _COUNT.unpack(data)[0] if len(data) == _COUNT.size else 0
    part: list[KeyInfo] = []
    size = 0
    for info in keys[first:]:
        size += len(encode(info))
        if part and size > _PART_BYTES:
            return _COUNT.pack(first + len(part)), tuple(part)
        part.append(info)
    return b"", tuple(part)


def list_from(position: int) -> bytes:
    """Give the `data` of a call for the keys from a position on."""
    return _COUNT.pack(position)


def life_of(life_s: int) -> bytes:
    """Give the `data` of a call that creates a key."""
    return _LIFE.pack(life_s)


def raise_for(reply: KeyReply) -> None:
    """Raise the error that a call ended in, if it did, as the class that it was."""
    if not reply.code:
        return
    kind = _KINDS.get(reply.data)
    if kind is None:
        raise CronosError(reply.code, reply.sentence, reply.remedy)
    # All three take the same arguments, unlike their base.
    raise kind(reply.code, reply.sentence, reply.remedy)


def _failed(call: KeyCall, error: CronosError) -> KeyReply:
    kind = next((name for name, one in _KINDS.items() if isinstance(error, one)), b"")
    return KeyReply(call.request_id, kind, (), error.code, error.sentence, error.remedy)


def _too_long(what: str, most: int) -> InputError:
    return InputError(
        "crypto.agent_call",
        f"{what} is too long, or not as it should be.",
        f"Send at most {most} characters or bytes, as this version does.",
    )


def _faulty() -> CronosError:
    return CronosError(
        "crypto.agent_fault",
        "The key agent could not carry out the call, by a fault of its own.",
        "See the key agent's last log lines.",
    )
