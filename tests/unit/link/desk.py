"""A node's desk, as a fake: what people ask of it, and what it was given."""

from cronos.types import Action, Entity, EntityKind, Kill, Question, Verb, action_id, digest_of

S = 1_000_000_000


def action(value="192.0.2.7", verb=Verb.CONTAIN, kind=EntityKind.HOST, incident="local-1-i1"):
    target = Entity(kind, value)
    return Action(action_id("world", verb, target), "world", verb, target, incident, 300 * S)


def question(number=1, *, audience="analyst", persons=1, asked=None):
    asked = asked or action(f"plc-{number}")
    text = f"Contain {asked.target.value}?"
    return Question(
        f"local-1-q{number}", asked.incident_id, audience, text, asked, 300 * S,
        digest_of(asked), persons,
    )  # fmt: skip


class FakeDesk:
    """Stands in for the node: one incident, some questions."""

    def __init__(self, *questions):
        self.waiting = list(questions)
        self.heard = []
        self.incidents = {"local-1-i1": {"incident_id": "local-1-i1", "state": "waiting"}}
        self.fails = None

    def listing(self, which, first, count):
        rows = list(self.incidents.values())
        return len(rows), rows[first : first + count]

    def shown(self, incident_id):
        return self.incidents.get(incident_id)

    def questions(self):
        return self.waiting

    def take(self, heard):
        if self.fails is not None:
            raise self.fails
        self.heard.append(heard)

    def status(self):
        return {"node": "local"}

    def reload(self, subject):
        return f"read anew for {subject}"


KILL = Kill(5, engaged=True)
