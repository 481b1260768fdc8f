"""Sealed files: `cronos seal` and `cronos open`.

A file is a header (`fileheader`), with an epoch packet in it, and chunks (`chunks`) bound to a
digest of the header: 256 KiB each, the 30 bytes of a record included, but for the last; in a
signed file, a record of 4,657 bytes with the signature comes behind it. A signed file carries
two signatures: the packet's, which is checked before a byte leaves, and one over everything, for
whoever can open a file knows its data key and could seal other content under the same packet. It
is over `PieceHash` of header and chunks, and not over their tags: who knows the key of AES-GCM
finds other content with the same tag.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Collection, Generator, Sequence
from typing import Final

import msgspec

from cronos.crypto.chunks import (
    Binding,
    Kind,
    Opened,
    Reads,
    Writes,
    open_chunks,
    seal_chunks,
    write_all,
)
from cronos.crypto.epoch import (
    Epoch,
    EpochTerms,
    Signer,
    begin_epoch,
    open_epoch,
    parse_epoch,
)
from cronos.crypto.fileheader import CHUNK_LOG2, Header, make_header, read_header
from cronos.crypto.filepass import Stretch, checked, new_stretch, passphrase_key
from cronos.crypto.filesign import key_named, signer_named
from cronos.crypto.keytext import encryption_key, verifying_key
from cronos.crypto.records import RECORD_OVERHEAD, RecordReader, RecordWriter, record_seq
from cronos.crypto.refusal import refused
from cronos.crypto.running import PieceHash
from cronos.crypto.signatures import ML_DSA_87, VerifyingKey
from cronos.crypto.suites import SUITES, EncryptionKey, suite_named
from cronos.errors import CronosError, InputError
from cronos.ports import KeyProvider
from cronos.types import KeyInfo, KeyState

TOPIC: Final = "file"
MAX_RECIPIENTS: Final = 64
SIGNATURE_CONTEXT: Final = b"cronos-sealed-v1"
# 4 TiB under one key: an attacker's advantage over AES-256-GCM stays below 2^-52 (2^38 blocks).
MAX_FILE_BYTES: Final = 1 << 42
_PROBE_BYTES: Final = 32
_SIGNATURE_RECORD: Final = ML_DSA_87.signature_bytes + RECORD_OVERHEAD


class Sealing(msgspec.Struct, frozen=True):
    """To whom a file is sealed, and by whom; keys to seal to, or a passphrase, never both.

    Attributes:
        to: public keys as text (`keytext`).
        key: name of a key of ours to seal to.
        passphrase: empty for none.
        sign_by: name of the key of ours that signs; empty for none.
        suite: which suite; empty for that of the keys, with a passphrase for the default.
        stretch: how to stretch a passphrase; None for the default.
        chunk_log2: see `fileheader`.
    """

    to: tuple[bytes, ...] = ()
    key: str = ""
    passphrase: bytes = b""
    sign_by: str = ""
    suite: str = ""
    stretch: Stretch | None = None
    chunk_log2: int = CHUNK_LOG2

    def __repr__(self) -> str:
        """Tell nothing of the passphrase."""
        return f"Sealing(to {len(self.to)} keys, {self.key!r}, signed by {self.sign_by!r})"


class Opening(msgspec.Struct, frozen=True):
    """With what a file is opened, and whose it must be.

    Attributes:
        key: name of the key of ours; empty for whichever fits.
        passphrase: empty for none.
        by: public key, as text, of the one who must have signed it; empty for anyone.
    """

    key: str = ""
    passphrase: bytes = b""
    by: bytes = b""

    def __repr__(self) -> str:
        """Tell nothing of the passphrase."""
        return f"Opening({self.key!r})"


class SealedFile(msgspec.Struct, frozen=True):
    """What sealing or opening did; fingerprints in hex, `signer` empty where nobody signed.

    `verified` says that the signature was checked: without `Opening.by` it is not.
    """

    plain_bytes: int
    suite: str
    recipients: tuple[str, ...]
    signer: str
    verified: bool


def seal_file(
    source: Reads,
    sink: Writes,
    how: Sealing,
    keys: KeyProvider | None,
    progress: Callable[[int], None],
) -> SealedFile:
    """Seal all of `source` into `sink`.

    Args:
        source: raw bytes, read once.
        sink: raw bytes, written once.
        how: to whom, by whom.
        keys: where `how.key` and `how.sign_by` are found; None where neither is given.
        progress: told how many plain bytes are done.

    Raises:
        InputError: keys that do not fit together.
    """
    stretch, recipients = _recipients(how, keys)
    signer = signer_named(how.sign_by, keys) if how.sign_by else None
    terms = EpochTerms(
        producer=secrets.token_bytes(16),
        topic=TOPIC,
        not_before_ns=0,
        not_after_ns=0,
        max_bytes=MAX_FILE_BYTES,
    )
    packet, writer = begin_epoch(terms, recipients, signer)
    header = make_header(stretch, packet, how.chunk_log2)
    write_all(sink, header.raw)
    with _told_if_too_long():
        if signer is None:
            length = seal_chunks(source, sink, writer, _binding(header, None, progress))
        else:
            length = _seal_signed(source, sink, writer, (header, signer), progress)
    return SealedFile(
        length,
        recipients[0].suite.name,
        tuple(one.kid.hex() for one in recipients),
        signer.kid.hex() if signer else "",
        verified=False,
    )


def open_file(
    source: Reads,
    sink: Writes,
    how: Opening,
    keys: KeyProvider | None,
    progress: Callable[[int], None],
) -> SealedFile:
    """Open what `seal_file` wrote; each chunk leaves as soon as it is authentic.

    Args:
        source: raw bytes, read once.
        sink: raw bytes, written once.
        how: with what; whose it must be.
        keys: our keys; None with a passphrase.
        progress: told how many plain bytes are done.

    Raises:
        InputError: it is no sealed file, or one of a later version.
        DeniedError: it does not open; what was written must not be used.
    """
    by = verifying_key(how.by) if how.by else None
    header = read_header(source)
    epoch = parse_epoch(header.packet)
    reader = _reader(header, epoch, how, keys, by)
    if by is None:
        opened = _open_chunks(source, sink, reader, epoch, _binding(header, None, progress))
    else:
        with PieceHash(header.raw) as digest:
            binding = _binding(header, digest.update, progress)
            opened = _open_chunks(source, sink, reader, epoch, binding)
            by.verify(_signed(digest.digest()), SIGNATURE_CONTEXT, opened.trailer)
    return SealedFile(
        opened.length,
        epoch.suite.name,
        tuple(kid.hex() for kid, _ in epoch.recipients),
        epoch.signer.hex() if epoch.signed else "",
        verified=by is not None,
    )


def _seal_signed(
    source: Reads,
    sink: Writes,
    writer: RecordWriter,
    under: tuple[Header, Signer],
    progress: Callable[[int], None],
) -> int:
    """Seal the chunks, and behind them the record of the signature over all before it."""
    header, signer = under
    with PieceHash(header.raw) as digest:
        binding = _binding(header, digest.update, progress)
        length = seal_chunks(source, sink, writer, binding)
        signature = signer.sign(_signed(digest.digest()), SIGNATURE_CONTEXT)
    write_all(sink, writer.seal(signature, binding.context(Kind.SIGNATURE)))
    return length


@contextlib.contextmanager
def _told_if_too_long() -> Generator[None]:
    try:
        yield
    except CronosError as error:
        if error.code != "crypto.epoch_spent":
            raise
        raise InputError(
            "crypto.file_too_long",
            f"A sealed file holds at most {MAX_FILE_BYTES >> 40} TiB.",
            "Split it.",
        ) from None


def _open_chunks(
    source: Reads, sink: Writes, reader: RecordReader, epoch: Epoch, binding: Binding
) -> Opened:
    """Open the chunks, and in a signed file the record behind them: the trailer is its content."""
    opened = open_chunks(source, sink, reader, binding, _SIGNATURE_RECORD if epoch.signed else 0)
    if not epoch.signed:
        return opened
    if record_seq(opened.trailer) != opened.chunks:
        raise refused()
    signature = reader.open(opened.trailer, binding.context(Kind.SIGNATURE))
    return Opened(opened.length, opened.chunks, signature)


def _binding(
    header: Header,
    observe: Callable[[memoryview], None] | None,
    progress: Callable[[int], None],
) -> Binding:
    bound = hashlib.sha384(b"cronos sealed file v1\0" + header.raw).digest()
    return Binding(bound, (1 << header.chunk_log2) - RECORD_OVERHEAD, observe, progress)


# --- who -----------------------------------------------------------------------------------------


def _recipients(
    how: Sealing, keys: KeyProvider | None
) -> tuple[Stretch | None, Sequence[EncryptionKey]]:
    if how.passphrase:
        if how.to or how.key:
            raise InputError(
                "crypto.key_and_passphrase",
                "A file is sealed to keys or to a passphrase, not to both.",
                "A passphrase beside a key would be the weaker way in: seal it twice.",
            )
        stretch = how.stretch or new_stretch()
        suite = suite_named(how.suite or "hybrid")
        key = passphrase_key(checked(how.passphrase), stretch, suite)
        return stretch, (key.encryption_key(),)
    found = {key.kid: key for key in map(encryption_key, how.to)}
    if how.key:
        own = _own_key(how.key, keys)
        found[own.kid] = own
    _fit(tuple(found.values()), how.suite)
    return None, tuple(found.values())


def _fit(recipients: Sequence[EncryptionKey], suite: str) -> None:
    """Refuse what one epoch cannot serve."""
    if not 0 < len(recipients) <= MAX_RECIPIENTS:
        raise InputError(
            "crypto.recipients",
            f"A file is sealed to 1 to {MAX_RECIPIENTS} keys, not to {len(recipients)}.",
            "Name whom it is for, with --to, --key or --passphrase-file.",
        )
    kinds = {one.suite.name for one in recipients}
    wanted = suite_named(suite).name if suite else recipients[0].suite.name
    if kinds != {wanted}:
        raise InputError(
            "crypto.mixed_suites",
            f"These keys are of {', '.join(sorted(kinds))}; a file is of one suite, {wanted}.",
            "Give keys of one suite, or seal the file once for each.",
        )


def _own_key(name: str, keys: KeyProvider | None) -> EncryptionKey:
    """Find the key that is sealed to under `name` now.

    Raises:
        InputError: there is none, or it does not encrypt.
        DeniedError: it is not active: what is sealed to it might never open.
    """
    if keys is not None:
        own = key_named(name, keys)
        for suite in SUITES.values():
            if suite.name == own.algorithm:
                # Wrapping nothing: the provider alone has the rules and the clock to allow it.
                keys.wrap(own.kid.hex(), bytes(_PROBE_BYTES), SIGNATURE_CONTEXT)
                return EncryptionKey(suite, own.public)
    raise InputError(
        "crypto.wrong_kind_of_key",
        f"The key `{name}` does not encrypt.",
        "Name a key of a suite: hybrid, cnsa or rate.",
    )


def _reader(
    header: Header, epoch: Epoch, how: Opening, keys: KeyProvider | None, by: VerifyingKey | None
) -> RecordReader:
    """Open the epoch with what we have, and check who signed it.

    Raises:
        DeniedError: it does not open, or `by` did not sign it.
    """
    unwrap, kids = _unwrapping(header, epoch, how, keys)

    def verify(kid: bytes, message: bytes, context: bytes, signature: bytes) -> None:
        if by is None:
            return
        if kid != by.kid:
            raise refused()
        by.verify(message, context, signature)

    return open_epoch(
        header.packet,
        topic=TOPIC,
        unwrap=unwrap,
        verify=verify,
        kids=kids,
        unsigned_ok=by is None,
    )


def _unwrapping(
    header: Header, epoch: Epoch, how: Opening, keys: KeyProvider | None
) -> tuple[Callable[[bytes, bytes, bytes], bytes], Collection[bytes]]:
    if header.stretch is not None:
        if not how.passphrase:
            raise InputError(
                "crypto.needs_passphrase",
                "The file is sealed to a passphrase.",
                "Give it with --passphrase-file.",
            )
        own = passphrase_key(how.passphrase, header.stretch, epoch.suite)
        return lambda _, wrapped, info: own.open(wrapped, info), (own.kid,)
    if keys is None:
        raise InputError(
            "crypto.needs_key",
            "The file is sealed to keys, not to a passphrase.",
            "Open it without --passphrase-file, where one of these keys is.",
        )
    ours = tuple(
        one.kid
        for one in keys.listed()
        if one.state != KeyState.DESTROYED
        and how.key in ("", one.key_id, _name_of(one), one.kid.hex())
    )
    return lambda kid, wrapped, info: keys.unwrap(kid.hex(), wrapped, info), ours


def _name_of(key: KeyInfo) -> str:
    return key.key_id.rpartition(".")[0]


def _signed(digest: bytes) -> bytes:
    return b"cronos sealed file v1\0" + digest
