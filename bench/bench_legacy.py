"""Old forms that nobody may hand out captures of: boundaries, types and meaning found in them.

Usage: python bench/bench_legacy.py [--json]

`legacy_generator` draws 600 messages each of ISO 8583, HL7 v2 and an EBCDIC record, and `cronos
discover` is run on each without its truth. The scores are those of `score_fields.py` beside the
data, worked out here again: F1 of inner boundaries, perfection (both ends met, nothing inside),
false-positive rate, and the same of a cut after every byte.
Where tshark knows the form (HL7, ISO 8583) it is asked whether the messages are such.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from legacy_generator import FORMS, lines
from report import Report

COUNT = 600
TIME_S = 60
PORTS = {"hl7": 2575, "iso8583": 8583}


def predicted(folder: Path, form: str) -> list[dict[str, object]]:
    """Run the product on the messages, without what is known of them."""
    given, out = folder / f"{form}.jsonl", folder / f"{form}.out"
    kept = ("payload_hex", "flow", "direction", "ts")
    with given.open("w", encoding="ascii") as file:
        for one in lines(form, COUNT):
            file.write(json.dumps({key: one[key] for key in kept}) + "\n")
    command = [sys.executable, "-m", "cronos.front.cli", "discover", str(given)]
    command += ["--predictions", str(out), "--state", str(folder / "state")]
    subprocess.run([*command, "--max-seconds", str(TIME_S)], check=True, capture_output=True)
    return [json.loads(line) for line in out.read_text(encoding="ascii").splitlines()]


def scores(form: str, found: list[dict[str, object]] | None) -> tuple[float, float, float]:
    """Give F1, perfection and false-positive rate; None stands for a cut after every byte."""
    hit = false = missed = negatives = whole = fields = 0
    for number, one in enumerate(lines(form, COUNT)):
        size = len(one["payload_hex"]) // 2
        true = {field["offset"] for field in one["fields"]} - {0}
        mine = set(range(1, size))
        if found is not None:
            given = found[number]["fields"]
            mine = {field["offset"] for field in given} - {0}
        hit += len(true & mine)
        false += len(mine - true)
        missed += len(true - mine)
        negatives += size - 1 - len(true)
        edges = mine | {0, size}
        for field in one["fields"]:
            begin, end = field["offset"], field["offset"] + field["length"]
            fields += 1
            whole += begin in edges and end in edges and not mine & set(range(begin + 1, end))
    return 2 * hit / max(1, 2 * hit + false + missed), whole / fields, false / max(1, negatives)


def dissected(folder: Path, form: str) -> float | None:
    """Give the share of messages that tshark takes for what they are; None: not asked."""
    if form not in PORTS or shutil.which("tshark") is None or shutil.which("text2pcap") is None:
        return None
    dump, capture = folder / f"{form}.txt", folder / f"{form}.pcap"
    payloads = [bytes.fromhex(one["payload_hex"]) for one in lines(form, 100)]
    with dump.open("w", encoding="ascii") as file:
        for payload in payloads:
            file.write("0000 " + payload.hex(" ") + "\n")
    port = PORTS[form]
    subprocess.run(
        ["text2pcap", "-q", "-T", f"40000,{port}", str(dump), str(capture)],
        check=True,
        capture_output=True,
    )
    shown = subprocess.run(
        [
            *f"tshark -d tcp.port=={port},{form} -T fields -e _ws.col.Protocol -r".split(),
            str(capture),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    named = shown.stdout.lower().split()
    return sum(name.startswith(form[:3]) for name in named) / len(payloads)


def main() -> None:
    """Discover, score and tell."""
    report = Report("legacy: old forms, drawn with their truth")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form in FORMS:
            for what, found in (("", predicted(folder, form)), (", every byte", None)):
                f1, perfection, fpr = scores(form, found)
                report.add(f"{form}: F1{what}", [f1], "", COUNT)
                report.add(f"{form}: perfection{what}", [perfection], "", COUNT)
                report.add(f"{form}: false-positive rate{what}", [fpr], "", COUNT)
            share = dissected(folder, form)
            if share is not None:
                report.add(f"{form}: taken by tshark's dissector", [share], "", 100)
    report.show()


if __name__ == "__main__":
    main()
