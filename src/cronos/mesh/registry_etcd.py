"""Finds peers in etcd: each node keeps a key of its own there, under a lease that it renews.

The JSON gateway of etcd's own API is spoken, which every server has on its client port. A node that
ends without a word is out when its lease ends.

Source: etcd v3 API (Range, Put, DeleteRange, LeaseGrant, LeaseKeepAlive, Authenticate).
"""

import base64
from typing import Final, TypeVar

import msgspec

from cronos.config import Positive
from cronos.link.rest import ForeignConfig, RestClient, json_body, private_text
from cronos.mesh.seeds import MAX_FOUND, sound_seeds, spell_seed
from cronos.ports import Egress
from cronos.types import Manifest, Peer

_TABLE: Final = "etcd"
AnswerT = TypeVar("AnswerT")


class EtcdConfig(ForeignConfig, frozen=True):
    """Which etcd, and under which prefix nodes are entered."""

    prefix: str = "/cronos/nodes/"
    # How long an entry outlives its last renewal.
    ttl_s: Positive = 30
    username: str = ""
    password_file: str = ""


class _Row(msgspec.Struct, frozen=True):
    value: str = ""


class _Range(msgspec.Struct, frozen=True):
    kvs: tuple[_Row, ...] = ()


class _Lease(msgspec.Struct, frozen=True):
    ID: str


class _Renewed(msgspec.Struct, frozen=True):
    TTL: str = ""


class _Renewal(msgspec.Struct, frozen=True):
    result: _Renewed


class _Token(msgspec.Struct, frozen=True):
    token: str


class EtcdRegistry:
    """The port `Registry` over etcd.

    Raises:
        InputError: the address cannot be used.
        DeniedError: it would leave this machine unencrypted.
    """

    manifest = Manifest("etcd", "Finds peers in etcd")
    config_type = EtcdConfig

    def __init__(self, config: EtcdConfig, egress: Egress) -> None:
        self._config = config
        self._client = RestClient(config, egress, _TABLE)
        self._lease = ""
        self._entered = ""

    def enter(self, me: Peer) -> None:
        """Enter this node under a lease, or renew the lease; see `Registry.enter`."""
        seed = spell_seed(me)
        if self._lease and self._entered == seed and self._kept_alive():
            return
        granted = self._call("lease/grant", {"TTL": self._config.ttl_s}, _Lease)
        key = _b64(self._config.prefix + me.instance)
        self._call("kv/put", {"key": key, "value": _b64(seed), "lease": granted.ID}, _Range)
        self._lease, self._entered = granted.ID, seed

    def found(self) -> tuple[str, ...]:
        """Give who is entered; see `Registry.found`."""
        prefix = self._config.prefix.encode()
        # The first key behind all that begin with the prefix.
        end = prefix[:-1] + bytes((prefix[-1] + 1,))
        asked = {"key": _b64(prefix), "range_end": _b64(end), "limit": MAX_FOUND}
        rows = self._call("kv/range", asked, _Range).kvs
        return sound_seeds([_text(row.value) for row in rows])

    def withdraw(self, me: Peer) -> None:
        """Take this node out; see `Registry.withdraw`."""
        self._call("kv/deleterange", {"key": _b64(self._config.prefix + me.instance)}, _Range)
        self._lease = self._entered = ""

    def _kept_alive(self) -> bool:
        """Renew the lease; False where etcd has forgotten it."""
        renewed = self._call("lease/keepalive", {"ID": self._lease}, _Renewal)
        return renewed.result.TTL not in ("", "0")

    def _call(self, method: str, body: object, kind: type[AnswerT]) -> AnswerT:
        headers = {"Content-Type": "application/json"}
        if self._config.username:
            headers["Authorization"] = self._authenticated()
        answer = self._client.call("POST", f"/v3/{method}", headers, json_body(body))
        self._client.raise_for(answer)
        return self._client.decoded(answer, kind)

    def _authenticated(self) -> str:
        """Give a token; it lasts some minutes at most, so that each call asks for its own."""
        config = self._config
        password = private_text(config.password_file, "password_file", _TABLE)
        body = json_body({"name": config.username, "password": password})
        headers = {"Content-Type": "application/json"}
        answer = self._client.call("POST", "/v3/auth/authenticate", headers, body)
        self._client.raise_for(answer)
        return self._client.decoded(answer, _Token).token


def _b64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def _text(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return ""
