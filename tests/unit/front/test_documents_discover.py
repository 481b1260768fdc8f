"""The documents of discovery and parsing."""

from cronos.front.documents_discover import DiscoverDocument, ParseDocument, ProfilesDocument


def test_each_document_names_its_schema():
    schemas = [one.__struct_defaults__[-1] for one in (DiscoverDocument, ParseDocument)]

    assert schemas == ["cronos.discover/1", "cronos.parse/1"]
    assert ProfilesDocument((), "", ()).schema == "cronos.profiles/1"
