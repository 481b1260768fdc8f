"""A root key in AWS KMS, as far as no service is needed; a double is in the integration tests."""

import logging
import sys

import pytest

pytest.importorskip("boto3", reason="needs the extra `aws`")

from cronos.crypto.roots.awskms import AwsKmsConfig, AwsKmsRoot
from cronos.errors import DeniedError, ExtraMissingError, InputError
from cronos.front.plugins import load
from cronos.link.egress import EgressGate

SETTINGS = {"key": "alias/cronos", "region": "eu-central-1", "credentials_file": "/none"}


class NoCall:
    """A gate that fails the test when it is asked."""

    def permit(self, host, port, purpose):
        raise AssertionError((host, port, purpose))


@pytest.fixture
def credentials(tmp_path):
    path = tmp_path / "credentials"
    path.write_text("[default]\naws_access_key_id = AKIA\naws_secret_access_key = hidden\n")
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize("name", ["key", "region", "credentials_file"])
def test_what_no_default_could_stand_for_must_be_set(name):
    with pytest.raises(InputError) as raised:
        AwsKmsRoot(AwsKmsConfig(**{**SETTINGS, name: ""}), NoCall())
    assert f"`{name}`" in raised.value.sentence


def test_no_secret_goes_over_an_unencrypted_network():
    with pytest.raises(InputError) as raised:
        AwsKmsRoot(AwsKmsConfig(**SETTINGS, endpoint="http://kms.example"), NoCall())
    assert raised.value.code == "crypto.root_url"


def test_the_gate_is_asked_for_the_host_that_would_be_called(credentials):
    settings = {**SETTINGS, "credentials_file": credentials}
    with pytest.raises(DeniedError) as raised:
        AwsKmsRoot(AwsKmsConfig(**settings), EgressGate()).wrap(b"s", b"c")
    assert raised.value.code == "link.egress_closed"
    assert "'kms.eu-central-1.amazonaws.com' port 443" in raised.value.sentence


def test_a_region_that_is_none_is_a_sentence(credentials):
    settings = {**SETTINGS, "credentials_file": credentials, "region": "no region/at all"}
    with pytest.raises(InputError) as raised:
        AwsKmsRoot(AwsKmsConfig(**settings), NoCall()).wrap(b"s", b"c")
    assert raised.value.code == "crypto.root_settings"


def test_only_a_key_is_locked_no_data():
    with pytest.raises(InputError) as raised:
        AwsKmsRoot(AwsKmsConfig(**SETTINGS), NoCall()).wrap(bytes(65), b"c")
    assert raised.value.code == "crypto.long_secret"


@pytest.mark.parametrize("wrapped", [b"", bytes(6_145)])
def test_what_was_never_wrapped_is_refused_before_the_service_is_asked(wrapped):
    with pytest.raises(DeniedError) as raised:
        AwsKmsRoot(AwsKmsConfig(**SETTINGS), NoCall()).unwrap(wrapped, b"c")
    assert raised.value.code == "crypto.refused"


def test_without_credentials_nothing_is_sent():
    with pytest.raises(InputError) as raised:
        AwsKmsRoot(AwsKmsConfig(**SETTINGS), NoCall()).wrap(b"s", b"c")
    assert raised.value.code == "crypto.no_credentials"


def test_a_library_that_logs_what_it_sends_is_kept_quiet():
    for name in ("boto3", "botocore", "botocore.endpoint", "botocore.parsers"):
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)


def test_it_says_what_a_thief_would_need():
    root = AwsKmsRoot(AwsKmsConfig(**SETTINGS), NoCall())
    assert "alias/cronos" in root.protection
    assert "hidden" not in repr(root)


def test_without_its_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "cronos.crypto.roots.awskms")
    with pytest.raises(ExtraMissingError) as raised:
        load("root-key", "aws-kms")
    assert "cronos[aws]" in raised.value.remedy
