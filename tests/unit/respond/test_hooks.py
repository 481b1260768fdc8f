import hashlib
import hmac
import http.server
import json
import sys
import threading

import msgspec
import pytest
from tests.unit.respond.stage import BootClock

from cronos.config import EgressRule
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.egress import EgressGate
from cronos.respond.hooks import (
    CommandConfig,
    CommandWorkflow,
    WebhookConfig,
    WebhookWorkflow,
)
from cronos.testing.conformance.workflow import WorkflowConformance


def python(script, *arguments):
    return [sys.executable, "-c", script, *arguments]


def command(timeout_ms=20_000, environment=None, **steps):
    table = {"workload": {"tank": steps}, "timeout_ms": timeout_ms}
    if environment is not None:
        table["environment"] = environment
    return CommandWorkflow(msgspec.convert(table, CommandConfig), BootClock())


def test_a_command_is_run_without_a_shell_and_its_words_are_shown(tmp_path):
    hook = command(pause=python("import sys; print('did', sys.argv[1])", "$HOME; rm -rf /"))
    said = hook.adjust("tank", "pause")
    assert said == 'tank: pause was run, its effect not checked ("did $HOME; rm -rf /").'


def test_a_check_looks_at_the_effect(tmp_path):
    state = tmp_path / "state"
    look = "import sys, pathlib; sys.exit(pathlib.Path(sys.argv[1]).read_text() != sys.argv[2])"
    put = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    hook = command(
        pause=python(put, str(state), "paused"),
        restore=python(put, str(state), "oops"),
        check=python(look, str(state)),
    )
    assert hook.adjust("tank", "pause") == "tank is paused."
    with pytest.raises(CronosError, match="status 1"):
        hook.adjust("tank", "restore")


def test_a_command_sees_a_small_environment_only(monkeypatch):
    monkeypatch.setenv("CRONOS_SECRET", "x")
    hook = command(
        pause=python("import os; print(sorted(k for k in os.environ if k != 'LC_CTYPE'))"),
        environment={"PLANT": "1"},
    )
    said = hook.adjust("tank", "pause")
    assert "['CRONOS_STEP', 'CRONOS_WORKLOAD', 'PATH', 'PLANT']" in said


def test_a_command_that_does_not_end_is_killed_with_its_children():
    waiting = "import signal; signal.pause()"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waiting!r}])"
    hook = command(timeout_ms=300, pause=python(script))
    with pytest.raises(CronosError, match="did not end within 300 ms"):
        hook.adjust("tank", "pause")


def test_a_command_that_leaves_a_child_behind_does_not_hold_us_up():
    script = (
        "import subprocess, sys;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(0.5)']); print('up')"
    )
    assert "up" in command(pause=python(script)).adjust("tank", "pause")


def test_endless_talk_is_cut_and_control_characters_are_taken_out():
    hook = command(pause=python("print('\\x1b[2J' + 'x' * 5_000_000)"))
    said = hook.adjust("tank", "pause")
    assert len(said) < 500
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("workload", "step"), [("other", "pause"), ("tank", "reroute"), ("tank", "check")]
)
def test_a_step_without_a_command_is_a_sentence(workload, step):
    hook = command(pause=["true"], check=["true"])
    with pytest.raises(InputError, match="No command is configured"):
        hook.adjust(workload, step)


def test_a_command_that_is_not_there_is_a_sentence():
    with pytest.raises(CronosError, match="cannot be run"):
        command(pause=["/no/such/command"]).adjust("tank", "pause")


@pytest.fixture
def service():
    """A real web service on loopback whose answer a story chooses."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.heard.append((self.path, dict(self.headers), body))
            server.wait.wait(20)
            self.send_response(server.status)
            if server.status == 302:
                self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(server.answer)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.heard, server.status, server.answer = [], 200, b'{"state": "paused"}'
    server.wait = threading.Event()
    server.wait.set()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.wait.set()
    server.shutdown()
    thread.join()
    server.server_close()


def webhook(service, gate=None, **more):
    url = f"http://127.0.0.1:{service.server_port}/hook?x=1"
    table = {"workload": {"tank": {"url": url}}, "timeout_ms": 5000, **more}
    config = msgspec.convert(table, WebhookConfig)
    return WebhookWorkflow(config, BootClock(), gate or EgressGate())


def test_a_step_is_posted_and_the_state_confirmed(service):
    assert webhook(service).adjust("tank", "pause").startswith("tank is paused, says 127.0.0.1:")
    ((path, headers, body),) = service.heard
    assert path == "/hook?x=1"
    assert headers["Content-Type"] == "application/json"
    sent = json.loads(body)
    assert (sent["workload"], sent["step"], sent["state"]) == ("tank", "pause", "paused")


def test_an_answer_that_confirms_nothing_or_the_contrary_is_told_apart(service):
    service.answer = b"fine"
    assert "not confirmed" in webhook(service).adjust("tank", "pause")
    service.answer = b'{"state": "running"}'
    with pytest.raises(CronosError, match="says that tank is 'running'"):
        webhook(service).adjust("tank", "pause")


@pytest.mark.parametrize("status", [302, 404, 500])
def test_redirects_and_errors_are_failures_and_never_followed(service, status):
    service.status = status
    with pytest.raises(CronosError, match=f"answered {status}"):
        webhook(service).adjust("tank", "pause")
    assert len(service.heard) == 1


def test_a_service_that_does_not_answer_is_given_up(service):
    service.wait.clear()
    with pytest.raises(UnreachableError, match="gave no answer"):
        webhook(service, timeout_ms=200).adjust("tank", "pause")


def test_requests_are_signed_with_the_secret(service, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o644)
    with pytest.raises(DeniedError, match="may be read by others"):
        webhook(service, secret_file=str(secret))
    secret.chmod(0o600)
    webhook(service, secret_file=str(secret)).adjust("tank", "pause")
    ((_, headers, body),) = service.heard
    mac = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["X-Cronos-Signature"] == f"sha256={mac}"


def test_secret_files_that_cannot_serve_are_sentences(service, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        webhook(service, secret_file=str(tmp_path / "none"))
    empty = tmp_path / "empty"
    empty.touch(0o600)
    with pytest.raises(InputError, match="is empty"):
        webhook(service, secret_file=str(empty))


def hook_to(url, *rules):
    config = msgspec.convert({"workload": {"tank": {"url": url}}}, WebhookConfig)
    return WebhookWorkflow(config, BootClock(), EgressGate(rules))


@pytest.mark.parametrize(
    "url", ["", "ftp://127.0.0.1/", "http://", "http://[::1", "http://127.0.0.1:x/", "http://a b/"]
)
def test_what_is_no_url_is_refused_at_once(url):
    with pytest.raises(InputError, match="is no URL"):
        hook_to(url)


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "http://127.evil.example/"])
def test_plain_http_stays_on_this_machine(url):
    with pytest.raises(DeniedError, match="unencrypted"):
        hook_to(url)


def test_beyond_loopback_the_gate_must_be_opened():
    with pytest.raises(DeniedError, match="allow-list"):
        hook_to("https://hooks.example/").adjust("tank", "pause")
    rule = EgressRule("hooks.example", 444)
    with pytest.raises(DeniedError, match="allow-list"):
        hook_to("https://hooks.example/", rule).adjust("tank", "pause")


class TestCommandConformance(WorkflowConformance):
    def make(self):
        return command(pause=["true"], reroute=["true"], restore=["true"], check=["true"])

    def workload(self):
        return "tank"


class TestWebhookConformance(WorkflowConformance):
    @pytest.fixture(autouse=True)
    def _service(self, service):
        service.answer = b""
        self.service = service

    def make(self):
        return webhook(self.service)

    def workload(self):
        return "tank"
