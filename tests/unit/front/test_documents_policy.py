import msgspec

from cronos.front.documents_policy import Change, Judgement, PolicyTestDocument


def test_a_document_names_its_schema_and_survives_json():
    one = Judgement("observe", "", "0.95-1.00/low", "", ("why",))
    change = Change("local-1-1", 1, False, one, one)
    document = PolicyTestDocument("l", 1, 1, 1, 0, 0, 1, 0, 0, (change,), (), ())

    written = msgspec.json.encode(document)
    assert msgspec.json.decode(written, type=PolicyTestDocument) == document
    assert msgspec.json.decode(written)["schema"] == "cronos.policy-test/1"
