"""Which message follows which."""

from cronos.discover.interpreter import Interpreter
from cronos.discover.ir import Data, Grammar, MessageType, Number, Seq, Size
from cronos.discover.messages import Message
from cronos.discover.order import FEWEST, REFUSED, foreseen, order_of, turns_of


def kind(name, value):
    mark = Number("mark", 1, known=((value, 1.0),), strict=True)
    return MessageType(name, Seq((mark, Data("rest", Size("rest")))))


RUN = Interpreter(Grammar("g", (kind("ask", 1), kind("answer", 2), kind("bye", 3))))


def talk(times, flow="1"):
    out = []
    for turn in range(times):
        out.append(Message(b"\x01abc", flow, "c2s", 2.0 * turn))
        out.append(Message(b"\x02abc", flow, "s2c", 2.0 * turn + 1))
    return out


def test_what_follows_is_counted_in_each_flow_and_in_the_order_of_time():
    messages = [*reversed(talk(20)), *talk(3, "2"), Message(b"\x03", "2", "c2s", 99.0)]
    order = order_of(RUN, messages)

    assert order.messages == 47
    assert order.follows[0][:3] == ("ask", "answer", 23)
    assert order.follows[0].share == 1.0
    assert ("answer", "bye", 1) in [one[:3] for one in order.follows]


def test_a_strict_alternation_is_foreseen_by_what_came_before_and_not_by_shares():
    done = foreseen(turns_of(talk(60), [n % 2 for n in range(120)]))

    assert done.grammar.bits > 0.9
    assert done.previous.bits < 0.3
    assert done.network.bits < done.grammar.bits
    assert done.mixture.bits < 0.3
    assert done.mixture.right > 0.9


def test_what_the_grammar_refuses_is_a_kind_of_its_own():
    messages = [*talk(10), *[Message(b"\x09", "1", "c2s", 100.0 + n) for n in range(3)]]

    assert REFUSED in {one.after for one in order_of(RUN, messages).follows}


def test_few_messages_or_one_kind_say_nothing():
    assert order_of(RUN, talk(FEWEST // 2 - 1)) is None
    assert order_of(RUN, [Message(b"\x01abc", "1", "c2s", float(n)) for n in range(50)]) is None
    assert order_of(RUN, [Message(b"")] * 50) is None
