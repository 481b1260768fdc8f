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
nft.run("add set inet looked six { type ipv6_addr; flags timeout; size 1600; }")
new = {ipaddress.ip_address(f"10.3.{n >> 8}.{n & 255}").packed: 40_000 + n for n in range(1200)}
six = {ipaddress.ip_address(f"2001:db8::{n:x}").packed: 1_500 for n in range(1500)}
assert not elements.add({"s": new})  # nothing was learnt
elements.learn()
assert elements.add({"s": new, "six": six})
assert elements.stand()
assert elements.held("s", list(new)) == list(new)
assert elements.held("six", list(six)) == list(six)
assert '"timeout": 41, "expires": 4' in nft.run("list set inet looked s")
nft.run("add table inet others")
late = {ipaddress.ip_address("10.4.0.1").packed: 60_000}
assert not elements.add({"s": late}) and elements.held("s", list(late)) == []
assert elements.stand()
assert elements.add({"s": late}) and elements.add({"s": late})
# To add what is there changes nothing: the kernel counts no generation.
assert elements.stand() and not elements.add({"nowhere": late})
many = {ipaddress.ip_address(f"2001:db8:1::{n:x}").packed: 9 for n in range(200)}
try:
    elements.add({"six": many})
    raise AssertionError("the set is full")
except OSError:
    pass
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
