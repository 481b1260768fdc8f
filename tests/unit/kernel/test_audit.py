"""What passes between agencies is noted."""

from cronos.testing.story import Story, finding
from cronos.types import Defect, Members, Note, Receipt


def kinds(effects):
    return [effect.kind for effect in effects if isinstance(effect, Note)]


def test_a_bulletin_is_noted_when_it_is_sent():
    story = Story()

    story.tell(finding())

    assert kinds(story.effects).count("bulletin") == 1


def test_receipts_and_members_are_noted():
    story = Story()

    assert kinds(story.tell(Members(("b",)))) == ["members"]
    assert kinds(story.tell(Receipt("b", "local", 1))) == ["receipt"]


def test_what_the_mesh_refused_is_noted_and_leads_to_nothing_else():
    story = Story()
    refused = Defect("mesh east", 0, "mesh.revoked: east was revoked.", "Look at it.")

    assert story.tell(refused) == [Note("mesh", "", refused)]
