"""One step carries an incident as far as it can go without the world."""

import subprocess
import sys

from cronos.testing.story import Story, finding, obedient
from cronos.types import After, Confirm, Do, Note, Operation, Publish


def test_a_finding_leads_to_its_order_in_one_step():
    story = Story(world=lambda _operation, _action: None)

    effects = story.tell(finding())

    assert [type(effect) for effect in effects] == [Note, Note, Note, After, Do]


def test_an_outcome_leads_to_its_confirmation_in_one_step():
    story = Story(world=lambda _operation, _action: None)
    story.tell(finding())
    effects = story.tell(obedient(Operation.APPLY, story.said(Do)[0].action))

    assert Publish in map(type, effects)
    assert Confirm in map(type, effects)


def test_a_closed_incident_can_still_be_looked_up():
    story = Story()
    story.tell(finding())
    incident_id = story.only_incident().incident_id
    story.wait(4000)

    assert story.kernel.incident(incident_id).state == "closed"
    assert story.kernel.incident("nobody") is None


REPLAY = """
import hashlib
from cronos.testing.story import Story, finding
from cronos.types import Note, encode
story = Story()
for number in range(40):
    story.tell(finding(number, attacker=f"192.0.2.{number % 9}", confidence=0.4 + number / 70))
    story.wait(number)
digest = hashlib.sha256()
for effect in story.effects:
    digest.update(encode(effect.body if isinstance(effect, Note) else effect))
print(digest.hexdigest())
"""


def test_the_same_events_give_the_same_bytes_in_another_process_under_another_hash_seed():
    digests = {
        subprocess.run(
            [sys.executable, "-c", REPLAY],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "77")
    }

    assert len(digests) == 1
