"""The profile store: versions, who serves, and nothing readable at rest."""

import sqlite3

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.discover.pump import GRAMMAR, PROFILE
from tests.unit.sealers import Scrambler

from cronos.discover import store
from cronos.discover.store import ProfileStore
from cronos.errors import CronosError, DeniedError, InputError
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.testing.clock import VirtualClock


@pytest.fixture
def opened(tmp_path):
    made = []

    def build(sealer=None):
        made.append(ProfileStore(tmp_path / "profiles", sealer or Scrambler(), VirtualClock()))
        return made[-1]

    yield build
    for one in made:
        one.close()


def test_a_version_is_a_candidate_until_it_is_promoted(opened):
    profiles = opened()
    first = profiles.add(PROFILE)
    assert (first.version, first.status) == (1, "candidate")
    assert profiles.actives() == {}
    profiles.promote("pump", 1)
    second = profiles.add(PROFILE)

    assert (second.version, second.status) == (2, "candidate")
    assert profiles.active("pump").version == 1
    profiles.promote("pump", 2)
    assert [one.profile.status for one in profiles.versions("pump")] == ["retired", "active"]
    assert profiles.actives()["pump"].version == 2


def test_while_none_is_active_the_newest_is_given_to_who_asks_by_name(opened):
    profiles = opened()
    profiles.add(PROFILE)
    profiles.add(PROFILE)

    assert profiles.active("pump").version == 2


def test_everything_is_there_again_after_closing(opened):
    profiles = opened()
    profiles.add(PROFILE)
    profiles.promote("pump", 1)
    profiles.note("pump", 1, parsed=90, failed=10)
    before = profiles.versions("pump")
    profiles.close()
    profiles.close()

    again = opened()
    assert again.versions("pump") == before
    assert before[0].success == 0.9
    assert again.names() == ("pump",)


def test_nothing_of_a_profile_is_readable_at_rest(opened, tmp_path):
    profiles = opened()
    profiles.add(PROFILE)
    profiles.close()
    data = (tmp_path / "profiles" / "profiles.db").read_bytes()

    assert b"pump" not in data
    assert b"level" not in data


def test_a_record_that_was_moved_or_changed_does_not_open(opened, tmp_path):
    profiles = opened()
    profiles.add(PROFILE)
    profiles.add(PROFILE)
    profiles.close()
    database = sqlite3.connect(tmp_path / "profiles" / "profiles.db")
    (one,) = database.execute("SELECT stored FROM profile WHERE id = 1").fetchone()
    database.execute("UPDATE profile SET stored = ? WHERE id = 2", (one,))
    database.commit()
    database.close()

    with pytest.raises(DeniedError):
        opened()


def test_one_process_writes_at_a_time(opened):
    opened()

    with pytest.raises(DeniedError, match="Another process"):
        opened()


def test_what_is_not_there_is_said_with_what_is(opened):
    profiles = opened()
    with pytest.raises(InputError, match="--save"):
        profiles.active("pump")
    profiles.add(PROFILE)

    with pytest.raises(InputError, match="There are: pump"):
        profiles.active("valve")
    with pytest.raises(InputError):
        profiles.promote("pump", 9)
    with pytest.raises(InputError):
        profiles.note("valve", 1, parsed=1, failed=0)


def test_a_grammar_that_may_not_run_is_not_stored(opened):
    broken = msgspec.structs.replace(PROFILE, grammar=msgspec.structs.replace(GRAMMAR, types=()))

    with pytest.raises(InputError):
        opened().add(broken)


def test_old_versions_make_room_but_never_the_active_one(opened, monkeypatch):
    monkeypatch.setattr(store, "MAX_VERSIONS", 3)
    profiles = opened()
    for _ in range(3):
        profiles.add(PROFILE)
    profiles.promote("pump", 1)
    profiles.retire("pump", 3)
    profiles.add(PROFILE)
    profiles.add(PROFILE)

    assert [one.profile.version for one in profiles.versions("pump")] == [1, 4, 5]


def test_a_full_store_says_so(opened, monkeypatch):
    monkeypatch.setattr(store, "MAX_ROWS", 1)
    profiles = opened()
    profiles.add(PROFILE)

    with pytest.raises(DeniedError, match="holds 1"):
        profiles.add(msgspec.structs.replace(PROFILE, name="valve"))
    assert profiles.forget("pump") == 1
    assert profiles.add(msgspec.structs.replace(PROFILE, name="valve")).version == 1


def test_another_programs_file_is_left_alone(opened, tmp_path):
    (tmp_path / "profiles").mkdir()
    database = sqlite3.connect(tmp_path / "profiles" / "profiles.db")
    database.execute("CREATE TABLE other(x)")
    database.commit()
    database.close()

    with pytest.raises(CronosError, match="another program"):
        opened()
    (tmp_path / "profiles" / "profiles.db").write_bytes(b"no database" * 100)
    with pytest.raises(CronosError, match="cannot be read"):
        opened()


def test_a_store_of_another_sealing_is_refused(opened):
    first = opened()
    first.add(PROFILE)
    first.close()

    with pytest.raises(DeniedError, match="not sealed as this node seals"):
        opened(PlaintextSealer(PlaintextConfig()))


def test_a_full_disk_changes_nothing_and_is_no_damage(opened):
    profiles = opened()
    profiles.add(PROFILE)
    profiles.promote("pump", 1)
    (pages,) = profiles._database.execute("PRAGMA page_count").fetchone()
    profiles._database.execute(f"PRAGMA max_page_count = {pages}")
    large = replace(PROFILE, remarks=("x" * 100_000,))
    with pytest.raises(DeniedError, match="full") as caught:
        profiles.add(large)

    assert caught.value.code == "discover.store_unusable"
    assert [one.profile.version for one in profiles.versions("pump")] == [1]
    profiles._database.execute("PRAGMA max_page_count = 100000")
    assert profiles.add(large).version == 2
    profiles.close()
    again = opened()
    assert [one.profile.status for one in again.versions("pump")] == ["active", "candidate"]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DeniedError, match="cannot be used"):
        ProfileStore(tmp_path / "file" / "profiles", Scrambler(), VirtualClock())


@pytest.mark.parametrize(
    "forgery",
    [
        "INSERT INTO profile VALUES (-1, x'00')",
        "INSERT INTO profile VALUES (9223372036854775807, x'00')",
        "INSERT INTO profile VALUES (7, zeroblob(50000000))",
        (
            "INSERT INTO profile SELECT value + 10, x'00' FROM"
            " (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 2000)"
            " SELECT value FROM n)"
        ),
        (
            "DROP TABLE profile; CREATE TABLE profile(id, stored);"
            " INSERT INTO profile VALUES (1, 1000000000)"
        ),
        (
            "DROP TABLE profile; CREATE VIEW profile AS WITH RECURSIVE n(id) AS"
            " (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, x'00' AS stored FROM n"
        ),
        "CREATE TRIGGER t AFTER INSERT ON profile BEGIN DELETE FROM profile; END",
    ],
)
def test_a_forged_file_is_refused_before_it_costs_anything(opened, forgery):
    profiles = opened()
    profiles.add(PROFILE)
    profiles.close()
    database = sqlite3.connect(profiles.path)
    with database:
        database.executescript(forgery)
    database.close()

    with pytest.raises(CronosError) as caught:
        opened()
    assert caught.value.code == "discover.store_damaged"
