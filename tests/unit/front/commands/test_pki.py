"""`cronos pki`, as a person calls it: what it prints, writes, refuses and asks for."""

import json

import pytest

from cronos.crypto.pki import revocation
from cronos.front import cli
from cronos.front.commands import pki

BAD_ADDRESS = "crypto.bad_address"


@pytest.fixture
def place(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("correct horse battery staple\n")
    path.chmod(0o600)
    settings = tmp_path / "cronos.toml"
    settings.write_text(
        '[node]\ninstance = "alpha"\n'
        "[plugin.passphrase]\nmemory_kib = 1024\npasses = 1\nlanes = 1\n"
    )
    return tmp_path


@pytest.fixture
def run(place, capsys):
    def call(*given, code=0, passphrase=False):
        more = ["--passphrase-file", str(place / "passphrase")] if passphrase else []
        own = ["--state", str(place / "state"), "--config", str(place / "cronos.toml"), "--json"]
        assert cli.main(["pki", *map(str, given), *more, *own]) == code
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def founded(run):
    run("init", "--domain", "plant.example", passphrase=True)
    return run


def test_its_reasons_are_those_of_the_lists():
    assert pki._REASONS == revocation.REASONS


def test_a_founded_authority_is_listed_with_its_issuers(founded):
    document = founded("list")

    assert document["schema"] == "cronos.pki/1"
    assert document["domain"] == "plant.example"
    assert [one["name"] for one in document["issuers"]] == ["issuer-1", "issuer-2", "operators"]
    assert not any(one["stale"] for one in document["lists"])


def test_init_wants_a_domain_a_passphrase_and_an_empty_folder(run, founded):
    founded("init", "--domain", "plant.example", passphrase=True, code=2)
    document = run("init", "--domain", "Plant!", "--dir", "x", passphrase=True, code=2)
    assert document["code"] == "crypto.bad_domain"
    assert run("init", "--dir", "x", passphrase=True, code=2)["code"] == "pki.no_domain"


def test_the_air_gapped_way_of_joining(founded, place):
    token = founded("issue", "--node", "alpha", "--role", "defense,audit")["token"]
    request, answer = place / "a.request", place / "a.answer"
    founded("join", token, "--request", request)
    founded("issue", "--request", request, "--out", answer)
    document = founded("join", "--accept", answer)

    assert document["certificates"][0]["name"] == "alpha"
    assert document["certificates"][0]["roles"] == ["defense", "audit"]
    again = founded("issue", "--request", request, "--out", answer, code=4)
    assert again["code"] == "crypto.token_used"


def test_a_token_of_another_node_is_told_before_anything_is_made(founded):
    token = founded("issue", "--node", "beta", "--role", "audit")["token"]

    assert founded("join", token, code=2)["code"] == "pki.other_node"
    assert founded("join", token[:-9], code=2)["code"] == "crypto.bad_token"


def test_an_operators_credential_is_sealed_and_never_overwrites(founded, place):
    out = place / "eve.credential"
    given = ("issue", "--operator", "eve", "--role", "manager", "--out", out)
    document = founded(*given, passphrase=True)

    assert document["outputs"] == [str(out)]
    assert out.read_bytes().startswith(b"CRPK")
    assert founded(*given, passphrase=True, code=2)["code"] == "crypto.file_exists"
    assert len(founded("list")["certificates"]) == 2


def test_a_service_gets_pem_files(founded, place):
    document = founded("issue", "--service", "envoy", "--out", place / "envoy")

    assert len(document["outputs"]) == 6
    assert (place / "envoy" / "p-384.key.pem").stat().st_mode & 0o777 == 0o600


def test_a_folder_of_a_service_is_not_renewed_before_it_is_due(founded, place):
    founded("issue", "--service", "envoy", "--out", place / "envoy")
    document = founded("rotate", "--service", place / "envoy")

    assert document["done"] == "standing"
    assert document["certificates"][0]["name"] == "envoy"
    assert document["outputs"] == []
    assert "Nothing is due" in document["remarks"][0]


def test_the_enrolment_services_of_the_configuration_are_tried_in_turn(founded, place):
    settings = place / "cronos.toml"
    table = '[plugin.certificate-renewal]\naddresses = ["127.0.0.1:1", "192.0.2.1:7445"]\n'
    settings.write_text(settings.read_text() + table)
    founded("issue", "--service", "envoy", "--out", place / "envoy")
    asked = ("rotate", "--service", place / "envoy", "--now")

    # The first one does not answer; the second is behind the egress gate.
    assert founded(*asked, code=4)["code"] == "link.egress_closed"
    assert founded(*asked, "--address", "127.0.0.1:1", code=3)["code"] == "link.unreachable"
    assert founded("rotate", "--service", place / "x", code=2)["code"] == "crypto.missing_file"


@pytest.mark.parametrize("name", ["../etc", "a/b", "Alpha", "é", "other.example", ""])
def test_a_name_with_tricks_is_refused(founded, name):
    founded("issue", "--service", name or " ", code=2)


def test_revoking_a_name_shows_what_was_revoked(founded, place):
    founded("issue", "--service", "envoy", "--out", place / "envoy")
    document = founded("revoke", "envoy", "--reason", "key-compromise")

    assert len(document["certificates"]) == 2
    assert {one["revoked"] != "" for one in founded("list")["certificates"]} == {True}
    assert founded("revoke", "nobody", code=2)["code"] == "crypto.unknown_certificate"


def test_revoking_an_issuer_needs_the_root(founded, place):
    wrong = place / "wrong"
    wrong.write_text("this is not the passphrase")
    wrong.chmod(0o600)

    refused = founded("revoke", "issuer-1", "--issuer", "--passphrase-file", wrong, code=4)
    assert refused["code"] == "crypto.refused"
    founded("revoke", "issuer-1", "--issuer", passphrase=True)
    assert founded("list")["issuers"][0]["revoked"]


def test_a_backup_is_restored_into_an_empty_folder(founded, place):
    founded("backup", place / "b", passphrase=True)
    document = founded("restore", place / "b", "--dir", place / "new", passphrase=True)

    assert document["pin"] == founded("list")["pin"]
    founded("restore", place / "b", "--dir", place / "new", passphrase=True, code=2)


def test_without_a_passphrase_and_without_a_person_a_sentence_says_what_to_do(run):
    document = run("init", "--domain", "plant.example", code=2)

    assert document["code"] == "crypto.no_passphrase"


def test_without_json_it_prints_lines(founded, place, capsys):
    state = ["--state", str(place / "state"), "--config", str(place / "cronos.toml")]

    assert cli.main(["pki", "list", *state]) == 0
    assert "issuer operators: operator" in capsys.readouterr().out


def test_a_listening_address_that_is_none_is_told(founded):
    assert founded("serve", "--listen", "nowhere", code=2)["code"] == "pki.cannot_listen"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (("issue", "--node", "a", "--role", "audit", "--life-s", "9" * 20), "crypto.bad_life"),
        (("issue", "--node", "a", "--role", "audit", "--life-s", "-5"), "crypto.bad_life"),
        (
            ("issue", "--node", "a", "--role", "audit", "--address", "\udcff:1"),
            "crypto.bad_address",
        ),
        (("issue", "--node", "a", "--role", "\udcff"), "crypto.bad_role"),
        (("issue", "--node", "\udcff", "--role", "audit"), "crypto.bad_name"),
        (("revoke", "\udcff"), "crypto.unknown_certificate"),
        (("serve", "--listen", "\udcff:1"), "pki.cannot_listen"),
        (("serve", "--listen", "a..b:1"), "pki.cannot_listen"),
        (("issue", "--service", "web", "--out", "a" * 300), "pki.bad_path"),
    ],
)
def test_whatever_bytes_are_given_the_answer_is_a_sentence(founded, given, code):
    assert founded(*given, code=2)["code"] == code


def test_a_path_of_any_bytes_is_shown_as_text(founded, place):
    out = f"{place}/web\udcff"
    document = founded("issue", "--service", "web", "--out", out)

    assert document["outputs"][0].startswith(f"{place}/web\ufffd/")


def test_a_token_that_leaked_before_its_node_joined_is_withdrawn(founded):
    founded("issue", "--node", "alpha", "--role", "audit")
    document = founded("revoke", "node/alpha")

    assert "withdrawn" in document["remarks"][0]
    assert [one["state"] for one in founded("list")["tokens"]] == ["used"]


def test_after_a_restore_open_tokens_are_void_and_a_person_hears_what_is_lost(founded, place):
    founded("issue", "--node", "alpha", "--role", "audit")
    founded("backup", place / "saved", passphrase=True)
    document = founded("restore", place / "saved", "--dir", place / "again", passphrase=True)

    assert "Revoke again" in document["remarks"][0]
    assert document["remarks"][1].endswith(": 1.")
    (token,) = founded("list", "--dir", place / "again")["tokens"]
    assert token["state"] == "used"
