"""The documents of `decide` and `replay` survive JSON."""

import msgspec

from cronos.front.documents_decide import (
    DecideDocument,
    DecisionView,
    ReplayDocument,
    ReplayedView,
)


def test_the_documents_come_back_from_json_as_they_were():
    view = DecisionView("i", "execute", "c", 0.9, 0.3, "a", "", "execute", ("r",), ("w",), {"k": 1})
    told = DecideDocument((view,), acts=True, asks=False)
    again = ReplayedView(3, "execute", "c", True, False, "", ("w",))
    replayed = ReplayDocument("i", True, (again,), 0, "4711")

    for one in (told, replayed):
        assert msgspec.json.decode(msgspec.json.encode(one), type=type(one)) == one
    assert (told.schema, replayed.schema) == ("cronos.decide/1", "cronos.replay/1")
