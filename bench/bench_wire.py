"""Detection to the last packet: how long an attacker still gets through, measured on the wire.

Two network namespaces of their own, joined by a virtual cable; no firewall is touched but its own.
In one a sender puts more than 10,000 packets a second on the wire, each with the time at which it
left. In the other stand the product (real ledger, real enforcer process, real nftables) and a
receiver. The figure is the time from a finding's detection to the sending of the last packet that
the receiver ever got from that attacker.

Root is asked to run this. Reflex process and enforcer then take real-time priority, as they do in
service, and sender and receiver go before even these: they stand for another machine, which nothing
here could delay. ``--ordinary``, or a user's own namespace, measures without; the table says which.

Beside it, in the same rounds: an `nft` process for each block, as scripts do it; and a DOUBLE of a
polling bouncer, our own: it reads a list of decisions every 10 s, the usual default, and blocks
what is new with one `nft` call.
"""

import asyncio
import contextlib
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace
from report import Report, quantile

from cronos.config import Config, LeaseTerms, Policy
from cronos.config import Node as NodeConfig
from cronos.front.compose import Node, run_loop
from cronos.front.layout import Layout
from cronos.testing.story import finding
from cronos.types import Report as Findings

SINGLE, AT_ONCE, PROBES, ROUNDS = 200, 1_000, 100, 5
POLLED, POLL_S = 40, 10.0
RATE_HZ, BURST = 15_000, 6
MOST = 1 << 15  # attackers in one run
SLOTS = 8 + 1024
RING = 1 << 15  # of the packets sent last
HELD = 5_000
# Leases that outlast the benchmark: what renewals cost is not what is asked here.
CONFIG = Config(
    executors=("nftables",),
    policy=Policy(actions_per_minute=1_000_000, flood_incidents=1_000_000),
    lease=LeaseTerms(default_s=1800),
    node=NodeConfig(realtime="--ordinary" not in sys.argv),
)
NFT = shutil.which("nft") or "nft"
SERVER, PORT = "198.51.100.2", 9
PACKET = struct.Struct("<qq")
# Memory, no disk: pages that senders write to would be waited for by every fsync.
SHARED = Path("/dev/shm")


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def address(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


class Wire:
    """What sender, receiver and benchmark share: who sends now, and what came of it.

    ``told[0]`` ends both, ``told[1]`` counts who sends, ``told[2]`` what was sent, ``told[8:]``
    are the senders; ``last[n]`` is when the last packet that came from attacker n was sent,
    ``came[n]`` how many came. Packet number p left at ``sent_ns[p % RING]``.
    """

    def __init__(self, path: Path) -> None:
        size = 8 * (SLOTS + 2 * MOST + 2 * RING)
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        every = memoryview(self._map).cast("q")
        self.told = every[:SLOTS]
        self.last = every[SLOTS : SLOTS + MOST]
        self.came = every[SLOTS + MOST : SLOTS + 2 * MOST]
        self.sent_ns = every[SLOTS + 2 * MOST : SLOTS + 2 * MOST + RING]
        self.sent_by = every[SLOTS + 2 * MOST + RING :]

    def send_from(self, attackers: list[int]) -> None:
        """Have just these attackers send from now on."""
        self.told[1] = 0
        for place, attacker in enumerate(attackers):
            self.told[8 + place] = attacker
        self.told[1] = len(attackers)


def elsewhere() -> bool:
    """Be as if on another machine, which what is measured cannot delay; False if not allowed."""
    if "--ordinary" in sys.argv:
        return False
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
        return True
    return False


def send(path: Path) -> None:
    """Send from whoever is told to, evenly, one packet each in turn."""
    wire, alone = Wire(path), not elsewhere()
    sockets: dict[int, socket.socket] = {}
    turn, due = 0, boot_ns()
    while not wire.told[0]:
        count = wire.told[1]
        if not count:
            for one in sockets.values():
                one.close()
            sockets.clear()
        # One attacker sends evenly, for the sake of the figure; many send a few at a time, for a
        # sender that never slept would take a core away from what is measured. Nobody else's
        # sleep is exact enough for one packet.
        burst = 1 if count == 1 else BURST if count else 0
        for _ in range(burst):
            turn = (turn + 1) % count
            attacker = wire.told[8 + turn]
            if attacker not in sockets:
                sockets[attacker] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sockets[attacker].bind((address(attacker), 0))
            now = boot_ns()
            sockets[attacker].sendto(PACKET.pack(attacker, now), (SERVER, PORT))
            place = wire.told[2] % RING
            wire.sent_ns[place], wire.sent_by[place] = now, attacker
            wire.told[2] += 1
        due = max(due + max(1, burst) * 10**9 // RATE_HZ, boot_ns() - 10**7)
        if burst != 1 or not alone:
            time.sleep(max(0, due - boot_ns()) / 1e9)
        while alone and boot_ns() < due:
            pass


def receive(path: Path) -> None:
    """Note of each attacker when its latest packet was sent."""
    wire = Wire(path)
    elsewhere()
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    ear.bind((SERVER, PORT))
    ear.settimeout(0.2)
    while not wire.told[0]:
        try:
            attacker, sent_ns = PACKET.unpack(ear.recv(64))
        except TimeoutError:
            continue
        wire.last[attacker] = sent_ns
        wire.came[attacker] += 1


Times = list[tuple[float, float]]
Rounds = dict[str, list[Times]]


class Attack:
    """Attackers on the wire, numbered anew each time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._next = 1
        self.leaks = 0
        self.rates: list[float] = []

    def take(self, count: int) -> list[int]:
        """Give attackers that nobody has blocked yet."""
        self._next += count
        return list(range(self._next - count, self._next))

    async def begin(self, attackers: list[int]) -> None:
        """Have attackers send, and wait until a few packets of each have come."""
        self._wire.send_from(attackers)
        self._began = boot_ns(), self._wire.told[2]
        until = boot_ns() + 10**10
        while any(self._wire.came[one] < 3 for one in attackers):
            assert boot_ns() < until, "the wire carries nothing"
            await asyncio.sleep(0.001)

    async def end(self, attackers: list[int], rest_s: float) -> None:
        """Go on sending for a while; whoever still gets through was not stopped."""
        blocked = boot_ns()
        told = self._wire.told
        enough, until = told[2] + 20 * len(attackers), blocked + 10**9
        await asyncio.sleep(rest_s)
        while told[2] < enough and boot_ns() < until:  # noqa: ASYNC110 - shared with a process
            await asyncio.sleep(0.001)  # the sender, too, has to get a processor
        began, sent = self._began
        self.rates.append((self._wire.told[2] - sent) * 1e9 / max(1, boot_ns() - began))
        self._wire.send_from([])
        await asyncio.sleep(0.002)
        self.leaks += sum(self._wire.last[one] > blocked for one in attackers)

    def took_ms(self, attackers: list[int], since_ns: dict[int, int]) -> list[tuple[float, float]]:
        """Give when the last packet of each left that got through, and the first that did not.

        Between the two lies the moment itself: where the sender had to wait for a processor, the
        one says too little and the other too much.
        """
        wire, head = self._wire, self._wire.told[2]
        stopped: dict[int, int] = {}
        for number in range(max(0, head - RING), head):
            who, at_ns = wire.sent_by[number % RING], wire.sent_ns[number % RING]
            if at_ns > max(wire.last[who], since_ns.get(who, 1 << 62)):
                stopped.setdefault(who, at_ns)
        return [
            (
                max(0, wire.last[one] - since_ns[one]) / 1e6,
                (stopped.get(one, since_ns[one] + 10**12) - since_ns[one]) / 1e6,
            )
            for one in attackers
        ]


async def settled(node: Node) -> None:
    while not node._reflex.settled():  # noqa: ASYNC110 - a benchmark looks from outside
        await asyncio.sleep(0.0005)


def found(attackers: list[int], at_ns: int) -> Findings:
    made = [
        replace(finding(one, attacker=address(one)), detected_boot_ns=at_ns) for one in attackers
    ]
    return Findings(1, tuple(made))


async def ours(node: Node, attack: Attack, attackers: list[int], probes: list[int]) -> Times:
    """Block through the product: one finding each, all at once."""
    await attack.begin(probes)
    at_ns = boot_ns()
    node._reflex.on_report(found(attackers, at_ns), lambda _datum: True)
    await settled(node)
    await attack.end(probes, 0.01 if len(probes) == 1 else 0.1)
    return attack.took_ms(probes, dict.fromkeys(probes, at_ns))


async def script(attack: Attack, attackers: list[int], probes: list[int]) -> Times:
    """Block as a script does: an `nft` process for each."""
    await attack.begin(probes)
    at_ns = boot_ns()
    for one in attackers:
        block([one])
    await attack.end(probes, 0.01 if len(probes) == 1 else 0.1)
    return attack.took_ms(probes, dict.fromkeys(probes, at_ns))


def block(attackers: list[int]) -> None:
    listed = ", ".join(f"{address(one)} timeout 300s" for one in attackers)
    subprocess.run([NFT, f"add element inet peer s {{ {listed} }}"], check=True)


async def bouncer(attack: Attack, attackers: list[int], folder: Path) -> Times:
    """Block as a polling bouncer does: decisions wait for its next look."""
    decisions = folder / "decisions"
    decisions.write_text("")
    command = [sys.executable, __file__, "--bouncer", str(decisions)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()  # it has looked once
    await attack.begin(attackers)
    since_ns: dict[int, int] = {}
    for one in attackers:
        await asyncio.sleep(POLL_S / POLLED)
        since_ns[one] = boot_ns()
        with decisions.open("a") as file:
            file.write(f"{one}\n")
    await process.stdout.readline()
    await asyncio.sleep(POLL_S * 0.05)
    # What was decided after its second look waits for the third.
    await process.stdout.readline()
    await attack.end(attackers, 0.1)
    process.kill()
    await process.wait()
    return attack.took_ms(attackers, since_ns)


def poll(decisions: Path) -> None:
    """Be the bouncer: look, block what is new, wait."""
    known = 0
    while True:
        new = [int(line) for line in decisions.read_text().splitlines()[known:]]
        known += len(new)
        if new:
            block(new)
        print(known, flush=True)
        time.sleep(POLL_S)


async def measured(folder: Path, attack: Attack) -> Rounds:
    """Measure all of them in turn, with a new node each round; the first round warms up."""
    rounds: Rounds = {}
    for number in range(ROUNDS + 1):
        forget()
        layout = Layout(folder / str(number), "wire", session=True)
        node = Node(CONFIG, layout, (), live=True)
        try:
            await node.start()
            node.hurry()
            taken = await one_round(node, attack, SINGLE if number else 10)
            if number == ROUNDS:
                rounds["single while 5,000 are held"] = [await under_load(node, attack)]
        finally:
            enforcer = node.workers().get("enforcer")
            await node.stop()
            layout.close()
            if enforcer is not None:
                end(enforcer)
        if number:
            taken["polling bouncer"] = await bouncer(attack, attack.take(POLLED), folder)
            for name, times in taken.items():
                rounds.setdefault(name, []).append(times)
    return rounds


def end(enforcer: int) -> None:
    """Kill an enforcer: it would stay for its leases, and put back what the next round forgets."""
    os.kill(enforcer, signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):
        while Path(f"/proc/{enforcer}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.001)


def forget() -> None:
    """Take away what the last node blocked."""
    subprocess.run([NFT, "delete table inet cronos"], check=False, stderr=subprocess.DEVNULL)


async def one_round(node: Node, attack: Attack, singles: int) -> dict[str, Times]:
    """Measure the product and a script in turn: one at a time, then a thousand at once."""
    ours_alone: Times = []
    script_alone: Times = []
    for _ in range(singles):
        one = attack.take(1)
        ours_alone += await ours(node, attack, one, one)
        one = attack.take(1)
        script_alone += await script(attack, one, one)
    many, more = attack.take(AT_ONCE), attack.take(AT_ONCE)
    every = AT_ONCE // PROBES
    return {
        "single": ours_alone,
        "1,000 at once": await ours(node, attack, many, many[every - 1 :: every]),
        "nft process, single": script_alone,
        "nft process, 1,000": await script(attack, more, more[every - 1 :: every]),
    }


async def under_load(node: Node, attack: Attack) -> Times:
    """Block one at a time while thousands are blocked already."""
    held = attack.take(HELD)
    for begin in range(0, HELD, AT_ONCE):
        node._reflex.on_report(found(held[begin : begin + AT_ONCE], boot_ns()), lambda _datum: True)
        await settled(node)
    times: Times = []
    for _ in range(SINGLE):
        one = attack.take(1)
        times += await ours(node, attack, one, one)
    return times


def inside(folder: Path) -> None:
    """Lay the cable, start sender and receiver, and measure."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    path = SHARED / f"cronos-wire-{os.getpid()}"
    wire = Wire(path)
    far = subprocess.Popen(
        ["unshare", "-n", sys.executable, __file__, "--send", str(path), *sys.argv[2:]]
    )
    here = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{far.pid}/ns/net").readlink() == here:
        time.sleep(0.01)
    ip("link", "set", "lo", "up")
    ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(far.pid))
    ip("addr", "add", f"{SERVER}/24", "dev", "near")
    ip("link", "set", "near", "up")
    ip("route", "add", "10.0.0.0/8", "dev", "near")
    there = ["nsenter", "-t", str(far.pid), "-n", "ip"]
    for words in (
        "link set lo up",
        "addr add 198.51.100.3/24 dev far",
        "link set far up",
        "route add local 10.0.0.0/8 dev lo",
    ):
        subprocess.run([*there, *words.split()], check=True)
    table = (
        "add table inet peer; add set inet peer s { type ipv4_addr; flags timeout; };"
        "add chain inet peer c { type filter hook input priority -5; };"
        "add rule inet peer c ip saddr @s drop"
    )
    subprocess.run([NFT, table], check=True)
    near = subprocess.Popen([sys.executable, __file__, "--receive", str(path), *sys.argv[2:]])
    attack = Attack(wire)
    try:
        rounds = run_loop(measured(folder, attack))
    finally:
        wire.told[0] = 1
        far.wait()
        near.wait()
        path.unlink()
    show(rounds, attack)


def show(rounds: Rounds, attack: Attack) -> None:
    real_time = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
    report = Report(f"wire, {'real-time' if real_time else 'ordinary'} priority")
    musts = {"single": "<= 50", "1,000 at once": "<= 100"}
    for name, times in sorted(rounds.items()):
        through = [[one for one, _ in each] for each in times]
        stopped = [[one for _, one in each] for each in times]
        for told, q in (("p50", 0.5), ("p99", 0.99)):
            must = musts.get(name, "") if q > 0.9 else ""
            for what, figures in (("last through", through), ("first stopped", stopped)):
                values = [quantile(one, q) for one in figures]
                report.add(f"{name}, {what}, {told}", values, "ms", len(times[0]), must)
    report.add("packets sent", attack.rates, "1/s", len(attack.rates), ">= 10,000")
    report.figures[-1]["rounds"] = [round(min(attack.rates)), round(max(attack.rates))]
    report.add("attackers that still got through", [attack.leaks], "", len(attack.rates), "0")
    report.show()


def main() -> None:
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    roles = {"--send": send, "--receive": receive, "--bouncer": poll}
    if verb in roles:
        roles[verb](Path(sys.argv[2]))
    elif verb == "--inside":
        with tempfile.TemporaryDirectory(prefix="cr-") as folder:
            inside(Path(folder))
    else:
        alone = "-n" if os.geteuid() == 0 else "-Urn"
        command = ["unshare", alone, sys.executable, __file__, "--inside", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env={**os.environ}, check=False).returncode)


if __name__ == "__main__":
    main()
