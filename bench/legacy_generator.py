"""Messages of three old forms, with the truth of every field: ISO 8583, HL7 v2 and EBCDIC records.

No capture of these can be had that may be kept; the messages are drawn from a seed, by the public
descriptions of the forms: ISO 8583:1987 (bitmaps, fixed and length-prefixed elements, in ASCII),
HL7 v2.5 (segments and fields with delimiters, framed by MLLP), and a record of a mainframe file as
copybooks describe them (EBCDIC text, packed and zoned decimals, big-endian binary). The lines are
those of the open data, so that `score_fields.py` scores them.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Parts = list[tuple[str, bytes, str]]
START = 1_700_000_000


def iso8583(rng: random.Random, n: int) -> tuple[str, Parts]:
    """A financial message: type, bitmap, and the elements whose bits are set."""
    asks = n % 2 == 0
    kind = rng.choice(("0200", "0400")) if asks else rng.choice(("0210", "0410"))
    pan = "".join(rng.choices("0123456789", k=rng.choice((13, 16, 19))))
    when = START + n * 7
    elements: dict[int, Parts] = {
        2: [("pan_length", b"%02d" % len(pan), "length"), ("pan", pan.encode(), "text")],
        3: [("processing_code", rng.choice((b"000000", b"010000", b"310000")), "enum_flags")],
        4: [("amount", b"%012d" % rng.randrange(10**6), "value")],
        7: [("transmitted", b"%010d" % (when % 10**10), "timestamp")],
        11: [("trace", b"%06d" % (n // 2 % 10**6), "id_seq")],
        41: [("terminal", b"TERM%04d" % rng.randrange(40), "text")],
    }
    if not asks:
        elements[39] = [("response", rng.choice((b"00", b"05", b"51")), "enum_flags")]
    if rng.random() < 0.5:
        name = rng.choice(("SHOP ONE", "FUEL STOP 7", "MARKET"))
        elements[43] = [("acceptor", name.ljust(40).encode(), "text")]
    if rng.random() < 0.4:
        track = pan + "=2512" + "".join(rng.choices("0123456789", k=8))
        elements[35] = [
            ("track_length", b"%02d" % len(track), "length"),
            ("track", track.encode(), "text"),
        ]
    bits = sum(1 << (64 - element) for element in elements)
    parts: Parts = [
        ("type", kind.encode(), "enum_flags"),
        ("bitmap", b"%016X" % bits, "enum_flags"),
    ]
    for element in sorted(elements):
        parts += elements[element]
    body = sum(len(data) for _, data, _ in parts)
    return kind, [("length", body.to_bytes(2, "big"), "length"), *parts]


def hl7(rng: random.Random, n: int) -> tuple[str, Parts]:
    """An admission or an observation, one field after the other between bars."""
    kind = ("ADT^A01", "ORU^R01", "ACK")[n % 3]
    segments = [
        ["MSH", "^~\\&", "LAB", f"WARD{n % 4}", "HIS", "H1", str(20240501000000 + n * 13), "",
         kind, f"MSG{n:05d}", "P", "2.5"],
    ]  # fmt: skip
    if kind == "ACK":
        segments.append(["MSA", rng.choice(("AA", "AE")), f"MSG{n - 1:05d}"])
    else:
        segments.append(
            ["PID", "1", "", str(rng.randrange(10**6)), "", f"DOE^J{rng.randrange(50)}"]
        )
    if kind == "ORU^R01":
        segments += [
            ["OBX", str(line), "NM", "GLU", "", str(rng.randrange(40, 200)), "mg/dL"]
            for line in range(1, rng.randint(2, 4))
        ]
    parts: Parts = [("start", b"\x0b", "value")]
    for fields in segments:
        for number, field in enumerate(fields):
            if field:
                parts.append((f"{fields[0]}_{number}", field.encode(), "text"))
            last = number == len(fields) - 1
            parts.append(("end" if last else "bar", b"\r" if last else b"|", "value"))
    return kind, [*parts, ("finish", b"\x1c\r", "value")]


def ebcdic(rng: random.Random, n: int) -> tuple[str, Parts]:
    """A record: descriptor word, EBCDIC text, packed decimals, binary counters."""
    kind = rng.choice(("C", "A", "T"))
    parts: Parts = [
        ("kind", kind.encode("cp037"), "enum_flags"),
        ("account", b"%010d" % rng.randrange(10**9), "text"),
        (
            "name",
            rng.choice(("MILLER", "SMITH AND SONS", "O NEIL")).ljust(20).encode("cp037"),
            "text",
        ),
        ("balance", _packed(rng.randrange(10**7), 5, rng.random() < 0.2), "value"),
        ("branch", rng.randrange(1, 90).to_bytes(2, "big"), "value"),
        ("sequence", n.to_bytes(4, "big"), "id_seq"),
    ]
    parts[1] = ("account", parts[1][1].decode().encode("cp037"), "text")
    if kind == "T":
        parts += [
            ("date", _packed(1_240_000 + n % 366, 4, False), "timestamp"),
            ("amount", _packed(rng.randrange(10**5), 4, rng.random() < 0.3), "value"),
        ]
    if kind == "A":
        parts.append(("address", "HIGH STREET 7".ljust(30).encode("cp037"), "text"))
    size = 4 + sum(len(data) for _, data, _ in parts)
    head: Parts = [("size", size.to_bytes(2, "big"), "length"), ("zero", b"\0\0", "value")]
    return kind, [*head, *parts]


def _packed(value: int, size: int, negative: bool) -> bytes:
    digits = f"{value:0{2 * size - 1}d}" + ("d" if negative else "c")
    return bytes.fromhex(digits)


FORMS: dict[str, Callable[[random.Random, int], tuple[str, Parts]]] = {
    "iso8583": iso8583,
    "hl7": hl7,
    "ebcdic": ebcdic,
}


def lines(form: str, count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Give messages with their truth, as the open data has them."""
    rng = random.Random(seed)
    for n in range(count):
        kind, parts = FORMS[form](rng, n)
        fields: list[dict[str, Any]] = []
        at = 0
        for name, data, sem in parts:
            fields.append(
                {"offset": at, "length": len(data), "name": name, "type": "bytes", "sem": sem}
            )
            at += len(data)
        yield {
            "payload_hex": b"".join(data for _, data, _ in parts).hex(),
            "flow": n // 2 % 8,
            "direction": "" if form == "ebcdic" else ("c2s" if n % 2 == 0 else "s2c"),
            "ts": START + n * 7.0,
            "message_type": kind,
            "fields": fields,
        }


def write(folder: Path, count: int, seed: int = 1) -> None:
    """Write a file for each form."""
    folder.mkdir(parents=True, exist_ok=True)
    for form in FORMS:
        text = "".join(json.dumps(one) + "\n" for one in lines(form, count, seed))
        (folder / f"{form}.jsonl").write_text(text, encoding="ascii")
