"""From samples to a grammar with probabilities."""

import math
import random
import struct

import msgspec
import pytest
from tests.unit.discover.drafts import (
    attested,
    discovery_of,
    draft,
    labelled,
    messages_of,
    requests,
    stations,
)
from tests.unit.discover.exported import module

from cronos.discover import export_python, ir
from cronos.discover.detectors import registry
from cronos.discover.division import divided, with_others
from cronos.discover.engine import discover
from cronos.discover.grammar import (
    MAX_SAMPLE,
    _with_evidence,
    estimate,
    infer,
    noise,
    samples_of,
)
from cronos.discover.interpreter import Interpreter, Parsed, Refused, zero_bits
from cronos.discover.messages import Message
from cronos.discover.model import Limits, Sem
from cronos.discover.shipped import Models, shipped
from cronos.discover.verify import split, verify
from cronos.errors import InputError
from cronos.runtime.world import SystemClock


def test_a_grammar_is_inferred_the_same_each_time_and_may_run():
    one, two = infer(requests(), "plant"), infer(requests(), "plant")

    assert ir.encode(one) == ir.encode(two)
    assert ir.decode(ir.encode(one)) == one


def test_every_message_it_was_learnt_from_is_taken_with_evidence():
    grammar = infer(requests())
    run = Interpreter(grammar)
    bits = [run.parse(one.data).bits for one in requests()]

    assert min(bits) > 16
    assert sum(kind.probability for kind in grammar.types) == pytest.approx(1)


def test_types_that_share_their_header_become_one_with_a_union():
    grammar = infer(requests(), "plant")

    assert [kind.name for kind in grammar.types] == ["type_0", "other"]
    assert grammar.types[0].members == (1, 2, 3)
    switch = next(n for n in ir.walk(grammar.types[0].body) if isinstance(n, ir.Switch))
    assert sum(case.probability for case in switch.cases) == pytest.approx(1)


def test_directions_that_differ_are_types_of_their_own():
    source = random.Random(7)
    samples = []
    for number in range(60):
        samples.append(draft((bytes([number]), "id_seq"), (source.randbytes(2), "value"),
                             (source.randbytes(4), "value"), kind=0, direction="c2s"))  # fmt: skip
        samples.append(draft((bytes([number]), "id_seq"), *[(source.randbytes(1), "value")] * 5,
                             (source.randbytes(2), "float"), kind=1, direction="s2c"))  # fmt: skip
    grammar = infer(samples)

    assert sorted(kind.direction for kind in grammar.types) == ["c2s", "s2c"]
    parsed = Interpreter(grammar).parse(samples[0].data, "c2s")
    assert [f.length for f in parsed.fields] == [1, 2, 4]


def test_probabilities_are_shares_of_what_was_seen():
    grammar = ir.Grammar("g", (ir.MessageType("a", ir.Seq((ir.Number("n_0", 1),))),))
    samples = [draft((bytes([value]), "value")) for value in [5] * 8 + [9] * 2]
    known = estimate(grammar, samples).types[0].body.items[0].known

    assert known == ((5, 8 / 11), (9, 2 / 11))
    assert estimate(grammar, samples).types[0].count == 10


def test_values_that_never_come_again_are_not_kept():
    grammar = ir.Grammar("g", (ir.MessageType("a", ir.Seq((ir.Number("n_0", 1),))),))
    samples = [draft((bytes([value]), "value")) for value in range(100)]

    assert estimate(grammar, samples).types[0].body.items[0].known == ()


def test_a_discovery_becomes_samples_without_its_empty_messages():
    discovery = discovery_of([*requests(5), draft()])

    assert samples_of(discovery, range(6)) == requests(5)


@pytest.mark.parametrize(
    "samples",
    [
        [draft((b"x", "value"))],
        [draft((b"same", "text"))] * 50,
        [draft((bytes([n]), "value")) for n in range(50)],
        [draft((random.Random(n).randbytes(65_000), "bytes")) for n in range(3)],
        [draft(*[(bytes([n % 256]), "value") for n in range(k, k + 2_000 + k)]) for k in range(40)],
        [draft(*[(b"\0", "length")] * 100, kind=k, direction="c2s") for k in range(40)],
    ],
)
def test_odd_captures_end_in_a_grammar(samples):
    grammar = infer(samples, work=30_000)
    run = Interpreter(grammar)

    assert all(
        isinstance(run.parse(one.data, one.direction, floor=-math.inf), Parsed) for one in samples
    )


def test_no_message_is_a_sentence():
    with pytest.raises(InputError) as error:
        infer([])
    assert error.value.code == "discover.no_messages"


def test_many_messages_are_sampled_and_all_are_counted():
    samples = requests(3 * MAX_SAMPLE)

    assert infer(samples).types[0].count == len(samples)
    assert Sem.VALUE in {
        leaf.sem for leaf in ir.leaves(infer(samples)).values() if isinstance(leaf, ir.Number)
    }


def test_a_floor_lies_between_random_bytes_and_the_messages_of_a_type():
    source = random.Random(4)
    samples = [
        draft(
            (source.choice((b"\x01", b"\x02", b"\x04")), Sem.ENUM_FLAGS),
            (source.randbytes(9), Sem.VALUE),
        )
        for _ in range(200)
    ]
    grammar = infer(samples)
    kind = grammar.types[0]
    run = Interpreter(grammar)

    assert kind.floor > 0
    assert all(isinstance(run.parse(one.data), Parsed) for one in samples)
    assert isinstance(run.parse(samples[0].data, floor=-math.inf), Parsed)
    loose = msgspec.structs.replace(kind, floor=1e9)
    assert isinstance(
        Interpreter(msgspec.structs.replace(grammar, types=(loose,))).parse(samples[0].data),
        Refused,
    )


def loosely_cut(count, strange=0):
    """Give messages that begin alike, are cut at two places, and each so many-th is random."""
    source = random.Random(9)

    def one(turn):
        if strange and turn % strange == 1:
            return draft((source.randbytes(9), Sem.VALUE))
        head = (b"\x05\x01", Sem.VALUE) if turn % 3 else (b"\x05", Sem.VALUE)
        tail = [(b"\x01", Sem.VALUE)] if not turn % 3 else []
        body = [(source.randbytes(2), Sem.VALUE) for _ in range(source.randint(2, 4))]
        return draft(head, *tail, (b"\x00\x10\x00", Sem.VALUE), *body)

    return [one(turn) for turn in range(count)]


@pytest.mark.parametrize(
    ("samples", "most"),
    [(loosely_cut(150), 0), (loosely_cut(150, 25), 6), (loosely_cut(60, 3), 20)],
)
def test_where_no_cut_is_shared_by_nearly_all_most_decide_so_that_noise_is_refused(samples, most):
    run = Interpreter(infer(samples))

    assert sum(isinstance(run.parse(x), Parsed) for x in noise([20], 300, 77)) <= 3
    assert sum(isinstance(run.parse(x.data), Refused) for x in samples) <= most


def test_what_the_cuts_of_most_leave_out_falls_to_a_last_type_where_it_begins_alike():
    of, messages = shipped(), messages_of("dcerpc")
    # As it is where nobody has trees of the protocol itself.
    models = Models(of.order, of.first, of.second, of.meaning, of.keys)
    limits = Limits(max_seconds=1e6)
    found = discover(messages, limits, SystemClock(), lambda _phase, _share: None, models)
    train, held = split(len(messages))
    grammar = infer(samples_of(found, train), "dcerpc")
    verdict = verify(grammar, samples_of(found, held))

    assert grammar.types[-1].name.startswith("other")
    assert verdict.parsed > 0.97
    assert verdict.noise_refused > 0.99


def test_what_is_none_of_the_types_is_known_by_what_all_messages_begin_with():
    samples = requests()
    wider = with_others(divided(samples, "plant", 100_000), samples, 100_000)
    grammar = estimate(_with_evidence(wider, samples), samples)
    strange = samples[0].data[:2] + b"\xff\xff\x00\x28\x03" + b"\xff" * 39

    assert grammar.types[-1].name == "other"
    assert grammar.types[-1].body.items[0].known
    parsed = Interpreter(grammar).parse(strange)
    assert isinstance(parsed, Parsed)
    assert grammar.types[parsed.type].name == "other"
    assert isinstance(Interpreter(grammar).parse(b"\x99\x98" + strange[2:]), Refused)


def test_data_in_blocks_is_inferred_from_what_detectors_vouch_for_and_proved():
    samples = stations()
    grammar = infer(samples[::2], "station")
    nodes = [node for kind in grammar.types for node in ir.walk(kind.body)]
    verdict = verify(grammar, samples[1::2])

    blocks = next(node for node in nodes if isinstance(node, ir.Blocks))
    assert (blocks.size, blocks.checksum.algorithm) == (16, "crc16-dnp")
    counted = [node for node in ir.walk(blocks) if isinstance(node, ir.Repeat) and node.count]
    assert [
        ir.width_of(node) for node in ir.walk(counted[0].body) if isinstance(node, ir.LEAVES)
    ] == [4]
    assert (verdict.parsed, verdict.rebuilt, verdict.checksums) == (1.0, 1.0, 1.0)
    assert verdict.noise_refused == verdict.mutants_refused == 1.0
    assert verdict.recall > 0.99


def test_claims_tell_more_of_an_open_protocol_than_its_true_cuts_alone():
    samples = attested(labelled("dnp3"))
    train, held = split(len(samples))
    grammar = infer([samples[n] for n in train], "dnp3")
    verdict = verify(grammar, [samples[n] for n in held])

    assert any(isinstance(n, ir.Blocks) for kind in grammar.types for n in ir.walk(kind.body))
    assert (verdict.parsed, verdict.rebuilt) == (1.0, 1.0)
    assert verdict.recall > 0.93


def test_what_is_claimed_of_a_discovery_is_told_to_its_grammar():
    samples = stations()
    claims = tuple(registry.claims([Message(one.data) for one in samples]))
    found = msgspec.structs.replace(discovery_of(samples), claims=claims)

    assert [one.said for one in samples_of(found, [0, 1])] == [one.said for one in samples[:2]]


def rare(code, index):
    """Give a message whose kind decides what follows its length."""
    rest = {1: struct.pack(">HI", index, 7 * index), 2: bytes(3) + bytes([index % 5])}
    body = rest.get(code, bytes(9) + b"\x07")
    parts = [(bytes([code]), "enum_flags"), (bytes([len(body)]), "length")]
    parts += [(body[:2], "value"), (body[2:], "value")]
    return draft(*parts, kind=code)


def test_of_few_messages_a_last_type_takes_what_is_none_of_the_others_and_no_noise():
    samples = [rare(1 + index % 2, index) for index in range(60)]
    grammar = infer(samples)
    run = Interpreter(grammar)

    assert grammar.types[-1].name == "other"
    strange = run.parse(rare(9, 1).data)
    assert isinstance(strange, Parsed)
    assert grammar.types[strange.type].name == "other"
    many = noise([12] * 500, 500, 99)
    assert sum(isinstance(run.parse(one), Parsed) for one in many) <= 5


def test_zeros_are_evidence_where_the_last_type_knows_that_there_are_many():
    samples = [rare(1 + index % 2, index) for index in range(60)]
    last = [node for node in ir.walk(infer(samples).types[-1].body) if isinstance(node, ir.Data)][
        -1
    ]

    assert last.zeros > 0.5
    assert zero_bits(bytes(8), last.zeros) > 50
    assert zero_bits(b"\xff" * 8, last.zeros) < -8
    assert zero_bits(b"", last.zeros) == 0


def test_the_exported_parser_takes_and_refuses_by_zeros_as_the_interpreter_does(tmp_path):
    grammar = infer([rare(1 + index % 2, index) for index in range(60)])
    loaded = module(export_python.render(grammar), tmp_path / "gen.py")
    run = Interpreter(grammar)
    for message in [rare(9, 1).data, *noise([14] * 200, 200, 5), *noise([4] * 50, 50, 5)]:
        parsed = run.parse(message)
        assert (loaded.parse(message) is not None) == isinstance(parsed, Parsed)


@pytest.mark.parametrize("protocol", ["enip", "opcua", "icmp", "pgsql", "sip"])
def test_what_is_rare_in_open_protocols_is_read_again_and_noise_refused(protocol):
    samples = attested(labelled(protocol))
    train, held = split(len(samples))
    verdict = verify(infer([samples[n] for n in train], protocol), [samples[n] for n in held])

    assert verdict.passed
