"""The key agent: cold start to its first answer, and calls a second, the bare library beside it.

Cold means: a new process of the node's own worker program, on a keystore that is there already;
the clock runs from its start until a caller, which was waiting, has a public key. One caller
makes one call at a time, as the processes of a node do.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from report import Report

from cronos.config import Config, Node
from cronos.crypto.signatures import ML_DSA_87, SigningKey, generate_seed
from cronos.crypto.suites import HYBRID, DecryptionKey, generate_secret
from cronos.front.keyring import open_keystore
from cronos.front.workers import Spec
from cronos.link.keyagent import AgentConfig, AgentKeys
from cronos.runtime.world import SystemClock

ROUNDS = 15
CALL_ROUNDS = 5
CALLS = 400
ROOTS = {
    "machine-key": {"keystore": {"root": "machine-key"}},
    "passphrase, Argon2id 64 MiB": {"keystore": {"root": "passphrase"}},
}


def spec_of(folder: Path, plugin: dict[str, dict[str, str]]) -> Spec:
    """Make a keystore with the keys of a node, and what its agent is told."""
    keys = folder / "keys"
    (folder / "passphrase").write_text("five random words are good\n")
    (folder / "passphrase").chmod(0o600)
    table = {**plugin, "passphrase": {"passphrase_file": str(folder / "passphrase")}}
    config = Config(node=Node("bench"), plugin=table)
    open_keystore(config, keys, SystemClock(), ensure=True).close()
    return Spec(
        "keys",
        config,
        str(folder),
        "",
        "",
        "",
        keys=str(keys),
        agent_socket=str(keys / "agent.sock"),
    )


@contextlib.contextmanager
def agent(spec: Spec) -> Iterator[tuple[AgentKeys, int]]:
    """Start the worker and give a caller, and its number; the worker ends with the block."""
    path = Path(spec.run) / "spec.json"
    path.write_bytes(msgspec.json.encode(spec))
    process = subprocess.Popen(
        [sys.executable, "-m", "cronos.front.workers", str(path)], stderr=subprocess.DEVNULL
    )
    keys = AgentKeys(AgentConfig(), Path(spec.agent_socket))
    try:
        yield keys, process.pid
    finally:
        keys.close()
        process.terminate()
        process.wait(30)


def cold(spec: Spec) -> tuple[float, float]:
    """Measure one start in milliseconds: by the clock, and what the agent was on a CPU for."""
    Path(spec.agent_socket).unlink(missing_ok=True)
    began = time.perf_counter()
    with agent(spec) as (keys, pid):
        keys.public("state")
        passed = (time.perf_counter() - began) * 1e3
        return passed, on_cpu(pid)


def on_cpu(pid: int) -> float:
    """Give a process's CPU time in milliseconds; 0 where its user may not look (it is hardened)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    except OSError:
        return 0.0


def bare_python() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import cryptography"], check=True)
    return (time.perf_counter() - began) * 1e3


def rate(call: object) -> float:
    """Measure calls a second."""
    began = time.perf_counter()
    for _ in range(CALLS):
        call()  # type: ignore[operator]  # given as a lambda below
    return CALLS / (time.perf_counter() - began)


def main() -> None:
    report = Report("key_agent")
    with tempfile.TemporaryDirectory() as name:
        specs = {}
        for number, (root, plugin) in enumerate(ROOTS.items()):
            (Path(name) / str(number)).mkdir(mode=0o700)
            specs[root] = spec_of(Path(name) / str(number), plugin)
        starts: dict[str, list[tuple[float, float]]] = {root: [] for root in specs}
        empty = []
        for _ in range(ROUNDS):
            for root, spec in specs.items():
                starts[root].append(cold(spec))
            empty.append(bare_python())
        for root, rounds in starts.items():
            must = "<= 300" if root == "machine-key" else ""
            report.add(f"cold start, {root}", [wall for wall, _ in rounds], "ms", ROUNDS, must)
            report.add("  of that, on a CPU", [cpu for _, cpu in rounds], "ms", ROUNDS)
        report.add("  Python that imports `cryptography`", empty, "ms", ROUNDS)
        calls(report, specs["machine-key"])
    report.show()


def calls(report: Report, spec: Spec) -> None:
    """Measure calls, in rounds with the bare library."""
    secret, signer = DecryptionKey(HYBRID, generate_secret(HYBRID)), SigningKey(
        ML_DSA_87, generate_seed()
    )  # fmt: skip
    own = secret.encryption_key().seal(b"k" * 32, b"c")
    rates: dict[str, list[float]] = {}
    with agent(spec) as (keys, _):
        wrapped = keys.wrap("state", b"k" * 32, b"c")
        measured = {
            "unwrap": lambda: keys.unwrap("state", wrapped, b"c"),
            "  bare HPKE open, hybrid": lambda: secret.open(own, b"c"),
            "sign": lambda: keys.sign("identity", b"m" * 64, b"cronos-bench"),
            "  bare ML-DSA-87 sign": lambda: signer.sign(b"m" * 64, b"cronos-bench"),
            "public (the way there and back)": lambda: keys.public("state"),
        }
        for _ in range(CALL_ROUNDS):
            for what, call in measured.items():
                rates.setdefault(what, []).append(rate(call))
    for what, rounds in rates.items():
        report.add(what, rounds, "calls/s", CALLS)
    for what, bare in (
        ("unwrap", "  bare HPKE open, hybrid"),
        ("sign", "  bare ML-DSA-87 sign"),
    ):
        ratios = [ours / peer for ours, peer in zip(rates[what], rates[bare], strict=True)]
        report.add(f"{what}, of the bare library's rate", ratios, "", CALLS)


if __name__ == "__main__":
    main()
