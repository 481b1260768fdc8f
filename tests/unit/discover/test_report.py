"""What is written of a discovery."""

from msgspec.structs import replace
from tests.unit.discover.pump import GRAMMAR
from tests.unit.discover.test_pictures import LEARNED, MESSAGES

from cronos.discover.learned import Validation, Verdict
from cronos.discover.messages import Service
from cronos.discover.profile import from_bytes
from cronos.discover.report import profile_of, report

SERVICE = Service("tcp/7000", MESSAGES)
WHOLE = replace(LEARNED, validation=Validation(13, 0.99, 0.99, 1.0), files={"parser.py": b"#"})


def test_everything_is_written_and_the_profile_can_be_read_again():
    written = report(SERVICE, WHOLE, "Pump 7", 5)

    assert sorted(written.files) == [
        "parser.py",
        "profile.json",
        "protocol.html",
        "protocol.ksy",
        "protocol.lua",
        "protocol.md",
        "protocol_scapy.py",
    ]
    profile = from_bytes(written.files["profile.json"], "x")
    assert profile == written.profile
    assert (profile.name, profile.services, profile.learned_ns) == ("pump_7", ("tcp/7000",), 5)
    assert (profile.messages, profile.reparsed, profile.grammar) == (40, 0.99, GRAMMAR)
    assert profile.bits_per_byte > 1


def test_without_a_grammar_there_is_a_document_and_no_profile():
    written = report(SERVICE, replace(LEARNED, grammar=b""), "pump", 5)

    assert written.profile is None
    assert sorted(written.files) == ["protocol.html", "protocol.md"]


def test_what_is_encrypted_has_a_document_that_says_so():
    learned = replace(
        LEARNED, verdict=Verdict.ENCRYPTED, why="It is random.", discovery=None, grammar=b""
    )
    written = report(SERVICE, learned, "pump", 5)

    assert b"It is random." in written.files["protocol.md"]
    assert profile_of(SERVICE, learned, "pump", 5) is None


def test_a_profile_of_a_stopped_discovery_says_so():
    assert profile_of(SERVICE, replace(WHOLE, stopped="Late."), "p", 5).remarks == ("Late.",)


def test_neither_names_nor_contents_of_files_are_those_of_the_process_that_read_the_input():
    evil = {"../../profile": b"evil", "/tmp/x": b"evil", "parser.py": b"import evil"}
    files = report(SERVICE, replace(WHOLE, files=evil), "pump", 5).files

    assert not any("/" in name for name in files)
    assert not any(b"evil" in data for data in files.values())
    compile(files["parser.py"], "parser.py", "exec")
