"""The double of a key provider keeps the port's contract."""

from cronos.ports import KeyProvider
from cronos.testing.conformance.key_provider import KeyProviderConformance
from cronos.testing.memory_govern import MemoryKeyProvider


class TestMemoryKeyProvider(KeyProviderConformance):
    def make(self) -> KeyProvider:
        return MemoryKeyProvider("state", "identity")

    def key_id(self) -> str:
        return "state.1"

    def signing_key_id(self) -> str:
        return "identity.1"

    def signed(self, public: bytes, message: bytes, context: bytes, signature: bytes) -> bool:
        return MemoryKeyProvider.signed(public, message, context, signature)
