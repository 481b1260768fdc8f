"""The sealer that does not seal: records lie readable, and everything that shows them says so.

It holds the place of encryption at rest. Its bytes carry seal version 0, so a ledger written
today stays readable beside records that a later sealer encrypts.
"""

from collections.abc import Sequence
from typing import ClassVar

from cronos.config import Section
from cronos.errors import DeniedError
from cronos.types import Manifest


class PlaintextConfig(Section, frozen=True):
    """Nothing to set: there is no key."""


class PlaintextSealer:
    """Stores bytes as they are.

    Whoever can read the file can read the records; file permissions are the only protection.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "plaintext",
        "Keeps records readable at rest; the ledger is shown as unsealed.",
        capabilities=("seal",),
    )
    config_type: ClassVar[type[Section]] = PlaintextConfig
    sealing: str = "unsealed"
    seal_version: int = 0

    def __init__(self, config: PlaintextConfig) -> None:
        self._config = config

    def seal(self, plain: bytes, context: bytes, subject: str = "") -> bytes:
        """Give `plain` as it came; neither `context` nor `subject` binds anything here."""
        del context, subject
        return plain

    def seal_all(self, items: Sequence[tuple[bytes, bytes, str]]) -> list[bytes]:
        """Give each as it came."""
        return [plain for plain, _, _ in items]

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Give `sealed` as it came: nothing can be recognised as foreign or changed."""
        del context
        return sealed

    def shred(self, subject: str) -> bool:
        """Refuse: there is no key that could be destroyed.

        Raises:
            DeniedError: always.
        """
        raise DeniedError(
            "govern.not_shreddable",
            f"What was kept of {subject} lies readable; no key of it can be destroyed.",
            'Seal the state (sealer = "epochs") to be able to erase single subjects.',
        )
