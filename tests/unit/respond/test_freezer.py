import os

import pytest

from cronos.errors import UnreachableError
from cronos.respond import freezer
from cronos.respond.freezer import Freezer, find_mount, group_of, is_asked_frozen, is_frozen

NAME = "0" * 32


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    def mount(text):
        file = tmp_path / "mountinfo"
        file.write_text(text)
        monkeypatch.setattr(freezer, "_MOUNTS", file)
        return Freezer("cronos")

    return mount


def test_the_mount_is_found_alone_beside_version_1_and_with_odd_names(mounted):
    mounted("24 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    assert str(find_mount()) == "/sys/fs/cgroup"
    mounted(
        "30 1 0:9 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "31 1 0:8 / /sys/fs/cgroup/uni\\040fied rw shared:3 - cgroup2 none rw\n"
    )
    assert str(find_mount()) == "/sys/fs/cgroup/uni fied"


def test_without_a_mount_it_says_so_and_has_no_groups(mounted):
    none = mounted("22 1 0:1 / / rw - ext4 /dev/sda rw\n")
    assert "not mounted" in none.objection()
    assert list(none.frozen()) == []
    assert none.effect_of("/cronos/" + NAME) is None
    with pytest.raises(UnreachableError, match="no group"):
        none.folder(NAME)


def test_a_group_is_named_by_an_action_and_by_nothing_else(mounted, tmp_path):
    here = mounted(f"22 1 0:1 / {tmp_path} rw - cgroup2 none rw\n")
    assert here.folder(NAME) == tmp_path / "cronos" / NAME
    for name in ("", "..", "../" + NAME, NAME.replace("0", "A"), NAME + "0"):
        with pytest.raises(UnreachableError):
            here.folder(name)
    assert here.effect_of(f"/cronos/{NAME}") == NAME
    assert here.effect_of(f"/user.slice/{NAME}") is None
    assert here.effect_of(f"/cronos/{NAME}/deeper") is None


def test_what_is_no_group_is_not_frozen(tmp_path):
    assert not is_frozen(tmp_path)
    assert not is_asked_frozen(tmp_path)
    (tmp_path / "cgroup.events").write_text("populated 0\nfrozen 1\n")
    (tmp_path / "cgroup.freeze").write_text("1\n")
    assert not is_frozen(tmp_path)  # nobody is in it
    assert is_asked_frozen(tmp_path)
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    assert is_frozen(tmp_path)


def test_a_group_that_leads_upwards_is_out_of_sight():
    assert group_of((1 << 22) + 7) is None
    assert (group_of(os.getpid()) or "/").startswith("/")
