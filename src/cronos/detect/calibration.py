"""How often claims were right when somebody counted: no claim is louder than that allows.

The table lies beside this file, made by ``bench/calibrate.py``: for a detector and a row of the
matrix, how many of its claims of such a confidence were right, of how many, and between what the
true share lies (Clopper-Pearson, 95 %). A declared claim is held to the upper end. It is never
raised, and of two claims the stronger stays the stronger. Where nothing was counted the interval is
[0, 1] and the row says *assumed*; statistical claims only observe, and are left as they are.
"""

import functools
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from cronos.config import Name, Ratio, Section
from cronos.errors import InputError
from cronos.types import EvidenceClass, Finding

SCHEMA: Final = "cronos.calibration/1"
MAX_TABLE_BYTES: Final = 1 << 20
_FILE: Final = Path(__file__).with_name("calibration.json")


class Row(Section, frozen=True):
    """One band of confidences, [above, below), of one detector; the last one holds 1 as well."""

    detector: Name
    evidence: Literal["declared", "statistical"]
    above: Ratio
    below: Ratio
    right: Annotated[int, Meta(ge=0)]
    n: Annotated[int, Meta(ge=0)]
    low: Ratio
    high: Ratio
    basis: Literal["measured", "assumed", "local"]
    note: Annotated[str, Meta(max_length=300)] = ""


class Table(Section, frozen=True):
    """A calibration; a `candidate` is for an operator to read, and calibrates nothing."""

    schema: Literal["cronos.calibration/1"]
    candidate: bool
    rows: Annotated[tuple[Row, ...], Meta(max_length=10_000)]


class Calibration:
    """Holds claims to a table.

    Raises:
        InputError: the table contradicts itself, or is only a candidate.
    """

    def __init__(self, table: Table) -> None:
        if table.candidate:
            raise _refused("it is a candidate that no operator has promoted")
        bands: dict[str, list[Row]] = {}
        for row in table.rows:
            if row.right > row.n or row.low > row.high or row.above >= row.below:
                raise _refused(f"a row of {row.detector} contradicts itself")
            if row.evidence == EvidenceClass.DECLARED.value:
                bands.setdefault(row.detector, []).append(row)
        self._caps = {name: _caps(rows) for name, rows in bands.items()}

    def calibrated(self, finding: Finding) -> Finding:
        """Give the finding as loud as it may be."""
        if finding.evidence is not EvidenceClass.DECLARED:
            return finding
        for below, cap in self._caps.get(finding.detector, ()):
            if finding.confidence < below:
                return finding if finding.confidence <= cap else replace(finding, confidence=cap)
        return finding


def _caps(rows: list[Row]) -> tuple[tuple[float, float], ...]:
    """Give where each band ends and its cap, rising.

    No band may be louder than the one above it: small counts must not turn the order around.
    """
    found: list[tuple[float, float]] = []
    cap, above = 1.0, 2.0
    for row in sorted(rows, key=lambda one: -one.above):
        if row.below > above:
            raise _refused(f"two bands of {row.detector} overlap")
        cap = min(cap, row.high)
        # 1 belongs to the last band, which is closed above.
        found.insert(0, (2.0 if row.below == 1.0 else row.below, cap))
        above = row.above
    return tuple(found)


def read_table(data: bytes) -> Table:
    """Read a table or a candidate.

    Raises:
        InputError: it is none.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise _refused("it is longer than 1 MiB")
    try:
        return msgspec.json.decode(data, type=Table)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(str(error)) from error


@functools.cache
def shipped() -> Calibration:
    """Give the calibration that the product comes with."""
    return Calibration(read_table(_FILE.read_bytes()))


def calibrated(finding: Finding) -> Finding:
    """Hold a finding to the shipped table."""
    return shipped().calibrated(finding)


def _refused(why: str) -> InputError:
    return InputError(
        "detect.no_calibration",
        f"This is no calibration: {why}.",
        "Use a file that `bench/calibrate.py` wrote, or a candidate that was promoted.",
    )
