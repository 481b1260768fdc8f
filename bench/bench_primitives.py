"""ML-KEM-1024 and ML-DSA-87 through our interface, beside the bare library; the suites' HPKE.

Rounds are interleaved with the bare peer: the same keys, the same inputs, the same process. CPU
time is counted, for the machine may be shared; the ratio to the peer is the gate.
"""

import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem
from report import Report

from cronos.crypto.hazmat.kem import ML_KEM_1024, DecapsulationKey
from cronos.crypto.signatures import ML_DSA_87, SigningKey
from cronos.crypto.suites import CNSA, SUITES, DecryptionKey, generate_secret
from cronos.errors import DeniedError

ROUNDS = 5
SLICES = 20
MUST_RATIO = 0.9
SEED = bytes(range(64))
MESSAGE = bytes(256)
CONTEXT = b"cronos-bench-v1"
Action = Callable[[], object]


def seconds(action: Action, count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        action()
    return time.process_time() - began


def both(ours: Action, bare: Action, count: int) -> tuple[float, float]:
    """Measure one round: slices in turn, so that both meet the same disturbances."""
    mine = theirs = 0.0
    part = count // SLICES
    for index in range(SLICES):
        pair = ((ours, 0), (bare, 1)) if index % 2 else ((bare, 1), (ours, 0))
        for action, which in pair:
            took = seconds(action, part)
            mine, theirs = (mine, theirs + took) if which else (mine + took, theirs)
    return part * SLICES / mine, part * SLICES / theirs


def compare(report: Report, what: str, ours: Action, bare: Action, count: int) -> None:
    """Report both rates and their ratio."""
    seconds(ours, count // 20)
    seconds(bare, count // 20)
    rounds = [both(ours, bare, count) for _ in range(ROUNDS)]
    report.add(what, [mine for mine, _ in rounds], "ops/s", count)
    report.add("  bare cryptography", [theirs for _, theirs in rounds], "ops/s", count)
    ratios = [mine / theirs for mine, theirs in rounds]
    report.add("  ratio", ratios, "x", count, f">= {MUST_RATIO}")


def lattices(report: Report) -> None:
    bare_secret = mlkem.MLKEM1024PrivateKey.from_seed_bytes(SEED)
    bare_public = bare_secret.public_key()
    ours = DecapsulationKey(ML_KEM_1024, SEED)
    public = ours.encapsulation_key()
    _, ciphertext = public.encapsulate()
    compare(report, "ML-KEM-1024 encapsulate", public.encapsulate, bare_public.encapsulate, 10_000)
    compare(
        report,
        "ML-KEM-1024 decapsulate",
        lambda: ours.decapsulate(ciphertext),
        lambda: bare_secret.decapsulate(ciphertext),
        10_000,
    )


def signatures(report: Report) -> None:
    bare_secret = mldsa.MLDSA87PrivateKey.from_seed_bytes(SEED[:32])
    bare_public = bare_secret.public_key()
    ours = SigningKey(ML_DSA_87, SEED[:32])
    public = ours.verifying_key()
    signature = ours.sign(MESSAGE, CONTEXT)
    compare(
        report,
        "ML-DSA-87 sign",
        lambda: ours.sign(MESSAGE, CONTEXT),
        lambda: bare_secret.sign(MESSAGE, CONTEXT),
        1_000,
    )
    compare(
        report,
        "ML-DSA-87 verify",
        lambda: public.verify(MESSAGE, CONTEXT, signature),
        lambda: bare_public.verify(signature, MESSAGE, CONTEXT),
        2_000,
    )


def envelopes(report: Report) -> None:
    """Report, without a gate: single-shot HPKE of a 32-byte key in each suite."""
    for suite in SUITES.values():
        key = DecryptionKey(suite, generate_secret(suite))
        public = key.encryption_key()
        sealed = public.seal(SEED[:32], CONTEXT)
        count = 1_000 if suite.name == "hybrid" else 5_000
        for what, action in (
            ("seal", lambda: public.seal(SEED[:32], CONTEXT)),  # noqa: B023 - used at once
            ("open", lambda: key.open(sealed, CONTEXT)),  # noqa: B023 - used at once
        ):
            rates = [count / seconds(action, count) for _ in range(ROUNDS)]
            report.add(f"HPKE {what}, suite {suite.name}", rates, "ops/s", count)


def refusals(report: Report) -> None:
    """Report how much longer one refusal takes than the other: a lattice part, or a tag, changed.

    ML-KEM rejects implicitly, so both must end at the tag, after the same work.
    """
    key = DecryptionKey(CNSA, SEED)
    sealed = key.encryption_key().seal(SEED[:32], CONTEXT)
    lattice = bytes((sealed[0] ^ 1,)) + sealed[1:]
    tag = sealed[:-1] + bytes((sealed[-1] ^ 1,))

    def refuse(changed: bytes) -> None:
        try:
            key.open(changed, CONTEXT)
        except DeniedError:
            return
        raise AssertionError("a changed message opened")

    rounds = [both(lambda: refuse(lattice), lambda: refuse(tag), 5_000) for _ in range(ROUNDS)]
    report.add("refused, lattice part changed", [one for one, _ in rounds], "ops/s", 5_000)
    report.add("refused, tag changed", [other for _, other in rounds], "ops/s", 5_000)
    report.add("  ratio", [one / other for one, other in rounds], "x", 5_000)


def main() -> None:
    report = Report("primitives")
    lattices(report)
    signatures(report)
    envelopes(report)
    refusals(report)
    report.show()


if __name__ == "__main__":
    main()
