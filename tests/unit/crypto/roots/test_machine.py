"""The machine's key file locks a keystore for this machine, and is never silently replaced."""

import threading

import pytest

from cronos.crypto.roots.machine import FILE_NAME, MachineConfig, MachineRoot
from cronos.errors import DeniedError, InputError
from cronos.ports import RootKey
from cronos.testing.conformance.root_key import RootKeyConformance


class TestMachineRoot(RootKeyConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def make(self) -> RootKey:
        return MachineRoot(MachineConfig(), self.folder)

    def other(self) -> RootKey:
        self.make().wrap(b"x", b"")
        return self._with_key()

    def _with_key(self) -> RootKey:
        root = MachineRoot(MachineConfig(), self.folder / "other")
        root.wrap(b"x", b"")
        return root


@pytest.fixture
def root(tmp_path):
    return MachineRoot(MachineConfig(), tmp_path)


def test_the_key_is_made_once_for_its_owner_alone(root, tmp_path):
    root.wrap(b"s", b"c")
    path = tmp_path / FILE_NAME
    first = path.read_bytes()
    assert (len(first), path.stat().st_mode & 0o777) == (32, 0o600)
    root.wrap(b"s", b"c")
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_that_is_gone_is_not_made_anew_to_unwrap(root, tmp_path):
    wrapped = root.wrap(b"s", b"c")
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(InputError) as caught:
        root.unwrap(wrapped, b"c")
    assert caught.value.code == "crypto.machine_key_missing"
    assert not (tmp_path / FILE_NAME).exists()


def test_a_key_that_others_may_read_or_that_was_cut_is_refused(root, tmp_path):
    wrapped = root.wrap(b"s", b"c")
    path = tmp_path / FILE_NAME
    path.chmod(0o644)
    with pytest.raises(DeniedError, match="chmod 600"):
        root.unwrap(wrapped, b"c")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:31])
    with pytest.raises(DeniedError, match="31 bytes"):
        root.unwrap(wrapped, b"c")


def test_it_may_lie_elsewhere_and_says_where(tmp_path):
    path = tmp_path / "stick" / "key"
    root = MachineRoot(MachineConfig(file=str(path)), tmp_path / "keys")
    root.wrap(b"s", b"c")
    assert path.is_file()
    assert str(path) in root.protection


def test_two_who_make_it_at_once_get_the_same(tmp_path):
    wrapped = []
    roots = [MachineRoot(MachineConfig(), tmp_path) for _ in range(8)]
    threads = [
        threading.Thread(target=lambda root=root: wrapped.append(root.wrap(b"s", b"c")))
        for root in roots
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [roots[0].unwrap(one, b"c") for one in wrapped] == [b"s"] * 8


def test_what_a_making_left_behind_goes_and_no_other_file_whatever_the_name(tmp_path):
    path = tmp_path / "key[1]*"
    left, other = tmp_path / "key[1]*.0123.new", tmp_path / "key1x.0123.new"
    left.write_bytes(b"left")
    other.write_bytes(b"other")
    MachineRoot(MachineConfig(file=str(path)), tmp_path).wrap(b"s", b"c")
    assert set(tmp_path.iterdir()) == {path, other}


def test_a_file_that_is_named_without_a_folder_lies_beside_the_keystore(tmp_path, monkeypatch):
    for here in ("one", "two"):
        (tmp_path / here).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    wrapped = MachineRoot(MachineConfig(file="my.key"), tmp_path / "keys").wrap(b"s", b"c")
    monkeypatch.chdir(tmp_path / "two")
    root = MachineRoot(MachineConfig(file="my.key"), tmp_path / "keys")
    assert root.unwrap(wrapped, b"c") == b"s"
    assert (tmp_path / "keys" / "my.key").is_file()
