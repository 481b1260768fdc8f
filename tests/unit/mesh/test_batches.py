import asyncio
import hashlib

import pytest
from tests.unit.mesh.mail import OneKey

from cronos.errors import DeniedError, UnreachableError
from cronos.mesh.batches import UNPROVEN, UNPROVEN_NS, MerkleSeals, leaf_of
from cronos.mesh.wire import Leaf, Signatures
from cronos.testing.clock import VirtualClock


def pair():
    keys = OneKey(b"one")
    bound = {"one": hashlib.sha384(keys.key.public).digest()}
    return MerkleSeals(keys, "one", {}.get), MerkleSeals(OneKey(b"two"), "two", bound.get), keys


def signed(ours, leaves):
    batch = asyncio.run(ours.sign(leaves))
    places = [Leaf(n, n, path) for n, path in enumerate(batch.paths)]
    return Signatures(1, batch.kid, batch.size, batch.signature, tuple(places)), batch


LEAVES = [leaf_of(1, 0, b"message %d" % n) for n in range(7)]


def test_one_signature_shows_each_message_of_a_batch():
    ours, theirs, keys = pair()
    signatures, batch = signed(ours, LEAVES)
    theirs.learn("one", batch.public)
    for leaf, place in zip(LEAVES, signatures.leaves, strict=True):
        theirs.verify("one", leaf, signatures, place)
    assert keys.signatures == 1


def test_whatever_else_is_claimed_is_refused():
    ours, theirs, _ = pair()
    signatures, batch = signed(ours, LEAVES)
    theirs.learn("one", batch.public)
    place = signatures.leaves[3]
    wrong = [
        (leaf_of(2, 0, b"message 3"), signatures, place),
        (leaf_of(1, 1, b"message 3"), signatures, place),
        (leaf_of(1, 0, b"message 4"), signatures, place),
        (LEAVES[3], signatures, Leaf(3, 4, place.path)),
        (LEAVES[3], signatures, Leaf(3, 3, place.path[:-1])),
        (LEAVES[3], signatures, Leaf(3, 3, place.path[48:])),
        (LEAVES[3], signatures, Leaf(3, 3, bytes(len(place.path)))),
        (LEAVES[3], Signatures(1, batch.kid, 8, batch.signature, ()), place),
        (LEAVES[3], Signatures(1, batch.kid, 7, bytes(4627), ()), place),
        (LEAVES[3], Signatures(1, batch.kid, 7, batch.signature[:-1], ()), place),
    ]
    for leaf, claimed, where in wrong:
        with pytest.raises(DeniedError):
            theirs.verify("one", leaf, claimed, where)


def test_a_signature_is_its_signers_alone():
    ours, theirs, keys = pair()
    signatures, batch = signed(ours, LEAVES)
    both = {name: hashlib.sha384(keys.key.public).digest() for name in ("one", "three")}
    theirs = MerkleSeals(keys, "two", both.get)
    theirs.learn("three", batch.public)
    with pytest.raises(DeniedError):
        theirs.verify("three", LEAVES[0], signatures, signatures.leaves[0])


def test_a_key_counts_only_where_the_certificate_binds_it():
    ours, theirs, _ = pair()
    signatures, _ = signed(ours, LEAVES)
    with pytest.raises(UnreachableError, match="has not announced"):
        theirs.verify("one", LEAVES[0], signatures, signatures.leaves[0])
    with pytest.raises(DeniedError):
        theirs.learn("one", OneKey(b"other").key.public)


def test_a_key_that_comes_before_the_certificate_counts_once_that_is_here():
    ours, _, keys = pair()
    bound = {}
    theirs = MerkleSeals(OneKey(b"two"), "two", bound.get)
    signatures, batch = signed(ours, LEAVES)
    theirs.learn("one", batch.public)
    with pytest.raises(UnreachableError):
        theirs.verify("one", LEAVES[0], signatures, signatures.leaves[0])
    bound["one"] = hashlib.sha384(keys.key.public).digest()
    theirs.verify("one", LEAVES[0], signatures, signatures.leaves[0])


def test_a_rotated_key_is_learnt_beside_the_one_before():
    keys, later = OneKey(b"one"), OneKey(b"later")
    bound = {"one": hashlib.sha384(keys.key.public).digest()}
    theirs = MerkleSeals(keys, "two", bound.get)
    old, batch = signed(MerkleSeals(keys, "one", {}.get), LEAVES)
    theirs.learn("one", batch.public)
    bound["one"] = hashlib.sha384(later.key.public).digest()
    new, batch = signed(MerkleSeals(later, "one", {}.get), LEAVES)
    theirs.learn("one", batch.public)
    theirs.verify("one", LEAVES[0], old, old.leaves[0])
    theirs.verify("one", LEAVES[0], new, new.leaves[0])


def rotated():
    """A node that signs with a key which its certificate does not bind yet, and a peer of it."""
    before, later = OneKey(b"one"), OneKey(b"later")
    bound = {"one": hashlib.sha384(before.key.public).digest()}
    clock = VirtualClock()
    theirs = MerkleSeals(OneKey(b"two"), "two", bound.get, clock=clock)
    signatures, batch = signed(MerkleSeals(later, "one", {}.get), LEAVES)
    with pytest.raises(UnreachableError) as unproven:
        theirs.learn("one", batch.public)
    assert unproven.value.code == UNPROVEN
    return theirs, bound, clock, signatures, later


def test_a_key_that_was_rotated_before_its_certificate_is_nobodys_fault_and_counts_once_it_comes():
    theirs, bound, _, signatures, later = rotated()
    with pytest.raises(UnreachableError):
        theirs.verify("one", LEAVES[0], signatures, signatures.leaves[0])
    bound["one"] = hashlib.sha384(later.key.public).digest()
    theirs.verify("one", LEAVES[0], signatures, signatures.leaves[0])
    # Announced once more after the next: what it signed while it was bound still counts.
    bound["one"] = hashlib.sha384(b"a third key").digest()
    theirs.learn("one", later.key.public)
    theirs.verify("one", LEAVES[1], signatures, signatures.leaves[1])


def test_a_key_is_false_once_the_next_certificate_binds_another():
    theirs, bound, _, signatures, later = rotated()
    bound["one"] = hashlib.sha384(b"a third key").digest()
    with pytest.raises(DeniedError):
        theirs.learn("one", later.key.public)
    with pytest.raises(UnreachableError):
        theirs.verify("one", LEAVES[0], signatures, signatures.leaves[0])


def test_a_key_is_false_once_no_certificate_that_was_in_force_is():
    theirs, _, clock, _, later = rotated()
    clock.advance(UNPROVEN_NS - 1)
    with pytest.raises(UnreachableError):
        theirs.learn("one", later.key.public)
    clock.advance(1)
    with pytest.raises(DeniedError):
        theirs.learn("one", later.key.public)


def test_whoever_announces_key_after_key_takes_no_more_room_than_a_few():
    theirs, _, _, _, _ = rotated()
    for n in range(3):
        with pytest.raises(UnreachableError):
            theirs.learn("one", OneKey(b"%d" % n).key.public)
    with pytest.raises(DeniedError):
        theirs.learn("one", OneKey(b"one more").key.public)
