"""Looking elements up in the kernel: right for any number of them, present or not."""

import pathlib
import subprocess
import sys

import pytest

SRC = pathlib.Path(__file__).parents[3] / "src"

PROGRAM = """
import ipaddress
from cronos.respond.libnftables import Nft
from cronos.respond.setelements import SetElements

nft = Nft()
nft.run("add table inet looked\\nadd set inet looked s { type ipv4_addr; flags timeout; }")
there = [f"10.1.{n >> 8}.{n & 255}" for n in range(700)]
nft.run("add element inet looked s { " + ", ".join(f"{one} timeout 60s" for one in there) + " }")
packed = [ipaddress.ip_address(one).packed for one in there]
absent = [ipaddress.ip_address(f"10.2.0.{n}").packed for n in range(30)]
elements = SetElements("looked")
assert elements.held("s", []) == []
assert elements.held("s", packed) == packed
assert elements.held("s", absent) == []
mixed = packed[:100] + absent + packed[100:150]
assert elements.held("s", mixed) == packed[:150]
assert elements.held("nowhere", packed[:3]) == []
nft.run("delete table inet looked")
assert elements.held("s", packed[:3]) == []
elements.close()
elements.close()
print("held")
"""


def test_present_and_absent_elements_are_told_apart_in_a_real_kernel():
    command = ["unshare", "-Urn", sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr or "libnftables is not installed" in done.stderr:
        pytest.skip("needs user namespaces and libnftables")

    assert done.stdout == "held\n", done.stderr
