"""The federation's documents keep their names and their schema: scripts read them."""

import json

import pytest

from cronos.front.documents_mesh import (
    FederatedDemoDocument,
    FederatedDocument,
    FellowView,
    MeshDocument,
    PeerView,
)
from cronos.front.result import to_json

MESH_KEYS = (
    "node address incarnation view roles allowed peers counts records left health load holds schema"
)
EAST = PeerView("east", "", "alive", 1, True)


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        (
            MeshDocument("north", "127.0.0.1:1", 1, 2, peers=(EAST,)),
            MESH_KEYS,
        ),
        (
            FederatedDocument("a.example", (FellowView("north", "", ""),), 0),
            "domain nodes restarts schema",
        ),
        (FederatedDemoDocument(True, (), 4, ()), "passed steps view ledgers schema"),
    ],
    ids=["mesh", "federated", "demo-federated"],
)  # fmt: skip
def test_the_keys_of_a_document_are_fixed(document, keys, request):
    shown = json.loads(to_json(document))
    assert list(shown) == keys.split()
    assert shown["schema"] == f"cronos.{request.node.callspec.id}/1"
