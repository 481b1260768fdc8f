"""Deliveries between four processes: how fast, how durably, and what a kill -9 costs.

Usage: python bench/bench_mesh_delivery.py [--json]

Real streams (gRPC, mutual TLS), real sealed outboxes and ledgers, ML-DSA-87 keys that certificates
bind; four processes on the machine's cores. The same over a double of the links (bare TCP, no TLS)
shows what the streams cost. "Lost": acknowledged by a sender and never heard by a receiver. "Heard
twice": the same bulletin handed over twice in one life of a receiver.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mesh_domain import make_domain
from report import Report, quantile

from cronos.link.freeports import free_ports

ROOT = Path(__file__).parents[1]
NAMES = ("one", "two", "three", "four")
STEADY = 1_000
GAP_MS = 5
BURST = 1_000
ROUNDS = 3
KILLS = 6
RECORDS = 50_000


class _Node:
    """One process; `told` is everything that it said, by life."""

    def __init__(self, folder, name, ports):
        self.folder, self.name, self.ports = folder / name, name, ports
        self.lives = []
        self.start()

    def start(self):
        peers = ",".join(f"{one}={port}" for one, port in self.ports.items() if one != self.name)
        command = [sys.executable, "-m", "bench.delivery_node"]
        command += [str(self.folder), self.name, str(self.ports[self.name]), peers]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lives.append([])
        self.lines = queue.Queue()
        thread = threading.Thread(target=self.read, args=(self.process, self.lives[-1]))
        thread.daemon = True
        thread.start()
        self.until(lambda told: "ready" in told)

    def read(self, process, life):
        for line in process.stdout:
            told = json.loads(line)
            life.append(told)
            self.lines.put(told)

    def send(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def until(self, holds):
        while not holds(told := self.lines.get(timeout=120)):
            pass
        return told

    def told(self, key):
        return [one for life in self.lives for one in list(life) if key in one]

    def kill(self):
        self.process.kill()
        self.process.wait()


def federation(folder):
    """Start four nodes on free ports, and wait until they are linked."""
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    nodes = [_Node(folder, name, ports) for name in NAMES]
    time.sleep(1)
    return nodes


def wait(holds, what):
    deadline = time.monotonic() + 120
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"it never came to be: {what}")
        time.sleep(0.1)


def times(nodes, first, count):
    """Give, in ms: until durable, until heard by each, signed at each, receipt from each."""
    sender, *peers = nodes
    names = {f"one-{len(sender.lives)}-b{n}" for n in range(first, first + count)}
    posted = {one["posted"]: one for one in sender.told("posted") if one["posted"] in names}
    began = {name: one["began"] for name, one in posted.items()}
    durable = [one["at"] - one["began"] for one in posted.values()]
    heard, signed = [], []
    for peer in peers:
        for one in peer.told("heard"):
            if one["heard"] in names:
                (signed if one["signed"] else heard).append(one["at"] - began[one["heard"]])
    receipts = []
    for peer in peers:
        mine = [
            (one["receipt"], one["at"])
            for one in sender.told("receipt")
            if one["peer"] == peer.name and not one["signed"]
        ]
        for name in names:
            number = int(name.rsplit("b", 1)[1])
            at = min(at for sequence, at in mine if sequence >= number)
            receipts.append(at - began[name])
    return [[value / 1e6 for value in part] for part in (durable, heard, signed, receipts)]


def asked(node):
    node.send("say")
    return node.until(lambda told: "signed" in told)


def told_all(nodes, first, count, gap_ms):
    """Post, wait until every peer has heard, verified and answered, and give the times."""
    sender, *peers = nodes
    before = {peer.name: asked(peer)["signed"] for peer in peers}
    sender.send("post", first, count, gap_ms)
    last = first + count - 1
    if gap_ms:
        time.sleep(count * gap_ms / 1000)
    wait(lambda: all(asked(p)["signed"] >= before[p.name] + count for p in peers), "all signed")
    wait(
        lambda: all(asked(sender)["receipts"].get(p.name, 0) >= last for p in peers), "all receipts"
    )
    for node in nodes:
        node.send("dump")
        node.until(lambda told: "dumped" in told)
    return times(nodes, first, count)


WHAT = ("durable here", "heard by every peer", "verified as signed", "receipt of every peer")


def over_a_double(report, folder):
    steady_and_burst(report, folder, "a double of the links, ")


def steady_and_burst(report, folder, label=""):
    if not label:
        make_domain(folder, *NAMES)
    nodes = federation(folder)
    for node in nodes:
        node.send("quiet")
    first = 1
    for name, count, gap_ms in (
        (f"{label}200/s", STEADY, GAP_MS),
        (f"{label}1,000 at once", BURST, 0),
    ):
        rounds = []
        for _ in range(ROUNDS):
            rounds.append(told_all(nodes, first, count, gap_ms))
            first += count
        for index, what in enumerate(WHAT):
            for q, part in ((0.5, "p50"), (0.99, "p99")):
                figures = [quantile(one[index], q) for one in rounds]
                report.add(f"{name}: {what}, {part}", figures, "ms", count)
    for node in nodes:
        node.kill()


def under_kills(report, folder):
    """Post without end while sender and receivers are killed by turns."""
    make_domain(folder, *NAMES)
    nodes = federation(folder)
    sender, *peers = nodes
    sent = 0
    for n in range(KILLS):
        sender.send("post", 1 + n * 1_000, 500, 1)
        sent += 500
        time.sleep(0.25)
        victim = nodes[n % len(nodes)]
        victim.kill()
        victim.start()
        time.sleep(0.3)
    sender.send("post", 900_001, 100)
    sent += 100
    wait(lambda: sum("900100" in o["posted"] for o in sender.told("posted")), "the last posts")
    acknowledged = {one["posted"] for one in sender.told("posted")}

    def lost():
        heard = [{one["heard"] for one in peer.told("heard")} for peer in peers]
        return sum(len(acknowledged - one) for one in heard)

    deadline = time.monotonic() + 30
    while lost() and time.monotonic() < deadline:
        time.sleep(0.1)
    twice = sum(
        len(names) - len(set(names))
        for peer in peers
        for life in peer.lives
        for names in ([o["heard"] for o in life if "heard" in o and not o["signed"]],)
    )
    for what, value in (
        ("sent", sent),
        ("acknowledged", len(acknowledged)),
        ("lost of three peers", lost()),
        ("heard twice in one life", twice),
    ):
        report.add(f"{KILLS} kills -9: {what}", [value], "bulletins", sent)
    for node in nodes:
        node.kill()


def replication(report, folder):
    """Copy a ledger to a peer while it is written, lose the directory, get it back."""
    make_domain(folder, *NAMES)
    nodes = federation(folder)
    one = nodes[0]
    waits = []
    for _ in range(50):
        one.send("write", 1)
        written = one.until(lambda told: "written" in told)
        while True:
            one.send("say")
            told = one.until(lambda told: "replicated" in told)
            if told["replicated"] >= written["written"]:
                break
            time.sleep(0.002)
        waits.append((told["at"] - written["at"]) / 1e6)
    report.add("a record: durable to replicated, p50", [quantile(waits, 0.5)], "ms", len(waits))
    report.add("a record: durable to replicated, p99", [quantile(waits, 0.99)], "ms", len(waits))
    began = time.monotonic()
    one.send("write", RECORDS)
    written = one.until(lambda told: told.get("written", 0) > RECORDS)["written"]
    while True:
        one.send("say")
        if one.until(lambda told: "replicated" in told)["replicated"] == written:
            break
        time.sleep(0.02)
    rate = RECORDS / (time.monotonic() - began)
    report.add("records written and replicated", [rate], "records/s", RECORDS)
    one.kill()
    shutil.rmtree(one.folder)
    one.start()
    began = time.monotonic()
    one.send("recover")
    told = one.until(lambda told: "recovered" in told)
    seconds = time.monotonic() - began
    report.add("recovered onto an empty directory", [told["recovered"]], "records", written)
    report.add("every record opened with the node's keys", [seconds], "s", written)
    for node in nodes:
        node.kill()


def main():
    report = Report("mesh_delivery")
    for part in (steady_and_burst, over_a_double, under_kills, replication):
        with tempfile.TemporaryDirectory() as folder:
            part(report, Path(folder))
    report.show()


if __name__ == "__main__":
    main()
