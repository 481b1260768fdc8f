"""What a start needs to know of a ledger is found without reading the day back."""

import pytest
from msgspec.structs import replace
from tests.unit.govern.test_recall import HOUR_NS, Story, bulletin, incident

from cronos.errors import DeniedError, UnreachableError
from cronos.govern import standing as standing_module
from cronos.govern.recall import MAX_READING_NS, Recollection
from cronos.govern.standing import EVERY, Place, Standing
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
        self.standing.load()

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
    story.standing.load()
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
    story.standing.load()
    assert story.standing.upto == 0
    assert named(story.recall().parts()) == ["held", "closed"]


def test_a_file_that_is_ahead_of_the_ledger_is_not_used(story):
    for n in range(3):
        story.tell(incident(str(n)))
    story.restart()
    del story.ledger.stored[2:]
    del story.ledger._heads[3:]
    assert named(story.recall().parts()) == ["0", "1"]
    assert story.standing.upto == 2


@pytest.mark.parametrize("of_it", ["held", ""])
def test_a_file_of_another_ledger_is_noticed_though_it_names_nothing_open(story, tmp_path, of_it):
    for n in range(5):
        story.tell(incident(of_it or f"{n}", State.CONFIRMED if of_it else State.CLOSED, n + 1))
    story.standing.write(0)
    mine = Kept(tmp_path)
    for n in range(9):
        mine.tell(incident("held" if n == 4 else f"mine-{n}", version=5))
    mine.standing = Standing(tmp_path, story.sealer)
    mine.standing.load()
    assert mine.standing.upto == 5
    assert len(named(mine.recall().parts())) == 9


def test_what_is_appended_while_another_ledgers_file_is_found_out_is_not_lost(story, tmp_path):
    story.tell(replace(bulletin("foreign"), ttl_ns=HOUR_NS), "bulletin")
    story.tell(incident("other"))
    story.standing.write(0)
    mine = Kept(tmp_path)
    for n in range(3):
        mine.tell(incident(str(n)))
    mine.standing = Standing(tmp_path, story.sealer)
    mine.standing.load()
    asked = Recollection(mine.ledger, Recall(7, 24), standing=mine.standing)
    mine.tell(incident("meanwhile"))
    while not asked.done:
        asked.step()
    parts = list(asked.parts())
    assert named(parts) == ["0", "1", "2", "meanwhile"]
    assert [part.bulletins for part in parts] == [()]
    mine.restart()
    assert named(mine.recall().parts()) == ["0", "1", "2", "meanwhile"]


def test_a_file_that_is_too_old_for_what_may_be_read_is_not_used(story):
    story.tell(incident("open then", version=1))
    story.restart()
    story.standing.appended = lambda _first, _records: None
    story.tell(incident("open then", State.CLOSED, 2), "closed")
    for n in range(9):
        story.tell(incident(str(n)))
    asked = story.recall(max_records=5)
    assert named(asked.parts()) == ["4", "5", "6", "7", "8"]


def test_what_closed_is_not_open_again_however_much_closed_before_it(story, monkeypatch):
    monkeypatch.setattr(standing_module, "MAX_CLOSED", 3)
    story.tell(incident("a", State.WAITING, 2))
    for n in range(9):
        story.tell(incident(f"{n}", State.CLOSED, 3), "closed")
    story.tell(incident("a", State.CLOSED, 3), "closed")
    story.standing = Standing(story.folder, story.sealer)
    story.recall()
    assert story.standing.open == {}


def test_of_what_has_closed_the_latest_is_known_in_its_order_whoever_read_it(story, monkeypatch):
    monkeypatch.setattr(standing_module, "MAX_CLOSED", 3)
    for n in range(5):
        story.tell(incident(f"{n}", State.CLOSED, 2), "closed")
    assert list(story.standing.closed) == ["2", "3", "4"]
    story.standing = Standing(story.folder, story.sealer)
    story.recall()
    assert list(story.standing.closed) == ["2", "3", "4"]
    story.restart()
    assert list(story.standing.closed) == ["2", "3", "4"]
    story.tell(incident("5", State.CLOSED, 2), "closed")
    assert list(story.standing.closed) == ["3", "4", "5"]

    after = story.recall().after()
    while not after.done:
        after.step()
    assert named(after.parts()) == ["5", "4", "3"]
    assert after.read == 3


def test_what_is_said_of_the_past_and_is_untrue_is_left_out(story):
    story.tell(incident("0", State.CLOSED, 2), "closed")
    story.tell(incident("1", State.CLOSED, 2), "closed")
    story.restart()
    story.standing.closed["0"] = Place(2, 2)
    after = story.recall().after()
    while not after.done:
        after.step()
    assert named(after.parts()) == ["1"]
    assert story.standing.upto == 2


def test_a_record_that_cannot_be_read_just_now_is_not_let_go(story):
    def broken(first, count):
        if first <= 1 < first + count:
            raise DeniedError("testing.broken", "A sector is bad.", "Try again.")
        return read(first, count)

    story.tell(incident("a"))
    story.tell(incident("b"))
    story.restart()
    read, story.ledger.read = story.ledger.read, broken
    assert named(story.recall().parts()) == ["b"]
    story.ledger.read = read
    assert named(story.recall().parts()) == ["a", "b"]


def test_a_ledger_that_could_not_be_read_whole_is_not_accounted_for(tmp_path):
    story = Kept(tmp_path)
    story.tell(incident("a"))
    story.tell(incident("b"))
    story.ledger.stored[0] = b"junk"
    story.recall()
    assert story.standing.upto == 0


def test_what_came_since_is_read_before_what_is_named(story):
    story.tell(incident("held"))
    story.restart()
    story.standing.appended = lambda _first, _records: None
    story.tell(incident("held", State.CLOSED, 2), "closed")
    for n in range(1_100):
        story.tell(incident(str(n)))
    asked = Recollection(story.ledger, Recall(7, 24), standing=story.standing)
    for _ in range(4):
        asked.step()
    story.clock.advance(MAX_READING_NS + 1)
    asked.step()
    assert asked.done
    assert named(asked.parts())[:2] == ["held", "0"]
    assert asked.read == 1_102


@pytest.mark.parametrize("written", [True, False])
def test_a_clock_that_was_ahead_for_one_start_hides_nothing_from_the_next(story, written):
    story.tell(incident("held"))
    if written:
        story.restart()
    else:
        story.standing = Standing(story.folder, story.sealer)
    story.tell(incident("since"))
    right_ns = story.clock.now().wall_ns
    story.clock.set_wall(right_ns + 48 * HOUR_NS)
    assert named(story.recall().parts()) == []
    story.clock.set_wall(right_ns)
    story.restart()
    assert named(story.recall().parts()) == ["held", "since"]


def test_who_asks_for_less_than_a_day_settles_nothing(tmp_path):
    story = Kept(tmp_path)
    story.tell(incident("old"), hours_ago=5)
    story.tell(incident("new"))
    assert named(story.recall(hours=1).parts()) == ["new"]
    assert story.standing.upto == 0


def test_an_incident_that_never_closed_is_let_go_in_the_end(story, monkeypatch):
    monkeypatch.setattr(standing_module, "MAX_BEHIND", 5)
    for n in range(9):
        story.tell(incident(f"{n}"))
    story.restart()
    assert story.standing.open.keys() == {f"{n}" for n in range(3, 9)}


def test_what_stands_elsewhere_by_now_is_not_let_go_with_its_erased_record(story):
    story.tell(incident("a", version=3))
    story.restart()
    read = story.ledger.read
    story.ledger.read = lambda first, count: (
        [b""] if first == 1 and asked.read else read(first, count)
    )
    story.tell(incident("b"))
    asked = Recollection(story.ledger, Recall(7, 24), standing=story.standing)
    story.tell(incident("a", version=4))
    while not asked.done:
        asked.step()
    assert story.standing.open.keys() == {"a", "b"}


def test_what_closes_while_the_past_is_read_for_a_successor_stays_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(standing_module, "MAX_CLOSED", 3)
    story = Kept(tmp_path)
    story.tell(incident("x", State.CONFIRMED, 2))
    for n in range(9):
        story.tell(incident(f"{n}", State.CLOSED, 3), "closed")
    story.standing = Standing(tmp_path, story.sealer)
    asked = Recollection(story.ledger, Recall(7, 24), standing=story.standing, idle=True)
    story.tell(incident("x", State.CLOSED, 3), "closed")
    while not asked.done:
        asked.step()
    assert story.standing.open == {}
    story.restart()
    assert "x" not in [one for one in named(story.recall().parts()) if one in story.standing.open]


def test_a_reading_does_not_account_for_what_another_found_untrue(story):
    for n in range(700):
        story.tell(incident(str(n)))
    story.restart()
    story.tell(incident("since"))
    first = Recollection(story.ledger, Recall(1, 24), standing=story.standing)
    first.step()
    first.step()
    read, story.ledger.read = story.ledger.read, lambda _first, _count: []
    second = Recollection(story.ledger, Recall(2, 24), standing=story.standing)
    second.step()
    story.ledger.read = read
    while not first.done:
        first.step()
    assert story.standing.upto == 0


def test_what_is_appended_before_the_first_step_raises_no_doubt(story):
    for n in range(600):
        story.tell(incident(str(n), State.CLOSED), "closed")
    asked = Recollection(story.ledger, Recall(1, 24), standing=story.standing)
    story.tell(incident("now"))
    while not asked.done:
        asked.step()
    assert asked.read == 0
    assert story.standing.open.keys() == {"now"}


def test_places_of_what_came_after_are_no_reason_to_refuse_a_file(tmp_path):
    story = Kept(tmp_path)
    story.tell(incident("before"))
    asked = Recollection(story.ledger, Recall(1, 24), standing=story.standing)
    story.tell(incident("since"))
    while not asked.done:
        asked.step()
    story.restart()
    assert story.standing.upto == 1
    assert named(story.recall().parts()) == ["before", "since"]


@pytest.mark.parametrize("number", [(1 << 64) - 1, -(1 << 63)])
def test_numbers_that_nobody_could_mean_end_nothing(story, number):
    story.tell(replace(bulletin("b"), ttl_ns=number), "bulletin")
    story.tell(incident("i", version=number))
    record = AuditRecord("local", "bulletin", number, 0, "", encode(bulletin("c")))
    story.standing.appended(story.ledger.append([encode(record)]), [encode(record)])
    story.tell(incident("held"))
    story.restart()
    assert story.standing.open.keys() == {"held"}
    assert story.standing.upto == 4


def test_a_file_of_another_ledger_is_noticed_and_all_is_read(story, tmp_path):
    for n in range(5):
        story.tell(incident(f"other-{n}"))
    story.standing.write(0)
    mine = Kept(tmp_path)
    for n in range(9):
        mine.tell(incident(f"mine-{n}"))
    mine.standing = Standing(tmp_path, story.sealer)
    mine.standing.load()
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
    story.clock.advance(30 * HOUR_NS)
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
    assert (len(one.closed), len(one.heard)) == (3, 3)
    story.tell(incident("o6", version=2))
    story.tell(incident("o9"))
    assert list(one.open) == ["o8", "o6", "o9"]


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
    again.load()
    assert again.upto == 0


def test_keys_that_are_away_are_asked_again(story):
    class Away(MemorySealer):
        away = True

        def open(self, sealed, context):
            if self.away:
                raise UnreachableError("testing.away", "The keys are away.", "Wait.")
            return super().open(sealed, context)

    story.tell(incident("a"))
    story.standing.write(0)
    sealer = Away()
    again = Standing(story.folder, sealer)
    assert not again.load()
    sealer.away = False
    assert again.load()
    assert again.open.keys() == {"a"}


def test_a_process_that_nobody_asks_knows_that_it_lacks_what_stood_before(tmp_path):
    story = Kept(tmp_path)
    for n in range(EVERY):
        assert not story.standing.lacking
        story.tell(incident(str(n)))
    assert story.standing.lacking
    story.standing.wait()
    for n in range(2 * EVERY):
        assert not story.standing.lacking
        story.standing.appended(n, [b""])
    assert story.standing.lacking
