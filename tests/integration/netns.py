"""Runs Python in a network namespace of its own, without privilege."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRELUDE = """
import os, select, socket, subprocess, sys, time
sys.path[:0] = [{src!r}, {root!r}]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
"""


def require_namespaces() -> None:
    """Skip where user namespaces, `ip` or libnftables are missing."""
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"`{tool}` is not installed")
    if subprocess.run(["unshare", "-Urn", "true"], check=False, capture_output=True).returncode:
        pytest.skip("user namespaces are switched off on this machine")
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError:
        pytest.skip("libnftables.so.1 is not installed")


def run_in_namespace(script: str, timeout_s: float = 60) -> str:
    """Run a script there and give what it printed."""
    prelude = PRELUDE.format(src=str(ROOT / "src"), root=str(ROOT))
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", prelude + script],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
