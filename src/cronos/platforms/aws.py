"""Deactivates and rotates access keys of AWS IAM users.

Every call passes the egress gate. Our own credentials come from a file, and from nowhere else:
neither the environment nor the instance's metadata is asked, no proxy is used, and no setting of
the user's is read. A tag of the IAM user, ``cronos-<verb>-<access key>``, is the record of what is
in force and what was before, so that whoever comes later finds it and can take it back.

IAM is consistent in the end: a key that was deactivated may be accepted for some seconds more. It
gives a request to make a key no name of ours, so that one which was made while we died is known by
its time and by never having been used: whatever else a user has was made by people and stays.

Source: AWS IAM API (UpdateAccessKey, CreateAccessKey, TagUser, GetAccountAuthorizationDetails).
"""

import configparser
import contextlib
import email.utils
import importlib
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from cronos.config import Section
from cronos.errors import (
    CronosError,
    DeniedError,
    ExtraMissingError,
    InputError,
    UnreachableError,
)
from cronos.link.foreign import ForeignExecutor, Prepared, recipe_of, refusal
from cronos.link.openc2target import target_name
from cronos.link.rest import ForeignConfig, place_of
from cronos.link.text import plain
from cronos.ports import Egress
from cronos.types import Ability, Action, Blast, EntityKind, Manifest, Plan, Reversal, Verb

_TABLE: Final = "aws"
_KEY: Final = re.compile(r"[A-Z0-9]{16,128}")
_ID: Final = re.compile(r"[0-9a-f]{32}")
_TAG: Final = "cronos-"
_ACTIVE: Final = "Active"
_INACTIVE: Final = "Inactive"
_MAX_FILE_BYTES: Final = 16_384
_MAX_PAGES: Final = 100
_MOST_KEYS: Final = 2  # IAM's own limit for a user
_UNFINISHED: Final = ".new"
_MISSING: Final = "NoSuchEntity"
# A key that came longer than this after the intent to make one is somebody else's.
_MAKING_S: Final = 60
_SINCE: Final = re.compile(r"@([0-9]{1,12})")


class AwsConfig(ForeignConfig, frozen=True):
    """Which account, by whose right; `url` is another address of IAM, empty for its own."""

    region: str = "us-east-1"
    # A file of mode 0600 in the form of ~/.aws/credentials.
    credentials_file: str = ""
    profile: str = "default"
    # A folder of mode 0700, in which a rotation leaves the new key; empty forbids rotation.
    secrets_folder: str = ""
    # IAM users whose keys are never touched.
    protected_users: tuple[str, ...] = ()


class KeyBefore(msgspec.Struct, frozen=True):
    """A key before it was deactivated or replaced: its user, its state, its user's keys."""

    user: str
    status: str
    keys: tuple[str, ...]


class _Mark(NamedTuple):
    """What a tag says: which action, the key that a rotation has made, or since when it tries."""

    action_id: str
    made: str
    since_s: int = 0


class AwsExecutor(ForeignExecutor):
    """Acts in one account; connects at the first call.

    Raises:
        ExtraMissingError: boto3 is not installed.
        InputError: an address or a file cannot be used.
    """

    manifest = Manifest(
        "aws",
        "Deactivates and rotates access keys of AWS IAM users",
        abilities=tuple(
            Ability(
                verb,
                EntityKind.CREDENTIAL,
                target_name(EntityKind.CREDENTIAL),
                d3fend,
                Reversal.LEASED,
                Blast.IDENTITY,
                10_000,
            )
            for verb, d3fend in ((Verb.DENY, "D3-CR"), (Verb.UPDATE, "D3-CRO"))
        ),
    )
    config_type: ClassVar[type[Section]] = AwsConfig

    def __init__(self, config: AwsConfig, egress: Egress) -> None:
        super().__init__(config.at_once)
        if config.url:
            place_of(config.url, _TABLE)
        self._config = config
        self._iam = Iam(config, egress)
        self._lock = threading.Lock()
        self._iam.credentials()

    def prepare(self, action: Action) -> Prepared:
        """See `ForeignExecutor.prepare`."""
        key = action.target.value
        user, keys = self._found(key)
        mark = self._mark(user, action)
        if action.verb is Verb.DENY:
            if keys[key] != _ACTIVE and mark is None:
                raise refusal(
                    f"The key {key} is inactive already, and not by this.",
                    "Nothing is held; whoever deactivated it decides when it returns.",
                )
            before = KeyBefore(user, _ACTIVE, (key,))
            summary = f"deactivate the access key {key} of {user}"
            return Prepared(before, summary, f"activate the access key {key} of {user}")
        if not self._config.secrets_folder:
            raise refusal(
                "A rotation has nowhere to leave the new key.",
                "Set `secrets_folder` under [plugin.aws].",
            )
        _checked_folder(Path(self._config.secrets_folder))
        if mark is None and len(keys) >= _MOST_KEYS:
            raise refusal(
                f"{user} has two access keys already: IAM makes no third.",
                "Delete the one that is not used.",
            )
        status = _ACTIVE if mark is not None else keys[key]
        return Prepared(
            KeyBefore(user, status, (key,)),
            f"replace the access key {key} of {user} by a new one",
            f"make the access key {key} of {user} {status.lower()} again and delete the new one",
        )

    def put(self, plan: Plan) -> str:
        """See `ForeignExecutor.put`."""
        key, before = plan.action.target.value, recipe_of(plan, KeyBefore)
        # The mark is set before the key is; read after it, it tells our own change from others.
        now = (self._iam.keys(before.user) or {}).get(key)
        mark = self._mark(before.user, plan.action)
        if mark is None and now != before.status:
            raise refusal(
                f"The key {key} is {(now or 'gone').lower()} meanwhile, and not by this.",
                "Nothing is held; whoever changed it decides about it.",
            )
        if plan.action.verb is Verb.DENY:
            self._tag(before.user, plan.action, "")
            self._set(before.user, key, _INACTIVE)
            return f"The access key {key} of {before.user} is inactive."
        with self._lock:  # two makers would make two
            made = self._made(plan.action, before)
        self._set(before.user, key, _INACTIVE)
        where = self._secret_path(made)
        return f"The access key {key} was replaced by {made}, which lies in {where}."

    def sees(self, plan: Plan) -> bool:
        """See `ForeignExecutor.sees`."""
        key, before = plan.action.target.value, recipe_of(plan, KeyBefore)
        mark = self._mark(before.user, plan.action)
        keys = self._iam.keys(before.user) or {}
        if mark is None or keys.get(key) != _INACTIVE:
            return False
        if plan.action.verb is Verb.DENY:
            return True
        # The file need not be there: whom it is for may have moved it away.
        return mark.made not in before.keys and keys.get(mark.made) == _ACTIVE

    def take_back(self, plan: Plan) -> str:
        """See `ForeignExecutor.take_back`."""
        key, before = plan.action.target.value, recipe_of(plan, KeyBefore)
        keys = self._iam.keys(before.user)
        if keys is None:
            return f"The IAM user {before.user} is gone."
        mark = self._mark(before.user, plan.action)
        if mark is None:
            return f"The access key {key} is not held."
        if key in keys:
            self._set(before.user, key, before.status)
        if plan.action.verb is Verb.UPDATE:
            self._remove_made(before, mark)
        left = self._iam.keys(before.user) or {}
        if key in left and left[key] != before.status:
            raise _not_done(f"the access key {key} is {left[key].lower()}")
        # The mark goes last: until then whoever looks finds work to do.
        name = _tag_of(plan.action)
        self._iam.call("untag_user", UserName=before.user, TagKeys=[name])
        if self._mark(before.user, plan.action) is not None:
            raise _not_done(f"the tag {name} is still there")
        return f"The access key {key} of {before.user} is {before.status.lower()} again."

    def observe(self) -> frozenset[str]:
        """Give the ids in the tags of all users; what a half-done change left counts too."""
        return frozenset(
            mark.action_id
            for user in self._iam.users()
            for tag in user.get("Tags", ())
            if str(tag.get("Key", "")).startswith(_TAG)
            and (mark := _read_mark(str(tag.get("Value", "")))) is not None
        )

    # --- keys and marks --------------------------------------------------------------------------

    def _found(self, key: str) -> tuple[str, dict[str, str]]:
        """Give a key's user, and the states of all keys of that user."""
        if not _KEY.fullmatch(key):
            raise refusal(f"{key!r:.100} is no access key id.")
        if key == self._iam.credentials()["aws_access_key_id"]:
            raise refusal(f"{key} is the key that Cronos itself uses.")
        # For a key that it does not know IAM names the user who asks.
        told = self._iam.call("get_access_key_last_used", missing={}, AccessKeyId=key)
        user = str(told.get("UserName", ""))
        keys = (self._iam.keys(user) if user else None) or {}
        if key not in keys:
            raise refusal(f"The account has no access key {key}.")
        if user in self._config.protected_users:
            raise refusal(f"The IAM user {user} is protected.")
        return user, keys

    def _mark(self, user: str, action: Action) -> _Mark | None:
        name = _tag_of(action)
        told = self._iam.call("list_user_tags", missing={}, UserName=user, MaxItems=100)
        for tag in told.get("Tags", ()):
            if tag.get("Key") == name:
                mark = _read_mark(str(tag.get("Value", "")))
                return mark if mark is not None and mark.action_id == action.action_id else None
        return None

    def _tag(self, user: str, action: Action, made: str) -> None:
        value = f"{action.action_id}/{made}"
        self._iam.call("tag_user", UserName=user, Tags=[{"Key": _tag_of(action), "Value": value}])

    def _set(self, user: str, key: str, status: str) -> None:
        self._iam.call("update_access_key", UserName=user, AccessKeyId=key, Status=status)

    # --- rotation --------------------------------------------------------------------------------

    def _made(self, action: Action, before: KeyBefore) -> str:
        """Give the new key of a rotation, making it where it is not there and known yet."""
        mark = self._mark(before.user, action)
        keys, now_s = self._iam.times(before.user)
        if mark is not None and mark.made in set(keys) - set(before.keys):
            return mark.made
        # A key that was made while we died has told nobody its secret: it is of no use.
        lost = self._lost(before, mark, keys)
        others = sorted(set(keys) - set(before.keys) - lost)
        if others:
            raise _not_done(f"{before.user} has the key {others[0]} by now, which stays")
        for key in lost:
            self._iam.call("delete_access_key", UserName=before.user, AccessKeyId=key)
        self._tag(before.user, action, f"@{now_s}")
        told = self._iam.call("create_access_key", UserName=before.user).get("AccessKey", {})
        made, secret = str(told.get("AccessKeyId", "")), str(told.get("SecretAccessKey", ""))
        if not _KEY.fullmatch(made) or not secret:
            raise _not_done("no key was made")
        _write_secret(self._secret_path(made), made, secret)
        self._tag(before.user, action, made)
        return made

    def _lost(self, before: KeyBefore, mark: _Mark | None, keys: dict[str, int]) -> set[str]:
        """Give what an attempt that was cut short has made: just then, and never used."""
        if mark is None or not mark.since_s:
            return set()
        return {
            key
            for key, made_s in keys.items()
            if key not in before.keys
            and mark.since_s - 1 <= made_s <= mark.since_s + _MAKING_S
            and not self._iam.was_used(key)
        }

    def _remove_made(self, before: KeyBefore, mark: _Mark) -> None:
        keys, _ = self._iam.times(before.user)
        for made in ({mark.made} & set(keys)) - set(before.keys) or self._lost(before, mark, keys):
            self._set(before.user, made, _INACTIVE)
            self._iam.call("delete_access_key", UserName=before.user, AccessKeyId=made)
            self._forget_secret(made)
        if mark.made:
            self._forget_secret(mark.made)

    def _forget_secret(self, made: str) -> None:
        """Remove a key's file, and what a death in the middle of writing it has left."""
        where = self._secret_path(made)
        where.unlink(missing_ok=True)
        where.with_suffix(_UNFINISHED).unlink(missing_ok=True)

    def _secret_path(self, made: str) -> Path:
        return Path(self._config.secrets_folder) / f"{made}.json"


class Iam:
    """The service, called by its own library, which is kept from looking anywhere else."""

    def __init__(self, config: AwsConfig, egress: Egress) -> None:
        self._config = config
        self._egress = egress
        self._library = _Library()
        self._local = threading.local()

    def call(self, name: str, missing: dict[str, Any] | None = None, **given: Any) -> Any:
        """Make a call; `missing` is given where IAM knows no such thing.

        Raises:
            CronosError: it was refused or not answered; what it held of ours is left out.
        """
        try:
            return getattr(self._client(), name)(**given)
        except self._library.errors.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code == _MISSING and missing is not None:
                return missing
            raise self._refused(name, plain(code, 60)) from None
        except CronosError:
            raise  # the gate's
        except Exception as error:  # noqa: BLE001 - hostile bytes raise anything in its parser
            raise _silent(type(error).__name__) from None

    def keys(self, user: str) -> dict[str, str] | None:
        """Give the states of a user's keys; None where there is no such user."""
        told = self.call("list_access_keys", missing={"gone": True}, UserName=user, MaxItems=100)
        if "gone" in told:
            return None
        return {
            str(one.get("AccessKeyId")): str(one.get("Status"))
            for one in told.get("AccessKeyMetadata", ())
        }

    def times(self, user: str) -> tuple[dict[str, int], int]:
        """Give when each of a user's keys was made, and the service's own time now; in seconds."""
        told = self.call("list_access_keys", missing={}, UserName=user, MaxItems=100)
        headers = told.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        made = {
            str(one.get("AccessKeyId")): int(one["CreateDate"].timestamp())
            for one in told.get("AccessKeyMetadata", ())
            if "CreateDate" in one
        }
        now = email.utils.parsedate_tz(str(headers.get("date", "")))
        if now is None:
            raise _silent("its answer has no date")
        return made, int(email.utils.mktime_tz(now))

    def was_used(self, key: str) -> bool:
        """Say whether a key has ever been used; one that is not known counts as used."""
        told = self.call("get_access_key_last_used", missing={}, AccessKeyId=key)
        last = told.get("AccessKeyLastUsed")
        return last is None or "LastUsedDate" in last

    def users(self) -> Iterator[dict[str, Any]]:
        """Give all users with their tags, page by page."""
        more: dict[str, Any] = {}
        for _ in range(_MAX_PAGES):
            told = self.call("get_account_authorization_details", Filter=["User"], **more)
            yield from told.get("UserDetailList", ())
            if not told.get("IsTruncated"):
                return
            more = {"Marker": told.get("Marker", "")}
        raise _silent("it has more users than can be looked through")

    def credentials(self) -> dict[str, str]:
        """Read our credentials anew: whoever renews them writes the file.

        Raises:
            InputError: it cannot be read or holds none.
            DeniedError: others may read it.
        """
        return _credentials(self._config.credentials_file, self._config.profile)

    def _permit(self, request: Any, **_: Any) -> None:
        """Ask the gate for the very address that is about to be called, at every attempt."""
        url: str = request.url
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._egress.permit(parts.hostname or "", port, "aws iam")

    def _client(self) -> Any:
        """Give this thread's client, made anew when the credentials have changed."""
        credentials = self.credentials()
        held = getattr(self._local, "client", None)
        if held is None or held[0] != credentials:
            held = (credentials, self._library.client(self._config, credentials))
            held[1].meta.events.register("before-send.iam.*", self._permit)
            self._local.client = held
        return held[1]

    def _refused(self, name: str, code: str) -> CronosError:
        if code in ("Throttling", "ServiceFailure", "InternalFailure", "ServiceUnavailable"):
            return _silent(code)
        return DeniedError(
            "platforms.aws_denied",
            f"AWS IAM refuses {name}: {code or 'without a reason'}.",
            "Check `credentials_file` (the secret file) and the policy of its user.",
        )


class _Library:
    """boto3 and botocore, imported when they are needed; published without types."""

    def __init__(self) -> None:
        try:
            self._boto3: Any = importlib.import_module("boto3")
            self._core: Any = importlib.import_module("botocore.session")
        except ModuleNotFoundError as error:
            raise ExtraMissingError("aws", "The executor `aws`") from error
        self._loaders: Any = importlib.import_module("botocore.loaders")
        self._settings: Any = importlib.import_module("botocore.config")
        self.errors: Any = importlib.import_module("botocore.exceptions")
        # At the level DEBUG botocore logs what it sends and receives, secrets in the clear.
        for name in ("boto3", "botocore"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def client(self, config: AwsConfig, credentials: dict[str, str]) -> Any:
        """Make a client that looks neither in the environment nor in a file for anything."""
        alone = {
            name: (None, None, default, convert)
            for name, (_, _, default, convert) in self._core.Session.SESSION_VARIABLES.items()
        } | {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
        core = self._core.Session(session_vars=alone)
        built_in = self._loaders.Loader(
            [self._loaders.Loader.BUILTIN_DATA_PATH], include_default_search_paths=False
        )
        core.register_component("data_loader", built_in)
        settings = self._settings.Config(
            connect_timeout=config.timeout_ms / 1000,
            read_timeout=config.timeout_ms / 1000,
            retries={"total_max_attempts": 2, "mode": "standard"},
            proxies={},
            ignore_configured_endpoint_urls=True,
        )
        try:
            return self._boto3.session.Session(botocore_session=core).client(
                "iam",
                region_name=config.region,
                endpoint_url=config.url or None,
                verify=config.ca_file or True,
                config=settings,
                **credentials,
            )
        except (self.errors.BotoCoreError, ValueError) as error:
            raise InputError(
                "platforms.aws_settings",
                f"AWS IAM cannot be called with these settings: {type(error).__name__}.",
                "Check `region` and `url` under [plugin.aws].",
            ) from None


def _credentials(name: str, profile: str) -> dict[str, str]:
    try:
        with Path(name).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_FILE_BYTES).decode()
    except (OSError, ValueError) as error:
        raise InputError(
            "platforms.aws_credentials",
            f"The secret file {name!r:.200} cannot be read: {type(error).__name__}.",
            "Correct `credentials_file` under [plugin.aws].",
        ) from None
    if mode & 0o077:
        raise DeniedError(
            "platforms.aws_credentials_open",
            f"The secret file {name} may be read by others.",
            f"Close it: chmod 600 {name}",
        )
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    parser = configparser.ConfigParser(interpolation=None)
    table: dict[str, str] = {}
    with contextlib.suppress(configparser.Error):
        parser.read_string(text)
        table = {one: parser.get(profile, one, fallback="") for one in names}
    if not (table.get(names[0]) and table.get(names[1])):
        raise InputError(
            "platforms.aws_credentials",
            f"The secret file {name} holds no credentials under [{profile}].",
            "Write aws_access_key_id and aws_secret_access_key into it.",
        )
    return {one: value for one, value in table.items() if value}


def _checked_folder(folder: Path) -> None:
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        raise refusal(
            f"The folder {folder} cannot be used: {error.strerror}.",
            "Make it, with mode 0700, as `secrets_folder` says under [plugin.aws].",
        ) from None
    if mode & 0o077 or not folder.is_dir():
        raise refusal(f"The folder {folder} is open to others.", f"Close it: chmod 700 {folder}")


def _write_secret(where: Path, key: str, secret: str) -> None:
    """Leave a new key for its user; durable, since nobody will ever tell it again."""
    data = json.dumps({"aws_access_key_id": key, "aws_secret_access_key": secret}).encode()
    new = where.with_suffix(_UNFINISHED)
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(where)
        folder = os.open(where.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _not_done(f"the new key cannot be written: {error.strerror}") from None


def _tag_of(action: Action) -> str:
    return f"{_TAG}{action.verb}-{action.target.value}"


def _read_mark(value: str) -> _Mark | None:
    """Read a tag, which others may have written: what it names becomes the name of a file."""
    name, slash, made = value.partition("/")
    if not slash or not _ID.fullmatch(name):
        return None
    if not made or _KEY.fullmatch(made):
        return _Mark(name, made)
    since = _SINCE.fullmatch(made)
    return _Mark(name, "", int(since[1])) if since is not None else None


def _silent(why: str) -> UnreachableError:
    return UnreachableError(
        "platforms.aws_silent",
        f"AWS IAM does not answer: {why}.",
        "Check the network, `url` and `region`; the egress gate lets the call pass.",
    )


def _not_done(what: str) -> UnreachableError:
    return UnreachableError(
        "platforms.aws_undone",
        f"Not done in AWS: {what}.",
        "Look at the user's access keys in the IAM console.",
    )
