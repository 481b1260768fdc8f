"""A root key on a PKCS#11 token: AES-256 that never leaves the hardware.

The token wraps one secret of a keystore; the keystore's own keys are unsealed in the process
that holds it, for tokens have no ML-KEM and no ML-DSA. Calls into a token's library cannot be
interrupted, so each runs in a thread that is given up on when it takes too long. What a library
of a token in the network dials is between it and its configuration: no egress gate sees it.

Wrapped: ``version u8 = 1 | nonce 12 | secret | tag 16``, AES-256-GCM, with the version and the
context as what is authenticated.

Source: PKCS #11 v3.0, CKM_AES_GCM.
"""

import secrets
import threading
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11 import exceptions as token_errors
from pkcs11.mechanisms import GCMParams

from cronos.config import Section
from cronos.crypto.refusal import refused
from cronos.crypto.roots.remote import (
    MAX_SECRET_BYTES,
    Seconds,
    first_line,
    require_set,
    require_short,
)
from cronos.errors import DeniedError, InputError, UnreachableError
from cronos.types import Manifest

_VERSION: Final = b"\x01"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_MIN_WRAPPED: Final = len(_VERSION) + _NONCE_BYTES + _TAG_BYTES
T = TypeVar("T")
# A token knows processes: one that is logged in is so for every session of its process.
_TURN: Final = threading.Lock()

_PIN_REFUSED: Final = (
    token_errors.PinIncorrect,
    token_errors.PinLocked,
    token_errors.PinExpired,
    token_errors.PinInvalid,
    token_errors.PinLenRange,
    token_errors.UserPinNotInitialized,
)


class Pkcs11Config(Section, frozen=True):
    """Which key of which token, and how to get at it.

    Attributes:
        module: path of the token's PKCS#11 library.
        token: label of the token.
        key: label of the AES-256 key on it.
        pin_file: a file of mode 0600 whose first line is the user PIN.
        create: make the key where the token has none of that label.
        timeout_s: how long the token may take for one call.
    """

    module: str = ""
    token: str = ""
    key: str = "cronos-root"
    pin_file: str = ""
    create: bool = False
    timeout_s: Seconds = 10


class Pkcs11Root:
    """Locks a keystore with a key on a token, which is logged out after each call."""

    manifest: ClassVar[Manifest] = Manifest(
        "pkcs11",
        "Locks a keystore with a key that stays on a PKCS#11 token.",
        capabilities=("wrap", "unwrap"),
    )
    config_type: ClassVar[type[Section]] = Pkcs11Config

    def __init__(self, config: Pkcs11Config) -> None:
        require_set(config, "pkcs11", "module", "token", "pin_file")
        self._config = config
        self.protection = f"the PKCS#11 token {config.token!r} and its PIN"

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Encrypt a secret of at most 64 bytes on the token.

        Raises:
            InputError: the token's library does not load, or the secret is too long.
            DeniedError: the PIN is refused, or the key is not there or may be taken out.
            UnreachableError: the token does not answer.
        """
        require_short(secret)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._within(lambda: self._encrypt(secret, nonce, context))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Give the secret back; see `RootKey.unwrap`."""
        fits = _MIN_WRAPPED <= len(wrapped) <= _MIN_WRAPPED + MAX_SECRET_BYTES
        if not fits or wrapped[:1] != _VERSION:
            raise refused()
        return self._within(lambda: self._decrypt(wrapped, context))

    def _encrypt(self, secret: bytes, nonce: bytes, context: bytes) -> bytes:
        with self._login() as session:
            sealed: bytes = self._found(session).encrypt(secret, **_gcm(nonce, context))
            return sealed

    def _decrypt(self, wrapped: bytes, context: bytes) -> bytes:
        nonce, sealed = wrapped[1 : 1 + _NONCE_BYTES], wrapped[1 + _NONCE_BYTES :]
        with self._login() as session:
            key = self._found(session)
            try:
                secret: bytes = key.decrypt(sealed, **_gcm(nonce, context))
            except token_errors.PKCS11Error:
                # A wrong tag is a "general error" to some tokens. One that still encrypts is
                # well, so what it was given is not.
                key.encrypt(b"probe", **_gcm(secrets.token_bytes(_NONCE_BYTES), b""))
                raise refused() from None
            return secret

    def _login(self) -> Any:
        token = self._token()
        try:
            # The PIN is nobody's local variable while something can fail.
            return token.open(
                rw=self._config.create, user_pin=first_line(self._config.pin_file, "PIN")
            )
        except token_errors.UserAlreadyLoggedIn:
            # Something else in this process uses the token too.
            return token.open(rw=self._config.create)
        except _PIN_REFUSED as error:
            raise DeniedError(
                "crypto.pin_refused",
                f"The token {self._config.token!r} refuses the PIN: {type(error).__name__}.",
                f"Correct {self._config.pin_file} before it is tried again: tokens lock themselves"
                " after a few wrong ones.",
            ) from None

    def _token(self) -> Any:
        try:
            library = pkcs11.lib(self._config.module)
        except (token_errors.PKCS11Error, RuntimeError) as error:
            raise InputError(
                "crypto.token_library",
                f"The PKCS#11 library {self._config.module} does not load: {error}.",
                "Install the token's library, and name it as `module` under [plugin.pkcs11].",
            ) from None
        return library.get_token(token_label=self._config.token)

    def _found(self, session: Any) -> Any:
        wanted = {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.LABEL: self._config.key,
        }
        # All of them: a search that is left unfinished ends, noisily, when its session is gone.
        keys = list(session.get_objects(wanted))
        if len(keys) > 1:
            raise DeniedError(
                "crypto.token_key_ambiguous",
                f"The token has several keys called {self._config.key!r}.",
                "Name the right one, or delete the others with the token's own tool.",
            )
        key = keys[0] if keys else self._made(session)
        if key[Attribute.EXTRACTABLE] or not key[Attribute.SENSITIVE]:
            raise DeniedError(
                "crypto.token_key_extractable",
                f"The key {self._config.key!r} can be taken out of the token.",
                "Make one that cannot: give it a new label, and set `create = true`.",
            )
        if key[Attribute.VALUE_LEN] != _KEY_BYTES:
            raise DeniedError(
                "crypto.token_key_short",
                f"The key {self._config.key!r} is no AES-256 key.",
                "Make one that is: give it a new label, and set `create = true`.",
            )
        return key

    def _made(self, session: Any) -> Any:
        if not self._config.create:
            raise DeniedError(
                "crypto.token_key_missing",
                f"The token has no AES key called {self._config.key!r}.",
                "Correct `key`, or set `create = true` under [plugin.pkcs11] to have it made.",
            )
        return session.generate_key(
            KeyType.AES,
            8 * _KEY_BYTES,
            label=self._config.key,
            store=True,
            capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
            template={
                Attribute.PRIVATE: True,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
            },
        )

    def _within(self, call: Callable[[], T]) -> T:
        """Run a call, and give up on it when it takes too long.

        One call at a time: one that hangs keeps those that follow out, and they say the same.
        What was given up on before it had its turn never has it: a PIN is not tried for nobody.
        """
        done: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                done.append(call())
            except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
                failed.append(error)
            finally:
                _TURN.release()

        thread = threading.Thread(target=run, daemon=True)
        if _TURN.acquire(timeout=self._config.timeout_s):
            thread.start()
            thread.join(self._config.timeout_s)
        if done:
            return done[0]
        if failed and not isinstance(failed[0], token_errors.PKCS11Error):
            raise failed[0]
        why = type(failed[0]).__name__ if failed else f"{self._config.timeout_s} s have passed"
        raise UnreachableError(
            "crypto.token_unreachable",
            f"The token {self._config.token!r} does not answer: {why}.",
            "Check that it is plugged in, and see what its own tools say.",
        )

    def __repr__(self) -> str:
        return f"Pkcs11Root({self._config.token!r}, {self._config.key!r})"


def _gcm(nonce: bytes, context: bytes) -> dict[str, Any]:
    return {
        "mechanism": Mechanism.AES_GCM,
        "mechanism_param": GCMParams(nonce, _VERSION + context, 8 * _TAG_BYTES),
    }
