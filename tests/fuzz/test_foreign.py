"""Any answer of a foreign system: outcomes for the actions asked, or a sentence, and no more."""

import contextlib
import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.key_services import Gate, secret_file
from tests.integration.test_foreign_stories import action
from tests.unit.respond.stage import TurnedClock

from cronos.errors import CronosError
from cronos.link.rest import Answer, RestClient
from cronos.platforms.kubernetes import KubernetesConfig, KubernetesExecutor
from cronos.respond.airflow import AirflowConfig, AirflowWorkflow
from cronos.respond.keycloak import KeycloakConfig, KeycloakExecutor
from cronos.respond.rabbitmq import RabbitmqConfig, RabbitmqExecutor
from cronos.respond.temporal import TemporalConfig, TemporalWorkflow
from cronos.respond.webhookaction import WebhookActionConfig, WebhookActionExecutor
from cronos.respond.workflow import WorkflowExecutor, WorkflowExecutorConfig
from cronos.types import EntityKind, Outcome, Plan, Verb

WORDS = st.sampled_from(
    ["metadata", "labels", "items", "continue", "spec", "uid", "resourceVersion", "podSelector",
     "matchLabels", "access_token", "expires_in", "id", "username", "enabled", "user", "vhost",
     "configure", "write", "read", "name", "in_force", "is_paused", "queryResult", "payloads",
     "data", "alice", "api-0", "shop", "running", "paused", "cronos/quarantine", "\u202e"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-5, 1 << 66) | WORDS | st.text(max_size=9)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=12,
)
GOOD = [
    {"metadata": {"name": "api-0", "namespace": "shop", "uid": "u", "resourceVersion": "1"}},
    {"items": [{"metadata": {"name": "x", "labels": {"cronos/quarantine": "0" * 32}}}]},
    {"access_token": "t", "expires_in": 60},
    [{"id": "i", "username": "alice", "enabled": True}],
    {"id": "i", "username": "alice", "enabled": False},
    [],
    [{"user": "alice", "vhost": "v", "configure": "", "write": "", "read": ""}],
    [{"name": "v"}],
    {"in_force": ["0" * 32]},
    {"is_paused": True},
    {"queryResult": ["paused"]},
]
BODIES = (
    st.sampled_from(GOOD).map(lambda it: json.dumps(it).encode())
    | TREES.map(lambda it: json.dumps(it).encode())
    | st.binary(max_size=60)
)
ANSWERS = st.lists(
    st.tuples(
        st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 404, 409, 500, 799]), BODIES
    ),
    min_size=1,
    max_size=12,
)
FOLDER = Path(tempfile.mkdtemp(prefix="cronos-fuzz-"))
FILE = secret_file(FOLDER / "secret", "sesame")
URL = {"url": "http://127.0.0.1:9"}


def kubernetes():
    config = msgspec.convert({**URL, "token_file": FILE}, KubernetesConfig)
    return KubernetesExecutor(config, Gate()), [
        action("kubernetes", Verb.CONTAIN, EntityKind.POD, "shop/api-0"),
        action("kubernetes", Verb.CONTAIN, EntityKind.MACHINE, "api-0"),
        action("kubernetes", Verb.DELETE, EntityKind.POD, "shop/api-0"),
    ]


def keycloak():
    given = {**URL, "realm": "plant", "client_id": "c", "client_secret_file": FILE}
    executor = KeycloakExecutor(msgspec.convert(given, KeycloakConfig), TurnedClock(), Gate())
    return executor, [
        action("keycloak", Verb.CONTAIN, EntityKind.USER, "alice"),
        action("keycloak", Verb.STOP, EntityKind.SESSION, "alice/i"),
    ]


def rabbitmq():
    given = {**URL, "username": "c", "password_file": FILE}
    executor = RabbitmqExecutor(msgspec.convert(given, RabbitmqConfig), Gate())
    return executor, [action("rabbitmq", Verb.DENY, EntityKind.USER, "alice")]


def webhook():
    given = {**URL, "secret_file": FILE, "accepts": ["deny:address"]}
    config = msgspec.convert(given, WebhookActionConfig)
    executor = WebhookActionExecutor(config, TurnedClock(), Gate())
    return executor, [action("webhook-action", Verb.DENY, EntityKind.ADDRESS, "192.0.2.7")]


def airflow():
    given = {**URL, "token_file": FILE, "workload": {"w": {"dags": ["d"], "instead": ["e"]}}}
    hook = AirflowWorkflow(msgspec.convert(given, AirflowConfig), Gate())
    return workflow("airflow", hook)


def temporal():
    signals = {"workflow_id": "w-1", "query": "state", "reroute": "move"}
    given = {**URL, "workload": {"w": signals}}
    hook = TemporalWorkflow(msgspec.convert(given, TemporalConfig), Gate())
    return workflow("temporal", hook)


def workflow(name, hook):
    executor = WorkflowExecutor(WorkflowExecutorConfig(hook=name), {name: hook})
    return executor, [
        action("workflow", verb, EntityKind.WORKLOAD, "w") for verb in (Verb.PAUSE, Verb.REDIRECT)
    ]


@pytest.mark.parametrize("make", [kubernetes, keycloak, rabbitmq, webhook, airflow, temporal])
@settings(max_examples=150, deadline=None)
@given(answers=ANSWERS)
def test_any_answers_give_outcomes_or_a_sentence(make, answers):
    given = iter(answers * 400)

    class Fed(RestClient):
        """Answers what it is fed, as far as a server could get it through the client."""

        def call(self, method, where, headers, body=None):
            status, data = next(given)
            return Answer(status, data)

    executor, actions = make()
    client = getattr(executor, "_rest", None)
    beneath = getattr(executor, "_cluster", None)
    for holder in (executor, beneath, *getattr(executor, "_hooks", {}).values()):
        if hasattr(holder, "_rest"):
            client = holder._rest
            client.__class__ = Fed
    assert client is not None
    with pytest.MonkeyPatch.context() as patch:
        for module in ("cronos.platforms.kubernetes._POLL_S", "cronos.respond.rabbitmq._POLL_S"):
            patch.setattr(module, 0)
        for one in actions:
            _story(executor, one)
    with contextlib.suppress(CronosError):
        assert all(len(name) == 32 for name in executor.observe())


def _story(executor, one):
    """Plan, apply, look and undo, whatever comes; only sentences and outcomes come out."""
    (plan,) = executor.plan([one])
    if isinstance(plan, Outcome):
        assert not plan.ok
        assert plan.action_id == one.action_id
        return
    assert isinstance(plan, Plan)
    assert plan.action == one
    for step in (executor.apply, executor.renew, executor.undo):
        (outcome,) = step([plan])
        assert outcome.action_id == one.action_id
        assert "sesame" not in outcome.detail
    with contextlib.suppress(CronosError):
        assert executor.verify([plan]) in ([True], [False])
