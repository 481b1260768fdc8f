"""Errors: one base, each with a code, a sentence, a remedy and who is to blame.

A subclass exists only where a caller acts differently. What the world may well do (a host that
will not isolate) is no error but an `Outcome`.
"""

from typing import Literal

Blame = Literal["ours", "peer", "input"]


class CronosError(Exception):
    """Base of every error that leaves a Cronos function.

    Args:
        code: ``room.reason``, stable, for machines.
        sentence: what happened, with file and position where there is one.
        remedy: what a person can do about it.
        blame: whose doing it is.
    """

    def __init__(self, code: str, sentence: str, remedy: str, blame: Blame = "ours") -> None:
        super().__init__(f"{sentence} {remedy}")
        self.code = code
        self.sentence = sentence
        self.remedy = remedy
        self.blame: Blame = blame


class InputError(CronosError):
    """What was given cannot be read or is not allowed; exit code 2."""

    def __init__(self, code: str, sentence: str, remedy: str) -> None:
        super().__init__(code, sentence, remedy, "input")


class UnreachableError(CronosError):
    """A process, peer or service does not answer; exit code 3."""

    def __init__(self, code: str, sentence: str, remedy: str) -> None:
        super().__init__(code, sentence, remedy, "peer")


class DeniedError(CronosError):
    """A policy, a permission or the operating system refuses; exit code 4."""

    def __init__(self, code: str, sentence: str, remedy: str) -> None:
        super().__init__(code, sentence, remedy, "input")


class ExtraMissingError(InputError):
    """An optional dependency is not installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(
            "catalog.extra_missing",
            f"{purpose} needs the extra `{extra}`, which is not installed.",
            f"Install it with: pip install 'cronos[{extra}]'",
        )
