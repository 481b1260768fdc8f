"""The backlog: the gravest first, nothing dropped, a report done with its last finding."""

from msgspec.structs import replace

from cronos.runtime.backlog import Backlog
from cronos.testing.story import finding


def test_the_gravest_comes_first_and_equals_in_their_order():
    backlog = Backlog()
    grave, early, late = replace(finding(1), severity=5), finding(2), finding(3)
    backlog.put((early, late, grave), lambda: None)

    assert [backlog.get()[0] for _ in range(3)] == [grave, early, late]
    assert len(backlog) == 0


def test_a_report_is_done_with_its_last_finding():
    backlog, done = Backlog(), []
    backlog.put((finding(1), finding(2)), lambda: done.append("first"))
    backlog.put((), lambda: done.append("empty"))
    backlog.put((replace(finding(3), severity=5),), lambda: done.append("grave"))

    for _ in range(3):
        backlog.get()[1]()

    assert done == ["empty", "grave", "first"]
