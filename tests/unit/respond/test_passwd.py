import pytest

from cronos.respond.passwd import NAME, Accounts, Shadow


@pytest.fixture
def accounts(tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_bytes(b"alice:x:4242:1::/:/bin/sh\nbroken\nbob:x:\xff:1::/:/bin/sh\n\n")
    (etc / "shadow").write_bytes(
        b"alice:$6$x:1:0:9:7::20500:\nshort:x:1\nbob:!*:1:0:9:7:::\ncarol::1:0:9:7:::\n\xff:::::::::"
    )
    return Accounts(str(tmp_path), 1.0)


def test_what_the_files_say_is_read_and_what_is_broken_stepped_over(accounts):
    assert accounts.user_id("alice") == 4242
    assert accounts.user_id("bob") is None
    assert accounts.shadow("alice") == Shadow("alice", False, True, "20500")
    assert accounts.shadow("bob") == Shadow("bob", True, True, "")
    assert accounts.shadow("carol") == Shadow("carol", False, False, "")
    assert accounts.shadow("short") is None


def test_only_both_halves_of_our_lock_are_our_mark():
    assert Shadow("a", True, True, "2604").is_marked
    assert Shadow("a", False, True, "2605").is_marked
    assert not Shadow("a", False, True, "2604").is_marked  # the password was unlocked since
    assert not Shadow("a", True, True, "1").is_marked


def test_without_files_there_is_nobody_and_a_sentence(tmp_path):
    empty = Accounts(str(tmp_path), 1.0)
    assert empty.user_id("root") is None
    assert list(empty.all_shadows()) == []
    assert empty.objection()


@pytest.mark.parametrize("name", ["-h", "--root", "", "a:b", "a\n", "a b", "x" * 34, "../a", "é"])
def test_a_name_that_usermod_could_take_for_something_else_is_none(name):
    assert not NAME.fullmatch(name)
