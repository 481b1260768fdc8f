"""The view of an observation that Sigma rules read: the source's own names, in lower case."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, TypeGuard, cast

from cronos.types import Observation, Scalar

Folded = str | tuple[str, ...] | None

_MAX_LEAVES: Final = 512
_MAX_DEPTH: Final = 8

# Where a source does not know a rule's name, the normalised field stands in: 4688 and auditd have
# no `Image`, Zeek and EVE no `c-uri`.
_ALIASES: Final = {
    "Image": "process.file.path",
    "CommandLine": "process.cmd_line",
    "ParentImage": "parent_process.file.path",
    "User": "actor.user.name",
    "Computer": "device.hostname",
    "TargetFilename": "file.path",
    "TargetObject": "reg_key.path",
    "SourceIp": "src_endpoint.ip",
    "SourcePort": "src_endpoint.port",
    "DestinationIp": "dst_endpoint.ip",
    "DestinationPort": "dst_endpoint.port",
    "src_ip": "src_endpoint.ip",
    "dst_ip": "dst_endpoint.ip",
    "dst_port": "dst_endpoint.port",
    "QueryName": "query.hostname",
    "query": "query.hostname",
    "record_type": "query.type",
    "c-uri": "http_request.url.path",
    "cs-uri-stem": "http_request.url.path",
    "cs-method": "http_request.http_method",
    "cs-host": "url.hostname",
    "c-useragent": "http_request.user_agent",
    "cs-user-agent": "http_request.user_agent",
    "sc-status": "http_response.code",
}


class Event(dict[str, Folded]):
    """Folded values by field name, each made when a rule first asks for it.

    A mapping with `__missing__`, because a thousand rules read the same few fields.
    """

    __slots__ = ("_leaves", "fields", "native")

    def __init__(self, observation: Observation) -> None:
        super().__init__()
        self.native: dict[str, Any] = observation.native
        self.fields: dict[str, Scalar] = observation.fields
        self._leaves: tuple[str, ...] | None = None

    def __missing__(self, field: str) -> Folded:
        value = fold(self.raw(field))
        self[field] = value
        return value

    def raw(self, field: str) -> Any:
        """Give a value as the source has it, None where it is absent."""
        value = self.native.get(field)
        if value is None and "." in field:
            value = _walk(self.native, field)
        if value is None:
            alias = _ALIASES.get(field)
            value = self.fields.get(alias) if alias is not None else None
        return value

    def exists(self, field: str) -> bool:
        """Say whether the source has the field at all."""
        return field in self.native or self.raw(field) is not None

    def leaves(self) -> tuple[str, ...]:
        """Give every value, in lower case, for keywords; at most 512."""
        if self._leaves is None:
            self._leaves = tuple(islice(_leaves(self.native), _MAX_LEAVES))
        return self._leaves


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Say whether a foreign value is a list."""
    return isinstance(value, list)


def is_map(value: Any) -> TypeGuard[dict[Any, Any]]:
    """Say whether a foreign value is a map."""
    return isinstance(value, dict)


def text(value: Any) -> str:
    """Write a scalar as rules do: true and false in lower case, numbers in decimal."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def fold(value: Any) -> Folded:
    """Give a value in lower case; a list gives each of its scalars."""
    if isinstance(value, str):
        return value.lower()
    if value is None or isinstance(value, dict):
        return None
    if isinstance(value, list | tuple):
        return tuple(one.lower() for one in strings(cast("list[Any]", value)))
    return text(value)


def strings(value: Any) -> tuple[str, ...]:
    """Give the scalars of a value as text: none of a map, each of a list, or the one."""
    if value is None or isinstance(value, dict):
        return ()
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)[:_MAX_LEAVES]
        return tuple(text(item) for item in items if not isinstance(item, dict | list))
    return (text(value),)


def _walk(native: dict[str, Any], path: str) -> Any:
    node: Any = native
    for name in path.split(".")[:_MAX_DEPTH]:
        if not isinstance(node, dict):
            return None
        node = cast("dict[str, Any]", node).get(name)
    return node


def _leaves(node: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(node, dict):
        children = list(cast("dict[str, Any]", node).values())
    elif isinstance(node, list | tuple):
        children = list(cast("list[Any]", node))
    else:
        if node is not None:
            yield text(node).lower()
        return
    if depth < _MAX_DEPTH:
        for child in children:
            yield from _leaves(child, depth + 1)
