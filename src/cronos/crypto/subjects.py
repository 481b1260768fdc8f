"""The keys of subjects: one for each person or address, any of which can be destroyed for good.

No key is stored for a subject. All of them grow from one secret along a tree (`KeyTree`), in which
the subject's keyed tag is the path; to shred a subject is to cut its path out. A new subject
therefore costs no write.

The file ``subjects`` (and its mirror ``subjects.bak``) holds the tree, sealed under an epoch of
its own: ``"CRSJ" | version u8 | generation u64 | packet length u32 | packet | record``. It is
rewritten whole, and what it held before is overwritten. ``subjects.seen`` lists the tags that
something was sealed for; it only answers whether there was anything to shred.

Trees were binary once, and what was sealed under one opens under it. The first seal begins a wide
tree beside it; from then on a subject is cut out of both. Who knows the binary one alone cannot
read the file any more, rather than write it back without the other.

A subject's name is never stored: its tag is HMAC-SHA256 under a key that lies in the sealed file.
After shredding, the subject's generation counts up, so that it gets another key from then on.
"""

import hmac
import os
import secrets
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cronos.crypto.durable import read_bounded
from cronos.crypto.epochfile import MAX_PACKET_BYTES, explained, replace_file
from cronos.crypto.keytree import NARROW, PATH_BYTES, WIDE, KeyTree, Place
from cronos.crypto.refusal import REFUSED, refused
from cronos.errors import DeniedError

TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_SEAL_BYTES: Final = TAG_BYTES + _NONCE_BYTES + 16
_MAGIC: Final = b"CRSJ\x01"
_HEAD_BYTES: Final = len(_MAGIC) + 8 + 4
_MAX_FILE_BYTES: Final = 1 << 30
_COPIES: Final = 2
_CACHED: Final = 16_384
SHREDDED: Final = "crypto.shredded"

SealWhole: TypeAlias = Callable[[bytes], tuple[bytes, bytes]]
OpenWhole: TypeAlias = Callable[[bytes, bytes], bytes]
Writing: TypeAlias = Callable[[], AbstractContextManager[None]]


class Node(msgspec.Struct, frozen=True, array_like=True):
    """A node that leaves still grow from: where it is, its secret, and of which tree."""

    depth: int
    path: bytes
    secret: bytes
    bits: int = NARROW


class Tree(msgspec.Struct, array_like=True):
    """What lies in the sealed file.

    Attributes:
        generation: counts the rewrites; the file's head says the same.
        tag_key: what names are hashed with.
        nodes: of both trees.
        shredded: how often a subject was shredded, by its first tag.
    """

    generation: int
    tag_key: bytes
    nodes: list[Node]
    shredded: dict[bytes, int]


class SubjectKeys:
    """Gives each subject its key until it is shredded.

    Args:
        folder: where the files lie.
        seal_whole: gives an epoch's packet and one record that holds the bytes.
        open_whole: opens what `seal_whole` gave.
        writing: keeps every other writer of the folder out.
    """

    def __init__(
        self, folder: Path, seal_whole: SealWhole, open_whole: OpenWhole, writing: Writing
    ) -> None:
        self.path: Final = folder / "subjects"
        self._mirror: Final = folder / "subjects.bak"
        self._name: Final = os.fspath(self.path)
        self._folder: Final = folder
        self._seal_whole = seal_whole
        self._open_whole = open_whole
        self._writing = writing
        self._tree: Tree | None = None
        self._trees: dict[int, KeyTree] = {}
        self._generation = 0
        self._seen: tuple[int, int] | None = None
        self._ciphers: dict[int, OrderedDict[bytes, AESGCM]] = {}
        self._tags: OrderedDict[str, bytes] = OrderedDict()
        self._listed: set[bytes] = set()
        self._unlisted: list[bytes] = []
        self._list = -1

    def seal(self, plain: bytes, context: bytes, subject: str) -> bytes:
        """Encrypt under the subject's key: ``tag 16 | nonce 12 | ciphertext | GCM tag 16``.

        The nonce is drawn: keys outlive a process, and no counter of theirs is ever restored.
        """
        return self._sealed([(plain, context, subject)])[0]

    def seal_all(self, items: Sequence[tuple[bytes, bytes, str]]) -> list[bytes]:
        """Encrypt many, each as `seal` would: plain bytes, context and subject of each.

        Which keys there are is looked up once, and once more behind the last.
        """
        sealed = self._sealed(items) if items else []
        if items and _identity(self._name) != self._seen:
            # Another process has shredded: what was sealed for that subject would not open.
            return [self.seal(*one) for one in items]
        return sealed

    def _sealed(self, items: Sequence[tuple[bytes, bytes, str]]) -> list[bytes]:
        self._refresh()
        tags, drawn = self._tags, secrets.token_bytes(_NONCE_BYTES * len(items))
        sealed: list[bytes] = []
        try:
            for at, (plain, context, subject) in enumerate(items):
                tag = tags.get(subject) or self._tag_of(subject)
                cipher = self._ciphers[WIDE].get(tag) or self._cipher(tag, WIDE)
                nonce = drawn[at * _NONCE_BYTES : (at + 1) * _NONCE_BYTES]
                sealed.append(tag + nonce + cipher.encrypt(nonce, plain, tag + context))
        finally:
            self._list_seen()
        return sealed

    def open(self, sealed: bytes, context: bytes, bits: int = WIDE) -> bytes:
        """Decrypt what was sealed under the tree whose steps have so many bits.

        Raises:
            DeniedError: ``crypto.shredded`` where the subject was shredded; else refused.
        """
        if len(sealed) < _SEAL_BYTES:
            raise refused()
        self._refresh()
        if self._tree is None:
            raise self._lost()
        tag = sealed[:TAG_BYTES]
        cipher = self._ciphers[bits].get(tag) or self._cipher(tag, bits)
        nonce = sealed[TAG_BYTES : TAG_BYTES + _NONCE_BYTES]
        try:
            return cipher.decrypt(nonce, sealed[TAG_BYTES + _NONCE_BYTES :], tag + context)
        except InvalidTag:
            raise refused() from None

    def shred(self, subject: str) -> bool:
        """Cut the subject's path out of the tree, durably; False when nothing was sealed for it.

        Raises:
            DeniedError: the subject's key stands (a full disk).
        """
        with self._writing():
            self._refresh()
            tree = self._tree or self._begin()
            first = _tag(tree.tag_key, subject, 0)
            times = tree.shredded.get(first, 0)
            tag = _tag(tree.tag_key, subject, times)
            known = self._was_seen(tag)
            trees = [one.cut(_path(tag)) for one in self._trees.values()]
            self._write(tree.tag_key, _nodes(trees), {**tree.shredded, first: times + 1})
        return known

    def reseal(self, fresh: Callable[[bytes], bool]) -> None:
        """Seal the file anew, under the key that is active now, unless its packet is `fresh`.

        Also where its mirror lags or is lost: after a kill in the middle of shredding it still
        holds what was to be destroyed.
        """
        found = self._files()
        alike = len(found) == _COPIES and found[0][0] == found[1][0]
        if not found or (alike and all(fresh(parts[1]) for parts in found)):
            return
        with self._writing():
            self._refresh()
            if self._tree is not None:
                self._write(self._tree.tag_key, self._tree.nodes, self._tree.shredded)

    # --- the file ------------------------------------------------------------------------------

    def _begin(self) -> Tree:
        """Draw the secret that all keys grow from; durable before anything is sealed under it."""
        return self._write(secrets.token_bytes(32), [_root()], {})

    def _write(self, tag_key: bytes, nodes: list[Node], shredded: dict[bytes, int]) -> Tree:
        tree = Tree(self._generation + 1, tag_key, nodes, shredded)
        packet, record = self._seal_whole(msgspec.msgpack.encode(tree))
        head = _MAGIC + tree.generation.to_bytes(8, "big") + len(packet).to_bytes(4, "big")
        with explained(self._folder):
            for path in (self.path, self._mirror):
                replace_file(path, head + packet + record)
        self._take(tree)
        return tree

    def _take(self, tree: Tree) -> None:
        self._tree = tree
        self._generation = tree.generation
        self._trees = {bits: _grown(tree.nodes, bits) for bits in (NARROW, WIDE)}
        self._seen = _identity(self._name)
        self._ciphers = {bits: OrderedDict() for bits in self._trees}
        self._tags.clear()

    def _refresh(self) -> None:
        """Read the file unless it is the one that was read: another process may have shredded."""
        seen = _identity(self._name)
        if self._tree is not None and seen == self._seen:
            return
        found = self._files()
        # The newer of the two: a kill between them leaves one behind.
        why: DeniedError | None = None
        for parts in sorted(found, reverse=True):
            try:
                self._take(self._opened(*parts))
            except DeniedError as error:
                why = error if error.code != REFUSED else why
            else:
                return
        if found or self._tree is not None or self.path.exists() or self._mirror.exists():
            raise why or self._lost()

    def _files(self) -> list[tuple[int, bytes, bytes]]:
        return [one for one in map(_parts, (self.path, self._mirror)) if one is not None]

    def _opened(self, generation: int, packet: bytes, record: bytes) -> Tree:
        try:
            tree = msgspec.msgpack.decode(self._open_whole(packet, record), type=Tree)
        except msgspec.DecodeError:
            raise refused() from None
        if tree.generation != generation:
            raise refused()
        return tree

    def _lost(self) -> DeniedError:
        return DeniedError(
            "crypto.subjects_lost",
            f"The keys of subjects in {self.path} are missing or damaged.",
            "Restore `subjects` from a copy of the same folder; what is sealed for no subject opens"
            " without it.",
        )

    # --- keys ----------------------------------------------------------------------------------

    def _tag_of(self, subject: str) -> bytes:
        tree = self._tree
        if tree is None or not self._trees[WIDE]:
            with self._writing():
                self._refresh()
                tree = self._tree or self._begin()
                if not self._trees[WIDE]:
                    tree = self._write(tree.tag_key, [*tree.nodes, _root()], tree.shredded)
        tag = _tag(tree.tag_key, subject, 0)
        if generation := tree.shredded.get(tag, 0):
            tag = _tag(tree.tag_key, subject, generation)
        _keep(self._tags, subject, tag)
        self._note_seen(tag)
        return tag

    def _cipher(self, tag: bytes, bits: int) -> AESGCM:
        """Walk down to the subject's leaf.

        Raises:
            DeniedError: the path was cut out of the tree.
        """
        tree = self._trees[bits]
        if not tree:
            # Nobody was cut out of it: the file is a copy from before it was begun.
            raise self._lost()
        key = tree.leaf(_path(tag))
        if key is None:
            raise DeniedError(
                SHREDDED,
                "It was sealed for a subject whose key has been destroyed.",
                "Nothing brings it back; the chain that holds it still verifies.",
            )
        cipher = AESGCM(key)
        _keep(self._ciphers[bits], tag, cipher)
        return cipher

    # --- what was sealed for -------------------------------------------------------------------

    def _note_seen(self, tag: bytes) -> None:
        if tag in self._listed:
            return
        if len(self._listed) >= _CACHED:
            self._listed.clear()
        self._listed.add(tag)
        self._unlisted.append(tag)

    def _list_seen(self) -> None:
        """List new tags; not synced, for after a power cut it can only make `shred` say False."""
        if not self._unlisted:
            return
        tags, self._unlisted = b"".join(self._unlisted), []
        with suppress(OSError):
            if self._list < 0:
                # Kept open: new subjects come by the thousand, and opening costs five writes.
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._list = os.open(self._folder / "subjects.seen", flags, 0o600)
                weakref.finalize(self, os.close, self._list)
            os.write(self._list, tags)

    def _was_seen(self, tag: bytes) -> bool:
        # At any place: a write that was cut short (a full disk) shifts all that come after it.
        with suppress(OSError), (self._folder / "subjects.seen").open("rb") as file:
            left = b""
            while chunk := file.read(TAG_BYTES * 4096):
                if tag in left + chunk:
                    return True
                left = chunk[1 - TAG_BYTES :]
        return False


def _keep(cache: "OrderedDict[Any, Any]", key: object, value: object) -> None:
    cache[key] = value
    if len(cache) > _CACHED:
        cache.popitem(last=False)


def _tag(tag_key: bytes, subject: str, generation: int) -> bytes:
    named = generation.to_bytes(4, "big") + subject.encode("utf-8", "surrogatepass")
    return hmac.digest(tag_key, named, "sha256")[:TAG_BYTES]


def _path(tag: bytes) -> int:
    return int.from_bytes(tag[:PATH_BYTES], "big")


def _root() -> Node:
    return Node(0, bytes(PATH_BYTES), secrets.token_bytes(32), WIDE)


def _grown(nodes: Iterable[Node], bits: int) -> KeyTree:
    def placed(node: Node) -> tuple[Place, bytes]:
        return (node.depth, int.from_bytes(node.path, "big")), node.secret

    return KeyTree(bits, [placed(one) for one in nodes if one.bits == bits])


def _nodes(trees: Iterable[KeyTree]) -> list[Node]:
    return [
        Node(depth, path.to_bytes(PATH_BYTES, "big"), secret, tree.bits)
        for tree in trees
        for (depth, path), secret in tree
    ]


def _parts(path: Path) -> tuple[int, bytes, bytes] | None:
    """Give generation, packet and record of a file; None where it is none."""
    data = read_bounded(path, _MAX_FILE_BYTES) or b""
    if len(data) < _HEAD_BYTES or not data.startswith(_MAGIC):
        return None
    length = int.from_bytes(data[_HEAD_BYTES - 4 : _HEAD_BYTES], "big")
    if not 0 < length <= MAX_PACKET_BYTES or len(data) < _HEAD_BYTES + length:
        return None
    generation = int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + 8], "big")
    end = _HEAD_BYTES + length
    return generation, data[_HEAD_BYTES:end], data[end:]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - at every record, and pathlib costs more than it
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns)
