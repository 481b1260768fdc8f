"""A root key in the transit engine of Vault or OpenBao: it encrypts there and never leaves.

Every call passes the egress gate. Beyond loopback it is TLS 1.3 with a verified certificate; no
proxy and no setting is taken from the environment, and no redirection is followed.

Wrapped: the engine's own text, ``vault:v1:…``; the context is its associated data.

Source: Vault HTTP API, "Transit secrets engine", encrypt and decrypt data.
"""

import base64
import binascii
import importlib
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

from cronos.config import Section
from cronos.crypto.refusal import refused
from cronos.crypto.roots.remote import Seconds, first_line, place_of, require_set, require_short
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.ports import Egress
from cronos.types import Manifest

# Published without types.
hvac: Any = importlib.import_module("hvac")
requests: Any = importlib.import_module("requests")
vault_errors: Any = importlib.import_module("hvac.exceptions")
_adapters: Any = importlib.import_module("requests.adapters")

_MAX_WRAPPED_BYTES: Final = 1_024
_WRAPPED: Final = re.compile(rb"vault:v[1-9][0-9]{0,8}:([A-Za-z0-9+/=]+)\Z")


class VaultConfig(Section, frozen=True):
    """Which key of which server, and how to get at it.

    Attributes:
        url: of the server, with ``https``; ``http`` only on loopback.
        token_file: a file of mode 0600 whose first line is the token.
        key: name of the transit key, of the type ``aes256-gcm96``.
        mount: where the transit engine is mounted.
        namespace: of Vault Enterprise or OpenBao; empty for none.
        ca_file: certificates that vouch for the server; empty for those of this system.
        timeout_s: how long connecting may take, and each wait for an answer.
    """

    url: str = ""
    token_file: str = ""
    key: str = "cronos-root"
    mount: str = "transit"
    namespace: str = ""
    ca_file: str = ""
    timeout_s: Seconds = 10


class VaultRoot:
    """Locks a keystore with a transit key; connects at the first call."""

    manifest: ClassVar[Manifest] = Manifest(
        "vault",
        "Locks a keystore with a transit key of Vault or OpenBao.",
        capabilities=("wrap", "unwrap"),
    )
    config_type: ClassVar[type[Section]] = VaultConfig

    def __init__(self, config: VaultConfig, egress: Egress) -> None:
        require_set(config, "vault", "url", "token_file")
        self._config = config
        self._egress = egress
        self._host, self._port = place_of(config.url, "vault")
        self.protection = f"the transit key {config.key!r} of {self._host}, and its token"

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Have a secret of at most 64 bytes encrypted.

        Raises:
            InputError: the secret is too long, or the token file is not there.
            DeniedError: the server refuses the token or the key, or the gate the call.
            UnreachableError: the server does not answer, or is sealed.
        """
        require_short(secret)
        answer = self._ask(
            lambda transit: transit.encrypt_data(
                self._config.key,
                plaintext=_text(secret),
                associated_data=_text(context),
                mount_point=self._config.mount,
            ),
            self._refuses,
        )
        wrapped = _field(answer, "ciphertext").encode()
        if not _canonical(wrapped):
            raise self._strange()
        return wrapped

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Give the secret back; see `RootKey.unwrap`."""
        if not _canonical(wrapped):
            raise refused()
        answer = self._ask(
            lambda transit: transit.decrypt_data(
                self._config.key,
                ciphertext=wrapped.decode("ascii"),
                associated_data=_text(context),
                mount_point=self._config.mount,
            ),
            refused,
        )
        try:
            secret = base64.b64decode(_field(answer, "plaintext"), validate=True)
        except (binascii.Error, ValueError):
            raise self._strange() from None
        if not secret:
            raise self._strange()
        return secret

    def _ask(self, call: Callable[[Any], Any], bad: Callable[[], CronosError]) -> Any:
        """Make a call; an error that holds a request, and so the token, goes no further.

        `bad` gives the error of what the server says is a bad request.
        """
        self._egress.permit(self._host, self._port, "vault transit")
        with self._http() as session:
            try:
                return call(self._transit(session))
            except vault_errors.InvalidRequest:
                raise bad() from None
            except (vault_errors.Forbidden, vault_errors.Unauthorized, vault_errors.InvalidPath):
                raise self._refuses() from None
            except vault_errors.VaultError as error:
                raise self._silent(type(error).__name__) from None
            except requests.exceptions.SSLError:
                raise self._silent("its certificate is not trusted, or it has no TLS 1.3") from None
            except (requests.exceptions.RequestException, ValueError, RecursionError) as error:
                raise self._silent(type(error).__name__) from None

    def _http(self) -> Any:
        session = requests.Session()
        session.trust_env = False
        session.verify = self._config.ca_file or True
        if self._config.url.startswith("https:"):
            session.mount("https://", _tls13(self._config.ca_file))
        return session

    def _transit(self, session: Any) -> Any:
        client = hvac.Client(
            url=self._config.url,
            # An empty one would be looked for in the environment, as these are.
            token=first_line(self._config.token_file, "token"),
            cert=("", ""),
            verify=session.verify,
            timeout=self._config.timeout_s,
            proxies={},
            allow_redirects=False,
            session=session,
            namespace=self._config.namespace or None,
        )
        return client.secrets.transit

    def _refuses(self) -> DeniedError:
        return DeniedError(
            "crypto.root_denied",
            f"{self._host} refuses to use the transit key {self._config.key!r}.",
            "Check the token's policy and life, the mount, and that the key is there and is"
            " aes256-gcm96.",
        )

    def _silent(self, why: str) -> UnreachableError:
        return UnreachableError(
            "crypto.root_unreachable",
            f"{self._host} port {self._port} does not answer as Vault does: {why}.",
            "Check that it runs and is unsealed, its address, and `ca_file`.",
        )

    def _strange(self) -> UnreachableError:
        return self._silent("what it sent is no answer of its transit engine")

    def __repr__(self) -> str:
        return f"VaultRoot({self._host}:{self._port}, {self._config.key!r})"


def _tls13(ca_file: str) -> Any:
    """Give an adapter that speaks TLS 1.3 and nothing older.

    Raises:
        InputError: `ca_file` holds no certificates.
    """
    # Bare: a default context would let the environment choose certificates and log its secrets.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    paths = ssl.get_default_verify_paths()
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
        elif Path(paths.openssl_cafile).is_file():
            context.load_verify_locations(paths.openssl_cafile)
        elif Path(paths.openssl_capath).is_dir():
            context.load_verify_locations(capath=paths.openssl_capath)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            "crypto.root_ca",
            f"The certificates in {ca_file or paths.openssl_cafile} cannot be read: {why}.",
            "Name a file of PEM certificates as `ca_file` under [plugin.vault].",
        ) from None
    adapter = _adapters.HTTPAdapter()
    adapter.init_poolmanager(1, 1, ssl_context=context)
    # It would have the certificates that come with it vouch for the server as well.
    adapter.cert_verify = _nothing_more
    return adapter


def _nothing_more(*_: object) -> None:
    """Stand in for what would change whom a connection trusts."""


def _canonical(wrapped: bytes) -> bool:
    """Say whether this is spelled in the one right way: base64 has several that Go would read."""
    found = _WRAPPED.match(wrapped) if len(wrapped) <= _MAX_WRAPPED_BYTES else None
    if found is None:
        return False
    try:
        return base64.b64encode(base64.b64decode(found[1], validate=True)) == found[1]
    except binascii.Error:
        return False


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _field(answer: Any, name: str) -> str:
    """Give a text field of an answer; empty where there is none."""
    try:
        value: Any = answer["data"][name]
    except (KeyError, TypeError):
        return ""
    return value if isinstance(value, str) else ""
