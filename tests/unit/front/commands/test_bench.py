"""`cronos bench`: it runs what the checkout has, and passes on how that ended."""

import pytest

from cronos.front.cli import main
from cronos.front.commands import bench


@pytest.fixture
def checkout(monkeypatch, tmp_path):
    """A checkout with one benchmark, which prints how it was called and fails."""
    program = "import sys; print('measured', *sys.argv[1:], flush=True); sys.exit(1)"
    (tmp_path / "bench_small.py").write_text(program)
    (tmp_path / "other.py").write_text("")
    monkeypatch.setattr(bench, "_FOLDER", tmp_path)


def test_a_benchmark_is_run_and_its_exit_code_passed_on(checkout, capfd):
    assert main(["bench", "small", "--json"]) == 1
    assert capfd.readouterr().out == "measured --json\n"


def test_only_benchmarks_are_listed(checkout):
    assert bench.benchmarks() == ("small",)


def test_an_unknown_one_lists_those_there_are(checkout, capsys):
    assert main(["bench", "large"]) == 2
    assert "Choose one of: small." in capsys.readouterr().err


def test_without_a_checkout_the_remedy_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "_FOLDER", tmp_path)
    assert main(["bench", "small"]) == 2
    assert "source checkout" in capsys.readouterr().err


def test_every_benchmark_of_this_checkout_has_a_name_one_can_type():
    assert all(name.replace("_", "").isalnum() for name in bench.benchmarks())
