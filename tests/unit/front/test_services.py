"""The worker that runs a service: it says where it listens, and ends when told."""

import signal
import subprocess
import sys
import time

import msgspec
from tests.unit.front.worker_spec import spec_for

from cronos.config import Config
from cronos.front.services import _gauges

LOADED = """
import sys
from cronos.front import workers
print(sorted({"asyncio", "cronos.front.services"} & set(sys.modules)))
"""


def test_only_the_worker_of_a_service_has_an_event_loop():
    told = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, check=True)
    assert told.stdout == b"[]\n"


def test_a_service_says_where_it_listens_and_ends_when_told(tmp_path):
    tap = {"upstream_host": "127.0.0.1", "upstream_port": 502, "listen_port": 0}
    config = Config(sealer="plaintext", plugin={"forwarding-tap": tap})
    spec = spec_for(tmp_path, "service", config=config)
    spec = msgspec.structs.replace(spec, service="forwarding-tap")
    (tmp_path / "service.json").write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-m", "cronos.front.workers", str(tmp_path / "service.json")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            port = tmp_path / "forwarding-tap.port"
            for _ in range(3_000):
                if (port.exists() and port.read_bytes()) or process.poll() is not None:
                    break
                time.sleep(0.01)
            assert process.poll() is None, process.stderr.read()
            assert 0 < int(port.read_bytes()) < 65536
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_what_services_tell_of_themselves_is_gathered_and_broken_files_are_not(tmp_path):
    (tmp_path / "library.gauges").write_bytes(b'{"discover.hit_rate":0.5}')
    (tmp_path / "other.gauges").write_bytes(b"half a fi")

    assert _gauges(tmp_path) == {"discover.hit_rate": 0.5}
