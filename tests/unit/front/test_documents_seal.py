"""The documents keep their names and their schema: scripts read them."""

import json

import pytest

from cronos.front.documents_seal import OpenDocument, SealDocument, SignDocument, VerifyDocument
from cronos.front.result import to_json


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        (
            SealDocument("in", "out", 3, "hybrid", ("ab",), ""),
            "source output plain_bytes suite recipients signer schema",
        ),
        (
            OpenDocument("in", "out", 3, "hybrid", "", verified=False),
            "source output plain_bytes suite signer verified schema",
        ),
        (SignDocument("in", "in.sig", 3, "ab"), "source output bytes signer schema"),
        (VerifyDocument("in", 3, "ab"), "source bytes signer verified schema"),
    ],
    ids=["seal", "open", "sign", "verify"],
)
def test_the_keys_of_a_document_are_fixed(document, keys, request):
    shown = json.loads(to_json(document))
    assert list(shown) == keys.split()
    assert shown["schema"] == f"cronos.{request.node.callspec.id}/1"
