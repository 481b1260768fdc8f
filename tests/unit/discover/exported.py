"""Runs what was exported in the tools that it was exported for, and says what they read.

Generated source is executed here, in tests, and nowhere in the product.
"""

import importlib.util
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tests.unit.discover.grammars import drawn

from cronos.discover.interpreter import Interpreter, Refused

SCRIPT = Path(__file__).with_name("kaitai.js")
MODULES = Path(os.environ.get("CRONOS_KAITAI_MODULES", "/tmp/cronos-kaitai/node_modules"))
PORT = 47123
ANY = -math.inf


def damaged(messages, seed=1, share=0.05):
    """Give the messages and as many again with some bytes changed or cut off."""
    source = random.Random(seed)
    out = [one for one in messages if one]
    for one in list(out):
        changed = [b if source.random() > share else source.randrange(256) for b in one]
        out.append(bytes(changed)[: len(one) - (source.random() < 0.2)] or b"\0")
    return out


def material(seed, checksums=True):
    """Give a drawn grammar with whole and damaged messages of it."""
    grammar, messages = drawn(seed, checksums, many=12)
    return grammar, damaged(messages, seed)


def ours(grammar, message, direction="", floor=ANY, checksums=False):
    """Give what the interpreter reads: (name, offset, length), or None."""
    parsed = Interpreter(grammar).parse(message, direction, checksums=checksums, floor=floor)
    if isinstance(parsed, Refused):
        return None
    return [(f.name, f.offset, f.length) for f in parsed.fields]


def module(source, path):
    """Load generated Python, as a test may."""
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def bare_python(path, messages):
    """Run a generated parser in an interpreter that has nothing but the standard library."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(path)],
        input="\n".join(one.hex() for one in messages), capture_output=True, check=True, text=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def capture(path, messages, directions):
    """Write a pcap of UDP datagrams between one client and the server's port."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101)]
    for number, (message, direction) in enumerate(zip(messages, directions, strict=True)):
        ports = (PORT, 40000) if direction == "s2c" else (40000, PORT)
        udp = struct.pack(">HHHH", *ports, 8 + len(message), 0) + message
        size = 20 + len(udp)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 17, 0, b"\n\0\0\1", b"\n\0\0\2")
        out.append(struct.pack("<IIII", number, 0, size, size) + ip + udp)
    path.write_bytes(b"".join(out))


def tshark(lua, name, messages, directions, folder):
    """Give what Wireshark's fields are: (name, offset, length, hex) a message, or None."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    (folder / "gen.lua").write_text(lua)
    capture(folder / "gen.pcap", messages, directions)
    done = subprocess.run(
        ["tshark", "-X", f"lua_script:{folder / 'gen.lua'}", "-r", str(folder / "gen.pcap"),
         "-T", "pdml"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert b"Lua" not in done.stderr, done.stderr
    packets = ET.fromstring(done.stdout).findall("packet")
    assert len(packets) == len(messages)
    return [_fields(packet, f"cronos_{name}") for packet in packets]


def _fields(packet, protocol):
    proto = next(one for one in packet.findall("proto") if one.get("name") == protocol)
    if any("misfit" in (one.get("name") or "") for one in proto.iter("field")):
        return None
    return [
        (one.get("name").split(".", 1)[1], int(one.get("pos")) - 28, int(one.get("size")),
         one.get("value"))
        for one in proto.findall("field")
        if (one.get("name") or "").startswith(protocol) and int(one.get("size"))
    ]  # fmt: skip


def kaitai(documents, lines, folder):
    """Compile specifications to JavaScript and read (specification, type or "root", bytes)."""
    if shutil.which("node") is None or not (MODULES / "kaitai-struct-compiler").is_dir():
        pytest.skip(f"npm's kaitai-struct-compiler and kaitai-struct are not in {MODULES}")
    spec = folder / "spec.json"
    spec.write_text(json.dumps(documents))
    text = "\n".join(f"{spec} {kind} {data.hex()}" for spec, kind, data in lines)
    done = subprocess.run(
        ["node", str(SCRIPT), str(MODULES), str(spec)], input=text, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:2_000]
    return [json.loads(line) for line in done.stdout.splitlines()]


def camel(name):
    """Give a name as the JavaScript target writes it."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)
