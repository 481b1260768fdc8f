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
    "boundary": "e5d578d24f737fab299f58be801df7eab70d38ccc31163d7bd9addae4496cfc4",
    "context": "247969adcd917203172d3122f99172af6e45a25fffebb82da7b21c41d484d875",
    "meaning": "03609a023ec2b4e047e8c82b26f01a58d8b3fc7580c45234bf21ea5de6afe8d7",
    "keys": "85e2aa855ff59f76e6df90a9c48ad96069bc0d11a556f3fe7a819535f8ba8d53",
    "published": "582b340eba2857477e5f9b380b1bf1f6b713eb4712700b00ad5bcac27dbe6110",
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
