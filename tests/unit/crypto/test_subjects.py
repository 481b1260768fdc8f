"""The tree that subjects' keys grow from: cut out for good, mirrored, never half written."""

import contextlib
import hashlib
import hmac
import resource

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cronos.crypto.keytree import NARROW, WIDE
from cronos.crypto.refusal import REFUSED
from cronos.crypto.subjects import SubjectKeys
from cronos.errors import DeniedError
from cronos.testing.memory_govern import MemorySealer


def _keys(folder):
    """Give the keys of a folder; a double stands for the epoch that seals their file."""
    double = MemorySealer()
    folder.mkdir(exist_ok=True)

    def open_whole(packet, record):
        assert packet == b"packet"
        try:
            return double.open(record, b"whole")
        except DeniedError:
            raise DeniedError(REFUSED, "It does not open.", "Try another.") from None

    return SubjectKeys(
        folder,
        lambda plain: (b"packet", double.seal(plain, b"whole")),
        open_whole,
        contextlib.nullcontext,
    )


def test_each_subject_has_a_key_and_the_same_one_tomorrow(tmp_path):
    sealed = {name: _keys(tmp_path).seal(b"x", b"c", name) for name in ("a", "b", "ä", "")}
    again = _keys(tmp_path)
    assert all(again.open(data, b"c") == b"x" for data in sealed.values())
    assert len({data[:16] for data in sealed.values()}) == 4


def test_many_are_shredded_and_exactly_those_are_gone(tmp_path):
    keys = _keys(tmp_path)
    names = [f"address 198.51.100.{n}" for n in range(60)]
    sealed = {name: keys.seal(name.encode(), b"c", name) for name in names}
    for name in names[::3]:
        assert keys.shred(name)
    for each in (keys, _keys(tmp_path)):
        for number, name in enumerate(names):
            if number % 3:
                assert each.open(sealed[name], b"c") == name.encode()
                continue
            with pytest.raises(DeniedError) as refused:
                each.open(sealed[name], b"c")
            assert refused.value.code == "crypto.shredded"


def test_what_the_file_holds_after_shredding_cannot_make_the_key_again(tmp_path):
    keys = _keys(tmp_path)
    keys.seal(b"x", b"c", "a")
    before = (tmp_path / "subjects").read_bytes()
    ((_, root),) = keys._trees[WIDE]
    keys.shred("a")
    after = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert root in before
    assert root not in after
    assert len(keys._trees[WIDE]) == 300


def test_a_stranger_was_not_there_but_gets_a_new_key_all_the_same(tmp_path):
    keys = _keys(tmp_path)
    assert not keys.shred("nobody")
    assert keys.open(keys.seal(b"x", b"c", "nobody"), b"c") == b"x"


def test_changed_cut_and_foreign_bytes_are_refused_with_one_text(tmp_path):
    keys = _keys(tmp_path)
    sealed = keys.seal(b"text", b"c", "a")
    forged = [
        sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :] for at in range(len(sealed))
    ]
    texts = set()
    for data, context in [(one, b"c") for one in (*forged, sealed[:-1], b"")] + [(sealed, b"d")]:
        with pytest.raises(DeniedError) as refused:
            keys.open(data, context)
        texts.add(str(refused.value))
    assert len(texts) == 1


@pytest.mark.parametrize("name", ["subjects", "subjects.bak"])
@pytest.mark.parametrize("damage", [b"", b"CRSJ\x01" + b"\xff" * 40, None])
def test_one_damaged_file_is_made_good_by_its_mirror(tmp_path, name, damage):
    keys = _keys(tmp_path)
    sealed = keys.seal(b"x", b"c", "a")
    if damage is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(damage)
    again = _keys(tmp_path)
    assert again.open(sealed, b"c") == b"x"
    again.shred("b")
    assert (tmp_path / "subjects").read_bytes() == (tmp_path / "subjects.bak").read_bytes()


def test_both_gone_is_said_and_no_new_tree_takes_their_place(tmp_path):
    keys = _keys(tmp_path)
    sealed = keys.seal(b"x", b"c", "a")
    for name in ("subjects", "subjects.bak"):
        (tmp_path / name).write_bytes(b"noise")
    for do in (lambda one: one.open(sealed, b"c"), lambda one: one.seal(b"x", b"c", "a")):
        with pytest.raises(DeniedError) as refused:
            do(_keys(tmp_path))
        assert refused.value.code == "crypto.subjects_lost"


def test_after_a_kill_between_the_two_files_the_newer_counts(tmp_path):
    keys = _keys(tmp_path)
    gone = keys.seal(b"x", b"c", "a")
    old = (tmp_path / "subjects.bak").read_bytes()
    keys.shred("a")
    for behind in ("subjects.bak", "subjects"):
        newer = (tmp_path / "subjects").read_bytes()
        (tmp_path / behind).write_bytes(old)
        with pytest.raises(DeniedError, match="destroyed"):
            _keys(tmp_path).open(gone, b"c")
        (tmp_path / behind).write_bytes(newer)


def test_on_a_full_disk_the_key_stands_and_the_sentence_says_so(tmp_path):
    keys = _keys(tmp_path)
    sealed = keys.seal(b"x", b"c", "a")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(DeniedError, match="cannot be written"):
            keys.shred("a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _keys(tmp_path).open(sealed, b"c") == b"x"
    assert keys.shred("a")


def test_a_generation_that_was_raised_by_hand_is_refused(tmp_path):
    """The number in the head is bound to the sealed tree, so an old tree cannot pose as newer."""
    keys = _keys(tmp_path)
    gone = keys.seal(b"x", b"c", "a")
    old = (tmp_path / "subjects").read_bytes()
    keys.shred("a")
    forged = old[:5] + (99).to_bytes(8, "big") + old[13:]
    (tmp_path / "subjects.bak").write_bytes(forged)
    with pytest.raises(DeniedError, match="destroyed"):
        _keys(tmp_path).open(gone, b"c")


def test_who_was_sealed_for_is_known_after_a_write_that_was_cut_short(tmp_path):
    (tmp_path / "subjects.seen").write_bytes(b"torn")
    keys = _keys(tmp_path)
    for number in range(5_000):
        keys.seal(b"x", b"c", f"user {number}")
    assert all(_keys(tmp_path).shred(f"user {number}") for number in (0, 4_095, 4_999))


def test_what_a_kill_left_under_the_first_name_is_overwritten(tmp_path):
    keys = _keys(tmp_path)
    keys.seal(b"x", b"c", "a")
    (tmp_path / "subjects.new").write_bytes(b"the tree of before")
    with (tmp_path / "subjects.new").open("rb") as left:
        keys.shred("a")
        assert left.read() == bytes(len("the tree of before"))


# --- trees of before ------------------------------------------------------------------------------


def _old_tag(name, times=0):
    return hmac.digest(b"t" * 32, times.to_bytes(4, "big") + name.encode(), "sha256")[:16]


def _old(folder, name):
    """Make the file that was written while trees were binary, and what was sealed for a subject."""
    folder.mkdir(exist_ok=True)
    body = msgspec.msgpack.encode([3, b"t" * 32, [(0, bytes(10), b"r" * 32)], {}])
    record = MemorySealer().seal(body, b"whole")
    for one in ("subjects", "subjects.bak"):
        (folder / one).write_bytes(
            b"CRSJ\x01" + (3).to_bytes(8, "big") + (6).to_bytes(4, "big") + b"packet" + record
        )
    tag, key = _old_tag(name), b"r" * 32
    for bit in f"{int.from_bytes(tag[:10], 'big'):080b}":
        key = hashlib.sha256(b"cronos subject " + bit.encode() + key).digest()
    cipher = AESGCM(hashlib.sha256(b"cronos subject k" + key).digest())
    return tag + bytes(12) + cipher.encrypt(bytes(12), b"old", tag + b"c")


def test_what_was_sealed_under_a_binary_tree_opens_and_what_comes_grows_from_a_wide_one(tmp_path):
    old = _old(tmp_path, "a")
    keys = _keys(tmp_path)
    assert keys.open(old, b"c", NARROW) == b"old"
    new = keys.seal(b"new", b"c", "a")
    assert new[:16] == old[:16] == _old_tag("a")
    for each in (keys, _keys(tmp_path)):
        assert each.open(old, b"c", NARROW) == b"old"
        assert each.open(new, b"c") == b"new"
        for data, bits in ((old, WIDE), (new, NARROW)):
            with pytest.raises(DeniedError, match="not its key"):
                each.open(data, b"c", bits)
    assert (tmp_path / "subjects").read_bytes()[5:13] == (4).to_bytes(8, "big")


@pytest.mark.parametrize("sealed_since", [False, True])
def test_who_is_shredded_is_cut_out_of_both_trees(tmp_path, sealed_since):
    old = _old(tmp_path, "a")
    keys = _keys(tmp_path)
    new = keys.seal(b"new", b"c", "a") if sealed_since else b""
    keys.shred("a")
    for each in (keys, _keys(tmp_path)):
        for data, bits in ((old, NARROW), (new, WIDE))[: 1 + sealed_since]:
            with pytest.raises(DeniedError) as refused:
                each.open(data, b"c", bits)
            assert refused.value.code == "crypto.shredded"
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"r" * 32 not in held
    after = keys.seal(b"after", b"c", "a")
    assert after[:16] == _old_tag("a", 1)
    assert _keys(tmp_path).open(after, b"c") == b"after"


def test_who_knows_binary_trees_alone_does_not_take_the_file_for_one(tmp_path):
    """It would write the file back without the wide tree, and all would be lost."""
    _old(tmp_path, "a")
    _keys(tmp_path).seal(b"x", b"c", "a")
    stored = (tmp_path / "subjects").read_bytes()[5 + 8 + 4 + 6 :]
    then = tuple[int, bytes, list[tuple[int, bytes, bytes]], dict[bytes, int]]
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(MemorySealer().open(stored, b"whole"), type=then)


def test_a_copy_from_before_the_wide_tree_is_said_to_be_one_and_nobody_to_be_shredded(tmp_path):
    _old(tmp_path, "a")
    before = (tmp_path / "subjects").read_bytes()
    new = _keys(tmp_path).seal(b"new", b"c", "a")
    for name in ("subjects", "subjects.bak"):
        (tmp_path / name).write_bytes(before)
    with pytest.raises(DeniedError) as refused:
        _keys(tmp_path).open(new, b"c")
    assert refused.value.code == "crypto.subjects_lost"


class _Meanwhile(list):
    """What is sealed at once; before its last is looked at for the first time, `then` is called."""

    def __init__(self, items, then):
        super().__init__(items)
        self.then = then

    def __iter__(self):
        for n in range(len(self)):
            if n == len(self) - 1 and self.then:
                self.then, then = None, self.then
                then()
            yield self[n]


def test_what_is_sealed_while_another_process_shreds_is_sealed_anew(tmp_path):
    keys, other = _keys(tmp_path), _keys(tmp_path)
    keys.seal(b"before", b"0", "a")
    items = [(b"one", b"1", "a"), (b"two", b"2", "b"), (b"three", b"3", "a")]
    sealed = keys.seal_all(_Meanwhile(items, lambda: other.shred("a")))
    assert [keys.open(one, b"%d" % n) for n, one in enumerate(sealed, 1)] == [
        b"one",
        b"two",
        b"three",
    ]


def test_all_who_were_sealed_for_at_once_are_known_to_have_been(tmp_path):
    keys = _keys(tmp_path)
    keys.seal_all([(b"x", b"c", f"subject {n}") for n in range(50)])
    assert all(_keys(tmp_path).shred(f"subject {n}") for n in (0, 31, 49))
    assert not keys.shred("subject 50")


def test_no_two_that_are_sealed_at_once_share_a_nonce(tmp_path):
    sealed = _keys(tmp_path).seal_all([(b"x", b"c", "a")] * 1_000)
    assert len({one[16:28] for one in sealed}) == 1_000
