"""`cronos pki` in processes of its own: found, serve, join, renew, revoke, two at once, kill."""

import contextlib
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.product import COMMAND, ENVIRONMENT, cronos

SETTINGS = (
    '[node]\ninstance = "{}"\n[plugin.passphrase]\nmemory_kib = 1024\npasses = 1\nlanes = 1\n'
)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "passphrase").write_text("correct horse battery staple")
    (tmp_path / "passphrase").chmod(0o600)
    for name in ("alpha", "beta"):
        (tmp_path / f"{name}.toml").write_text(SETTINGS.format(name))
    done = pki(tmp_path, "init", "--domain", "plant.example", *secret(tmp_path))
    assert done.code == 0, done.err
    return tmp_path


def secret(site):
    return ("--passphrase-file", site / "passphrase")


def pki(site, action, *given):
    own = () if action in ("join", "rotate") else ("--dir", site / "ca")
    config = () if "--config" in given else ("--config", site / "alpha.toml")
    return cronos("pki", action, *given, *own, *config, "--state", site / "state", "--json")


@contextlib.contextmanager
def serving(site):
    process = subprocess.Popen(
        [*COMMAND, "pki", "serve", "--dir", str(site / "ca"), "--listen", "127.0.0.1:0",
         "--state", str(site / "state")],
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = json.loads(process.stderr.readline())
        assert line["event"] == "enrolment.listening"
        yield line["address"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_node_joins_renews_and_is_revoked_over_the_network(site):
    with serving(site) as address:
        invited = pki(site, "issue", "--node", "alpha", "--role", "defense", "--address", address)
        token = invited.document["token"]
        joined = pki(site, "join", token)
        assert joined.code == 0, joined.err
        assert joined.document["certificates"][0]["roles"] == ["defense"]
        assert pki(site, "join", token).document["code"] == "crypto.token_used"

        rotated = pki(site, "rotate")
        assert rotated.code == 0, rotated.err
        assert rotated.document["certificates"] != joined.document["certificates"]

        # Another process revokes; the running service refuses the very next handshake.
        assert pki(site, "revoke", "node/alpha", "--reason", "key-compromise").code == 0
        refused = pki(site, "rotate")
        assert (refused.code, refused.document["code"]) == (4, "link.enrolment_refused")


def test_a_services_folder_is_renewed_with_its_own_certificate_and_no_node_at_all(site):
    out = site / "gateway"
    assert pki(site, "issue", "--service", "gateway", "--out", out).code == 0
    before = (out / "p-384.chain.pem").read_bytes()
    with serving(site) as address:
        asked = ("rotate", "--service", out, "--address", address)
        standing = pki(site, *asked)
        assert (standing.code, standing.document["done"]) == (0, "standing"), standing.err
        assert (out / "p-384.chain.pem").read_bytes() == before

        rotated = pki(site, *asked, "--now")
        assert rotated.code == 0, rotated.err
        assert rotated.document["done"] == "rotated"
        assert rotated.document["certificates"][0]["kind"] == "service"
        assert rotated.document["outputs"] == [
            str(out / f"{algorithm}.{part}.pem")
            for algorithm in ("p-384", "ml-dsa-87")
            for part in ("key", "chain", "root")
        ]
        renewed = (out / "p-384.chain.pem").read_bytes()
        assert renewed != before

        assert pki(site, "revoke", "service/gateway").code == 0
        refused = pki(site, *asked, "--now")
        assert (refused.code, refused.document["code"]) == (4, "link.enrolment_refused")
        assert "cronos pki issue --service gateway" in refused.document["remedy"]
    gone = pki(site, *asked, "--now")
    assert gone.document["code"] == "link.unreachable"
    assert (out / "p-384.chain.pem").read_bytes() == renewed
    assert not (site / "state").exists() or not (site / "state" / "alpha" / "pki").exists()


def test_a_node_whose_keystore_gets_another_root_key_still_renews(site):
    config, state = site / "alpha.toml", site / "state"
    with serving(site) as address:
        invited = pki(site, "issue", "--node", "alpha", "--role", "defense", "--address", address)
        assert pki(site, "join", invited.document["token"]).code == 0
        protected = cronos(
            "keys", "protect", *secret(site), "--config", config, "--state", state, "--json"
        )
        assert protected.code == 0, protected.err
        config.write_text(SETTINGS.format("alpha") + f'passphrase_file = "{site / "passphrase"}"\n')

        rotated = pki(site, "rotate")

        assert rotated.code == 0, rotated.err


def test_neither_token_nor_keys_appear_in_what_commands_print(site):
    out = site / "eve"
    done = pki(site, "issue", "--operator", "eve", "--role", "admin", "--out", out, *secret(site))

    assert "PRIVATE" not in done.out + done.err
    assert "correct horse" not in done.out + done.err


def test_many_commands_at_once_all_get_their_certificates_and_none_is_lost(site):
    names = [f"s{number}" for number in range(4)]

    def issue(name):
        return pki(site, "issue", "--service", name, "--out", site / name)

    with ThreadPoolExecutor(4) as pool:
        ends = [done.code for done in pool.map(issue, names)]

    listed = pki(site, "list").document["certificates"]
    assert ends == [0] * 4
    assert sorted({one["name"] for one in listed}) == names
    assert len({one["serial"] for one in listed}) == 8


def test_two_foundings_at_once_leave_one_authority(site):
    for path in sorted((site / "ca").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    def init(_):
        return pki(site, "init", "--domain", "plant.example", *secret(site))

    with ThreadPoolExecutor(2) as pool:
        ends = sorted(done.code for done in pool.map(init, range(2)))

    assert ends[0] == 0
    assert pki(site, "list").code == 0
    issued = pki(site, "issue", "--service", "gw", "--out", site / "gw")
    assert issued.code == 0, issued.err


def test_the_root_may_be_away_and_must_be_there_to_revoke_an_issuer(site):
    (site / "ca" / "root").rename(site / "stick")

    assert pki(site, "issue", "--service", "gw", "--out", site / "gw").code == 0
    away = pki(site, "revoke", "issuer-1", "--issuer", *secret(site))
    assert (away.code, away.document["code"]) == (2, "crypto.missing_file")
    there = pki(site, "revoke", "issuer-1", "--issuer", "--root", site / "stick", *secret(site))
    assert there.code == 0, there.err


def test_pki_help_imports_no_cryptography():
    script = (
        "import sys\nfrom cronos.front import cli\n"
        "try:\n    cli.main(['pki', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(int('cryptography' in sys.modules or 'OpenSSL' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, check=False, capture_output=True
    )
    assert done.returncode == 0
