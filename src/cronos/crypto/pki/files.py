"""Credentials as files: an operator's sealed one, and the PEM files that other software reads."""

from pathlib import Path
from typing import Final

from cronos.crypto.durable import private_folder
from cronos.crypto.pki import sealed
from cronos.crypto.pki.credential import Credential, pack_credential, to_pem, unpack_credential
from cronos.crypto.pki.profile import ALGORITHMS
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


def write_pems(folder: Path, credential: Credential) -> tuple[Path, ...]:
    """Write keys, chains and roots for software that reads PEM, such as Envoy; give the paths.

    Its private keys are readable to whoever may read the folder (0700, files 0600): such software
    has no other way.

    Raises:
        InputError: one of the files is there already.
        DeniedError: the disk is full or read-only.
    """
    private_folder(folder)
    contents: dict[str, bytes] = {}
    for algorithm in ALGORITHMS:
        contents[f"{algorithm}.key.pem"] = credential.key_pem(algorithm)
        contents[f"{algorithm}.chain.pem"] = credential.chain_pem(algorithm)
        contents[f"{algorithm}.root.pem"] = to_pem(credential.trust.roots()[algorithm])
    for name in contents:
        require_new(folder / name)
    for name, data in contents.items():
        sealed.replace(folder / name, data)
    return tuple(folder / name for name in contents)


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
