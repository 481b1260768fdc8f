"""Locks accounts of a Keycloak realm and ends their sessions, by its admin interface.

An account that is locked is disabled and logged out everywhere; with the log-out Keycloak moves
the account's not-before to now, so that tokens given out before are refused by whoever asks. What
undoing gives back is the account: sessions and tokens that were ended stay so.

Source: Keycloak Admin REST API (users, sessions), OAuth 2.0 client credentials (RFC 6749, 4.4).
"""

import threading
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import msgspec

from cronos.config import Section
from cronos.errors import CronosError, UnreachableError
from cronos.link.foreign import ForeignExecutor, Prepared, recipe_of, refusal
from cronos.link.openc2target import target_name
from cronos.link.rest import Answer, ForeignConfig, RestClient, json_body, path, private_text
from cronos.ports import Clock, Egress
from cronos.types import (
    Ability,
    Action,
    Blast,
    Entity,
    EntityKind,
    Manifest,
    Plan,
    Reversal,
    Verb,
    action_id,
)

_TABLE: Final = "keycloak"
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_JSON: Final = {"Content-Type": "application/json"}
_S_NS: Final = 1_000_000_000
_EARLY_S: Final = 10
_MAX_TOKEN_S: Final = 3_600
_PAGE: Final = 100
_MAX_PAGES: Final = 100


class KeycloakConfig(ForeignConfig, frozen=True):
    """Which realm, and the client that may manage its users."""

    realm: str = ""
    # Where the client is registered; empty for the same realm.
    client_realm: str = ""
    client_id: str = ""
    client_secret_file: str = ""


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: int = 0


class _User(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    username: str
    enabled: bool
    not_before: int = 0


class _Session(msgspec.Struct, frozen=True):
    id: str


class UserBefore(msgspec.Struct, frozen=True):
    """An account before it was locked."""

    user_id: str
    enabled: bool


class KeycloakExecutor(ForeignExecutor):
    """Acts in one realm.

    Raises:
        InputError: the address, a file or a name cannot be used.
        DeniedError: others may read the client's secret.
    """

    manifest = Manifest(
        "keycloak",
        "Locks accounts and ends sessions of a Keycloak realm",
        abilities=(
            Ability(
                Verb.CONTAIN,
                EntityKind.USER,
                target_name(EntityKind.USER),
                "D3-AL",
                Reversal.LEASED,
                Blast.IDENTITY,
                3_000,
                # Whoever is locked out may be the one who would help: a person is asked first.
                risk=0.70,
                efficacy=0.90,
                disruption=0.40,
            ),
            Ability(
                Verb.STOP,
                EntityKind.SESSION,
                target_name(EntityKind.SESSION),
                "D3-ST",
                Reversal.NONE,
                Blast.NARROW,
                3_000,
            ),
        ),
    )
    config_type: ClassVar[type[Section]] = KeycloakConfig

    def __init__(self, config: KeycloakConfig, clock: Clock, egress: Egress) -> None:
        super().__init__(config.at_once)
        self._config = config
        self._clock = clock
        self._rest = RestClient(config, egress, _TABLE)
        self._lock = threading.Lock()
        self._token: tuple[str, int] | None = None
        self._realm = path("admin", "realms", config.realm)
        path("realms", config.client_realm or config.realm)
        private_text(config.client_secret_file, "client_secret_file", _TABLE)

    def prepare(self, action: Action) -> Prepared:
        """See `ForeignExecutor.prepare`."""
        if action.verb is Verb.STOP:
            user, session = self._session_named(action)
            there = session in self._sessions(user)
            ended = "" if there else ", which is not there"
            return Prepared(None, f"end the session {session} of {user.username}{ended}", "")
        user = self._user(action.target.value)
        if not user.enabled:
            raise refusal(
                f"The account {user.username} is disabled already, and not by this.",
                "Nothing is held; whoever disabled it decides when it returns.",
            )
        return Prepared(
            UserBefore(user.id, user.enabled),
            f"disable the account {user.username} and end its sessions",
            f"enable the account {user.username}",
        )

    def put(self, plan: Plan) -> str:
        """See `ForeignExecutor.put`."""
        if plan.action.verb is Verb.STOP:
            return self._end_session(plan.action)
        before = recipe_of(plan, UserBefore)
        self._set_enabled(before.user_id, enabled=False)
        self._change("POST", f"{self._user_path(before.user_id)}/logout", None)
        return f"{plan.action.target.value} is disabled and logged out."

    def sees(self, plan: Plan) -> bool:
        """See `ForeignExecutor.sees`."""
        if plan.action.verb is Verb.STOP:
            user, session = self._session_named(plan.action)
            return session not in self._sessions(user)
        before = recipe_of(plan, UserBefore)
        user_now = self._by_id(before.user_id)
        return user_now is not None and not user_now.enabled and not self._sessions(user_now)

    def take_back(self, plan: Plan) -> str:
        """See `ForeignExecutor.take_back`."""
        before = recipe_of(plan, UserBefore)
        if self._by_id(before.user_id) is None:
            return f"The account {plan.action.target.value} is gone."
        self._set_enabled(before.user_id, enabled=before.enabled)
        user = self._by_id(before.user_id)
        if user is not None and user.enabled is not before.enabled:
            raise _not_done(f"{user.username} is not as it was")
        return f"{plan.action.target.value} is as it was; it has to log in anew."

    def observe(self) -> frozenset[str]:
        """Give the ids of all accounts that are disabled, whoever disabled them."""
        seen: set[str] = set()
        for page in range(_MAX_PAGES):
            query = {"enabled": "false", "first": str(page * _PAGE), "max": str(_PAGE)}
            answer = self._call("GET", f"{self._realm}/users?{urlencode(query)}")
            self._rest.raise_for(answer)
            users = self._rest.decoded(answer, tuple[_User, ...])
            for user in users:
                target = Entity(EntityKind.USER, user.username)
                seen.add(action_id(_TABLE, Verb.CONTAIN, target))
            if len(users) < _PAGE:
                return frozenset(seen)
        raise _not_done("more than 10,000 accounts are disabled")

    # --- users and sessions ----------------------------------------------------------------------

    def _user(self, name: str) -> _User:
        query = urlencode({"username": name, "exact": "true"})
        answer = self._call("GET", f"{self._realm}/users?{query}")
        self._rest.raise_for(answer)
        found = [
            user
            for user in self._rest.decoded(answer, tuple[_User, ...])
            if user.username == name  # Keycloak's names are in lower case
        ]
        if len(found) != 1:
            raise refusal(f"The realm {self._config.realm} has no account {name!r:.100}.")
        return found[0]

    def _by_id(self, user_id: str) -> _User | None:
        answer = self._call("GET", self._user_path(user_id))
        if answer.status == 404:
            return None
        self._rest.raise_for(answer)
        return self._rest.decoded(answer, _User)

    def _set_enabled(self, user_id: str, *, enabled: bool) -> None:
        """Write the whole account back, or what is left out of it might be taken for empty."""
        where = self._user_path(user_id)
        answer = self._call("GET", where)
        self._rest.raise_for(answer)
        if self._rest.decoded(answer, _User).enabled is enabled:
            return
        whole = self._rest.decoded(answer, dict[str, Any])
        self._change("PUT", where, json_body({**whole, "enabled": enabled}))

    def _session_named(self, action: Action) -> tuple[_User, str]:
        name, slash, session = action.target.value.rpartition("/")
        if not (name and slash and session):
            raise refusal(f"{action.target.value!r:.100} is no session: account/session.")
        return self._user(name), session

    def _sessions(self, user: _User) -> set[str]:
        answer = self._call("GET", f"{self._user_path(user.id)}/sessions")
        self._rest.raise_for(answer)
        return {one.id for one in self._rest.decoded(answer, tuple[_Session, ...])}

    def _end_session(self, action: Action) -> str:
        user, session = self._session_named(action)
        if session in self._sessions(user):
            self._change("DELETE", self._realm + path("sessions", session), None)
        return f"{user.username} has no session {session} any more."

    def _user_path(self, user_id: str) -> str:
        return self._realm + path("users", user_id)

    # --- the interface ---------------------------------------------------------------------------

    def _change(self, method: str, where: str, body: bytes | None) -> None:
        answer = self._call(method, where, body)
        if not (method == "DELETE" and answer.status == 404):
            self._rest.raise_for(answer)

    def _call(self, method: str, where: str, body: bytes | None = None) -> Answer:
        """Call with a token; one that is refused is replaced once."""
        answer = self._rest.call(method, where, {**_JSON, **self._bearer()}, body)
        if answer.status == 401:
            self._token = None
            answer = self._rest.call(method, where, {**_JSON, **self._bearer()}, body)
        return answer

    def _bearer(self) -> dict[str, str]:
        with self._lock:
            now = self._clock.now().boot_ns
            if self._token is None or self._token[1] <= now:
                self._token = self._new_token(now)
            return {"Authorization": f"Bearer {self._token[0]}"}

    def _new_token(self, now_ns: int) -> tuple[str, int]:
        config = self._config
        secret = private_text(config.client_secret_file, "client_secret_file", _TABLE)
        form = {
            "grant_type": "client_credentials",
            "client_id": config.client_id,
            "client_secret": secret,
        }
        where = path("realms", config.client_realm or config.realm) + _TOKEN_PATH
        answer = self._rest.call("POST", where, _FORM, urlencode(form).encode())
        if answer.status == 400:  # how the standard refuses a client
            answer = Answer(401, b"")
        self._rest.raise_for(answer)
        token = self._rest.decoded(answer, _Token)
        if not token.access_token.isascii() or not token.access_token.isprintable():
            raise _not_done("the token that was given is none")
        lasts_s = min(max(0, token.expires_in - _EARLY_S), _MAX_TOKEN_S)
        return token.access_token, now_ns + lasts_s * _S_NS


_TOKEN_PATH: Final = "/protocol/openid-connect/token"  # noqa: S105 - a path


def _not_done(what: str) -> CronosError:
    return UnreachableError(
        "respond.keycloak_undone",
        f"Not done in Keycloak: {what}.",
        "Look at the account in its console, and at who else changes it.",
    )
