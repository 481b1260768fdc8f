"""What is shared is a STIX indicator: whose, since when, and never longer than its bulletin."""

import json
import re

import pytest
from msgspec.structs import replace

from cronos.mesh.stix import Shared, bundle, pattern_of
from cronos.types import Bulletin, BulletinKind, Entity, EntityKind

NOW_NS = 1_790_000_000 * 10**9
S = 10**9
UUID5 = r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def shared(number=1, *, origin="north", value="192.0.2.66", kind=EntityKind.ADDRESS, until_s=300):
    actor = Entity(kind, value) if value else None
    bulletin = Bulletin(
        f"{origin}-1-{number}-isolated", BulletinKind.ISOLATED, origin, f"{origin}-1-{number}",
        number, actor, None, ("T0855",), 0.97, None, 300 * S,
    )  # fmt: skip
    return Shared(bulletin, NOW_NS, NOW_NS + until_s * S)


def test_an_isolation_is_an_indicator_with_its_author_and_its_end():
    made = bundle([shared()], NOW_NS)
    author, indicator = made["objects"]

    assert re.fullmatch(rf"bundle--{UUID5}", made["id"])
    assert re.fullmatch(rf"identity--{UUID5}", author["id"])
    assert re.fullmatch(rf"indicator--{UUID5}", indicator["id"])
    assert indicator["created_by_ref"] == author["id"]
    assert author["name"] == "north"
    assert indicator["pattern"] == "[ipv4-addr:value = '192.0.2.66']"
    assert indicator["valid_from"] == "2026-09-21T14:13:20.000Z"
    assert indicator["valid_until"] == "2026-09-21T14:18:20.000Z"
    assert indicator["confidence"] == 97
    assert {"source_name": "mitre-attack", "external_id": "T0855"} in indicator[
        "external_references"
    ]
    required = {"type", "spec_version", "id", "created", "modified", "pattern", "pattern_type",
                "valid_from"}  # fmt: skip
    assert required <= indicator.keys()
    assert all(one["spec_version"] == "2.1" for one in made["objects"])


def test_the_same_bulletin_is_the_same_indicator_wherever_it_is_written_down():
    one, other = bundle([shared()], NOW_NS), bundle([shared(), shared(2)], NOW_NS + S)

    assert [x["id"] for x in one["objects"]] == [x["id"] for x in other["objects"]][:2]
    assert one["id"] != other["id"]


def test_what_has_run_out_and_what_has_no_name_is_left_out():
    gone, nameless = shared(until_s=0), shared(2, value="")
    process = shared(3, kind=EntityKind.PROCESS, value="host/17")

    assert bundle([gone, nameless, process], NOW_NS)["objects"] == []


@pytest.mark.parametrize(
    ("kind", "value", "pattern"),
    [
        (EntityKind.ADDRESS, "2001:db8::7", "[ipv6-addr:value = '2001:db8::7']"),
        (EntityKind.NETWORK, "192.0.2.0/24", "[ipv4-addr:value ISSUBSET '192.0.2.0/24']"),
        (EntityKind.HOST, "gate", "[domain-name:value = 'gate']"),
        (EntityKind.USER, "CORP\\o'neil", "[user-account:account_login = 'CORP\\\\o\\'neil']"),
        (EntityKind.ADDRESS, "1.2.3.4'] OR [x:y = 'z", ""),
        (EntityKind.FLOW, "tcp/192.0.2.7:1>192.0.2.8:2", ""),
    ],
)
def test_a_pattern_names_exactly_one_thing_whatever_a_stranger_wrote(kind, value, pattern):
    assert pattern_of(Entity(kind, value)) == pattern


def test_a_bundle_is_json():
    made = bundle([shared(n, value=f"192.0.2.{n}") for n in range(1, 100)], NOW_NS)

    assert json.loads(json.dumps(made)) == made
    assert len(made["objects"]) == 100


def test_an_id_of_another_does_not_replace_its_indicator():
    theirs, forged = shared(), shared()
    forged = replace(forged, bulletin=replace(forged.bulletin, origin="mallory"))
    made = bundle([theirs, forged], 0)
    assert sum(one["type"] == "indicator" for one in made["objects"]) == 2
