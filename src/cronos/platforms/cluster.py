"""A cluster's own REST interface, as its executors use it.

A change names the version of the object that it was made for, and is made for the new one when
somebody was quicker. Source: Kubernetes API concepts (resource versions, merge patch, dry listing
of metadata).
"""

import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import urlencode

import msgspec

from cronos.errors import CronosError, UnreachableError
from cronos.link.rest import CONFLICT, ForeignConfig, RestClient, json_body, private_text
from cronos.ports import Egress

JSON: Final = {"Content-Type": "application/json"}
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
# Whole objects of a large cluster would not fit into an answer.
_METADATA: Final = {
    "Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, application/json"
}
ID: Final = re.compile(r"[0-9a-f]{32}")
_TRIES: Final = 5
_PAGE: Final = 100
_MAX_PAGES: Final = 100


class ClusterConfig(ForeignConfig, frozen=True):
    """Which cluster, and by whose right."""

    token_file: str = ""


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What every object has."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Thing(Protocol):
    """An object of the cluster."""

    @property
    def metadata(self) -> Meta:
        """Give what every object has."""
        ...


KindT = TypeVar("KindT", bound=msgspec.Struct)
ThereT = TypeVar("ThereT", bound=Thing)


class _Listed(msgspec.Struct, frozen=True):
    metadata: Meta


class _ListMeta(msgspec.Struct, frozen=True):
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    items: tuple[_Listed, ...] = ()
    metadata: _ListMeta = _ListMeta()


class Cluster:
    """Asks one cluster.

    Raises:
        InputError: the address or a file cannot be used.
        DeniedError: others may read the token.
    """

    def __init__(self, config: ClusterConfig, egress: Egress, table: str) -> None:
        self._token_file = config.token_file
        self._table = table
        self._rest = RestClient(config, egress, table)
        private_text(config.token_file, "token_file", table)

    def patch(
        self,
        where: str,
        look: Callable[[], ThereT | None],
        change: Callable[[ThereT], dict[str, Any] | None],
        *,
        needed: bool,
    ) -> None:
        """Change what is there now and nothing newer, trying again when somebody was quicker."""
        for _ in range(_TRIES):
            there = look()
            if there is None:
                if needed:
                    raise not_done("it is gone")
                return
            patch = change(there)
            if patch is None:
                return
            patch.setdefault("metadata", {})["resourceVersion"] = there.metadata.resource_version
            with Conflict() as conflict:
                self.ask("PATCH", where, json_body(patch), _MERGE)
            if not conflict.met:
                return
        raise not_done(f"others changed it at each of {_TRIES} attempts")

    def get(self, where: str, kind: type[KindT]) -> KindT | None:
        """Give what stands at a path, or None."""
        answer = self._rest.call("GET", where, self._headers())
        if answer.status == 404:
            return None
        self._rest.raise_for(answer)
        return self._rest.decoded(answer, kind)

    def ask(self, method: str, where: str, body: bytes | None, headers: Mapping[str, str]) -> None:
        """Make a change, which must succeed."""
        answer = self._rest.call(method, where, {**self._headers(), **headers}, body)
        self._rest.raise_for(answer)

    def unless_gone(self, method: str, where: str, body: bytes | None = None) -> None:
        """Make a change to what may be gone."""
        answer = self._rest.call(method, where, {**self._headers(), **JSON}, body)
        if answer.status != 404:
            self._rest.raise_for(answer)

    def marks(self, where: str, label: str) -> set[str]:
        """Read the values of a mark, page by page."""
        marks: set[str] = set()
        token = ""
        for _ in range(_MAX_PAGES):
            asked = {"labelSelector": label, "limit": str(_PAGE), "continue": token}
            whole = f"{where}?{urlencode(asked)}"
            answer = self._rest.call("GET", whole, {**self._headers(), **_METADATA})
            self._rest.raise_for(answer)
            listed = self._rest.decoded(answer, _List)
            values = (item.metadata.labels.get(label, "") for item in listed.items)
            marks.update(value for value in values if ID.fullmatch(value))
            token = listed.metadata.continue_
            if not token:
                return marks
        raise not_done("more than 10,000 objects bear our marks")

    def _headers(self) -> dict[str, str]:
        # Read anew each time: a cluster's tokens are short-lived and replaced in place.
        token = private_text(self._token_file, "token_file", self._table)
        return {"Authorization": f"Bearer {token}"}


class Conflict:
    """Meets a conflict where one may come; `met` says so, and anything else goes on its way."""

    def __init__(self) -> None:
        self.met = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.met = isinstance(error, CronosError) and error.code == CONFLICT
        return self.met


def not_done(what: str) -> UnreachableError:
    """Make the error of what the cluster did not do."""
    return UnreachableError(
        "platforms.kubernetes_undone",
        f"Not done in the cluster: {what}.",
        "Look at the object with kubectl, and at who else changes it.",
    )
