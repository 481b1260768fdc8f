"""The exported Python parser takes and refuses what the interpreter does, by itself."""

import time

import pytest
from tests.unit.discover.drafts import labelled, requests
from tests.unit.discover.exported import bare_python, damaged, material, module, ours

from cronos.discover import export_python
from cronos.discover.grammar import infer
from cronos.discover.interpreter import Interpreter, Parsed
from cronos.discover.ir import Data, Grammar, MessageType, Number, Repeat, Seq, Size
from cronos.errors import InputError


def found(parser, message, direction=""):
    result = parser.parse(message, direction)
    return None if result is None else [tuple(one[:3]) for one in result[1]]


@pytest.mark.parametrize("seed", range(25))
def test_drawn_grammars_are_read_alike_checksums_and_evidence_included(seed, tmp_path):
    grammar, messages = material(seed)
    parser = module(export_python.render(grammar), tmp_path / "gen.py")
    for message in messages:
        assert found(parser, message) == ours(grammar, message, floor=0.0, checksums=True)


def test_values_and_types_are_the_same_too(tmp_path):
    grammar = infer(requests(), "plant")
    parser = module(export_python.render(grammar), tmp_path / "gen.py")
    run = Interpreter(grammar)
    for message in damaged([one.data for one in requests()]):
        parsed, other = run.parse(message), parser.parse(message)
        if isinstance(parsed, Parsed):
            assert other == (
                grammar.types[parsed.type].name,
                [(f.name, f.offset, f.length, f.value) for f in parsed.fields],
            )
        else:
            assert other is None


def test_it_runs_in_a_bare_interpreter(tmp_path):
    grammar = infer(requests(), "plant")
    (tmp_path / "gen.py").write_text(export_python.render(grammar))
    messages = [one.data for one in requests(20)]
    printed = bare_python(tmp_path / "gen.py", [*messages, b"no"])

    assert [[tuple(f[:3]) for f in one["fields"]] for one in printed[:-1]] == [
        ours(grammar, message) for message in messages
    ]
    assert printed[-1] is None


def test_names_and_values_cannot_become_code():
    quotes = Data("d_0", Size("fixed", 3), known=((b"'\"\\", 0.9),), strict=True)
    body = Seq((Number("class_", 1), quotes))

    compile(export_python.render(Grammar("g", (MessageType("a", body),))), "gen", "exec")
    with pytest.raises(InputError):
        export_python.render(Grammar("g", (MessageType("a", Number("a);import os;(", 1)),)))


def test_what_python_cannot_nest_is_refused():
    body = Number("n_0", 1)
    for _ in range(export_python.MAX_LOOPS + 1):
        body = Repeat(body)
    with pytest.raises(InputError) as error:
        export_python.render(Grammar("g", (MessageType("a", body),)))
    assert error.value.code == "discover.too_nested"


def test_it_reads_more_than_fifty_thousand_messages_a_second(tmp_path):
    samples = labelled("modbus")[:400]
    parser = module(export_python.render(infer(samples)), tmp_path / "gen.py")
    best = 0.0
    for _ in range(5):
        began, count = time.process_time(), 0
        while time.process_time() - began < 0.05:
            for one in samples:
                parser.parse(one.data, one.direction)
            count += len(samples)
        best = max(best, count / (time.process_time() - began))

    assert best > 50_000
