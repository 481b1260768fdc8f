"""What no linter counts: the size of the reading list, of a file, of a function."""

import ast
import io
import pathlib
import re
import tokenize
import tomllib

import pytest

import cronos
from cronos.catalog import CATALOG
from cronos.config import Section
from cronos.front.plugins import load

PACKAGE = pathlib.Path(cronos.__file__).parent
REPO = pathlib.Path(__file__).parents[2]
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = ["types", "errors", "config", "ports", "kernel", "runtime", "catalog"]
# Loss models, regulations, playbooks and what executors can do live in rooms.
MAX_CORE_LINES = 3650
MAX_FILE_LINES = 500
# The vocabulary is one file by design: a list of small classes, read by looking up, not through.
MAX_VOCABULARY_LINES = 650
MAX_FUNCTION_LINES = 80

LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source):
    """Count lines that hold code: not blank, not a comment, not a docstring."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def part_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_code_lines_leaves_out_blanks_comments_and_docstrings():
    assert code_lines('"""Doc."""\n\n# why\nx = (\n    1\n)\n') == 3


def test_the_core_can_be_read_in_an_hour():
    lines = dict.fromkeys(CORE, 0)
    for file in FILES:
        if part_of(file) in CORE:
            lines[part_of(file)] += code_lines(file.read_text())

    assert all(lines.values())
    assert sum(lines.values()) <= MAX_CORE_LINES


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_file_is_one_idea_and_a_function_fits_a_glance(file):
    source = file.read_text()
    too_long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]

    most = MAX_VOCABULARY_LINES if file.name == "types.py" else MAX_FILE_LINES
    assert code_lines(source) <= most
    assert too_long == []


def test_each_file_has_its_test():
    missing = [
        str(file.relative_to(PACKAGE))
        for file in FILES
        if file.name != "__init__.py" and not mirror_of(file).is_file()
    ]

    assert missing == []


def mirror_of(file):
    relative = file.relative_to(PACKAGE)
    return REPO / "tests" / "unit" / relative.parent / f"test_{relative.name}"


def test_crypto_may_draw_entropy_and_nothing_else():
    root = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    crypto = tomllib.loads((PACKAGE / "crypto" / "ruff.toml").read_text())["lint"]
    banned = dict(root["flake8-tidy-imports"]["banned-api"])
    del banned["secrets"], banned["os.urandom"]

    assert crypto == {"flake8-tidy-imports": {"banned-api": banned}}


def test_the_catalogue_names_things_that_are_there_and_call_themselves_so():
    wrong = []
    for kind, entries in CATALOG.items():
        for name in entries:
            plugin = load(kind, name)
            if kind != "entry" and plugin.manifest.name != name:
                wrong.append(f"{kind} {name} calls itself {plugin.manifest.name}")
            if kind != "entry" and not issubclass(plugin.config_type, Section):
                wrong.append(f"{kind} {name} has no configuration of its own")

    assert wrong == []


def test_a_name_means_one_plug_in_whatever_its_kind():
    names = [name for kind, entries in CATALOG.items() if kind != "entry" for name in entries]

    assert sorted(names) == sorted(set(names))


def test_the_license_and_the_documents_a_stranger_looks_for_are_there():
    expected = ["README.md", "LICENSE", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md",
                "docs/threat-model.md", "docs/benchmarks.md"]  # fmt: skip

    assert [name for name in expected if not (REPO / name).read_text().strip()] == []


# "x*+", "(…){2,3}+" or "(?>…)", which Python before 3.11.5 matches wrongly (python/cpython#106052).
POSSESSIVE = re.compile(r"(?:[)\].\w]|\\.)(?:[*+?]|\{\d*,?\d*\})\+|\(\?>")


def test_no_pattern_needs_a_python_that_matches_possessive_quantifiers():
    assert POSSESSIVE.search(r'(?:[^"\\]|\\.)*+"')
    assert not POSSESSIVE.search(r"[*+]+\d+\++")
    patterns = [
        (file.relative_to(PACKAGE), text)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str | bytes)
        and POSSESSIVE.search(text := ast.unparse(node))
    ]
    assert patterns == []
