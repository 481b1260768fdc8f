"""Which profile a service speaks, kept a while: at most 10,000, the least used goes first."""

from collections import OrderedDict
from typing import Final, Generic, NamedTuple, TypeVar

CAPACITY: Final = 10_000
TTL_NS: Final = 24 * 3_600_000_000_000
V = TypeVar("V")


class _Entry(NamedTuple, Generic[V]):
    value: V
    until_ns: int


class TtlCache(Generic[V]):
    """Keeps values until they are too old, or too many.

    Args:
        capacity: how many at most.
        ttl_ns: how long after it was put a value serves; looking at it makes it no younger, so
            that what is remembered is looked at anew now and then.
    """

    def __init__(self, capacity: int = CAPACITY, ttl_ns: int = TTL_NS) -> None:
        self._capacity = capacity
        self._ttl_ns = ttl_ns
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        """How many are kept, those too old included."""
        return len(self._entries)

    def get(self, key: str, now_ns: int) -> V | None:
        """Give what was put under a key, or None; counts hits and misses."""
        entry = self._entries.get(key)
        if entry is None or now_ns >= entry.until_ns:
            self._entries.pop(key, None)
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry.value

    def put(self, key: str, value: V, now_ns: int) -> None:
        """Keep a value; what was least used makes room."""
        self._entries[key] = _Entry(value, now_ns + self._ttl_ns)
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forget a key."""
        self._entries.pop(key, None)

    def drop_value(self, value: V) -> int:
        """Forget all keys that have this value; give how many there were."""
        keys = [key for key, entry in self._entries.items() if entry.value == value]
        for key in keys:
            del self._entries[key]
        return len(keys)
