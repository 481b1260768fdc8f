"""An operator's credential as a file, sealed under a passphrase."""

from pathlib import Path
from typing import Final

from cronos.crypto.pki import sealed
from cronos.crypto.pki.credential import Credential, pack_credential, unpack_credential
from cronos.errors import InputError
from cronos.ports import RootKey

_PURPOSE: Final = b"operator"


def write_credential(path: Path, credential: Credential, root: RootKey) -> None:
    """Write a credential sealed under `root`, which for a person is a passphrase.

    Raises:
        InputError: there is a file already.
        DeniedError: the disk is full or read-only.
    """
    require_new(path)
    sealed.replace(path, sealed.seal(root, pack_credential(credential), _PURPOSE))


def read_credential(path: Path, root: RootKey) -> Credential:
    """Read what `write_credential` wrote.

    Raises:
        InputError: there is no such file.
        DeniedError: another passphrase, or changed bytes.
    """
    data = sealed.read(path, "credential")
    return unpack_credential(sealed.unseal(root, data, _PURPOSE))


def require_new(path: Path) -> None:
    """Refuse a name that is taken.

    Raises:
        InputError: it is.
    """
    if path.exists() or path.is_symlink():
        raise InputError(
            "crypto.file_exists",
            f"{path} is there already.",
            "Choose another name with --out; nothing is overwritten.",
        )
