"""Records of 256 bytes sealed and opened a second; beside them the bare cipher and `openssl speed`.

All on one core and in CPU time, as `openssl speed` counts it. Its figure is for the cipher alone,
with one key and no associated data, in C; "bare" is `AESGCM.encrypt` of the `cryptography`
package in a loop, with a 14-byte header as associated data and always the same nonce: what Python
can reach at most. Rounds are interleaved, and the ratios are of the same round.

Then batches of messages under one ML-DSA-87 signature, and epochs begun and opened, both with
what they consist of beside them.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from report import Report

from cronos.crypto.epoch import EpochTerms, Signer, begin_epoch, open_epoch
from cronos.crypto.merkle import BatchVerifier, sign_batch
from cronos.crypto.records import RecordReader, RecordWriter
from cronos.crypto.signatures import ML_DSA_87, SigningKey, generate_seed
from cronos.crypto.suites import CNSA, HYBRID, RATE, DecryptionKey, Suite, generate_secret

ROUNDS = 15
RECORDS = 102_400
SIZE = 256
BATCHES = (1, 64, 256, 1024)
EPOCHS = 50


def openssl() -> float:
    command = ["openssl", "speed", "-evp", "aes-256-gcm", "-bytes", str(SIZE), "-seconds", "2"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(told.split()[-1].removesuffix("k")) * 1000 / SIZE


def rate(count: int, work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return count / (time.process_time() - began)


class Node:
    """A recipient's key of a suite and a signer's."""

    def __init__(self, suite: Suite) -> None:
        self.key = DecryptionKey(suite, generate_secret(suite))
        self.public = [self.key.encryption_key()]
        self.secret = SigningKey(ML_DSA_87, generate_seed())
        self.signer = Signer(self.secret.kid, self.secret.sign)
        self.verifying = self.secret.verifying_key()
        self.terms = EpochTerms(b"producer-of-this", "bench/0", 1, 2)

    def begin(self) -> tuple[bytes, RecordWriter]:
        """Begin an epoch."""
        return begin_epoch(self.terms, self.public, self.signer)

    def open(self, packet: bytes) -> RecordReader:
        """Open one."""
        return open_epoch(
            packet,
            topic="bench/0",
            unwrap=lambda _, wrapped, info: self.key.open(wrapped, info),
            verify=lambda _, message, context, signature: self.verifying.verify(
                message, context, signature
            ),
        )


def record_round(plain: bytes) -> dict[str, float]:
    node = Node(HYBRID)
    packet, writer = node.begin()
    reader = node.open(packet)
    bare = AESGCM(os.urandom(32)).encrypt
    nonce, header = os.urandom(12), os.urandom(14)
    plains = [plain] * RECORDS
    in_1024s = [[plain] * 1024] * (RECORDS // 1024)
    return {
        "openssl": openssl() if shutil.which("openssl") else float("nan"),
        "bare": rate(RECORDS, lambda: bare_each(bare, nonce, header, plains)),
        "seal": rate(RECORDS, lambda: each(writer.seal, plains)),
        "context": rate(RECORDS, lambda: each_in(writer.seal, b"topic/0", plains)),
        "many": rate(RECORDS, lambda: each(writer.seal_many, in_1024s)),
        "open": each_rate(reader.open, writer.seal_many(plains)),
    }


def each(call: Callable[[Any], object], values: list[Any]) -> None:
    for value in values:
        call(value)


def each_in(call: Callable[[bytes, bytes], object], context: bytes, values: list[bytes]) -> None:
    for value in values:
        call(value, context)


def each_rate(call: Callable[[Any], object], values: list[Any]) -> float:
    return rate(len(values), lambda: each(call, values))


def bare_each(encrypt: Any, nonce: bytes, header: bytes, plains: list[bytes]) -> None:
    for plain in plains:
        encrypt(nonce, plain, header)


def bench_records(report: Report) -> None:
    rounds = [record_round(os.urandom(SIZE)) for _ in range(ROUNDS)]

    def add(what: str, name: str, must: str = "") -> None:
        report.add(what, [one[name] for one in rounds], "records/s", RECORDS, must)

    def ratio(what: str, name: str, peer: str, must: str = "") -> None:
        report.add(what, [one[name] / one[peer] for one in rounds], "", RECORDS, must)

    def best(name: str, peer: str) -> float:
        """Compare the least disturbed round of each: CPU time, too, suffers from neighbours."""
        return max(one[name] for one in rounds) / max(one[peer] for one in rounds)

    add("openssl speed, AES-256-GCM, 256 B", "openssl")
    add("bare AESGCM.encrypt", "bare")
    add("seal, one by one", "seal")
    add("  with a context", "context")
    add("seal_many, 1024 at once", "many", ">= 1,000,000")
    add("open", "open")
    ratio("seal / openssl speed", "seal", "openssl", ">= 0.45")
    ratio("seal_many / openssl speed", "many", "openssl", ">= 0.45, aim 0.65")
    ratio("open / openssl speed", "open", "openssl")
    ratio("bare / openssl speed", "bare", "openssl")
    for name in ("seal", "many", "open", "bare"):
        what = f"best {name} / best openssl speed"
        report.add(what, [best(name, "openssl")], "", RECORDS * ROUNDS)
    ratio("seal / bare", "seal", "bare")
    ratio("seal_many / bare", "many", "bare")


def verify_all(node: Node, messages: list[bytes], proofs: tuple[bytes, ...]) -> None:
    verifier = BatchVerifier(node.verifying)
    for message, proof in zip(messages, proofs, strict=True):
        verifier.verify(message, proof, b"bench")


def batch_round(node: Node, batch: int) -> tuple[float, float, float]:
    """Give messages signed a second, verified a second, and bare signatures a second."""
    messages = [os.urandom(SIZE) for _ in range(batch)]
    times = max(2, 4096 // batch) if batch > 1 else 100
    proofs = sign_batch(messages, node.signer, b"bench")
    bare = each_rate(lambda _: node.secret.sign(b"x" * 60, b""), [None] * min(times, 100))
    signed = each_rate(lambda _: sign_batch(messages, node.signer, b"bench"), [None] * times)
    verified = each_rate(lambda _: verify_all(node, messages, proofs), [None] * times)
    return batch * signed, batch * verified, bare


def bench_batches(report: Report) -> None:
    node = Node(HYBRID)
    rounds = [{batch: batch_round(node, batch) for batch in BATCHES} for _ in range(ROUNDS)]
    for batch in BATCHES:
        signed, verified, bare = zip(*(one[batch] for one in rounds), strict=True)
        n = max(batch * 2, 4096) if batch > 1 else 100
        must = ">= 50,000" if batch >= 256 else ""
        report.add(f"signed, batches of {batch}", signed, "messages/s", n, must)
        report.add(f"  verified, batches of {batch}", verified, "messages/s", n)
        of_bare = [one / (rate * batch) for one, rate in zip(signed, bare, strict=True)]
        least = ">= 0.8" if batch == 64 else ""
        report.add("  signed / (batch x bare ML-DSA-87)", of_bare, "", n, least)


def epoch_round(node: Node) -> tuple[float, float, float]:
    """Give epochs begun a second, opened a second, and bare signatures a second."""
    packets: list[bytes] = []
    begun = each_rate(lambda _: packets.append(node.begin()[0]), [None] * EPOCHS)
    opened = each_rate(node.open, packets)
    bare = each_rate(lambda _: node.secret.sign(b"x" * 1800, b""), [None] * EPOCHS)
    return begun, opened, bare


def bench_epochs(report: Report) -> None:
    for suite in (HYBRID, CNSA, RATE):
        node = Node(suite)
        begun, opened, bare = zip(*(epoch_round(node) for _ in range(ROUNDS)), strict=True)
        report.add(f"epochs begun, {suite.name}", begun, "epochs/s", EPOCHS)
        report.add(f"  opened, {suite.name}", opened, "epochs/s", EPOCHS)
        report.add("  bare ML-DSA-87 signatures", bare, "/s", EPOCHS)


def main() -> None:
    report = Report("records")
    bench_records(report)
    bench_batches(report)
    bench_epochs(report)
    report.show()


if __name__ == "__main__":
    main()
