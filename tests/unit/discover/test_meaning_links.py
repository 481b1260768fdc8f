"""What fields have to do with others."""

import numpy as np

from cronos.discover.evidence import Corpus
from cronos.discover.meaning_links import Tiles, links
from cronos.discover.messages import Message


def linked(messages, sizes, types=None):
    """Describe messages of numbers of up to 8 bytes; `sizes` has the sizes of each one's fields."""
    corpus = Corpus([Message(m) for m in messages])
    starts = np.concatenate(
        [corpus.starts[i] + np.cumsum([0, *each])[: len(each)] for i, each in enumerate(sizes)]
    ).astype(np.int64)
    ends = np.append(starts, len(corpus.data))[1:]
    values = {
        order: np.array(
            [
                int.from_bytes(corpus.data[a : min(b, a + 8)].tobytes(), name)
                for a, b in zip(starts, ends, strict=True)
            ],
            dtype=np.uint64,
        )
        for order, name in (("be", "big"), ("le", "little"))
    }
    groups = np.zeros(len(messages), dtype=np.int64) if types is None else np.array(types)
    return dict(links(Tiles(corpus, groups, starts, values)))


def test_a_length_leads_to_where_a_field_begins_from_its_end_or_from_its_record():
    records = [bytes((7, n)) + bytes(n) + b"\xff\xff\xff" for n in (2, 3, 4)]
    plain = linked(records, [[1, 1, n, 3] for n in (2, 3, 4)])
    whole = linked(
        [bytes((7, n + 2)) + bytes(n) + b"\xff\xff\xff" for n in (2, 3, 4)],
        [[1, 1, n, 3] for n in (2, 3, 4)],
    )

    assert plain["be_leads_end"][1] == 1.0
    assert plain["be_leads_prior"][1] < 0
    assert whole["be_leads_prior"][1] == 1.0
    assert whole["be_leads_end"][1] < 0.5


def test_numbers_where_every_byte_is_a_field_lead_nowhere_in_particular():
    found = linked([bytes((2, 9, 9, 9, 9, 9))] * 4, [[1] * 6] * 4)

    assert found["be_leads_end"][0] == 0.0


def test_the_byte_order_of_a_length_is_told():
    found = linked([b"\3\0abc\1\2"] * 3, [[2, 3, 2]] * 3)

    assert found["le_leads_end"][0] == 1.0
    assert found["be_leads_end"][0] < 0


def test_a_count_is_as_high_as_the_fields_alike_behind_it():
    messages = [bytes((n,)) + bytes(range(2 * n)) for n in (2, 3, 5)]
    found = linked(messages, [[1, *[2] * n] for n in (2, 3, 5)])

    assert found["be_alike"][0] == 1.0
    assert found["be_divides"][0] == 1.0
    assert found["alike"][0] == 2


def test_an_address_recurs_in_other_columns_and_messages():
    one, two = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    found = linked([one + two, two + one, one + one], [[4, 4]] * 3)
    single = linked([one + two] * 3, [[4, 4]] * 3)

    assert found["recurs_all"][0] == 1.0
    assert single["recurs_all"][0] == 0.0
    assert 0 < found["twice_all"][0] < 1
    assert single["twice_all"][0] == 0.0


def test_a_code_decides_how_its_message_goes_on():
    messages = [bytes((1, n, 0, 0)) for n in range(8)] + [bytes((2, n, 0)) for n in range(8)]
    found = linked(messages, [[1, 1, 2]] * 8 + [[1, 1, 1]] * 8, [0] * 8 + [1] * 8)

    assert found["decides_type"][0] > 0.9
    assert found["decides_size"][0] > 0.9
    assert found["decides_after"][0] > 0.9
    assert found["decides_type"][1] < 0.5


def test_codes_lie_dense_and_flags_have_single_bits():
    codes = linked([bytes((n,)) for n in (0, 1, 2, 3)] * 2, [[1]] * 8)
    flags = linked([bytes((n,)) for n in (4, 64, 16, 128)] * 2, [[1]] * 8)

    assert codes["be_dense"][0] == 0.0
    assert flags["be_dense"][0] < -4
    assert flags["be_single"][0] == 1.0
    assert codes["bits_ever"][0] == 2
    assert flags["bits_free"][0] == 4


def test_messages_of_no_bytes_and_of_one_field_have_all_features():
    empty = linked([b"", b"\1", b""], [[], [1], []])

    assert all(len(values) == 1 and np.isfinite(values).all() for values in empty.values())
