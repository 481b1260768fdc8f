"""Metrics over HTTP: what a node says of itself as text, and nothing that a stranger says."""

import asyncio
import re

import pytest
from msgspec.structs import replace
from tests.unit.link.test_control import serving

from cronos.config import convert
from cronos.errors import DeniedError, InputError
from cronos.govern.outcomes import OutcomeFold, Technique
from cronos.link.exposition import (
    MetricsConfig,
    MetricsService,
    exposed,
    gauge_lines,
    rate_lines,
    status_lines,
)
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.world import SystemClock
from cronos.testing.conformance.service import ServiceConformance

SAMPLE = re.compile(r'[a-z_]+(\{([a-z]+="[^"\n]*",?)+\})? [-+0-9.e]+')
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def service(control, rates=None, **given):
    tasks = AsyncTasks(lambda _name, error: pytest.fail(repr(error)))
    config = MetricsConfig(**{"listen_port": 0, "rates_s": 0, **given})
    made = MetricsService(
        config, clock=SystemClock(), tasks=tasks, control=control, rates=rates or (lambda: None)
    )
    return made, tasks


def talked(control, *requests, rates=None, until=None, **given):
    """Say each request on a connection of its own, and give the answers."""

    async def run():
        made, tasks = service(control, rates, **given)
        await made.start()
        try:
            if until is not None:
                while not until(made):  # noqa: ASYNC110 - looked at from outside
                    await asyncio.sleep(0.01)
            return [await said(made.port, request) for request in requests]
        finally:
            await made.stop()
            await tasks.cancel()

    return asyncio.run(run())


async def said(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def samples(answer):
    lines = answer.decode().partition("\r\n\r\n")[2].splitlines()
    shown = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in shown), shown
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in shown}


def test_a_running_node_is_shown(tmp_path):
    with serving(tmp_path) as (path, _):
        (answer,) = talked(path, GET)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert samples(answer)["cronos_up"] == 1
    assert samples(answer)["cronos_killed"] == 0


def test_a_node_that_does_not_answer_is_down(tmp_path):
    (answer,) = talked(tmp_path / "nobody.sock", GET)
    assert samples(answer) == {"cronos_up": 0}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics/../state HTTP/1.1\r\n\r\n", b"404"),
        (b"\r\n\r\n", b"405"),
    ],
)
def test_there_is_nothing_else(tmp_path, request_, status):
    (answer,) = talked(tmp_path / "nobody.sock", request_)
    assert answer.split(b" ")[1] == status


def test_who_does_not_speak_http_gets_nothing_and_disturbs_nobody(tmp_path):
    junk, endless, answer = talked(
        tmp_path / "nobody.sock", b"\0" * 100 + b"\r\n\r\n", b"a" * 20_000, GET
    )
    assert not junk or b"405" in junk
    assert endless == b""
    assert samples(answer) == {"cronos_up": 0}


def test_a_head_has_no_body(tmp_path):
    (answer,) = talked(tmp_path / "nobody.sock", b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert int(re.search(rb"Content-Length: (\d+)", answer)[1]) > 0


def test_connections_are_bounded(tmp_path):
    async def run():
        made, _ = service(tmp_path / "nobody.sock", max_connections=2)
        await made.start()
        silent = [await asyncio.open_connection("127.0.0.1", made.port) for _ in range(2)]
        while made._connections < 2:  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0)
        refused = await said(made.port, GET)
        for _, writer in silent:
            writer.close()
        while made._connections:  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0)
        heard = await said(made.port, GET)
        await made.stop()
        return refused, heard

    refused, heard = asyncio.run(run())
    assert refused == b""
    assert heard.startswith(b"HTTP/1.1 200")


def test_a_taken_port_is_said(tmp_path):
    async def run():
        first, _ = service(tmp_path / "nobody.sock")
        await first.start()
        second, _ = service(tmp_path / "nobody.sock", listen_port=first.port)
        try:
            with pytest.raises(InputError, match="cannot be served"):
                await second.start()
        finally:
            await first.stop()

    asyncio.run(run())


def test_nobody_but_this_machine_is_served():
    with pytest.raises(InputError, match="this machine alone"):
        convert({"listen_host": "0.0.0.0"}, MetricsConfig, "[plugin.metrics]")


def test_what_became_of_decisions_is_counted_beside(tmp_path):
    with serving(tmp_path) as (path, _):
        (answer,) = talked(
            path,
            GET,
            rates=lambda: OutcomeFold().result(),
            rates_s=3600,
            until=lambda made: made._counted is not None,
        )
    shown = samples(answer)
    assert shown["cronos_outcomes_incidents"] == 0
    assert shown['cronos_outcomes{outcome="autonomy",count="of"}'] == 0


def test_a_ledger_that_cannot_be_read_leaves_the_rest(tmp_path):
    asked = []

    def rates():
        asked.append(1)
        raise DeniedError("front.no_keys", "No.", "Wait.")

    with serving(tmp_path) as (path, _):
        (answer,) = talked(path, GET, rates=rates, rates_s=3600, until=lambda _made: asked)
    assert samples(answer)["cronos_up"] == 1
    assert "cronos_outcomes_incidents" not in samples(answer)


def test_names_become_labels():
    status = {
        "open": 3,
        "recorded": True,
        "kill": {"engaged": True},
        "workers": {"ledger": 17},
        "metrics": {
            "actions.apply.ok": 5,
            "decisions.execute": 4,
            "isolation_ms.count": 9,
            "isolation_ms.p50": 1.5,
            "findings": 7,
        },
    }
    text = "".join(exposed(list(status_lines(status))))
    for line in (
        'cronos_incidents{state="open"} 3',
        'cronos_worker_up{worker="ledger"} 1',
        "cronos_killed 1",
        'cronos_actions{kind="apply",result="ok"} 5',
        'cronos_decisions{kind="execute"} 4',
        "cronos_isolation_ms_count 9",
        'cronos_isolation_ms{quantile="0.5"} 1.5',
        "cronos_findings 7",
    ):
        assert f"\n{line}\n" in text


def test_what_other_services_tell_is_shown_beside():
    gauges = {"discover.hit_rate": 0.75, "discover.flows.known": 3, "discover.flows.cached": 5}
    text = "".join(exposed(list(gauge_lines(gauges))))

    assert "\ncronos_discover_hit_rate 0.75\n" in text
    assert '\ncronos_discover_flows{kind="known"} 3\n' in text


def test_what_a_stranger_named_cannot_leave_its_label():
    fold = OutcomeFold().result()
    none = fold.autonomy
    evil = Technique('T1"} 1\ncronos_up 0', 1, none, none, none)
    told = replace(fold, techniques=(evil,))
    lines = "".join(exposed(list(rate_lines(told, 0)))).splitlines()
    assert "cronos_up 0" not in lines
    named = next(line for line in lines if "T1" in line)
    assert r'technique="T1\"} 1?cronos_up 0"' in named


class TestService(ServiceConformance):
    """Asks a node that is not there."""

    async def make(self):
        return service("/nonexistent/control.sock")[0]
