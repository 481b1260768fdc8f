"""Pauses DAGs of Apache Airflow: a workload is one DAG or several.

A paused DAG begins no new runs; tasks that run go on. What was paused before stays paused after.
To move a workload elsewhere is to pause its DAGs and to run others instead.

Source: Airflow REST API v2 (GET and PATCH ``/api/v2/dags/{dag_id}``, `is_paused`).
"""

from typing import ClassVar, Final

import msgspec

from cronos.config import Name, Section
from cronos.errors import CronosError, InputError
from cronos.link.rest import ForeignConfig, RestClient, json_body, path, private_text
from cronos.ports import Egress
from cronos.types import Manifest

_TABLE: Final = "airflow"
_JSON: Final = {"Content-Type": "application/json"}
_STEPS: Final = ("pause", "reroute", "restore")


class Dags(Section, frozen=True):
    """The DAGs of one workload, and those that run instead while it is moved elsewhere."""

    dags: tuple[str, ...]
    instead: tuple[str, ...] = ()


class AirflowConfig(ForeignConfig, frozen=True):
    """Where Airflow is, the token that may edit DAGs, and the DAGs of each workload."""

    token_file: str = ""
    workload: dict[Name, Dags] = msgspec.field(default_factory=dict[Name, Dags])


class _Dag(msgspec.Struct, frozen=True):
    is_paused: bool


class AirflowWorkflow:
    """Pauses and resumes the DAGs of a workload, and looks whether they are.

    Raises:
        InputError: the address or the token's file cannot be used.
        DeniedError: others may read the token.
    """

    manifest = Manifest("airflow", "Pauses the DAGs of a workload in Apache Airflow", _STEPS)
    config_type: ClassVar[type[Section]] = AirflowConfig

    def __init__(self, config: AirflowConfig, egress: Egress) -> None:
        self._config = config
        self._rest = RestClient(config, egress, _TABLE)
        private_text(config.token_file, "token_file", _TABLE)

    def adjust(self, workload: str, verb: str) -> str:
        """Pause or resume the workload's DAGs, or have others run; see `Workflow.adjust`."""
        wanted = self._wanted(workload, verb)
        for dag, paused in wanted.items():
            self._set(dag, paused=paused)
        resumed = sum(not paused for paused in wanted.values())
        return f"{workload}: {len(wanted) - resumed} DAGs are paused, {resumed} are on."

    def former(self, workload: str, verb: str) -> str:
        """Give which DAGs are paused now, as JSON; see `Watching.former`."""
        wanted = self._wanted(workload, verb)
        now = {dag: self._is_paused(dag) for dag in wanted}
        if now == wanted:
            raise InputError(
                "respond.hook_held",
                f"{workload} is so already, and not by this.",
                "Nothing is held; whoever paused its DAGs decides when they run.",
            )
        return msgspec.json.encode(now).decode()

    def put_back(self, workload: str, former: str) -> str:
        """Bring each DAG back to what it was; see `Watching.put_back`."""
        try:
            before = msgspec.json.decode(former, type=dict[str, bool])
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
            raise InputError(
                "respond.hook_recipe",
                f"What is to be put back of {workload} is damaged.",
                "Resume its DAGs by hand.",
            ) from error
        for dag, paused in before.items():
            self._set(dag, paused=paused)
        return f"{workload}: {len(before)} DAGs are as they were."

    def sees(self, workload: str, verb: str) -> bool:
        """Say whether each DAG is as the step wants it; see `Watching.sees`."""
        wanted = self._wanted(workload, verb)
        return all(self._is_paused(dag) is paused for dag, paused in wanted.items())

    def _wanted(self, workload: str, verb: str) -> dict[str, bool]:
        """Give for each DAG whether a step wants it paused."""
        named = self._config.workload.get(workload)
        lacks = named is None or not named.dags or (verb == "reroute" and not named.instead)
        if named is None or lacks or verb not in _STEPS:
            raise InputError(
                "respond.hook_missing",
                f"No DAGs are configured to {verb} the workload {workload!r:.100}.",
                f"Add `dags` and `instead` to [plugin.airflow.workload.{workload:.63}].",
            )
        others = {} if verb == "pause" else dict.fromkeys(named.instead, verb == "restore")
        return others | dict.fromkeys(named.dags, verb != "restore")

    def _is_paused(self, dag: str) -> bool:
        return self._exchange("GET", dag, None).is_paused

    def _set(self, dag: str, *, paused: bool) -> None:
        """Change it and look; the answer to a change is only a promise."""
        if self._is_paused(dag) is paused:
            return
        self._exchange("PATCH", dag, json_body({"is_paused": paused}))
        if self._is_paused(dag) is not paused:
            raise CronosError(
                "respond.hook_failed",
                f"Airflow accepted it, but the DAG {dag} is not {'paused' if paused else 'on'}.",
                "Look at the DAG in Airflow, and at who else changes it.",
                "peer",
            )

    def _exchange(self, method: str, dag: str, body: bytes | None) -> _Dag:
        token = private_text(self._config.token_file, "token_file", _TABLE)
        headers = {**_JSON, "Authorization": f"Bearer {token}"}
        where = path("api", "v2", "dags", dag) + ("?update_mask=is_paused" if body else "")
        answer = self._rest.call(method, where, headers, body)
        self._rest.raise_for(answer)
        return self._rest.decoded(answer, _Dag)
