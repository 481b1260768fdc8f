"""How incidents last stood is found again, whatever else lies in the ledger."""

import contextlib
import sqlite3
from hashlib import blake2b

import msgspec
import pytest
from msgspec.structs import replace

from cronos.errors import DeniedError, UnreachableError
from cronos.govern import recall
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.recall import MAX_PART_BYTES, MAX_READING_NS, Recollection
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.kernel.communication import Communication
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemoryLedger, MemorySealer
from cronos.types import (
    MAX_FRAME_BYTES,
    AuditRecord,
    Bulletin,
    BulletinKind,
    EvidenceClass,
    Incident,
    Kill,
    Moment,
    Provenance,
    Recall,
    State,
    encode,
)

HOUR_NS = 3_600_000_000_000


def incident(name, state=State.ISOLATED, version=1, why=""):
    return Incident(
        name, state, None, None, "t", 0.9, 4, EvidenceClass.DECLARED, Provenance.AUTHENTICATED,
        (), (), 1, 0, 0, version, why=why,
    )  # fmt: skip


class Story:
    """A ledger that tells incidents at hours of a virtual clock."""

    def __init__(self):
        self.clock = VirtualClock()
        self.sealer = MemorySealer()
        self.ledger = MemoryLedger(self.sealer, self.clock)

    def tell(self, one, kind="state", hours_ago=0.0):
        wall_ns = self.clock.now().wall_ns - int(hours_ago * HOUR_NS)
        record = AuditRecord("local", kind, wall_ns, 0, one.incident_id, encode(one))
        return self.ledger.append([encode(record)])

    def recall(self, hours=24, **options):
        asked = Recollection(self.ledger, Recall(7, hours), **options)
        while not asked.done:
            asked.step()
        return asked

    def recalled(self, hours=24, **options):
        return list(self.recall(hours, **options).parts())


@pytest.fixture
def story():
    return Story()


def test_each_incident_is_given_once_as_it_last_stood_and_the_oldest_first(story):
    story.tell(incident("a", State.ISOLATING, 2))
    story.tell(incident("b", State.WAITING, 3), "evicted")
    story.tell(incident("a", State.ISOLATED, 3))
    story.tell(incident("a", State.CLOSED, 9), "closed")

    (part,) = story.recalled()

    assert part.request_id == 7
    assert part.complete
    assert [(one.incident_id, one.state, one.version) for one in part.incidents] == [
        ("b", State.WAITING, 3),
        ("a", State.CLOSED, 9),
    ]
    assert part.written_wall_ns == (story.clock.now().wall_ns,) * 2


def test_an_empty_ledger_and_no_hours_give_one_empty_part(story):
    (part,) = story.recalled()
    assert (part.incidents, part.complete) == ((), True)
    story.tell(incident("a"), hours_ago=0.1)
    for hours in (0, -5, -(2**62)):
        assert story.recalled(hours)[0].incidents == ()
    assert len(story.recalled(2**62)[0].incidents) == 1


def test_what_is_older_than_was_asked_is_left_out_and_reading_ends_there(story):
    for n in range(3_000):
        story.tell(incident(f"old-{n}"), hours_ago=30)
    for n in range(600):
        story.tell(incident(f"new-{n}"), hours_ago=1)

    asked = story.recall()

    assert sum(len(part.incidents) for part in asked.parts()) == 600
    assert asked.read <= 600 + 2 * 512


def test_a_wall_clock_that_was_wrong_for_a_while_hides_nothing_behind_it(story):
    story.tell(incident("before"), hours_ago=2)
    story.tell(incident("wrong"), hours_ago=9_000)
    story.tell(incident("after"), hours_ago=1)

    assert {one.incident_id for one in story.recalled()[0].incidents} == {"before", "after"}


def test_other_records_bodies_and_nonsense_are_passed_over(story):
    story.tell(incident("a"))
    story.tell(incident("b"), "decision")
    story.ledger.append([b"nonsense", b"", b"\x01\x05Later\x90", encode(Kill(1, True))])
    for body in (b"", b"junk", encode(Kill(1, True)), b"\x01\x08Incident\xc1"):
        now = story.clock.now().wall_ns
        story.ledger.append([encode(AuditRecord("local", "state", now, 0, "x", body))])

    assert [one.incident_id for one in story.recalled()[0].incidents] == ["a"]


@pytest.mark.parametrize(
    "forged",
    [
        {"asked": -(1 << 63)},
        {"version": (1 << 64) - 1},
        {"deadline_boot_ns": (1 << 64) - 1},
        {"lease_until_boot_ns": -1},
        {"finding_count": -1},
        {"opened_wall_ns": -(1 << 63)},
        {"moments": (Moment("isolated", -(1 << 63)),)},
    ],
)
def test_an_incident_that_no_kernel_could_reckon_with_is_passed_over(story, forged):
    story.tell(incident("a", State.WAITING))
    story.tell(msgspec.structs.replace(incident("b", State.WAITING), **forged))

    (part,) = story.recalled()

    assert [one.incident_id for one in part.incidents] == ["a"]


def test_a_moment_of_before_a_reboot_is_no_forgery(story):
    story.tell(msgspec.structs.replace(incident("a"), moments=(Moment("isolated", -HOUR_NS),)))

    assert len(story.recalled()[0].incidents) == 1


def test_a_record_that_stands_twice_behind_its_successor_does_not_come_back(story):
    story.tell(incident("a", State.ISOLATING, 2))
    story.tell(incident("a", State.ISOLATED, 3))
    story.tell(incident("a", State.ISOLATING, 2))

    assert story.recalled()[0].incidents[0].version == 3


def test_damage_hides_the_damaged_record_alone(story):
    for n in range(1_200):
        story.tell(incident(f"i-{n}"))
    for position in (1, 600, 1_200):
        story.ledger.stored[position - 1] = b"\x00" * 80

    asked = story.recall()

    assert sum(len(part.incidents) for part in asked.parts()) == 1_197
    assert asked.damaged == 3


def test_an_erased_subject_stays_erased(story):
    class Sealing(MemoryLedger):
        def read(self, first, count):
            try:
                return super().read(first, count)
            except DeniedError as error:
                if error.code != "crypto.shredded" or count != 1:
                    raise
                return [b""]

    story.ledger = Sealing(story.sealer, story.clock)
    story.tell(incident("kept"))
    hidden = encode(AuditRecord("local", "state", 0, 0, "gone", encode(incident("gone"))))
    story.ledger.stored.append(story.sealer.seal(hidden, b"2", "address 192.0.2.7"))
    story.ledger._heads.append(bytes(32))
    story.sealer.shred("address 192.0.2.7")

    assert [one.incident_id for one in story.recalled()[0].incidents] == ["kept"]


def test_what_is_read_is_bounded_and_the_newest_are_kept(story):
    for n in range(2_000):
        story.tell(incident(f"i-{n}"))

    asked = story.recall(max_records=700)
    (part,) = asked.parts()

    assert asked.read == 700
    assert part.incidents[-1].incident_id == "i-1999"
    assert len(part.incidents) == 700


def test_reading_that_takes_too_long_ends_with_the_newest(story):
    for n in range(3_000):
        story.tell(incident(f"i-{n}"))
    asked = Recollection(story.ledger, Recall(1, 24))
    assert asked.step()
    story.clock.advance(MAX_READING_NS + 1)
    assert asked.step()

    assert asked.done
    (part,) = asked.parts()
    assert part.complete
    assert part.incidents[-1].incident_id == "i-2999"
    assert len(part.incidents) == asked.read == 1_024


def test_damage_in_a_real_ledger_hides_the_damaged_record_alone(story, tmp_path):
    sealer = PlaintextSealer(PlaintextConfig())
    story.ledger = SqliteLedger(SqliteConfig("local"), tmp_path, sealer, story.clock)
    for n in range(700):
        story.tell(incident(f"i-{n}"))
    with contextlib.closing(sqlite3.connect(story.ledger.path)) as database, database:
        database.execute("UPDATE record SET stored = x'00ff' WHERE position = 300")
        database.execute("UPDATE record SET chain = x'00' WHERE position = 500")

    asked = story.recall()
    names = {one.incident_id for part in asked.parts() for one in part.incidents}
    story.ledger.close()

    # A changed hash also bars the record behind it, whose own is made of it.
    assert set(map("i-{}".format, range(700))) - names == {"i-299", "i-499", "i-500"}
    assert asked.damaged == 3


def test_every_part_fits_a_frame_and_only_the_last_is_complete(story):
    for n in range(40):
        story.tell(incident(f"i-{n}", why="w" * 90_000))
    story.tell(incident("whale", why="w" * (MAX_PART_BYTES + 1)))

    parts = story.recalled()

    assert [part.complete for part in parts] == [False] * (len(parts) - 1) + [True]
    assert sum(len(part.incidents) for part in parts) == 40
    assert max(len(encode(part)) for part in parts) < min(MAX_FRAME_BYTES, 920_000)
    assert len(parts) > 3


def test_keys_that_do_not_answer_are_waited_for_and_not_for_ever(story):
    class Keyless(MemoryLedger):
        answers = 3

        def read(self, first, count):
            self.answers -= 1
            if self.answers >= 0:
                raise UnreachableError("testing.away", "The keys are away.", "Wait.")
            return super().read(first, count)

    story.ledger = Keyless(story.sealer, story.clock)
    story.tell(incident("a"))
    asked = Recollection(story.ledger, Recall(1, 24))
    assert [asked.step() for _ in range(4)] == [False, False, False, True]
    assert [len(part.incidents) for part in asked.parts()] == [1]

    story.ledger.answers = 10**6
    asked = Recollection(story.ledger, Recall(1, 24))
    tries = 0
    while not asked.done:
        assert not asked.step()
        tries += 1
    assert tries == 50
    assert [part.complete for part in asked.parts()] == [True]


def bulletin(name, origin="b"):
    return Bulletin(
        name, BulletinKind.ISOLATED, origin, f"{origin}-1-1", 1, None, None, (), 0.9, None, 300
    )


def test_bulletins_are_told_in_parts_that_fit():
    story = Story()
    story.tell(bulletin("long ago"), "bulletin", hours_ago=30)
    for n in range(2_000):
        story.tell(bulletin(f"{n:0255}"), "bulletin")
    story.tell(bulletin("b-1", origin="local"), "bulletin")
    story.tell(incident("i"))

    parts = story.recalled()

    heard = [one for part in parts for one in part.bulletins]
    assert len(heard) == len(set(heard)) == 2_001
    assert {origin for origin, _ in heard} == {"b", "local"}
    assert max(len(encode(part)) for part in parts) <= MAX_FRAME_BYTES
    assert [part.complete for part in parts] == [False, False, True]
    assert [one.incident_id for one in parts[-1].incidents] == ["i"]


def test_no_more_bulletins_are_told_than_a_kernel_remembers(monkeypatch):
    monkeypatch.setattr(recall, "MAX_BULLETINS", 3)
    story = Story()
    for n in range(5):
        story.tell(bulletin(str(n)), "bulletin")

    told = {digest for part in story.recalled() for _, digest in part.bulletins}
    assert told == {blake2b(encode(bulletin(n)), digest_size=16).hexdigest() for n in "432"}


def test_what_is_told_of_a_bulletin_is_what_a_kernel_knows_it_by():
    story, talks = Story(), Communication("local", 1)
    story.tell(bulletin("b-1"), "bulletin")

    talks.recorded = {one for part in story.recalled() for one in part.bulletins}

    assert talks.is_recorded(bulletin("b-1"))
    assert not talks.is_recorded(replace(bulletin("b-1"), incident_id="b-1-2"))
