"""A state folder with a keystore, and public keys of it as files."""

import pathlib

import pytest

from cronos.config import Config
from cronos.crypto.keytext import key_line
from cronos.front.keyring import using_keys

PASSPHRASE = "correct horse battery staple"


def make_state(folder: pathlib.Path) -> pathlib.Path:
    """Make the standard keys in `folder`/state, and `folder`/NAME.key for each."""
    state = folder / "state"
    with using_keys(Config(), state, ensure=True) as keys:
        for one in keys.listed():
            name = one.key_id.partition(".")[0]
            (folder / f"{name}.key").write_text(key_line(one.algorithm, one.public))
    return state


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Make the keys once for a module: they are only read."""
    folder = tmp_path_factory.mktemp("keys")
    make_state(folder)
    words = folder / "words"
    words.write_text(f"{PASSPHRASE}\n")
    words.chmod(0o600)
    return folder


@pytest.fixture
def file(tmp_path):
    """Give a file to work on."""
    path = tmp_path / "report.txt"
    path.write_bytes(b"what nobody else may read\n" * 40_000)
    return path
