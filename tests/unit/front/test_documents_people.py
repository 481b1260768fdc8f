"""The documents of what people order; `tests/unit/test_docs.py` holds their keys to the page."""

import msgspec

from cronos.front import documents_people
from cronos.front.documents_people import KillDocument


def test_each_document_names_itself_after_its_command():
    schemas = sorted(
        field.default
        for one in vars(documents_people).values()
        if isinstance(one, type) and one.__module__ == documents_people.__name__
        for field in msgspec.structs.fields(one)
        if field.name == "schema"
    )
    names = ("approve", "deny", "incidents", "kill", "release", "verdict")
    assert schemas == [f"cronos.{name}/1" for name in names]


def test_a_kill_tells_each_node_by_its_name():
    document = KillDocument(5, True, False, True, "absent", {"local": "silent"}, True, 0.0)
    assert msgspec.json.decode(msgspec.json.encode(document))["nodes"] == {"local": "silent"}
