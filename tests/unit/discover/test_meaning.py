"""What is counted of a field."""

import numpy as np

from cronos.discover.evidence import Corpus
from cronos.discover.meaning import CLASSES, addressed, agreed, chosen, encoded, fields
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem


def described(payload, starts, ts=0.0):
    corpus = Corpus([Message(payload, ts=ts)])
    return dict(fields(corpus, np.zeros(1, dtype=int), np.array(starts)))


def test_a_field_knows_its_neighbours():
    found = described(b"\3abc\0\0", [0, 1, 4])

    assert found["length"].tolist() == [1, 3, 2]
    assert found["length+1"].tolist() == [3, 2, 0]
    assert found["be_next"][0] == 0
    assert found["own_texts"].tolist() == [0, 1, 0]


def test_a_time_near_the_capture_is_seen_in_its_forms():
    now = 1_700_000_000
    for data, name in (
        (now.to_bytes(4, "big"), "be_time"),
        (now.to_bytes(4, "little"), "le_time"),
        ((now * 1000).to_bytes(8, "big"), "be_time"),
    ):
        assert described(data, [0], ts=now + 5.0)[name][0] < 0.1
        assert described(data, [0], ts=now + 1e9)[name][0] > 3


def test_floats_have_a_magnitude():
    found = described(np.array([20.5], dtype=">f4").tobytes() + b"\xff\xff\xff\xff", [0, 4])

    assert abs(found["be_float"][0] - np.log10(20.5)) < 1e-6
    assert found["be_float"][1] == 99.0


def spoken(*rows):
    """Give messages of (flow, direction, payload)."""
    return Corpus([Message(p, flow, way, float(n)) for n, (flow, way, p) in enumerate(rows)])


def of_first(corpus, width, claims=()):
    starts = np.sort(np.concatenate((corpus.starts[:-1], corpus.starts[:-1] + width)))
    described = fields(corpus, np.zeros(len(corpus.sizes), dtype=int), starts, claims)
    return {name: values[0] for name, values in described}


def test_what_answers_repeat_and_what_counts_is_seen():
    talk = []
    for n in range(1, 9):
        talk += [("a", "c2s", bytes((0, n, 9, 9))), ("a", "s2c", bytes((0, n, 7, 7)))]
    found = of_first(spoken(*talk), 2)

    assert found["echoed"] == 1.0
    assert found["be_counts"] == 1.0
    assert found["stays"] == 0.0


def test_an_answer_is_compared_with_its_question_though_another_question_follows():
    talk = [("a", "c2s", b"\0\1"), ("a", "s2c", b"\0\1"), ("a", "c2s", b"\0\2")]
    found = of_first(spoken(*talk, ("b", "s2c", b"\0\3")), 1)

    assert found["echoed"] == -1.0, "zeros are nobody's to repeat"
    assert of_first(spoken(*((f, w, p[1:] + p) for f, w, p in talk)), 1)["echoed"] == 1.0


def test_what_stays_in_a_flow_and_differs_between_flows_is_seen():
    found = of_first(spoken(*((f, "c2s", f.encode() * 2 + b"xy") for f in "abab" * 5)), 2)

    assert found["stays"] == 1.0
    assert found["flow_bits"] < 0.2


def test_numbers_that_count_all_that_follows_are_told_from_constants():
    talk = [("a", "c2s", bytes((n,)) + bytes(n)) for n in range(1, 9)]
    same = [("a", "c2s", bytes((4,)) + bytes(4))] * 8

    assert of_first(spoken(*talk), 1)["be_rest_all"] == 1.0
    assert of_first(spoken(*same), 1)["be_rest_all"] == 0.0
    assert of_first(spoken(*talk), 1)["be_follows_all"] == 1.0


def test_claims_for_just_this_field_are_told_from_those_that_only_begin_with_it():
    corpus = spoken(("a", "c2s", b"\0\4abcd"))
    exact = Claim("length.rest", Sem.LENGTH, ((0, 2),), 1.0, 1e-6)
    wide = Claim("timestamp.unix", Sem.TIMESTAMP, ((0, 4),), 1.0, 1e-6)

    assert of_first(corpus, 2, [exact])["claim_exact"] == CLASSES.index(Sem.LENGTH)
    assert of_first(corpus, 2, [wide])["claim_exact"] == -1
    assert of_first(corpus, 2, [wide])["claim_begins"] == CLASSES.index(Sem.TIMESTAMP)


def test_a_meaning_is_said_where_it_and_the_field_are_likely_enough():
    shares = np.zeros((2, len(CLASSES)))
    shares[:, CLASSES.index(Sem.LENGTH)], shares[:, CLASSES.index(Sem.VALUE)] = 0.45, 0.55

    found = chosen(shares, np.array([0.9, 0.1]))

    assert [CLASSES[k] for k in found] == [Sem.LENGTH, Sem.VALUE]


def test_what_is_likely_no_field_at_all_is_said_to_have_a_plain_meaning():
    shares = np.zeros((1, len(CLASSES)))
    shares[:, CLASSES.index(Sem.LENGTH)] = 0.15  # and none to .85

    assert CLASSES[chosen(shares, np.ones(1))[0]] != Sem.LENGTH


def named(found):
    return [CLASSES[k] if k >= 0 else None for k in found]


def test_fields_of_one_place_and_size_hear_one_another_and_no_others():
    corpus = Corpus([Message(b"abc"), Message(b"def"), Message(b"ghi")])
    starts = np.array([0, 1, 3, 4, 6, 8])  # 1 + 2, 1 + 2, 2 + 1
    shares = np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.5, 0.5], [1.0, 0.0], [0.3, 0.7]])

    heard = agreed(corpus, starts, shares)

    assert np.allclose(heard[[0, 2]], [[0.7, 0.3], [0.5, 0.5]])
    assert np.allclose(heard[[1, 3]], [[0.2, 0.8], [0.4, 0.6]])
    assert np.allclose(heard[[4, 5]], shares[[4, 5]])
    assert agreed(Corpus([]), np.array([], dtype=np.int64), np.zeros((0, 2))).shape == (0, 2)


def test_what_ber_itself_says_of_fields_is_believed():
    record = bytes.fromhex("30120201050a010304030102030c0261620101ff")
    corpus = Corpus([Message(record)] * 3)
    places = np.array([0, 1, 2, 3, 4, 5, 7, 8, 10, 13, 15, 17, 18, 19])
    found = encoded(corpus, np.concatenate([corpus.starts[i] + places for i in range(3)]))

    assert named(found[: len(places)]) == [
        *(Sem.ENUM_FLAGS, Sem.LENGTH, Sem.ENUM_FLAGS, Sem.LENGTH, None),
        *(Sem.ENUM_FLAGS, Sem.ENUM_FLAGS, Sem.ENUM_FLAGS, None, Sem.ENUM_FLAGS, Sem.TEXT),
        *(Sem.ENUM_FLAGS, Sem.LENGTH, Sem.ENUM_FLAGS),
    ]


def test_a_few_messages_that_read_as_ber_by_chance_are_not_believed():
    rng = np.random.default_rng(1)
    record = bytes.fromhex("3009020105020106020107")
    corpus = Corpus([Message(record), *(Message(rng.bytes(40)) for _ in range(30))])

    assert (encoded(corpus, corpus.starts[:-1]) == -1).all()
    assert (encoded(Corpus([]), np.array([], dtype=int)) == -1).all()


def test_fields_of_four_bytes_are_addresses_by_their_network_or_as_most_of_their_column_are():
    first = ("192.168.4.1", "10.2.0.1", "172.31.0.9", "0.0.0.0")
    second = ("10.2.0.1", "10.2.0.2", "0.0.0.0", "8.1.2.3")
    messages = [
        Message(bytes(map(int, f"{one}.{other}".split("."))))
        for one, other in zip(first, second, strict=True)
    ]
    corpus = Corpus(messages)
    types, starts = np.zeros(4, dtype=int), np.arange(0, 32, 4)

    assert addressed(corpus, types, starts).tolist() == [True, False] * 4
    # Each of a type of its own: none has a column.
    assert addressed(corpus, np.arange(4), starts)[::2].tolist() == [True, False, True, False]
    assert not addressed(corpus, types, np.arange(0, 32, 8)).any()
    assert addressed(Corpus([]), np.zeros(0, dtype=int), np.zeros(0, dtype=int)).tolist() == []
