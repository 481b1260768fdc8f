"""From a finding to silence on the wire: packets of a real sender stop at the product's order.

How fast is the benchmark's to say (`bench_wire.py`). Here a busy machine must not fail: packets
stop within a second, not one comes through after that, and a neighbour's go on.
"""

import pytest
from tests.integration.netns import require_namespaces, run_in_namespace

pytestmark = [pytest.mark.net, pytest.mark.slow]

SCRIPT = """
import asyncio, tempfile, threading
from pathlib import Path
from msgspec.structs import replace
from cronos.config import Config, LeaseTerms, Policy
from cronos.front.compose import Node, run_loop
from cronos.front.layout import Layout
from cronos.testing.story import finding
from cronos.types import Report, State

os.environ["PYTHONPATH"] = sys.path[0]  # the node's own processes are found where this one is

def boot_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
server.bind(("127.0.0.1", 0))
server.settimeout(0.1)
last, stop = {}, threading.Event()

def send(host):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((host, 0))
    while not stop.is_set():
        try:
            s.sendto(str(boot_ns()).encode(), server.getsockname())
        except PermissionError:
            pass
        time.sleep(0.0005)
    s.close()

def receive():
    while not stop.is_set():
        try:
            data, (host, _) = server.recvfrom(64)
        except TimeoutError:
            continue
        last[host] = int(data)

def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it never came true")

async def story(folder):
    config = Config(executors=("nftables",), lease=LeaseTerms(default_s=5, max_s=5))
    layout = Layout(Path(folder), "wire", session=True)
    node = Node(config, layout, (), live=True)
    try:
        await node.start()
        for number, host in enumerate(ATTACKERS):
            at = boot_ns()
            told = replace(finding(number, attacker=host), detected_boot_ns=at)
            node._reflex.on_report(Report(number, (told,)), lambda _datum: True)
            while not node._reflex.settled():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.2)
            through_ms = (last[host] - at) / 1e6
            assert through_ms < 1000, through_ms
            seen = last[host]
            await asyncio.sleep(0.2)
            assert last[host] == seen, "it came through again"
            (incident,) = [i for i in node._reflex.incidents() if i.actor.value == host]
            assert incident.state in (State.ISOLATED, State.CONFIRMED)
            print(f"{host}: the last packet left {through_ms:.1f} ms after the detection")
        quiet = boot_ns()
        until(lambda: last["127.0.0.9"] > quiet)
        # The lease ends by itself, and the packets come again.
        for _ in range(3000):
            if all(last[host] > quiet for host in ATTACKERS):
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("the lease never ended")
    finally:
        await node.stop()
        layout.close()

ATTACKERS = ["127.0.0.66", "127.0.0.67", "127.0.0.68"]
threads = [threading.Thread(target=send, args=(host,)) for host in [*ATTACKERS, "127.0.0.9"]]
threads.append(threading.Thread(target=receive))
for thread in threads:
    thread.start()
try:
    until(lambda: len(last) == 4)
    with tempfile.TemporaryDirectory(prefix="cr-") as folder:
        run_loop(story(folder))
finally:
    stop.set()
    for thread in threads:
        thread.join()
    server.close()
"""


@pytest.fixture(autouse=True, scope="module")
def _namespaces():
    require_namespaces()


def test_packets_stop_at_the_order_stay_away_and_come_again_when_the_lease_ends():
    said = run_in_namespace(SCRIPT, timeout_s=120)
    assert said.count("the last packet left") == 3, said
