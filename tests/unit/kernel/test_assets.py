"""The asset model: which system an entity is, when people work on it, what it costs."""

import pytest

from cronos.config import Asset, Policy
from cronos.errors import InputError
from cronos.kernel.assets import Assets, Protected, host_of
from cronos.types import Entity, EntityKind, Loss, LossTable, Now, flow_entity

K = EntityKind
PLC = Asset("plc", ("10.0.0.8", "boiler"), criticality=5, legacy=True, data=("essential",))
CELL = Asset("cell", ("10.0.0.0/24", "2001:db8::/64"), depends_on=("plc",))
MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
SUNDAY_NS = 3 * 24 * HOUR_NS  # 4 January 1970


def model(*assets, losses=None):
    return Assets(assets or (PLC, CELL), losses or LossTable())


@pytest.mark.parametrize(
    ("entity", "name"),
    [
        (Entity(K.ADDRESS, "10.0.0.8"), "plc"),
        (Entity(K.ADDRESS, "::ffff:10.0.0.8"), "plc"),
        (Entity(K.ADDRESS, "10.0.0.9"), "cell"),
        (Entity(K.ADDRESS, "2001:db8::9"), "cell"),
        (Entity(K.HOST, "BOILER"), "plc"),
        (Entity(K.PROCESS, "boiler/77"), "plc"),
        (Entity(K.SERVICE, "tcp/10.0.0.8:502"), "plc"),
        (flow_entity("tcp", "10.0.0.9", 5, "10.0.0.8", 502), "cell"),
        (Entity(K.ADDRESS, "192.0.2.1"), None),
        (Entity(K.USER, "CORP\\eve"), None),
        (None, None),
    ],
)
def test_an_entity_is_the_narrowest_asset_that_holds_it(entity, name):
    found = model().find(entity)

    assert (found and found.name) == name


def test_what_others_depend_on_costs_more():
    assets = model()

    assert assets.hourly(PLC) == 2 * PLC.downtime_per_hour
    assert assets.hourly(CELL) == CELL.downtime_per_hour
    assert assets.hourly(None) == 1_000.0


def test_what_is_at_stake_comes_from_the_model_and_the_losses():
    losses = LossTable("digest", (Loss("plc", 5.0, 9.0, 2.0),))
    impact = model(losses=losses).impact(Entity(K.ADDRESS, "10.0.0.8"), Now(0, 0))

    assert (impact.asset, impact.criticality, impact.legacy) == ("plc", 5, True)
    assert (impact.loss_mean, impact.loss_p90, impact.loss_digest) == (5.0, 9.0, "digest")
    assert (impact.data, impact.dependents) == (("essential",), 1)
    assert model().impact(None, Now(0, 0)).loss_mean > 0


@pytest.mark.parametrize(
    ("minute", "open_now"),
    [(119, False), (120, True), (239, True), (240, False), (120 + 7 * 24 * 60, True)],
)
def test_a_maintenance_window_is_weekly(minute, open_now):
    assets = model(Asset("plc", ("10.0.0.8",), maintenance=("Sun 02:00-04:00",)))
    now = Now(0, SUNDAY_NS + minute * MINUTE_NS)

    assert assets.impact(Entity(K.ADDRESS, "10.0.0.8"), now).maintenance is open_now


def test_a_window_may_end_on_the_next_day_and_the_week_goes_round():
    assets = model(Asset("plc", ("10.0.0.8",), maintenance=("sun 23:00-01:00",)))
    monday = Now(0, SUNDAY_NS + 24 * HOUR_NS + 59 * MINUTE_NS)

    assert assets.impact(Entity(K.ADDRESS, "10.0.0.8"), monday).maintenance


def test_an_uncertain_clock_widens_the_window():
    assets = model(Asset("plc", ("10.0.0.8",), maintenance=("sun 02:00-04:00",)))
    early = Now(0, SUNDAY_NS + 118 * MINUTE_NS, 3 * MINUTE_NS)

    assert assets.impact(Entity(K.ADDRESS, "10.0.0.8"), early).maintenance


@pytest.mark.parametrize("window", ["", "sun", "day 01:00-02:00", "sun 1:00-2:00"])
def test_a_window_that_cannot_be_read_is_refused(window):
    with pytest.raises(InputError, match="maintenance window"):
        model(Asset("plc", ("10.0.0.8",), maintenance=(window,)))


def test_a_dependency_on_nothing_is_refused():
    with pytest.raises(InputError, match="not listed"):
        model(CELL)


@pytest.mark.parametrize(
    ("target", "covered"),
    [
        (Entity(K.NETWORK, "10.0.0.0/8"), True),
        (Entity(K.NETWORK, "10.0.0.9/32"), False),
        (Entity(K.NETWORK, "nonsense"), True),
        (Entity(K.SERVICE, "tcp/10.0.0.8:502"), True),
        (Entity(K.SERVICE, "nonsense"), True),
        (Entity(K.USER, "CORP\\ADMIN"), True),
        (Entity(K.PROCESS, "historian/1"), True),
        (Entity(K.PROCESS, "desk/1"), False),
    ],
)
def test_whatever_holds_a_protected_asset_is_protected(target, covered):
    guard = Protected(Policy(protected=("10.0.0.8", "historian", "corp\\admin")))

    assert guard.covers(target) is covered


def test_an_entity_lies_on_a_host():
    assert host_of(Entity(K.SERVICE, "tcp/[2001:db8::2]:502")) == "2001:db8::2"
    assert host_of(Entity(K.PROCESS, "desk/1")) == "desk"
