"""An operator's credential as a file: sealed, and never over another file."""

import pytest
from tests.unit.crypto.pki.plant import passphrase_root, shared_credential

from cronos.crypto.pki.files import read_credential, write_credential
from cronos.errors import DeniedError, InputError


def test_an_operators_credential_opens_with_its_passphrase_alone(tmp_path):
    root, other = passphrase_root(tmp_path), passphrase_root(tmp_path, "another passphrase")
    path = tmp_path / "eve.credential"
    write_credential(path, shared_credential(), root)

    assert read_credential(path, root) == shared_credential()
    assert path.stat().st_mode & 0o777 == 0o600
    assert shared_credential().keys.mldsa[-32:] not in path.read_bytes()
    with pytest.raises(DeniedError):
        read_credential(path, other)


def test_no_file_is_overwritten(tmp_path):
    path = tmp_path / "eve.credential"
    path.write_bytes(b"mine")

    with pytest.raises(InputError):
        write_credential(path, shared_credential(), passphrase_root(tmp_path))
    assert path.read_bytes() == b"mine"
