"""Parsed messages as Arrow and Parquet."""

import io
import subprocess
import sys

import pytest
from tests.unit.discover.pump import GRAMMAR, PROFILE, note, reading

from cronos.discover import columns
from cronos.discover.columns import columns_of, write_columns
from cronos.discover.messages import Message
from cronos.discover.parsing import Parser

pa = pytest.importorskip("pyarrow")


class Slow(io.BytesIO):
    """Takes at most 100 bytes at a time, as a pipe may."""

    def write(self, data):
        return super().write(bytes(data)[:100])


def written(form, payloads):
    parser, sink = Parser(PROFILE), Slow()
    rows = [parser.row(n, Message(one, "f", "c2s", n)) for n, one in enumerate(payloads)]
    assert list(write_columns(PROFILE, rows, sink, form)) == rows
    if form == "parquet":
        return pa.parquet.read_table(io.BytesIO(sink.getvalue()))
    return pa.ipc.open_stream(sink.getvalue()).read_all()


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_each_field_is_a_column_and_what_repeats_a_column_of_lists(form):
    table = written(form, [reading(1.5), note(), b"\x09", reading(2.5, samples=())])

    assert table.column("type").to_pylist() == ["reading", "note", "", "reading"]
    assert table.column("level").to_pylist() == [1.5, None, None, 2.5]
    assert table.column("tag").to_pylist() == ["P-01", None, None, "P-01"]
    assert table.column("sample").to_pylist() == [[1, 2], None, None, None]
    assert table.column("blob").to_pylist() == [None, b"\xca\xfe", None, None]
    assert table.column("kind").to_pylist() == [1, 2, None, 1]
    assert bool(table.column("refused").to_pylist()[2])


def test_rows_are_written_in_batches(monkeypatch):
    monkeypatch.setattr(columns, "_BATCH", 3)
    table = written("arrow", [reading(float(n)) for n in range(10)])

    assert table.column("level").to_pylist() == [float(n) for n in range(10)]
    assert len(table.to_batches()) == 4


def test_no_rows_are_a_file_all_the_same():
    assert written("parquet", []).num_rows == 0


def test_the_kind_of_a_column_follows_its_field():
    assert columns_of(GRAMMAR) == [
        ("kind", "number", False),
        ("size", "number", False),
        ("level", "float", False),
        ("tag", "text", False),
        ("sample", "number", True),
        ("sum", "number", False),
        ("blob", "bytes", False),
    ]


def test_a_number_that_no_column_holds_is_left_out():
    assert columns._value("number", 1 << 64) is None
    assert columns._value("number", (1 << 64) - 1) == (1 << 64) - 1


GROWN = """
from tests.unit.discover import test_columns as columns
from tests.unit.discover.pump import reading

def data_kib():
    status = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmData:"))

before = data_kib()
assert columns.written("arrow", [reading(1.5)]).num_rows == 1
print(data_kib() - before)
"""


def test_a_small_table_takes_little_of_what_a_process_may_have():
    done = subprocess.run(
        [sys.executable, "-c", GROWN], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 64 << 10
