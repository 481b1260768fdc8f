"""The models of a discovery: which files they are, and that they are those that were shipped."""

import functools
import hashlib
import hmac
import pathlib
from typing import Final

from cronos.discover.published import Published
from cronos.discover.scorer import Trees, damaged, read


class Models:
    """The scorers of a discovery: byte order, boundaries, boundaries in context, meanings, keys.

    Besides, what is known of published protocols, where anything is.
    """

    def __init__(
        self,
        order: Trees,
        first: Trees,
        second: Trees,
        meaning: Trees,
        keys: Trees,
        *,
        published: Published | None = None,
    ) -> None:
        self.order = order
        self.first = first
        self.second = second
        self.meaning = meaning
        self.keys = keys
        self.published = published


NAMES: Final = ("order", "boundary", "context", "meaning", "keys")
FILES: Final = (*NAMES, "published")

SHA256: Final = {
    "order": "34a11e880412e5f5a73c7a3b0f95c309009d20bad206061274949e2a486883c7",
    "boundary": "43c6edb09161cbe3a74cff904884fe7948879cb4973f31d715fda39d3ae76bb2",
    "context": "4e144d2f46f74f7ede3825c7f72f8824b47f51d8bdcc70ce0f1d99807f443352",
    "meaning": "3e21074152c2efddc3b193e8ddfe497bb7a97a43e02eac3c1c0d632fff33096d",
    "keys": "fa809b1e376c122215737a3b4cb0b9afaf6f6c82e0d72038f202308f5e90cb62",
    "published": "5ea0b89a2f53a4f7778a0d3f378949860b69de0cfa4311035dfeaf62a06b3244",
}
"""Of the files that are shipped; `cronos discover train` writes files of these sums."""


def load(folder: pathlib.Path) -> Models:
    """Read the models of a folder that somebody names; raises InputError if they are damaged."""
    return _models({name: (folder / f"{name}.npz").read_bytes() for name in FILES})


def _models(files: dict[str, bytes]) -> Models:
    trees = (Trees(read(files[name])) for name in NAMES)
    return Models(*trees, published=Published(read(files["published"])))


def pinned(data: bytes, digest: str) -> bytes:
    """Give back a file of a model that is the shipped one; raises InputError on any other."""
    if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), digest):
        raise damaged("it is not the one that was shipped")
    return data


def compared(name: str, data: bytes, digest: str) -> str:
    """Say of a file that was trained whether it is the one that is shipped."""
    own = hashlib.sha256(data).hexdigest()
    same = "as shipped" if own == digest else "not the one that is shipped"
    return f"{name}: {len(data)} bytes, SHA-256 {own}, {same}"


@functools.cache
def shipped() -> Models:
    """Read the models that lie beside the program; raises InputError on any but those shipped."""
    folder = pathlib.Path(__file__).parent / "models"
    files = {name: (folder / f"{name}.npz").read_bytes() for name in FILES}
    return _models({name: pinned(data, SHA256[name]) for name, data in files.items()})
