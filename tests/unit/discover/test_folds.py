"""Figures of boundaries, on hand-counted cases."""

import pytest

from cronos.discover.folds import FAMILIES, GROUPS, Figures, judged, line
from cronos.discover.messages import Message
from cronos.discover.model import Sem

TRUTH = ((0, 2, Sem.VALUE), (2, 1, Sem.VALUE), (3, 5, Sem.BYTES))


def counted(*cuts):
    figures = Figures()
    figures.add(8, TRUTH, cuts)
    return figures


def test_families_leave_out_each_protocol_once_and_never_less_than_its_family():
    every = [name for group in GROUPS for name in group]

    assert sorted(name for family in FAMILIES for name in family) == sorted(every)
    for family in (
        {"dns", "nbns"},
        {"smb", "smb2", "dcerpc", "nbns"},
        {"snmp", "ldap", "kerberos"},
    ):
        assert any(family <= set(group) for group in FAMILIES)


def test_all_right_is_one_and_nothing_else():
    figures = counted(2, 3)

    assert (figures.f1, figures.perfection, figures.alarms, figures.accuracy) == (1, 1, 0, 1)


def test_a_cut_inside_of_a_field_spoils_it_and_its_neighbours_stay():
    figures = counted(2, 3, 5)

    assert figures.perfection == pytest.approx(2 / 3)
    assert figures.alarms == pytest.approx(1 / 5)
    assert figures.f1 == pytest.approx(4 / 5)


def test_a_missing_cut_spoils_both_of_its_fields():
    figures = counted(2)

    assert figures.perfection == pytest.approx(1 / 3)
    assert figures.accuracy == pytest.approx(6 / 7)


def test_messages_are_judged_together_and_written_as_a_row():
    messages = [Message(bytes(8)), Message(bytes(8))]
    right = ((0, 2, Sem.VALUE), (2, 1, Sem.VALUE), (3, 5, Sem.BYTES))
    whole = ((0, 8, Sem.BYTES),)

    figures = judged(messages, [TRUTH, TRUTH], ["a", "b"], lambda _: ([right, whole], [0, 1]))

    assert figures.f1 == pytest.approx(2 / 3)
    assert line("x", [figures]) == "| x | 0.667 | 0.500 | 0.000 | 0.857 | 1.000 | 0.000 |"


def test_a_meaning_counts_where_the_field_is_right_too():
    figures = Figures()
    truth = ((0, 2, Sem.LENGTH), (2, 2, Sem.COUNT), (4, 4, Sem.TEXT))
    figures.mean(truth, ((0, 2, Sem.LENGTH), (2, 1, Sem.COUNT), (3, 5, Sem.VALUE)))

    assert figures.meaning == pytest.approx(2 / 5)


def test_every_open_protocol_is_left_out_once():
    names = [name for group in GROUPS for name in group]

    assert len(names) == len(set(names)) == 20
