"""Credentials as files: sealed for people, PEM for other software, never over another file."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.unit.crypto.pki.plant import passphrase_root, shared_credential

from cronos.crypto.pki.files import read_credential, write_credential, write_pems
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


def test_pems_are_for_the_owner_alone_and_belong_together(tmp_path):
    written = write_pems(tmp_path / "gw", shared_credential())

    assert len(written) == 6
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert (tmp_path / "gw").stat().st_mode & 0o777 == 0o700
    for algorithm in ("p-384", "ml-dsa-87"):
        chain = (tmp_path / "gw" / f"{algorithm}.chain.pem").read_bytes()
        key = (tmp_path / "gw" / f"{algorithm}.key.pem").read_bytes()
        leaf = x509.load_pem_x509_certificates(chain)[0]
        assert load_pem_private_key(key, None).public_key() == leaf.public_key()
    with pytest.raises(InputError):
        write_pems(tmp_path / "gw", shared_credential())
