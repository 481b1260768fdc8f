"""What a start needs to know of a ledger is found without reading the day back."""

import pytest
from msgspec.structs import replace
from tests.unit.govern.test_recall import HOUR_NS, Story, bulletin, incident

from cronos.govern import standing as standing_module
from cronos.govern.recall import Recollection
from cronos.govern.standing import EVERY, MAX_OPEN, Place, Standing
from cronos.testing.memory_govern import MemorySealer
from cronos.types import AuditRecord, Recall, State, encode


class Kept(Story):
    """A ledger whose standing lies in a folder."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.standing = Standing(folder, self.sealer)

    def tell(self, one, kind="state", hours_ago=0.0):
        wall_ns = self.clock.now().wall_ns - int(hours_ago * HOUR_NS)
        record = encode(AuditRecord("local", kind, wall_ns, 0, "", encode(one)))
        position = self.ledger.append([record])
        self.standing.appended(position, [record])
        return position

    def restart(self):
        """Write it down, and begin with what a new process would find."""
        self.standing.write(self.clock.now().wall_ns)
        self.standing = Standing(self.folder, self.sealer)
        self.standing.load(self.ledger.checkpoint().size)

    def recall(self, hours=24, **options):
        asked = Recollection(self.ledger, Recall(7, hours), standing=self.standing, **options)
        while not asked.done:
            asked.step()
        return asked


def named(parts):
    return [one.incident_id for part in parts for one in part.incidents]


@pytest.fixture
def story(tmp_path):
    made = Kept(tmp_path)
    made.recall()
    return made


def test_a_start_reads_what_is_open_and_what_came_since_and_nothing_else(story):
    for n in range(3_000):
        story.tell(incident(f"old-{n}", version=1))
        story.tell(incident(f"old-{n}", State.CLOSED, 2), "closed")
    story.tell(incident("held", State.CONFIRMED, 3))
    story.restart()
    story.tell(incident("new", State.WAITING))

    asked = story.recall()

    assert named(asked.parts()) == ["held", "new"]
    assert asked.read == 2


def test_what_has_closed_is_told_afterwards_the_newest_first(story):
    for n in range(3):
        story.tell(incident(f"{n}", State.CLOSED, 2), "closed")
    story.tell(incident("held", State.CONFIRMED, 3))
    story.restart()

    after = story.recall().after()
    while not after.done:
        after.step()
    parts = list(after.parts())

    assert named(parts) == ["2", "1", "0"]
    assert [(part.past, part.complete) for part in parts] == [(True, True)]
    assert after.after() is None


def test_without_a_file_all_of_it_is_read_and_nothing_is_left_for_afterwards(tmp_path):
    story = Kept(tmp_path)
    story.tell(incident("closed", State.CLOSED, 2), "closed")
    story.tell(incident("held", State.CONFIRMED, 3))
    story.standing = Standing(tmp_path, story.sealer)

    asked = story.recall()

    assert named(asked.parts()) == ["closed", "held"]
    assert asked.after() is None
    assert story.standing.open == {"held": Place(2, 3)}


def test_it_is_written_once_in_a_while_and_not_before_the_ledger_was_read(tmp_path):
    story = Kept(tmp_path)
    for n in range(EVERY + 1):
        story.tell(incident(str(n)))
    assert not story.standing.due
    story.standing.write(0)
    assert not (tmp_path / "standing").exists()
    story.recall()
    assert story.standing.due
    story.standing.write(0)
    assert not story.standing.due
    assert (tmp_path / "standing").stat().st_mode & 0o777 == 0o600


def test_what_was_noted_before_the_file_was_read_is_newer(tmp_path):
    story = Kept(tmp_path)
    story.recall()
    story.tell(incident("closes", version=1))
    story.tell(incident("moves", version=1))
    story.standing.write(0)
    story.standing = Standing(tmp_path, story.sealer)
    story.tell(incident("closes", State.CLOSED, 2), "closed")
    story.tell(incident("moves", State.WAITING, 2))
    story.standing.load(4)
    assert story.standing.open == {"moves": Place(4, 2)}


def test_a_repetition_behind_its_successor_opens_nothing_again(story):
    for version, state, kind in (
        (2, State.CONFIRMED, "state"),
        (3, State.CLOSED, "closed"),
        (2, State.CONFIRMED, "state"),
    ):
        story.tell(incident("a", state, version), kind)
    assert story.standing.open == {}
    story.restart()
    assert named(story.recall().parts()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"CRST\x02" + path.read_bytes()[5:]),
        lambda path: path.write_bytes(path.read_bytes()[:6] + b"\x00" * 40),
        lambda path: path.chmod(0o600) or path.rename(path.with_name("x")) or path.symlink_to("x"),
    ],
)
def test_a_file_that_cannot_be_used_is_as_good_as_none(story, spoil):
    story.tell(incident("held", State.CONFIRMED, 3))
    story.tell(incident("closed", State.CLOSED, 3), "closed")
    story.standing.write(0)
    spoil(story.folder / "standing")
    story.standing = Standing(story.folder, story.sealer)
    story.standing.load(2)
    assert story.standing.upto == 0
    assert named(story.recall().parts()) == ["held", "closed"]


def test_a_file_that_knows_more_than_the_ledger_holds_is_not_used(story):
    for n in range(3):
        story.tell(incident(str(n)))
    story.standing.write(0)
    again = Standing(story.folder, story.sealer)
    again.load(2)
    assert (again.upto, again.open) == (0, {})


def test_a_file_of_another_ledger_is_noticed_and_all_is_read(story, tmp_path):
    for n in range(5):
        story.tell(incident(f"other-{n}"))
    story.standing.write(0)
    mine = Kept(tmp_path)
    for n in range(9):
        mine.tell(incident(f"mine-{n}"))
    mine.standing = Standing(tmp_path, story.sealer)
    mine.standing.load(9)
    assert mine.standing.upto == 5

    asked = mine.recall()

    assert named(asked.parts()) == [f"mine-{n}" for n in range(9)]
    assert mine.standing.open.keys() == {f"mine-{n}" for n in range(9)}
    assert asked.after() is None


def test_an_incident_whose_record_was_erased_is_let_go(story):
    story.tell(incident("gone"))
    story.tell(incident("kept"))
    story.restart()
    read = story.ledger.read
    story.ledger.read = lambda first, count: [b""] if first == 1 else read(first, count)
    assert named(story.recall().parts()) == ["kept"]
    assert story.standing.open.keys() == {"kept"}


def test_bulletins_are_told_for_as_long_as_they_may_be_told_again(story):
    lasting = replace(bulletin("lasting"), ttl_ns=HOUR_NS)
    story.tell(lasting, "bulletin")
    story.tell(bulletin("brief"), "bulletin", hours_ago=0.5)
    story.restart()
    told = {one for part in story.recall().parts() for one in part.bulletins}
    assert told == {("b", standing_module.digest_of(encode(lasting)))}
    story.clock.advance(3 * HOUR_NS)
    story.restart()
    assert not story.standing.heard


def test_what_is_remembered_is_bounded(story, monkeypatch):
    monkeypatch.setattr(standing_module, "MAX_OPEN", 3)
    monkeypatch.setattr(standing_module, "MAX_CLOSED", 3)
    monkeypatch.setattr(standing_module, "MAX_BULLETINS", 3)
    for n in range(9):
        story.tell(incident(f"o{n}"))
        story.tell(incident(f"c{n}", State.CLOSED), "closed")
        story.tell(bulletin(str(n)), "bulletin")
    story.tell(incident("n" * 256))
    one = story.standing
    assert list(one.open) == ["o6", "o7", "o8"]
    assert (len(one._closed), len(one.heard)) == (3, 3)
    assert MAX_OPEN > 3


def test_a_disk_that_is_full_leaves_the_file_before(story, monkeypatch):
    def full(_path, _data):
        raise OSError(28, "full")

    story.tell(incident("a"))
    story.standing.write(0)
    before = (story.folder / "standing").read_bytes()
    monkeypatch.setattr(standing_module, "write_synced", full)
    story.tell(incident("b"))
    story.standing.write(0)
    assert (story.folder / "standing").read_bytes() == before


def test_another_sealers_file_is_not_opened(story):
    story.tell(incident("a"))
    story.standing.write(0)
    other = MemorySealer()
    other.seal_version = 9
    again = Standing(story.folder, other)
    again.load(1)
    assert again.upto == 0
