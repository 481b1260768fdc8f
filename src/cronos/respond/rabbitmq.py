"""Takes a user's permissions on a RabbitMQ broker away and closes its connections.

The broker's management interface is spoken. Connections are looked for by user, which it tracks
at once, and not in its statistics, which lag by seconds. A user without any permission on a
virtual host cannot connect to it again.

Source: RabbitMQ management HTTP API (permissions, connections by username).
"""

import base64
import threading
from typing import ClassVar, Final

import msgspec

from cronos.config import Section
from cronos.errors import CronosError, UnreachableError
from cronos.link.foreign import ForeignExecutor, Prepared, recipe_of, refusal
from cronos.link.openc2target import target_name
from cronos.link.rest import Answer, ForeignConfig, RestClient, json_body, path, private_text
from cronos.ports import Egress
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

_TABLE: Final = "rabbitmq"
_HEADERS: Final = {"Content-Type": "application/json", "X-Reason": "isolated by Cronos"}
_POLLS: Final = 20
_POLL_S: Final = 0.05
_MAX_VHOSTS: Final = 256


class RabbitmqConfig(ForeignConfig, frozen=True):
    """Which broker, and the administrator's account that is used."""

    username: str = ""
    password_file: str = ""
    # Users that are never touched, besides the one above.
    protected_users: tuple[str, ...] = ()


class Permission(msgspec.Struct, frozen=True):
    """What a user may do on a virtual host: three regular expressions."""

    vhost: str
    configure: str
    write: str
    read: str


class _Permission(msgspec.Struct, frozen=True):
    user: str
    vhost: str
    configure: str
    write: str
    read: str


class _User(msgspec.Struct, frozen=True):
    name: str


class UserBefore(msgspec.Struct, frozen=True):
    """A user's permissions before they were taken away, by virtual host."""

    permissions: tuple[Permission, ...]


class RabbitmqExecutor(ForeignExecutor):
    """Acts on one broker.

    Raises:
        InputError: the address or a file cannot be used.
        DeniedError: others may read the password.
    """

    manifest = Manifest(
        "rabbitmq",
        "Takes the permissions of a RabbitMQ user away and closes its connections",
        abilities=(
            Ability(
                Verb.DENY,
                EntityKind.USER,
                target_name(EntityKind.USER),
                "D3-UAP",
                Reversal.LEASED,
                Blast.IDENTITY,
                3_000,
            ),
        ),
    )
    config_type: ClassVar[type[Section]] = RabbitmqConfig

    def __init__(self, config: RabbitmqConfig, egress: Egress) -> None:
        super().__init__(config.at_once)
        self._config = config
        self._rest = RestClient(config, egress, _TABLE)
        private_text(config.password_file, "password_file", _TABLE)

    def prepare(self, action: Action) -> Prepared:
        """See `ForeignExecutor.prepare`."""
        name = action.target.value
        if name in (self._config.username, *self._config.protected_users):
            raise refusal(f"The user {name!r:.100} is protected.")
        had = self._permissions(name)
        if had is None:
            raise refusal(f"The broker has no user {name!r:.100}.")
        if not had or len(had) > _MAX_VHOSTS:
            raise refusal(
                f"The user {name!r:.100} has permissions on {len(had)} virtual hosts.",
                f"It can be denied where it has some, on at most {_MAX_VHOSTS}.",
            )
        return Prepared(
            UserBefore(had),
            f"take the permissions of {name} on {len(had)} virtual hosts, close its connections",
            f"give {name} its permissions on {len(had)} virtual hosts again",
        )

    def put(self, plan: Plan) -> str:
        """See `ForeignExecutor.put`."""
        name = plan.action.target.value
        recipe_of(plan, UserBefore)  # what could not be undone is not done
        for permission in self._permissions(name) or ():
            self._unless_gone("DELETE", _permission_path(permission.vhost, name))
        closed = self._close_connections(name)
        return f"{name} has no permissions; {closed} connections were closed."

    def sees(self, plan: Plan) -> bool:
        """See `ForeignExecutor.sees`: no permission on any virtual host, and no connection."""
        before = recipe_of(plan, UserBefore)
        now = self._permissions(plan.action.target.value)
        if now is None or not self._standing(before):
            return False
        return not now and not self._connections(plan.action.target.value)

    def take_back(self, plan: Plan) -> str:
        """See `ForeignExecutor.take_back`."""
        name = plan.action.target.value
        before = recipe_of(plan, UserBefore)
        now = self._permissions(name)
        if now is None:
            return f"The user {name} is gone."
        # Where somebody has given another permission meanwhile, that one stays.
        given = {one.vhost for one in now}
        standing = self._standing(before)
        for one in standing:
            if one.vhost not in given:
                wanted = {"configure": one.configure, "write": one.write, "read": one.read}
                self._ask("PUT", _permission_path(one.vhost, name), json_body(wanted))
        now = self._permissions(name) or ()
        lacking = {one.vhost for one in standing} - {one.vhost for one in now}
        if lacking:
            raise _not_done(f"{name} lacks permissions on {len(lacking)} virtual hosts")
        gone, others = len(before.permissions) - len(standing), len(set(standing) - set(now))
        more = f"; {gone} virtual hosts are gone" if gone else ""
        more += f"; on {others} somebody has given others meanwhile" if others else ""
        return f"{name} has its permissions again{more}."

    def observe(self) -> frozenset[str]:
        """Give the ids of all users that have no permission anywhere."""
        users = self._rest.decoded(self._ask("GET", "/api/users"), tuple[_User, ...])
        held = self._rest.decoded(self._ask("GET", "/api/permissions"), tuple[_Permission, ...])
        without = {user.name for user in users} - {one.user for one in held}
        return frozenset(
            action_id(_TABLE, Verb.DENY, Entity(EntityKind.USER, name)) for name in without
        )

    # --- users -----------------------------------------------------------------------------------

    def _permissions(self, name: str) -> tuple[Permission, ...] | None:
        """Give a user's permissions, sorted; None where there is no such user."""
        answer = self._call("GET", path("api", "users", name, "permissions"))
        if answer.status == 404:
            return None
        self._rest.raise_for(answer)
        found = self._rest.decoded(answer, tuple[_Permission, ...])
        theirs = [
            Permission(one.vhost, one.configure, one.write, one.read)
            for one in found
            if one.user == name
        ]
        return tuple(sorted(theirs, key=lambda one: one.vhost))

    def _standing(self, before: UserBefore) -> list[Permission]:
        """Give those permissions whose virtual host is still there."""
        listed = self._rest.decoded(self._ask("GET", "/api/vhosts"), tuple[_User, ...])
        names = {one.name for one in listed}
        return [one for one in before.permissions if one.vhost in names]

    def _connections(self, name: str) -> int:
        answer = self._call("GET", path("api", "connections", "username", name))
        if answer.status == 404:
            return 0
        self._rest.raise_for(answer)
        return len(self._rest.decoded(answer, tuple[dict[str, object], ...]))

    def _close_connections(self, name: str) -> int:
        """Close them and see that they are; one that was being opened may come after."""
        most = 0
        for _ in range(_POLLS):
            there = self._connections(name)
            if not there:
                return most
            most = max(most, there)
            self._unless_gone("DELETE", path("api", "connections", "username", name))
            threading.Event().wait(_POLL_S)
        raise _not_done(f"{name} still has connections")

    # --- the interface ---------------------------------------------------------------------------

    def _call(self, method: str, where: str, body: bytes | None = None) -> Answer:
        password = private_text(self._config.password_file, "password_file", _TABLE)
        pair = base64.b64encode(f"{self._config.username}:{password}".encode()).decode()
        return self._rest.call(method, where, {**_HEADERS, "Authorization": f"Basic {pair}"}, body)

    def _ask(self, method: str, where: str, body: bytes | None = None) -> Answer:
        answer = self._call(method, where, body)
        self._rest.raise_for(answer)
        return answer

    def _unless_gone(self, method: str, where: str) -> None:
        answer = self._call(method, where)
        if answer.status != 404:
            self._rest.raise_for(answer)


def _permission_path(vhost: str, name: str) -> str:
    return path("api", "permissions", vhost, name)


def _not_done(what: str) -> CronosError:
    return UnreachableError(
        "respond.rabbitmq_undone",
        f"Not done at the broker: {what}.",
        "Look at the user in its management interface, and at who else changes it.",
    )
