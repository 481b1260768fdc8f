"""A root key in AWS KMS: it encrypts there and never leaves.

Every call passes the egress gate. Credentials come from a file, and from nowhere else: neither
the environment nor the instance's metadata is asked, no proxy is used, and no setting of the
user's is read.

Wrapped: KMS's own blob; the context is its encryption context, as a SHA-256.

Source: AWS KMS API, Encrypt and Decrypt.
"""

import configparser
import hashlib
import importlib
import logging
import os
from collections.abc import Callable
from typing import Any, ClassVar, Final

from cronos.config import Section
from cronos.crypto.refusal import refused
from cronos.crypto.roots.remote import Seconds, place_of, private_file, require_set, require_short
from cronos.errors import DeniedError, InputError, UnreachableError
from cronos.ports import Egress
from cronos.types import Manifest

# Published without types.
boto3: Any = importlib.import_module("boto3")
_botocore: Any = importlib.import_module("botocore.session")
_loaders: Any = importlib.import_module("botocore.loaders")
_settings: Any = importlib.import_module("botocore.config")
kms_errors: Any = importlib.import_module("botocore.exceptions")

# At the level DEBUG botocore logs what it sends and receives, the secret in the clear with it.
for _name in ("boto3", "botocore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_MAX_FILE_BYTES: Final = 16_384
_MAX_WRAPPED_BYTES: Final = 6_144
_CHANGED: Final = frozenset(("InvalidCiphertextException", "IncorrectKeyException"))
# What is made by another key is "denied", with these words.
_OF_ANOTHER_KEY: Final = "The ciphertext refers to"
_BUSY: Final = frozenset(
    (
        "DependencyTimeoutException",
        "KMSInternalException",
        "KeyUnavailableException",
        "LimitExceededException",
        "ThrottlingException",
        "InternalFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    )
)
# Where botocore would look by itself: neither in the environment nor in a file.
_ALONE: Final = {
    name: (None, None, default, convert)
    for name, (_, _, default, convert) in _botocore.Session.SESSION_VARIABLES.items()
} | {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


class AwsKmsConfig(Section, frozen=True):
    """Which key, and how to get at it.

    Attributes:
        key: id, ARN or alias of a symmetric KMS key.
        region: where the key is.
        credentials_file: a file of mode 0600 in the form of ``~/.aws/credentials``.
        profile: its section.
        endpoint: of another address of KMS (a VPC endpoint); empty for the region's own.
        ca_file: certificates that vouch for it; empty for those that come with botocore.
        timeout_s: how long connecting may take, and each wait for an answer.
    """

    key: str = ""
    region: str = ""
    credentials_file: str = ""
    profile: str = "default"
    endpoint: str = ""
    ca_file: str = ""
    timeout_s: Seconds = 10


class AwsKmsRoot:
    """Locks a keystore with a KMS key; connects at the first call."""

    manifest: ClassVar[Manifest] = Manifest(
        "aws-kms",
        "Locks a keystore with a key of AWS KMS.",
        capabilities=("wrap", "unwrap"),
    )
    config_type: ClassVar[type[Section]] = AwsKmsConfig

    def __init__(self, config: AwsKmsConfig, egress: Egress) -> None:
        require_set(config, "aws-kms", "key", "region", "credentials_file")
        if config.endpoint:
            place_of(config.endpoint, "aws-kms")
        self._config = config
        self._egress = egress
        self._session: Any = None
        self.protection = f"the AWS KMS key {config.key!r} and credentials that may use it"

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Have a secret of at most 64 bytes encrypted.

        Raises:
            InputError: the secret is too long, or there are no credentials.
            DeniedError: KMS refuses the credentials or the key, or the gate the call.
            UnreachableError: KMS does not answer.
        """
        require_short(secret)
        return self._ask(
            "CiphertextBlob",
            lambda client: client.encrypt(
                KeyId=self._config.key, Plaintext=secret, EncryptionContext=_bound(context)
            ),
        )

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Give the secret back; see `RootKey.unwrap`."""
        if not 0 < len(wrapped) <= _MAX_WRAPPED_BYTES:
            raise refused()
        return self._ask(
            "Plaintext",
            lambda client: client.decrypt(
                KeyId=self._config.key, CiphertextBlob=wrapped, EncryptionContext=_bound(context)
            ),
        )

    def _ask(self, field: str, call: Callable[[Any], dict[str, Any]]) -> bytes:
        """Make a call; an error that holds a request goes no further."""
        client = self._client()
        try:
            answer = call(client).get(field)
        except kms_errors.ClientError as error:
            told = error.response.get("Error", {})
            raise self._refused_for(str(told.get("Code", "")), str(told.get("Message"))) from None
        except (kms_errors.BotoCoreError, RecursionError) as error:
            raise self._silent(type(error).__name__) from None
        finally:
            client.close()
        if not isinstance(answer, bytes) or not answer:
            raise self._silent("its answer lacks what was asked for")
        return answer

    def _permit(self, request: Any, **_: Any) -> None:
        """Ask the gate for the very address that is about to be called, at every attempt."""
        host, port = place_of(request.url, "aws-kms")
        self._egress.permit(host, port, "aws kms")

    def _client(self) -> Any:
        if self._session is None:
            core = _botocore.Session(session_vars=_ALONE)
            # Nor for descriptions of services in ~/.aws/models, which could name other hosts.
            built_in = _loaders.Loader(
                [_loaders.Loader.BUILTIN_DATA_PATH], include_default_search_paths=False
            )
            core.register_component("data_loader", built_in)
            self._session = boto3.session.Session(botocore_session=core)
        settings = _settings.Config(
            connect_timeout=self._config.timeout_s,
            read_timeout=self._config.timeout_s,
            retries={"total_max_attempts": 2, "mode": "standard"},
            proxies={},
            ignore_configured_endpoint_urls=True,
        )
        try:
            client: Any = self._session.client(
                "kms",
                region_name=self._config.region,
                endpoint_url=self._config.endpoint or None,
                verify=self._config.ca_file or True,
                config=settings,
                **self._credentials(),
            )
        except (kms_errors.BotoCoreError, ValueError) as error:
            raise InputError(
                "crypto.root_settings",
                f"AWS KMS cannot be called with these settings: {type(error).__name__}.",
                "Check `region` and `endpoint` under [plugin.aws-kms].",
            ) from None
        client.meta.events.register("before-send.kms.*", self._permit)
        return client

    def _credentials(self) -> dict[str, str]:
        """Read the credentials anew: whoever renews them writes the file."""
        config = self._config
        found = private_file(config.credentials_file, _MAX_FILE_BYTES)
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string((found or b"").decode())
            table = {name: parser.get(config.profile, name, fallback="") for name in names}
        except (configparser.Error, UnicodeDecodeError):
            table = {}
        if not (table.get(names[0]) and table.get(names[1])):
            raise InputError(
                "crypto.no_credentials",
                f"The file {config.credentials_file} is not there or holds no credentials under"
                f" [{config.profile}].",
                "Write aws_access_key_id and aws_secret_access_key into it, and chmod 600 it.",
            )
        return {name: value for name, value in table.items() if value}

    def _refused_for(self, code: str, message: str) -> DeniedError | UnreachableError:
        if code in _CHANGED or message.startswith(_OF_ANOTHER_KEY):
            return refused()
        if code in _BUSY:
            return self._silent(code)
        return DeniedError(
            "crypto.root_denied",
            f"AWS KMS refuses to use the key {self._config.key!r}: {code[:80]!r}.",
            "Check the credentials, the policy of the key, and that it is enabled.",
        )

    def _silent(self, why: str) -> UnreachableError:
        return UnreachableError(
            "crypto.root_unreachable",
            f"AWS KMS in {self._config.region} does not answer: {why}.",
            "Check the network, `region` and `endpoint`; the egress gate lets the call pass.",
        )

    def __repr__(self) -> str:
        return f"AwsKmsRoot({self._config.key!r}, {self._config.region!r})"


def _bound(context: bytes) -> dict[str, str]:
    """Give the encryption context: KMS writes it into its log, so it is a hash."""
    return {"cronos": hashlib.sha256(context).hexdigest()}
