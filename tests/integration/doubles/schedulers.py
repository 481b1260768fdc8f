"""Doubles of Airflow's REST interface (v2) and of Temporal's HTTP interface."""

import base64
import json
import re

from tests.integration.doubles.service import Double, RefusedError

TOKEN = "a-scheduler-token-that-no-log-may-show"


class _Scheduler(Double):
    def known(self, headers):
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusedError(401, {"detail": "Unauthorized"})


class AirflowDouble(_Scheduler):
    def __init__(self, **dags):
        super().__init__()
        self.dags = {name.replace("_", "-"): paused for name, paused in dags.items()}

    def answer(self, method, path, headers, body):
        self.known(headers)
        found = re.fullmatch(r"/api/v2/dags/([^/?]+)(\?update_mask=is_paused)?", path)
        if found is None or found[1] not in self.dags:
            raise RefusedError(404, {"detail": "The DAG was not found"})
        if method == "PATCH":
            self.dags[found[1]] = json.loads(body)["is_paused"]
        return {"dag_id": found[1], "is_paused": self.dags[found[1]], "tags": []}


class TemporalDouble(_Scheduler):
    def __init__(self, state="running", *, plain=False):
        super().__init__()
        self.state = state
        self.plain = plain
        self.signals = []

    def reads(self, method, path, body):
        return "/query/" in path

    def answer(self, method, path, headers, body):
        self.known(headers)
        found = re.fullmatch(
            r"/api/v1/namespaces/plant/workflows/billing-1/(signal|query)/(\w+)", path
        )
        if found is None:
            raise RefusedError(404, {"code": 5, "message": "workflow not found"})
        if found[1] == "signal":
            self.signals.append(found[2])
            changes = {"pause": "paused", "resume": "running", "move": "rerouted"}
            self.state = changes.get(found[2], self.state)
            return {}
        if self.plain:
            return {"queryResult": [self.state]}
        data = base64.b64encode(json.dumps(self.state).encode()).decode()
        encoding = base64.b64encode(b"json/plain").decode()
        payload = {"metadata": {"encoding": encoding}, "data": data}
        return {"queryResult": {"payloads": [payload]}}
