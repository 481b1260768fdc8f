"""The documents say what the code does: links, commands, keys, tables and names agree."""

import importlib
import json
import pathlib
import re
import shlex
import tomllib
import types

import msgspec
import pytest

from cronos import config
from cronos.catalog import CATALOG
from cronos.crypto import agent
from cronos.crypto.pki import profile
from cronos.crypto.signatures import SCHEMES
from cronos.crypto.suites import SUITES
from cronos.front import cli, result
from cronos.front.cli import COMMANDS
from cronos.front.plugins import load
from cronos.govern.verify import SEALED_FORMAT_VERSION, Genesis, genesis_hash
from cronos.kernel.incident import TRANSITIONS
from cronos.kernel.policy import CONFIDENCE_ROWS
from cronos.types import Entity, EntityKind, Observation, Provenance, action_id, encode

REPO = pathlib.Path(__file__).parents[2]
DOCUMENTS = sorted([*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")], key=str)
FORBIDDEN = ("issue tracker session", "/work/", "pypi mirror")
IDS = [str(path.relative_to(REPO)) for path in DOCUMENTS]
SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((REPO / "src").rglob("*.py"))
)
# The first half of an error's code or of a log event, where it is no file name.
ROOMS = "audit|catalog|config|crypto|front|govern|keys|link|pki|respond|sense|state"


def read(name):
    return (REPO / name).read_text(encoding="utf-8")


def anchors(text):
    """Name the headings of a document as links do."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


def command_lines(text):
    """Give the command lines in the code blocks of a document, a pipe's commands one by one."""
    for block in re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"[|>&](?=[ \n]|$)", line.removeprefix("$ ")):
                if part.strip().startswith("cronos "):
                    yield part.strip()


def blocks(name, language):
    return re.findall(rf"^```{language}\n(.*?)^```", read(name), re.MULTILINE | re.DOTALL)


def table_below(heading):
    """Give the rows below a heading of the configuration's document: key -> default."""
    text = read("docs/configuration.md")
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/configuration.md has no heading {heading}"
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\S.*?) \| [^|]+ \|$", found[1], re.MULTILINE)
    return dict(rows)


def settings_of(section, *, leave_out=()):
    """Give what the document must say of a section: key -> default."""
    said = {}
    for field in msgspec.structs.fields(section):
        if field.name in leave_out:
            continue
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if default is msgspec.NODEFAULT:
            said[field.name] = "required"
        elif isinstance(default, msgspec.Struct):
            said[field.name] = "empty"
        else:
            said[field.name] = f"`{json.dumps(msgspec.to_builtins(default))}`"
    return said


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_relative_link_leads_somewhere(document):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        if not there.exists() or (
            anchor and anchor not in anchors(there.read_text(encoding="utf-8"))
        ):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_the_project_speaks_of_itself_alone(document):
    text = document.read_text(encoding="utf-8").lower()

    assert [word for word in FORBIDDEN if word in text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_command_that_is_shown_exists(document):
    text = document.read_text(encoding="utf-8")
    shown = set(re.findall(r"(?:^|`|\$ )cronos ([a-z]+)", text, re.MULTILINE))

    assert shown - set(COMMANDS) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_command_line_that_is_shown_is_understood(document, capsys):
    refused = []
    for line in command_lines(document.read_text(encoding="utf-8")):
        words = shlex.split(line, comments=True)[1:]
        try:
            cli._parser(words[0]).parse_args(words)
        except SystemExit:
            refused.append(f"{line}: {capsys.readouterr().err.splitlines()[-1]}")

    assert refused == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_every_error_and_event_that_is_named_exists(document):
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(rf"`((?:{ROOMS})\.[a-z_]+)`", text))

    assert [one for one in named if not one.endswith(".py") and f'"{one}"' not in SOURCE] == []


def test_the_core_settings_are_those_of_the_code_with_their_defaults():
    whole = {field.name: field for field in msgspec.structs.fields(config.Config)}
    sections = {
        name: type(field.default)
        for name, field in whole.items()
        if isinstance(field.default, config.Section)
    }
    lists = {
        "workload": config.Workload,
        "asset": config.Asset,
        "source": config.SourceEntry,
        "egress": config.EgressRule,
    }

    assert table_below("## Top level") == settings_of(config.Config, leave_out=[*sections, *lists])
    for name, section in sections.items():
        assert table_below(f"## `[{name}]`") == settings_of(section)
    for name, section in lists.items():
        assert table_below(f"## `[[{name}]]`") == settings_of(section)


def test_the_settings_of_each_plug_in_are_those_of_the_code_with_their_defaults():
    owners = {
        name: load(kind, name).config_type
        for kind, entries in CATALOG.items()
        if kind != "entry"
        for name in entries
    }
    owners["enforcer"] = load("entry", "enforcer-settings")
    owners["pki"] = load("entry", "pki").config_type
    owners["fair"] = load("entry", "fair-settings")

    shown = re.findall(r"^### `\[plugin\.([\w-]+)\]`$", read("docs/configuration.md"), re.MULTILINE)
    assert sorted(shown) == sorted(owners)
    for name, section in owners.items():
        assert table_below(f"### `[plugin.{name}]`") == settings_of(section), name


@pytest.mark.parametrize(
    "name", ["README.md", "docs/configuration.md", "docs/keys-and-certificates.md"]
)
def test_every_configuration_that_is_shown_is_valid(name):
    shown = blocks(name, "toml")

    assert shown
    for text in shown:
        config.parse(tomllib.loads(text), name)


def test_the_detector_of_the_readme_works_as_it_stands():
    (source,) = [text for text in blocks("README.md", "python") if "class " in text]
    module = types.ModuleType("long_uri")
    exec(compile(source, "README.md", "exec"), module.__dict__)
    detector = module.LongUriDetector(module.LongUriConfig())
    attacker = Entity(EntityKind.ADDRESS, "192.0.2.66")

    def request(seq, path):
        return Observation(
            "web", seq, 0, "http_activity", Provenance.BIDIRECTIONAL, attacker,
            fields={"http_request.url.path": path},
        )  # fmt: skip

    (finding,) = detector.detect([request(1, "/"), request(2, "/" + "a" * 600)])

    assert finding.actor == attacker
    assert finding.observations == ("web#2",)
    detector.restore(detector.snapshot())


def test_the_state_machine_is_drawn_as_it_is():
    (drawing,) = blocks("docs/architecture.md", "mermaid")
    drawn = {
        (state, signal, following)
        for state, following, signals in re.findall(r"(\w+) --> (\w+): (.+)", drawing)
        for signal in signals.split(", ")
    }

    assert drawn == {
        (state.value, signal.value, following.value)
        for state, ways in TRANSITIONS.items()
        for signal, following in ways.items()
    }


def test_the_matrix_is_printed_as_it_is():
    text = read("docs/architecture.md")

    for _, name, dispositions in CONFIDENCE_ROWS:
        row = " | ".join([name, *(one.value for one in dispositions)])
        assert f"| {row} |" in text


def test_the_bytes_that_are_shown_are_the_real_ones():
    text = read("docs/formats.md")
    address = Entity(EntityKind.ADDRESS, "192.0.2.7")

    assert encode(address).hex() in text
    assert action_id("nftables", "deny", address) in text
    assert genesis_hash("local").hex() in text
    assert Genesis(SEALED_FORMAT_VERSION, "local").head().hex() in text


def test_suites_and_schemes_are_printed_as_they_are():
    text = read("docs/formats-crypto.md")

    for suite in SUITES.values():
        (row,) = re.findall(rf"^\| `{suite.name}` \| {suite.number} \|.*$", text, re.MULTILINE)
        for size in (suite.public_bytes, suite.secret_bytes, suite.overhead):
            assert re.search(rf"\| {size}\b", row), (suite.name, size)
    for scheme in SCHEMES.values():
        assert (
            f"| `{scheme.name}` | {scheme.public_bytes} | 32 | {scheme.signature_bytes} |" in text
        )


def test_every_mark_and_context_of_the_formats_is_in_the_code():
    """What stands in quotes or begins with our name is a literal of the code, not a memory."""
    text = " ".join(read("docs/formats-crypto.md").split())
    marks = set(re.findall(r'"((?:cronos |CR)[^"]*)"|`(CR[A-Z0-9]{2,})`', text))
    contexts = set(re.findall(r"`(cronos-[a-z-]+(?:v?\d|-))[`| \\]", text))
    written = {one or other for one, other in marks} | contexts

    assert len(written) > 20
    assert [one for one in sorted(written) if one not in SOURCE] == []


def test_certificates_live_as_long_as_is_said():
    text = read("docs/formats-crypto.md")
    units = {"years": 365 * profile.DAY_NS, "days": profile.DAY_NS, "hours": profile.HOUR_NS}
    said = {
        kind: int(number) * units[unit]
        for kind, number, unit in re.findall(r"^\| (\w+) \| (\d+) (\w+) \|", text, re.MULTILINE)
        if unit in units
    }

    assert said == profile.LIFE_NS
    assert profile.ARC in text


def test_every_verb_of_the_key_agent_is_listed():
    section = read("docs/formats-crypto.md").split("## Key agent")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))

    assert listed == {*agent._USES, *agent._CHANGES, "challenge", "listed"}


def test_every_document_of_a_command_is_listed_with_its_keys():
    text = read("docs/formats.md")
    names = sorted(path.stem for path in (REPO / "src/cronos/front").glob("documents_*.py"))
    modules = [result, *[importlib.import_module(f"cronos.front.{name}") for name in names]]
    documents = [
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and "schema" in getattr(one, "__struct_fields__", ())
    ]

    assert len(documents) >= len(modules)
    for document in documents:
        fields = {field.name: field for field in msgspec.structs.fields(document)}
        (row,) = re.findall(rf"^\| `{fields['schema'].default}` \|.*$", text, re.MULTILINE)
        assert [name for name in fields if name != "schema" and name not in row] == []


def test_every_test_that_the_threat_model_names_exists():
    named = set(re.findall(r"`(test_\w+)`", read("docs/threat-model.md")))
    written = "\n".join(
        path.read_text(encoding="utf-8") for path in (REPO / "tests").rglob("test_*.py")
    )
    defined = set(re.findall(r"def (test_\w+)\(", written))

    assert len(named) > 20
    assert named - defined == set()


def test_every_decision_is_in_the_index():
    index = read("docs/adr/README.md")
    pages = sorted(path.name for path in (REPO / "docs" / "adr").glob("0*.md"))

    assert [name for name in pages if f"({name})" not in index] == []
    for name in pages:
        text = read(f"docs/adr/{name}")
        for part in ("**Context.**", "**Options.**", "**Choice.**", "**Cost.**"):
            assert part in text, f"{name} has no {part}"


def test_the_picture_of_the_demo_is_small():
    assert (REPO / "docs" / "demo.svg").stat().st_size < 15_000
