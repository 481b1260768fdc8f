"""The measure of an inference: nodes and lost boundaries in bits, and rows that go back."""

from cronos.discover import ir
from cronos.discover.explained import LOST_BITS, NODE_BITS, Part, bits_of, lost_bits, restore, save
from cronos.discover.model import Sem
from cronos.discover.rows import rows_of


def row():
    return rows_of([(b"abcdef", ((0, 2, Sem.VALUE), (2, 1, Sem.VALUE), (3, 3, Sem.VALUE)))])[0]


def test_a_tree_costs_its_nodes_and_the_values_of_its_cases():
    number = ir.Number("n", 1)
    union = ir.Switch("n", (ir.Case((1, 2), number), ir.Case((3,), number)))

    assert bits_of(ir.Seq((number, number))) == 3 * NODE_BITS
    assert bits_of(union) > 3 * NODE_BITS
    assert Part([number], lost=5.0).bits == NODE_BITS + 5.0


def test_to_say_nothing_costs_every_boundary_but_the_first():
    assert lost_bits([row()]) == 2 * LOST_BITS


def test_rows_go_back_and_forget_what_was_bound():
    one = row()
    saved = save([one])
    one.skip(2)
    one.env["t1"] = 7
    restore([one], saved)

    assert (one.at, one.env) == (0, {})
