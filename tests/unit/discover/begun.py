"""Protocols that begin with some bytes of their own, and what knows them again."""

import numpy as np

from cronos.discover.lessons import Lesson, drawn
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.published import Published
from cronos.discover.published_train import beginnings_of


def lesson(name, magic, count=60, seed=1):
    rng = np.random.default_rng(seed)
    messages = [Message(magic + bytes([n % 3]) + bytes(7) + rng.bytes(20)) for n in range(count)]
    whole = ((0, len(magic) + 28, Sem.BYTES),)
    named, types = (("all", "bytes"),), ("any",)
    return Lesson(
        name, tuple(messages), (whole,) * count, names=(named,) * count, types=types * count
    )


MAGIC = lesson("magic", b"\x7fMAG\x01\x00")
OTHER = lesson("other", b"\x03\x00\x00\x10\x0e\xd0", seed=2)


MORE = [lesson(f"more {n}", bytes([40 + n]) * 6, seed=n) for n in range(10, 16)]


def known():
    return Published(beginnings_of([MAGIC, OTHER, *MORE], drawn(range(9_001, 9_021, 2))))
