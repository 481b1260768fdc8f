"""Seeds: what an operator may write, and what of a stranger's list is kept."""

import pytest

from cronos.errors import InputError
from cronos.mesh.seeds import MAX_FOUND, Seed, parse_seed, sound_seeds, spell_seed
from cronos.types import Peer


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("192.0.2.1:7443", Seed("", "192.0.2.1:7443")),
        ("alpha@192.0.2.1:7443", Seed("alpha", "192.0.2.1:7443")),
        ("alpha@host.example:1", Seed("alpha", "host.example:1")),
        ("[2001:db8::1]:7443", Seed("", "[2001:db8::1]:7443")),
    ],
)
def test_a_seed_is_an_address_with_or_without_a_name(text, seed):
    assert parse_seed(text) == seed


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "Alpha@host:1", "a b@host:1",
     "alpha@", "2001:db8::1:7443", "ho st:1", "host:1\n", "host:\u0661"],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(InputError):
        parse_seed(text)


def test_what_is_spelled_is_read_back():
    peer = Peer("alpha", "192.0.2.1:7443")

    assert parse_seed(spell_seed(peer)) == Seed("alpha", "192.0.2.1:7443")


def test_a_stranger_s_list_is_sorted_cut_and_cleaned():
    texts = [f"n{n:04}@192.0.2.1:7443" for n in range(1000)]

    assert sound_seeds(["b:2", "a:1", "b:2", "rubbish", "b@a:1"]) == ("a:1", "b:2", "b@a:1")
    assert len(sound_seeds(texts)) == MAX_FOUND
