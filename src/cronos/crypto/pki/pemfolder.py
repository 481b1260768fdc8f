"""A service's certificates as PEM files, for software such as Envoy, renewed all at once.

::

    FOLDER/p-384.key.pem -> ..data/p-384.key.pem    six links, which never change
    FOLDER/..data -> ..<serial>                     the one name that a renewal moves
    FOLDER/..<serial>/                              a generation: six files, and `revoked`

Rule 1: a generation is written and synced before anything leads to it, and never changed after.
Rule 2: one rename makes all six names mean the next generation, so that no key ever stands beside
another's chain. It happens in FOLDER itself: that is the folder to watch for moves.
Rule 3: the generation before stays until the next renewal, for whoever is just reading it.

It is the layout of a secret that Kubernetes mounts, which software already knows how to watch. A
folder of plain files, as older versions wrote it, becomes one before its first renewal.
"""

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cronos.crypto.durable import (
    blotted_after,
    private_folder,
    read_bounded,
    read_secret,
    require_unshared,
    sync_folder,
    unreadable,
    unwritable,
    write_synced,
)
from cronos.crypto.lifecycle import due
from cronos.crypto.pki import profile, sealed
from cronos.crypto.pki.chain import Identity, certified, claimed_domain, public_bytes
from cronos.crypto.pki.credential import Chains, Credential, Keys, to_pem
from cronos.crypto.pki.files import require_new
from cronos.crypto.pki.names import SERVICE
from cronos.crypto.pki.node import Membership, answered, asked, require_better
from cronos.crypto.pki.profile import ALGORITHMS, LIFE_NS, MLDSA
from cronos.crypto.pki.requests import Bound
from cronos.crypto.pki.revocation import MAX_BUNDLE_BYTES, Revocations
from cronos.crypto.pki.trust import Trust
from cronos.errors import CronosError, DeniedError, InputError
from cronos.ports import Clock

DATA: Final = "..data"
_GENERATION: Final = re.compile(r"\.\.[0-9a-f]{32}", re.ASCII)
_NAMES: Final = tuple(
    f"{algorithm}.{part}.pem" for algorithm in ALGORITHMS for part in ("key", "chain", "root")
)
_LISTS: Final = "revoked"
_PROBE: Final = "..probe"
_MOST_BYTES: Final = 1 << 16
# A group may read the files, if a person let it: the software may run as another user.
_OPEN: Final = 0o027
_UNPARSED: Final = (ValueError, TypeError, UnsupportedAlgorithm, Warning)


class _Held(msgspec.Struct, frozen=True):
    """What stands: the folder it lies in, its bytes by name, and what they say."""

    base: Path
    contents: dict[str, bytes]
    credential: Credential
    identity: Identity

    def __repr__(self) -> str:
        return f"<the files of {self.identity.name}>"


class PemFolder:
    """The certificates of one service; a peer of `node.Holder`, and renewed the same way.

    Its own roots are the pin: no answer counts that another authority gave.

    Args:
        folder: what `write_pems` wrote, now or in an older version.
        clock: the time.

    Raises:
        InputError: there is no such folder.
        DeniedError: this user may not look into it.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        try:
            there = stat.S_ISDIR(folder.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except (OSError, ValueError) as error:
            raise unreadable(folder, getattr(error, "strerror", "") or str(error)) from error
        if not there:
            raise _missing(folder, "folder")
        self._folder = folder
        self._clock = clock

    def membership(self) -> Membership:
        """Give the credential that stands, expired or not.

        Raises:
            InputError: a file is missing.
            DeniedError: the files do not belong together, or others may read the keys.
        """
        held = self._held()
        return Membership(held.credential, held.identity.name, "")

    def own(self) -> Identity:
        """Say who the certificate says this is, also when it has expired; raises as above."""
        return self._held().identity

    def due(self) -> bool:
        """Say whether it is to be renewed by now; raises as `membership` does."""
        return due(self.own().not_after_ns, LIFE_NS[SERVICE], self._clock.now().wall_ns)

    def stamp(self) -> tuple[int, ...]:
        """Give what changes whenever the certificates do; empty while there are none.

        Raises:
            DeniedError: they cannot be looked at, or the folder is none of ours.
        """
        path = self._base() / f"{MLDSA}.chain.pem"
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise unreadable(path, error.strerror or str(error)) from error
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def paths(self) -> tuple[Path, ...]:
        """Give the six names that other software reads."""
        return tuple(self._folder / name for name in _NAMES)

    def revocations(self) -> Revocations:
        """Give the revocation lists as they came with the last renewal; raises as above."""
        held = self._held()
        try:
            return Revocations(held.credential.trust, self._lists(held.base))
        except CronosError:
            raise _unfit(self._folder, f"the lists in {held.base / _LISTS} do not hold") from None

    def renew(self, ask: Callable[[bytes], bytes], bound: Bound | None = None) -> Identity:
        """Make new keys, have them certified, and let them take the place of the present ones.

        What stands is used until the last step and is whole after each. Where another process
        was faster, its certificate is given.

        Args:
            ask: sends a request over a link that proves the present certificate.
            bound: the signing key to bind; the service's own ML-DSA-87 key without one.

        Raises:
            InputError: a file is missing.
            DeniedError: the answer is not for this request, not from the pinned authority, or no
                better than what stands; or the folder cannot be written.
        """
        private_folder(self._folder)
        with sealed.locked(self._folder):
            held = self._held()
            self._require_room(held.base)
        pin = held.credential.trust.fingerprint
        request, pending = asked(held.identity.name, "", pin, bound, None)
        answer = ask(request)
        with sealed.locked(self._folder):
            standing = self._held()
            if standing.identity.serial != held.identity.serial:
                return standing.identity
            now = self._clock.now()
            before = self._lists(standing.base)
            credential, identity, revoked = answered(answer, pending, before, now)
            require_better(credential, standing.credential)
            contents = {**_pems(credential), _LISTS: revoked.packed()}
            self._take(standing, identity.serial, contents)
        return identity

    def _require_room(self, base: Path) -> None:
        """Find out before anyone is asked whether mode and group of the files can be kept.

        Later it would cost a certificate at every try.
        """
        probe = self._folder / _PROBE
        try:
            _remove(probe)
            probe.mkdir(mode=0o700)
            for _, group in _modes(self._folder, base).values():
                _give(probe, 0o700, group)
            probe.rmdir()
        except OSError as error:
            raise unwritable(self._folder, error) from error

    def _take(self, standing: _Held, serial: str, contents: Mapping[str, bytes]) -> None:
        """Lay the next generation beside the one that stands, and make the names lead to it."""
        folder, former = self._folder, f"..{standing.identity.serial}"
        try:
            if standing.base == folder:
                # The same bytes by another way: no reader can tell while the names change.
                _write_generation(folder, former, standing.contents, _modes(folder, folder))
                _point(folder, former)
            _link_names(folder)
            _write_generation(folder, f"..{serial}", contents, _modes(folder, standing.base))
            _point(folder, f"..{serial}")
        except OSError as error:
            raise unwritable(folder, error) from error
        _tidy(folder, {f"..{serial}", standing.base.name, former})

    def _base(self) -> Path:
        """Give the folder in which the six files really lie."""
        try:
            name = str((self._folder / DATA).readlink())
        except FileNotFoundError:
            return self._folder
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise unreadable(self._folder, error.strerror or str(error)) from error
            raise _unfit(self._folder, f"{DATA} is no link") from error
        base = self._folder / name
        if not _GENERATION.fullmatch(name) or not _is_folder(base):
            raise _unfit(self._folder, f"{DATA} leads out of it or to nothing of ours")
        return base

    def _held(self) -> _Held:
        base = self._base()
        contents = {name: _read(base, name) for name in _NAMES}
        if base != self._folder:
            self._require_links(contents)
        credential = _credential(self._folder, contents)
        return _Held(base, contents, credential, _service(self._folder, credential))

    def _require_links(self, contents: Mapping[str, bytes]) -> None:
        """Refuse a name that somebody gave to another file: a renewal would lose it.

        The same bytes under a name are no other file: a conversion was interrupted there.
        """
        for name, data in contents.items():
            path = self._folder / name
            if path.is_symlink():
                same = path.readlink() == Path(DATA, name)
            else:
                same = read_bounded(path, _MOST_BYTES) in (data, None)
            if not same:
                raise _unfit(self._folder, f"{name} was replaced, and {DATA} was not")

    @staticmethod
    def _lists(base: Path) -> bytes:
        return read_bounded(base / _LISTS, MAX_BUNDLE_BYTES) or b""


def write_pems(folder: Path, credential: Credential) -> tuple[Path, ...]:
    """Write keys, chains and roots for software that reads PEM, such as Envoy; give the paths.

    Its private keys are readable to whoever may read the folder (0700, files 0600): such software
    has no other way.

    Raises:
        InputError: one of the files is there already.
        DeniedError: the disk is full or read-only.
    """
    private_folder(folder)
    for name in (DATA, *_NAMES):
        require_new(folder / name)
    generation = f"..{certified(credential.chains.mldsa, credential.trust).serial}"
    modes = dict.fromkeys(_NAMES, (0o600, -1)) | {"": (0o700, -1)}
    try:
        _write_generation(folder, generation, _pems(credential), modes)
        _point(folder, generation)
        _link_names(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    return tuple(folder / name for name in _NAMES)


def _pems(credential: Credential) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for algorithm in ALGORITHMS:
        contents[f"{algorithm}.key.pem"] = credential.key_pem(algorithm)
        contents[f"{algorithm}.chain.pem"] = credential.chain_pem(algorithm)
        contents[f"{algorithm}.root.pem"] = to_pem(credential.trust.roots()[algorithm])
    return contents


def _modes(folder: Path, base: Path) -> dict[str, tuple[int, int]]:
    """Give mode and group that the next generation is to have: those of the present one."""
    found = {name: (base / name).stat() for name in _NAMES}
    modes = {name: (one.st_mode & 0o640, one.st_gid) for name, one in found.items()}
    own = folder.stat()
    return modes | {"": (own.st_mode & 0o750, own.st_gid)}


def _write_generation(
    folder: Path, name: str, contents: Mapping[str, bytes], modes: Mapping[str, tuple[int, int]]
) -> None:
    """Write a generation that nothing leads to yet; what an interrupted one left goes first."""
    base = folder / name
    _remove(base)
    base.mkdir(mode=0o700)
    for one, data in contents.items():
        write_synced(base / one, data)
        _give(base / one, *modes.get(one, (0o600, -1)))
    _give(base, *modes[""])
    sync_folder(base)
    sync_folder(folder)


def _give(path: Path, mode: int, group: int) -> None:
    """Give a file or folder of ours its mode and group, durably."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if group not in (-1, os.fstat(handle).st_gid):
            _change_group(handle, path, group)
        os.fchmod(handle, mode)
        os.fsync(handle)
    finally:
        os.close(handle)


def _change_group(handle: int, path: Path, group: int) -> None:
    try:
        os.fchown(handle, -1, group)
    except PermissionError as error:
        raise DeniedError(
            "crypto.foreign_group",
            f"The files beside {path} belong to group {group}, which this user is not in.",
            "Put the user that renews into that group, or give the files back to one of its own.",
        ) from error


def _point(folder: Path, generation: str) -> None:
    """Make `..data` lead to a generation, at once and durably."""
    _link(folder / DATA, generation)
    sync_folder(folder)


def _link_names(folder: Path) -> None:
    """Make the six names links, where they are not yet."""
    for name in _NAMES:
        if not (folder / name).is_symlink():
            _link(folder / name, f"{DATA}/{name}")
    sync_folder(folder)


def _link(path: Path, target: str) -> None:
    new = path.with_name(f"..{path.name.lstrip('.')}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)


def _tidy(folder: Path, kept: set[str]) -> None:
    """Remove generations that nothing leads to; one that will not go is tried again next time."""
    with contextlib.suppress(OSError):
        for path in tuple(folder.iterdir()):
            if _GENERATION.fullmatch(path.name) and path.name not in kept:
                with contextlib.suppress(OSError):
                    _remove(path)


def _remove(base: Path) -> None:
    if base.is_symlink() or not base.exists():
        base.unlink(missing_ok=True)
        return
    with blotted_after(*(base / f"{algorithm}.key.pem" for algorithm in ALGORITHMS)):
        shutil.rmtree(base)


def _is_folder(base: Path) -> bool:
    """Say whether a generation is a folder, which is ours alone, or is missing: no link."""
    try:
        found = base.lstat()
    except FileNotFoundError:
        return True  # told by the first file that is missed
    except OSError as error:
        raise unreadable(base, error.strerror or str(error)) from error
    if not stat.S_ISDIR(found.st_mode):
        return False
    require_unshared(base, found)
    return True


def _read(base: Path, name: str) -> bytes:
    path = base / name
    secret = name.endswith(".key.pem")
    data = read_secret(path, _MOST_BYTES, forbidden=_OPEN) if secret else None
    data = data if secret else read_bounded(path, _MOST_BYTES)
    if data is None:
        raise _missing(path, "PEM file")
    return data


def _credential(folder: Path, contents: Mapping[str, bytes]) -> Credential:
    """Read the six files; what they say is still to be verified."""
    try:
        keys = [
            profile.key_bytes(load_pem_private_key(contents[f"{one}.key.pem"], None))  # type: ignore[arg-type]  # `Keys.of` looks
            for one in ALGORITHMS
        ]
        chains = [_ders(contents[f"{one}.chain.pem"], 2) for one in ALGORITHMS]
        roots = [_ders(contents[f"{one}.root.pem"], 1)[0] for one in ALGORITHMS]
        trust = Trust(1, claimed_domain(chains[-1][0]), *roots)
    except (*_UNPARSED, CronosError):
        raise _unfit(folder, "they are no keys and chains of ours") from None
    return Credential(Chains(*chains), Keys(*keys), trust)


def _ders(pem: bytes, count: int) -> tuple[bytes, ...]:
    found = x509.load_pem_x509_certificates(pem)
    if len(found) != count:
        raise ValueError("too many or too few certificates")
    return tuple(profile.encoded(one) for one in found)


def _service(folder: Path, credential: Credential) -> Identity:
    """Give the service whose certificates these are, if keys, chains and roots fit together."""
    found: list[Identity] = []
    for algorithm in ALGORITHMS:
        try:
            found.append(certified(credential.chains.of(algorithm), credential.trust))
            public = public_bytes(credential.keys.of(algorithm).public_key())
            fits = found[-1].algorithm == algorithm and credential.public(algorithm) == public
        except CronosError:
            fits = False
        if not fits:
            raise _unfit(folder, f"the {algorithm} key, chain and root do not belong together")
    if {(one.kind, one.name) for one in found} != {(SERVICE, found[-1].name)}:
        raise _unfit(folder, "they are not of one service")
    return found[-1]


def _missing(path: Path, what: str) -> InputError:
    return InputError(
        "crypto.missing_file",
        f"There is no {what} at {path}.",
        "Name the folder that `cronos pki issue --service NAME` wrote, or issue a new one.",
    )


def _unfit(folder: Path, why: str) -> DeniedError:
    return DeniedError(
        "crypto.pems_unfit",
        f"The PEM files in {folder} are not renewed: {why}.",
        "Issue a new folder with `cronos pki issue --service NAME --out DIR`.",
    )
