"""What is said of a question before it is answered."""

from tests.unit.link.desk import question

from cronos.front import orders
from cronos.link.clerk import _view


def test_everything_that_matters_is_said_and_nothing_steers_the_terminal():
    asked = _view(question())
    told = "\n".join(orders.described(asked))
    for part in (
        asked.question,
        asked.digest,
        "contain host plc-1 at world",
        "300 s",
        "release",
        "s; then the manager is asked",
    ):
        assert part in told
    hostile = "\n".join(orders.described(_view(question(persons=2)).__class__(
        *("\x1b[2J\u202e" for _ in range(3)), 2, *("\x1b]0;x\x07" for _ in range(5)), 1.0, "a", "d"
    )))  # fmt: skip
    assert not any(c in hostile for c in "\x1b\u202e\x07")
    assert "cannot be taken back" in hostile


def test_the_state_is_read_from_whatever_a_node_showed():
    assert orders.state_of({"state": "waiting"}) == "waiting"
    assert orders.state_of([]) == ""
    assert orders.state_of({}) == ""
