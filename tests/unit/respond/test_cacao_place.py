import pytest

from cronos.errors import InputError
from cronos.respond.cacao_place import MAX_BYTES, Place, read_json


def test_a_document_is_read_whole():
    place = read_json(b'{"a": {"b": [1, "x"]}}', "p.json")

    assert place.at("a").at("b").items(2)[1].text() == "x"
    assert place.at("a").at("b").items(2)[1].path == "a.b[1]"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a": 1, "a": 2}',
        b"NaN",
        b"[Infinity]",
        b'"\\ud800"',
        b"1" * 5_000,
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_json_is_refused(data):
    with pytest.raises(InputError) as caught:
        read_json(data, "p.json")

    assert caught.value.code == "respond.playbook_refused"
    assert caught.value.sentence.startswith("p.json")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda place: place.members(),
        lambda place: place.items(9),
        lambda place: place.whole(0, 9),
        lambda place: place.number(2, 3),
        lambda place: place.one_of(("y",), "word"),
        lambda place: Place("p", "", True).number(0, 1),
        lambda place: Place("p", "", 1.5).whole(0, 9),
        lambda place: Place("p", "", [1, 2]).items(1),
        lambda place: Place("p", "", {"a": 1}).keyed(frozenset(), (), {}),
        lambda place: Place("p", "", {}).keyed(frozenset({"a"}), ("a",), {}),
    ],
)
def test_what_is_of_another_kind_is_refused(wrong):
    with pytest.raises(InputError):
        wrong(Place("p.json", "here", "x"))


def test_what_a_stranger_wrote_steers_no_terminal():
    error = Place("\x1b[2Jp", "a\u202eb", None).refuse("it is \\x", "Look.")

    assert "\x1b" not in error.sentence
    assert "\u202e" not in error.sentence
