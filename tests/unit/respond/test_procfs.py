import os
import subprocess

from cronos.respond import procfs


def test_a_process_is_known_by_number_and_start():
    me = procfs.read(os.getpid())
    assert (me.pid, me.parent, me.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert procfs.is_alive(me.pid, me.start)
    assert not procfs.is_alive(me.pid, me.start - 1)
    assert procfs.user_of(me.pid) == os.getuid()
    assert procfs.executable_of(me.pid)[0].endswith(os.path.realpath("/proc/self/exe"))


def test_a_name_with_parentheses_and_spaces_hides_no_field():
    script = "import ctypes; ctypes.CDLL(None).prctl(15, b'a) R 1 (x', 0, 0, 0); input()"
    odd = subprocess.Popen(
        ["python3", "-c", "print(flush=True);" + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        odd.stdout.readline()
        for _ in range(1000):
            found = procfs.read(odd.pid)
            if found.name == "a) R 1 (x":
                break
        assert (found.pid, found.parent, found.is_kernel) == (odd.pid, os.getpid(), False)
    finally:
        odd.communicate(b"\n")


def test_children_are_found_parents_first():
    of = [procfs.Process(pid, 1, parent, 1, "", False) for pid, parent in
          ((5, 4), (4, 3), (3, 2), (9, 8), (2, 1))]  # fmt: skip
    assert [one.pid for one in procfs.descendants([2], of)] == [3, 4, 5]
    circle = [procfs.Process(1, 1, 2, 1, "", False), procfs.Process(2, 1, 1, 1, "", False)]
    assert {one.pid for one in procfs.descendants([1], circle)} == {1, 2}


def test_our_own_tree_holds_parents_children_and_the_session_but_not_the_first_process():
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        own = procfs.own_tree()
        assert {os.getpid(), child.pid} <= own
        assert 1 not in own - {os.getpid()}
    finally:
        child.kill()
        child.wait()


def test_only_the_process_that_was_meant_is_killed():
    child = subprocess.Popen(["sleep", "60"])
    start = procfs.read(child.pid).start
    assert procfs.kill(child.pid, start - 1, 100)  # that one has ended long ago
    assert child.poll() is None
    assert procfs.kill(child.pid, start, 5000)
    assert procfs.read(child.pid) is None  # though nobody has reaped it yet
    assert child.wait() == -9
    assert procfs.kill(child.pid, start, 100)


def test_a_number_that_nobody_has_is_nobody():
    assert procfs.read((1 << 22) + 7) is None
    assert procfs.user_of((1 << 22) + 7) is None
    assert procfs.executable_of((1 << 22) + 7) == ("", False)
    with procfs.held((1 << 22) + 7, 1) as descriptor:
        assert descriptor is None
