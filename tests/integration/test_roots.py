"""Root keys that live elsewhere: on a real software token, and in doubles of AWS KMS and Vault."""

import contextlib
import gzip
import logging
import shutil
import socket
import ssl
import threading
from pathlib import Path

import pytest
from tests.integration.key_services import (
    HAS_SOFTHSM,
    PIN,
    SOFTHSM,
    Gate,
    KmsDouble,
    VaultDouble,
    make_token,
    secret_file,
    serving,
    tls_files,
    tls_server,
)

from cronos.crypto.keystore import Keystore, KeystoreConfig
from cronos.crypto.roots.awskms import AwsKmsConfig, AwsKmsRoot
from cronos.crypto.roots.pkcs11 import Pkcs11Config, Pkcs11Root
from cronos.crypto.roots.vault import VaultConfig, VaultRoot
from cronos.crypto.signatures import ML_DSA_87, VerifyingKey
from cronos.errors import DeniedError, InputError, UnreachableError
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.key_provider import KeyProviderConformance
from cronos.testing.conformance.root_key import RootKeyConformance

needs_softhsm = pytest.mark.skipif(not HAS_SOFTHSM, reason="needs softhsm2 on this machine")
SECRET, CONTEXT = b"s" * 32, b"cronos keystore master v1"
CREDENTIALS = """[default]
aws_access_key_id = AKIAEXAMPLE
aws_secret_access_key = {secret}
"""
AWS_SECRET = "a-secret-that-no-log-may-show"


# --- the places -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    if not HAS_SOFTHSM:
        pytest.skip("needs softhsm2 on this machine")
    folder = tmp_path_factory.mktemp("softhsm")
    make_token(folder)
    pin_file = secret_file(folder / "pin", f"{PIN}\n")

    def root(key="cronos-root", **settings):
        wanted = {"module": str(SOFTHSM), "token": "cronos-test", "pin_file": pin_file, "key": key}
        return Pkcs11Root(Pkcs11Config(**{"create": True, **wanted, **settings}))

    return root


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kms")
    double = KmsDouble()
    keys = {"first": double.new_key(), "other": double.new_key()}
    credentials = secret_file(folder / "credentials", CREDENTIALS.format(secret=AWS_SECRET))
    with serving(double.handler) as port:

        def root(key="first", egress=None, **settings):
            wanted = {
                "key": keys.get(key, key),
                "region": "eu-central-1",
                "credentials_file": credentials,
                "endpoint": f"http://127.0.0.1:{port}",
            }
            return AwsKmsRoot(AwsKmsConfig(**{**wanted, **settings}), egress or Gate())

        root.double = double
        yield root


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vault")
    double = VaultDouble()
    token_file = secret_file(folder / "token", f"{double.token}\n")
    with serving(double.handler) as port:

        def root(key="cronos-root", egress=None, **settings):
            wanted = {"url": f"http://127.0.0.1:{port}", "token_file": token_file, "key": key}
            return VaultRoot(VaultConfig(**{**wanted, **settings}), egress or Gate())

        root.double = double
        yield root


@contextlib.contextmanager
def nobody():
    """Give a port of loopback on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextlib.contextmanager
def silent():
    """Give a port of loopback on which calls are taken and never answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


# --- what every root must do ----------------------------------------------------------------------


@needs_softhsm
class TestPkcs11(RootKeyConformance):
    @pytest.fixture(autouse=True)
    def _root(self, token):
        self.root = token

    def make(self):
        return self.root()

    def other(self):
        return self.root("another-key")


class TestAwsKms(RootKeyConformance):
    @pytest.fixture(autouse=True)
    def _root(self, kms):
        self.root = kms

    def make(self):
        return self.root()

    def other(self):
        return self.root("other")


class TestVault(RootKeyConformance):
    @pytest.fixture(autouse=True)
    def _root(self, vault):
        self.root = vault

    def make(self):
        return self.root()

    def other(self):
        return self.root("other")


class _KeystoreConformance(KeyProviderConformance):
    __test__ = False

    def make(self):
        self.keystore = Keystore(KeystoreConfig(), self.folder, self.root(), VirtualClock())
        self.keystore.create("state", "rate")
        self.keystore.create("identity", "ml-dsa-87")
        return self.keystore

    def key_id(self):
        return "state.1"

    def signing_key_id(self):
        return "identity.1"

    def signed(self, public, message, context, signature):
        try:
            VerifyingKey(ML_DSA_87, public).verify(message, context, signature)
        except DeniedError:
            return False
        return True

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        yield
        self.keystore.close()


@needs_softhsm
class TestKeystoreOnAToken(_KeystoreConformance):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _root(self, token):
        self.root = token


class TestKeystoreOnAwsKms(_KeystoreConformance):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _root(self, kms):
        self.root = kms


class TestKeystoreOnVault(_KeystoreConformance):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _root(self, vault):
        self.root = vault


# --- a keystore from end to end -------------------------------------------------------------------


@pytest.mark.parametrize("place", ["token", "kms", "vault"])
def test_a_keystore_lives_through_a_restart_and_a_rotation(place, request, tmp_path):
    root = request.getfixturevalue(place)
    clock = VirtualClock()
    keys = Keystore(KeystoreConfig(), tmp_path, root(), clock)
    keys.ensure()
    wrapped = keys.wrap("state", b"k" * 32, b"epoch")
    assert keys.rotate("identity") == "identity.2"
    keys.close()

    again = Keystore(KeystoreConfig(), tmp_path, root(), clock)
    assert again.unwrap("state", wrapped, b"epoch") == b"k" * 32
    signature = again.sign("identity", b"message", b"cronos-test")
    VerifyingKey(ML_DSA_87, again.public("identity.2")).verify(
        b"message", b"cronos-test", signature
    )
    again.close()

    with pytest.raises(DeniedError) as raised:
        Keystore(KeystoreConfig(), tmp_path, root("other"), clock)
    assert raised.value.code == "crypto.refused"


# --- the token ------------------------------------------------------------------------------------


def test_the_key_on_the_token_cannot_be_taken_out(token):
    import pkcs11  # noqa: PLC0415 - an extra

    token().wrap(SECRET, CONTEXT)
    found = pkcs11.lib(str(SOFTHSM)).get_token(token_label="cronos-test")
    with found.open(user_pin=PIN) as session:
        key = session.get_key(label="cronos-root")
        with pytest.raises(pkcs11.AttributeSensitive):
            key[pkcs11.Attribute.VALUE]
        assert not key[pkcs11.Attribute.EXTRACTABLE]
        assert key[pkcs11.Attribute.NEVER_EXTRACTABLE]


def test_a_key_that_can_be_taken_out_is_not_used(token):
    import pkcs11  # noqa: PLC0415 - an extra

    found = pkcs11.lib(str(SOFTHSM)).get_token(token_label="cronos-test")
    with found.open(user_pin=PIN, rw=True) as session:
        session.generate_key(
            pkcs11.KeyType.AES,
            256,
            label="loose",
            store=True,
            template={pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: True},
        )
    with pytest.raises(DeniedError) as raised:
        token("loose").wrap(SECRET, CONTEXT)
    assert raised.value.code == "crypto.token_key_extractable"


def test_a_key_of_128_bits_is_not_used(token):
    import pkcs11  # noqa: PLC0415 - an extra

    found = pkcs11.lib(str(SOFTHSM)).get_token(token_label="cronos-test")
    with found.open(user_pin=PIN, rw=True) as session:
        session.generate_key(
            pkcs11.KeyType.AES,
            128,
            label="short",
            store=True,
            template={pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True},
        )
    with pytest.raises(DeniedError) as raised:
        token("short").wrap(SECRET, CONTEXT)
    assert raised.value.code == "crypto.token_key_short"


def test_a_key_that_is_there_twice_is_not_chosen_by_chance(token):
    import pkcs11  # noqa: PLC0415 - an extra

    found = pkcs11.lib(str(SOFTHSM)).get_token(token_label="cronos-test")
    with found.open(user_pin=PIN, rw=True) as session:
        for _ in range(2):
            session.generate_key(pkcs11.KeyType.AES, 256, label="twice", store=True)
    with pytest.raises(DeniedError) as raised:
        token("twice").wrap(SECRET, CONTEXT)
    assert raised.value.code == "crypto.token_key_ambiguous"


def test_no_key_is_made_on_a_token_unasked(token):
    with pytest.raises(DeniedError) as raised:
        token("nobody-made-it", create=False).wrap(SECRET, CONTEXT)
    assert raised.value.code == "crypto.token_key_missing"
    assert "create = true" in raised.value.remedy


def test_a_wrong_pin_is_refused_and_not_told(token, tmp_path):
    wrong = secret_file(tmp_path / "pin", "999999\n")
    with pytest.raises(DeniedError) as raised:
        token(pin_file=wrong).wrap(SECRET, CONTEXT)
    assert raised.value.code == "crypto.pin_refused"
    assert "999999" not in str(raised.value)
    assert token().unwrap(token().wrap(SECRET, CONTEXT), CONTEXT) == SECRET


def test_a_token_that_is_not_plugged_in_is_unreachable(token):
    with pytest.raises(UnreachableError) as raised:
        token(token="in-a-drawer").wrap(SECRET, CONTEXT)
    assert "in-a-drawer" in raised.value.sentence
    assert "plugged in" in raised.value.remedy


@pytest.mark.parametrize("module", ["/usr/lib/not-there.so", "/dev/null"])
def test_a_library_that_is_none_is_a_sentence(token, module):
    with pytest.raises(InputError) as raised:
        token(module=module).wrap(SECRET, CONTEXT)
    assert raised.value.code == "crypto.token_library"


def test_threads_that_share_a_token_do_not_log_one_another_out(token):
    wrapped, wrong = token().wrap(SECRET, CONTEXT), []

    def use():
        wrong.extend(token().unwrap(wrapped, CONTEXT) != SECRET for _ in range(10))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [False] * 40


# --- services -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["kms", "vault"])
def test_every_call_passes_the_egress_gate_and_a_closed_one_sends_nothing(place, request):
    root = request.getfixturevalue(place)
    gate = Gate()
    wrapped = root(egress=gate).wrap(SECRET, CONTEXT)
    root(egress=gate).unwrap(wrapped, CONTEXT)
    assert [(host, purpose) for host, _, purpose in gate.asked] == [
        ("127.0.0.1", {"kms": "aws kms", "vault": "vault transit"}[place])
    ] * 2

    root.double.seen.clear()
    closed = Gate(DeniedError("link.egress_closed", "Closed.", "Open it."))
    for call in (
        lambda: root(egress=closed).wrap(SECRET, CONTEXT),
        lambda: root(egress=closed).unwrap(wrapped, CONTEXT),
    ):
        with pytest.raises(DeniedError) as raised:
            call()
        assert raised.value.code == "link.egress_closed"
    assert root.double.seen == []


@pytest.mark.parametrize(("place", "setting"), [("kms", "endpoint"), ("vault", "url")])
@pytest.mark.parametrize("there", [nobody, silent])
def test_a_service_that_does_not_answer_is_given_up_on(place, setting, there, request):
    root = request.getfixturevalue(place)
    with there() as port:
        settings = {setting: f"http://127.0.0.1:{port}", "timeout_s": 1}
        with pytest.raises(UnreachableError) as raised:
            root(**settings).wrap(SECRET, CONTEXT)
    assert raised.value.code == "crypto.root_unreachable"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ((400, "ThrottlingException"), UnreachableError),
        ((500, "KMSInternalException"), UnreachableError),
        ((400, "AccessDeniedException"), DeniedError),
        ((400, "DisabledException"), DeniedError),
        ((400, "UnrecognizedClientException"), DeniedError),
    ],
)
def test_what_aws_kms_says_becomes_a_sentence(kms, fault, kind):
    kms.double.fault = fault
    try:
        with pytest.raises(kind) as raised:
            kms().wrap(SECRET, CONTEXT)
    finally:
        kms.double.fault = None
    assert raised.value.code.startswith("crypto.root_")
    assert fault[1] in raised.value.sentence
    assert raised.value.__cause__ is None


def test_a_kms_key_that_is_not_there_is_a_sentence(kms):
    with pytest.raises(DeniedError) as raised:
        kms("11111111-2222-3333-4444-555555555555").wrap(SECRET, CONTEXT)
    assert raised.value.code == "crypto.root_denied"


def test_aws_settings_of_the_environment_lead_nowhere(kms, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "somebody-else")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://203.0.113.7")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAFROMOUTSIDE")
    monkeypatch.setenv("HTTP_PROXY", "http://203.0.113.7:3128")
    kms.double.seen.clear()
    kms().wrap(SECRET, CONTEXT)
    (headers,) = kms.double.seen
    assert "AKIAEXAMPLE" in headers["Authorization"]


class Unresolved:
    """A name service that knows no name, and what it was asked for."""

    def __init__(self):
        self.names = []

    def __call__(self, host, *_, **__):
        self.names.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")


@pytest.mark.parametrize("place", ["AWS_DATA_PATH", "HOME"])
def test_what_the_user_says_of_aws_leads_to_no_other_host(kms, tmp_path, monkeypatch, place):
    import botocore  # noqa: PLC0415 - an extra

    theirs = tmp_path / (".aws/models" if place == "HOME" else ".") / "kms"
    own = Path(botocore.__file__).parent / "data" / "kms"
    shutil.copytree(own / "2014-11-01", theirs / "2099-01-01")
    (rules,) = (theirs / "2099-01-01").glob("endpoint-rule-set-1*")
    text = gzip.decompress(rules.read_bytes()).replace(b"https://kms", b"https://evil.kms")
    rules.write_bytes(gzip.compress(text))
    monkeypatch.setenv(place, str(tmp_path))
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    unresolved, gate = Unresolved(), Gate()
    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    with pytest.raises(UnreachableError):
        kms(endpoint="", egress=gate).wrap(SECRET, CONTEXT)
    host = "kms.eu-central-1.amazonaws.com"
    assert {asked[0] for asked in gate.asked} == set(unresolved.names) == {host}


@pytest.mark.parametrize(
    "text", ["", "nothing of the sort", "[other]\naws_access_key_id = x\n", "[default]\n"]
)
def test_a_file_without_credentials_is_a_sentence(kms, tmp_path, text):
    with pytest.raises(InputError) as raised:
        kms(credentials_file=secret_file(tmp_path / "c", text)).wrap(SECRET, CONTEXT)
    assert raised.value.code == "crypto.no_credentials"


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("sealed", UnreachableError),
        ("busy", UnreachableError),
        ("broken", UnreachableError),
        ("html", UnreachableError),
        ("empty", UnreachableError),
        ("list", UnreachableError),
        ("moved", UnreachableError),
        ("plain", UnreachableError),
        ("deep", UnreachableError),
    ],
)
def test_what_vault_says_becomes_a_sentence(vault, mode, kind):
    wrapped = vault().wrap(SECRET, CONTEXT)
    vault.double.mode = mode
    try:
        for call in (
            lambda: vault().wrap(SECRET, CONTEXT),
            lambda: vault().unwrap(wrapped, CONTEXT),
        ):
            with pytest.raises(kind) as raised:
                call()
            assert raised.value.code == "crypto.root_unreachable"
            assert raised.value.__cause__ is None
    finally:
        vault.double.mode = "well"


def test_a_token_that_vault_does_not_take_is_refused_and_not_told(vault, tmp_path):
    wrong = secret_file(tmp_path / "token", "hvs.a-wrong-one")
    for call in (lambda root: root.wrap(SECRET, CONTEXT), lambda root: root.unwrap(GOOD, CONTEXT)):
        with pytest.raises(DeniedError) as raised:
            call(vault(token_file=wrong))
        assert raised.value.code == "crypto.root_denied"
        assert "hvs.a-wrong-one" not in str(raised.value)


GOOD = b"vault:v1:" + b"AAAA" * 20


def test_vault_settings_of_the_environment_lead_nowhere(vault, monkeypatch):
    monkeypatch.setenv("VAULT_TOKEN", "hvs.from-outside")
    monkeypatch.setenv("VAULT_ADDR", "http://203.0.113.7")
    monkeypatch.setenv("HTTP_PROXY", "http://203.0.113.7:3128")
    assert vault().unwrap(vault().wrap(SECRET, CONTEXT), CONTEXT) == SECRET


def test_vault_is_asked_over_tls_1_3_and_must_be_vouched_for(vault, tmp_path):
    for name in ("ours", "strangers"):
        (tmp_path / name).mkdir()
    stranger, _ = tls_files(tmp_path / "strangers")
    with serving(vault.double.handler, tls_server(tmp_path / "ours")) as port:
        url = f"https://127.0.0.1:{port}"
        ours = vault(url=url, ca_file=str(tmp_path / "ours" / "ca.pem"))
        assert ours.unwrap(ours.wrap(SECRET, CONTEXT), CONTEXT) == SECRET
        for ca_file in ("", str(stranger)):
            with pytest.raises(UnreachableError) as raised:
                vault(url=url, ca_file=ca_file).wrap(SECRET, CONTEXT)
            assert "not trusted" in raised.value.sentence


def test_vault_with_an_older_tls_is_not_spoken_to(vault, tmp_path):
    context = tls_server(tmp_path, ssl.TLSVersion.TLSv1_2)
    with serving(vault.double.handler, context) as port:
        root = vault(url=f"https://127.0.0.1:{port}", ca_file=str(tmp_path / "ca.pem"))
        with pytest.raises(UnreachableError):
            root.wrap(SECRET, CONTEXT)


def test_the_environment_vouches_for_no_server_and_learns_no_secret_of_tls(
    vault, tmp_path, monkeypatch
):
    with serving(vault.double.handler, tls_server(tmp_path)) as port:
        url, ca_file = f"https://127.0.0.1:{port}", str(tmp_path / "ca.pem")
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "secrets"))
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VAULT_CACERT"):
            monkeypatch.setenv(name, ca_file)
        with pytest.raises(UnreachableError) as raised:
            vault(url=url).wrap(SECRET, CONTEXT)
        assert "not trusted" in raised.value.sentence
        vault(url=url, ca_file=ca_file).wrap(SECRET, CONTEXT)
    assert not (tmp_path / "secrets").exists()


def test_what_comes_with_requests_vouches_for_no_server(vault, tmp_path, monkeypatch):
    import requests.adapters  # noqa: PLC0415 - an extra

    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "ca.pem"))
    with serving(vault.double.handler, tls_server(tmp_path)) as port:
        with pytest.raises(UnreachableError) as raised:
            vault(url=f"https://127.0.0.1:{port}").wrap(SECRET, CONTEXT)
        assert "not trusted" in raised.value.sentence


def test_a_file_of_no_certificates_is_a_sentence(vault, tmp_path):
    (tmp_path / "ca.pem").write_text("nothing of the sort")
    for ca_file in (tmp_path / "ca.pem", tmp_path / "not-there", "no\0name"):
        with pytest.raises(InputError) as raised:
            vault(url="https://127.0.0.1:1", ca_file=str(ca_file)).wrap(SECRET, CONTEXT)
        assert raised.value.code == "crypto.root_ca"


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["token", "kms", "vault"])
def test_no_secret_is_in_a_log_or_a_name(place, request, caplog):
    root = request.getfixturevalue(place)
    caplog.set_level(logging.DEBUG)
    made = root()
    wrapped = made.wrap(SECRET, CONTEXT)
    made.unwrap(wrapped, CONTEXT)
    shown = caplog.text + repr(made) + made.protection
    for secret in (PIN, AWS_SECRET, VaultDouble.token, SECRET.decode(), "c3Nzc3Nz"):
        assert secret not in shown
