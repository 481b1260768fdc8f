"""The upkeep of one credential by a clock in the test's hand."""

import contextlib
import shutil

import pytest
from tests.unit.crypto.pki.plant import S_NS, Plant

from cronos.config import convert
from cronos.crypto.pki.pemfolder import PemFolder, write_pems
from cronos.crypto.pki.profile import DAY_NS, LIFE_NS
from cronos.errors import DeniedError, InputError, UnreachableError
from cronos.link.egress import EgressGate
from cronos.link.upkeep import Chore, RenewalConfig, Upkeep, moment

GONE = UnreachableError("link.unreachable", "Nothing answers.", "Look.")


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path / "plant")


def upkeep(plant, told, addresses=("127.0.0.1:1",)):
    path = plant.folder / "gateway"
    write_pems(path, plant.authority.issue("service", "gateway", ()))
    return Upkeep(
        RenewalConfig(),
        clock=plant.clock,
        egress=EgressGate(),
        opened=lambda: PemFolder(path, plant.clock),
        bound=contextlib.nullcontext,
        report=lambda level, event, **more: told.append((level, event, more)),
        addresses=lambda: addresses,
        folder=str(path),
    )


def test_it_is_young_until_two_thirds_of_ninety_days_and_due_from_then_on(plant):
    told = []
    made = upkeep(plant, told)
    assert made.step() == "young"
    plant.clock.advance(60 * DAY_NS - 1)
    assert made.step() == "young"
    plant.clock.advance(1)
    assert made.step() == "due"
    assert [event for _, event, _ in told] == ["pki.renewal_failed"]


def test_a_clock_that_was_set_back_does_not_put_off_renewal_of_a_folder(plant):
    told = []
    made = upkeep(plant, told)
    made.step()
    plant.clock.set_wall(plant.clock.now().wall_ns - 30 * DAY_NS)
    plant.clock.advance(60 * DAY_NS)

    assert made.step() == "due"
    assert told[0][1] == "pki.renewal_failed"


def test_a_clock_that_was_set_ahead_and_corrected_leaves_all_as_it_was(plant):
    told = []
    made = upkeep(plant, told)
    right = plant.clock.now().wall_ns
    plant.clock.set_wall(right + 400 * DAY_NS)
    assert made.step() == "due"
    plant.clock.set_wall(right)
    assert made.step() == "young"

    assert [event for _, event, _ in told] == ["pki.grace_began", "pki.renewal_failed"]


def test_while_a_pause_is_on_nothing_is_tried(plant):
    told = []
    made = upkeep(plant, told)
    plant.clock.advance(60 * DAY_NS)
    assert (made.step(), made.step()) == ("due", "due")
    assert len(told) == 1
    plant.clock.advance(30 * S_NS)
    made.step()
    assert told[-1][2]["tries"] == 2


def test_one_service_after_the_other_is_asked_until_one_serves(plant):
    made = upkeep(plant, [], addresses=("one", "two", "three"))
    asked = []

    def one(address):
        asked.append(address)
        if address == "one":
            raise GONE

    chore = Chore()
    assert made.attempt(chore, "pki.lists_failed", one)
    assert asked == ["one", "two"]
    assert chore.failures == 0


def test_a_chore_forgets_its_failures_once_it_works():
    chore = Chore()
    chore.failed(GONE, 0, RenewalConfig(retry_s=10, retry_most_s=15))
    chore.failed(GONE, 0, RenewalConfig(retry_s=10, retry_most_s=15))
    assert (chore.failures, chore.next_ns) == (2, 15 * S_NS)
    assert chore.tries() == "2 tries in a row have failed; the last: Nothing answers."
    chore.done(7)
    assert (chore.tries(), chore.next_ns) == ("", 7)


def test_folders_are_named_by_absolute_paths():
    assert convert({"folders": ["/etc/envoy/certs"]}, RenewalConfig, "[x]").folders
    with pytest.raises(InputError):
        convert({"folders": ["certs"]}, RenewalConfig, "[x]")


def test_a_moment_is_written_in_utc():
    assert moment(S_NS) == "1970-01-01T00:00:01Z"


def test_a_reason_is_told_before_that_another_service_was_not_there(plant):
    told = []
    made = upkeep(plant, told, addresses=("one", "two", "three"))

    def one(address):
        raise GONE if address != "two" else DeniedError("x.no", "It is revoked.", "Ask.")

    chore = Chore()
    assert not made.attempt(chore, "pki.lists_failed", one)
    assert (told[0][2]["code"], chore.trouble) == ("x.no", "It is revoked.")


def test_that_the_token_named_no_address_does_not_hide_that_nobody_answered(plant):
    told = []
    made = upkeep(plant, told, addresses=("", "two"))

    def one(address):
        raise GONE if address else InputError("link.no_address", "No address.", "Name one.")

    assert not made.attempt(Chore(), "pki.lists_failed", one)
    assert told[0][2]["code"] == "link.unreachable"


def test_a_folder_that_was_emptied_is_told_once_and_stays_in_health(plant):
    told = []
    made = upkeep(plant, told)
    assert made.step() == "young"
    shutil.rmtree(plant.folder / "gateway")
    assert (made.step(), made.step()) == ("absent", "absent")

    assert [(level, event) for level, event, _ in told] == [("error", "crypto.missing_file")]
    assert made.health().startswith("There are no certificates in")


def test_a_folder_that_was_led_elsewhere_is_told(plant):
    told = []
    made = upkeep(plant, told)
    made.step()
    (plant.folder / "gateway" / "..data").unlink()
    (plant.folder / "gateway" / "..data").symlink_to("/etc")
    assert (made.step(), made.step()) == ("absent", "absent")

    assert [event for _, event, _ in told] == ["crypto.pems_unfit"]


def test_near_its_issuers_end_a_folder_is_renewed_a_few_times_not_every_quarter(plant, monkeypatch):
    """Two years on the issuer ends: whatever it makes is due as soon as it is made."""
    plant.clock.advance(LIFE_NS["issuer"] - 20 * DAY_NS)
    made = upkeep(plant, [])

    def at_once(holder, *_):
        return holder.renew(lambda request: plant.authority.renew(holder.own(), request))

    monkeypatch.setattr("cronos.link.upkeep.renew", at_once)
    steps = []
    for _ in range(20 * 24 - 1):
        steps.append(made.step())
        plant.clock.advance(3600 * S_NS)

    assert steps[0] == "renewed"
    assert 5 < steps.count("renewed") < 20
