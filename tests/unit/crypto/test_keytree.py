"""The tree of keys: every leaf its own key, the same for good, and cut out it is gone."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronos.crypto.keytree import NARROW, PATH_BITS, WIDE, KeyTree

_PATHS = st.integers(0, (1 << PATH_BITS) - 1)
_KINDS = pytest.mark.parametrize("bits", [NARROW, WIDE])


def _whole(bits):
    return KeyTree(bits, [((0, 0), bytes(32))])


def _by_hand(path, bits):
    """Walk as the document of formats says, and no other way."""
    key = bytes(32)
    for shift in range(PATH_BITS - bits, -1, -bits):
        digit = b"%x" % (path >> shift & (1 << bits) - 1)
        label = b"cronos subject " if bits == NARROW else b"cronos subjects"
        key = hashlib.sha256(label + digit + key).digest()
    return hashlib.sha256((b"cronos subject k" if bits == NARROW else b"cronos subjectsk") + key)


@_KINDS
@given(path=_PATHS)
def test_a_leaf_is_what_the_format_says(bits, path):
    assert _whole(bits).leaf(path) == _by_hand(path, bits).digest()


@_KINDS
@given(cut=st.lists(_PATHS, max_size=4), other=_PATHS)
def test_what_was_cut_out_is_gone_and_nothing_else(bits, cut, other):
    tree, whole = _whole(bits), _whole(bits)
    for path in cut:
        tree = tree.cut(path)
    assert all(tree.leaf(path) is None for path in cut)
    beside = [path ^ 1 << bit for path in (*cut, other) for bit in (0, 3, 4, 40, PATH_BITS - 1)]
    assert all(tree.leaf(path) == whole.leaf(path) for path in beside if path not in cut)


@_KINDS
def test_a_cut_leaves_the_side_branches_of_the_path_and_no_secret_of_it(bits):
    path = 0x0123_4567_89AB_CDEF_FFFF
    tree = _whole(bits).cut(path)
    assert len(tree) == PATH_BITS // bits * ((1 << bits) - 1)
    assert all(place[1] != path >> (PATH_BITS - place[0]) for place, _ in tree)
    assert len({key for _, key in tree}) == len(tree)
    assert len(tree.cut(path)) == len(tree)
    near = len(tree.cut(path ^ 1)) - len(tree)
    assert near == -1


@_KINDS
def test_what_is_left_can_be_taken_up_again(bits):
    tree = _whole(bits).cut(5).cut(6)
    again = KeyTree(bits, list(tree))
    assert again.leaf(5) is None
    assert again.leaf(7) == _whole(bits).leaf(7)


def test_the_two_trees_have_no_key_in_common():
    paths = range(64)
    narrow, wide = _whole(NARROW), _whole(WIDE)
    assert not {narrow.leaf(path) for path in paths} & {wide.leaf(path) for path in paths}


def test_a_tree_that_was_never_begun_has_no_leaf():
    assert KeyTree(WIDE, []).leaf(0) is None
    assert not KeyTree(WIDE, []).cut(0)
