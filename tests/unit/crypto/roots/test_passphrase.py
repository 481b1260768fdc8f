"""A passphrase locks a keystore, and nobody makes us pay for a guess more than we would."""

import resource
import struct
from pathlib import Path

import msgspec
import pytest
from tests.unit.crypto.keystores import child

from cronos.config import convert
from cronos.crypto.refusal import REFUSED
from cronos.crypto.roots.passphrase import PassphraseConfig, PassphraseRoot, Stretch
from cronos.errors import DeniedError, InputError
from cronos.ports import RootKey
from cronos.testing.conformance.root_key import RootKeyConformance

CHEAP = {"memory_kib": 1024, "passes": 1, "lanes": 1}


def asked(passphrase):
    return PassphraseRoot(PassphraseConfig(**CHEAP), ask=lambda: passphrase)


class TestPassphraseRoot(RootKeyConformance):
    def make(self) -> RootKey:
        return asked("five random words")

    def other(self) -> RootKey:
        return asked("five other words")


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("five random words\nand a second line\n")
    path.chmod(0o600)
    return path


def test_the_first_line_of_a_file_is_the_passphrase(secret_file):
    root = PassphraseRoot(PassphraseConfig(passphrase_file=str(secret_file), **CHEAP))
    assert root.unwrap(asked("five random words").wrap(b"s", b"c"), b"c") == b"s"
    secret_file.write_bytes(b"five random words\r\n")
    assert root.unwrap(asked("five random words").wrap(b"s", b"c"), b"c") == b"s"


def test_a_systemd_credential_is_read_from_its_folder_alone(secret_file, tmp_path):
    config = PassphraseConfig(credential="passphrase", **CHEAP)
    root = PassphraseRoot(config, credentials=tmp_path)
    assert root.unwrap(asked("five random words").wrap(b"s", b"c"), b"c") == b"s"
    with pytest.raises(InputError):
        PassphraseRoot(config).wrap(b"s", b"c")
    with pytest.raises(InputError):
        convert({"credential": "../passphrase"}, PassphraseConfig, "test")
    with pytest.raises(InputError):
        PassphraseRoot(PassphraseConfig(credential=".."), credentials=tmp_path).wrap(b"s", b"c")
    assert secret_file.is_file()


def test_a_credential_whose_reader_systemd_put_into_an_access_list_is_read(secret_file, tmp_path):
    root = PassphraseRoot(PassphraseConfig(credential="passphrase", **CHEAP), credentials=tmp_path)
    secret_file.chmod(0o440)  # what stat shows of -r--r-----+
    assert root.wrap(b"s", b"c")
    for mode in (0o444, 0o460):
        secret_file.chmod(mode)
        with pytest.raises(DeniedError, match="chmod 600"):
            root.wrap(b"s", b"c")


def test_memory_that_is_not_to_be_had_is_named_in_a_sentence():
    def starved():
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (256 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        config = PassphraseConfig(memory_kib=1 << 20, passes=1, lanes=1)
        with pytest.raises(DeniedError, match="1024 MiB") as caught:
            PassphraseRoot(config, ask=lambda: "five random words").wrap(b"s", b"c")
        assert caught.value.code == "crypto.no_memory"

    assert child(starved) == 0


def test_a_file_that_others_may_read_is_refused(secret_file):
    secret_file.chmod(0o640)
    root = PassphraseRoot(PassphraseConfig(passphrase_file=str(secret_file), **CHEAP))
    with pytest.raises(DeniedError, match="chmod 600"):
        root.wrap(b"s", b"c")


def test_a_file_that_is_gone_is_named(tmp_path):
    root = PassphraseRoot(PassphraseConfig(passphrase_file=str(tmp_path / "none"), **CHEAP))
    with pytest.raises(InputError, match="none is not there"):
        root.wrap(b"s", b"c")


@pytest.mark.parametrize("passphrase", ["", "tiny-pw", "1234567", "ä" * 7])
def test_an_empty_or_short_passphrase_is_refused(passphrase):
    with pytest.raises(InputError) as caught:
        asked(passphrase).wrap(b"s", b"c")
    assert caught.value.code == "crypto.short_passphrase"
    assert not passphrase or passphrase not in str(caught.value)


def test_without_any_source_a_sentence_says_what_to_configure():
    with pytest.raises(InputError, match="passphrase_file"):
        PassphraseRoot(PassphraseConfig(**CHEAP)).wrap(b"s", b"c")


def test_the_default_cost_is_that_of_rfc_9106():
    config = PassphraseConfig()
    assert (config.memory_kib, config.passes, config.lanes) == (64 << 10, 3, 4)
    assert Stretch(config.memory_kib, config.passes, config.lanes).bounded()


@pytest.mark.parametrize(
    ("memory_kib", "passes", "lanes"),
    [
        (100 << 20, 1, 1),
        (0xFFFFFFFF, 255, 255),
        (1 << 20, 17, 1),
        (64 << 10, 0, 4),
        (64 << 10, 3, 0),
        (64 << 10, 3, 17),
        (8, 1, 1),
        (0, 1, 1),
    ],
)
def test_a_file_that_asks_for_too_much_or_too_little_is_refused_before_it_costs(
    memory_kib, passes, lanes
):
    wrapped = struct.pack(">BIBB16s", 1, memory_kib, passes, lanes, bytes(16)) + bytes(60)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def never() -> str:
        raise AssertionError

    with pytest.raises(DeniedError) as caught:
        PassphraseRoot(PassphraseConfig(), ask=never).unwrap(wrapped, b"c")
    assert caught.value.code == REFUSED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_what_the_configuration_allows_is_what_would_be_read_again():
    for field, value in {"memory_kib": 1 << 21, "passes": 17, "lanes": 17}.items():
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({field: value}, PassphraseConfig)
    assert Stretch(1 << 20, 16, 16).bounded()
    assert Stretch(1 << 10, 1, 16).bounded()
