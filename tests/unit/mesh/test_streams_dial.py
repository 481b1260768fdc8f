"""Dialling: addresses that gRPC may be given, pauses, and the circuit breaker."""

import asyncio

import pytest
from tests.unit.mesh.grpc_nodes import Reports

from cronos.errors import DeniedError, InputError, UnreachableError
from cronos.mesh.streams_dial import OPENS_AT, Dialler, parse_address, target_of
from cronos.testing.clock import VirtualClock


class LinkDouble:
    """As much of a link as a dialler sees."""

    def __init__(self):
        self.peer = "beta"
        self.active = None
        self.refusing = False
        self.changed = asyncio.Event()

    @property
    def up(self):
        return self.active is not None


def test_addresses_are_read_and_named_to_grpc_with_their_scheme():
    for text, place, target in [
        ("192.0.2.1:7443", ("192.0.2.1", 7443), "ipv4:192.0.2.1:7443"),
        ("[2001:db8::1]:1", ("2001:db8::1", 1), "ipv6:[2001:db8::1]:1"),
        ("node-1.plant.example:65535", ("node-1.plant.example", 65535),
         "dns:///node-1.plant.example:65535"),
    ]:  # fmt: skip
        assert parse_address(text) == place
        assert target_of(*place) == target


@pytest.mark.parametrize(
    "text",
    ["", "host", ":1", "host:", "host:0", "host:65536", "host:1x", "host:+1", "unix:/run/x:1",
     "xds:///a:1", "a b:1", "2001:db8::1:7443", "[fe80::1%eth0]:1", "[host]:1", "-a:1", "a/b:1",
     "a,b:1", "h:\uff11"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InputError) as refused:
        parse_address(text)
    assert refused.value.code == "mesh.bad_address"


def dialler_of(outcomes, reports=None):
    """A dialler whose dials end as told: with an error, or None for success; then it ends."""
    link, tried = LinkDouble(), []

    async def dial(_link, address):
        tried.append(address)
        outcome = outcomes.pop(0)
        if not outcomes:
            dialler.end()
        if outcome is not None:
            raise outcome

    dialler = Dialler(
        link, ("127.0.0.1", 1), dial, VirtualClock(), Reports() if reports is None else reports
    )
    pauses = []

    async def pause(pause_s):
        pauses.append(pause_s)

    dialler._pause = pause
    return dialler, tried, pauses


def away():
    return UnreachableError("mesh.unreachable", "Nobody is there.", "Start it.")


def test_pauses_double_up_to_half_a_second_and_longer_once_it_stays_away():
    async def story():
        dialler, tried, pauses = dialler_of([away() for _ in range(40)])
        await dialler.run()
        assert len(tried) == 40
        assert 0.025 <= pauses[0] <= 0.075
        assert all(0.25 <= pause <= 0.75 for pause in pauses[5:14])
        assert all(2.5 <= pause <= 7.5 for pause in pauses[-10:])
        assert len(set(pauses[-10:])) > 5

    asyncio.run(story())


def test_the_breaker_opens_once_and_says_so():
    async def story():
        reports = Reports()
        dialler, _, _ = dialler_of([away() for _ in range(OPENS_AT + 5)], reports)
        await dialler.run()
        assert dialler.open
        assert dialler.link.refusing
        assert reports.events() == ["mesh.peer_away"]
        dialler.move(("127.0.0.1", 2))
        assert (dialler.open, dialler.link.refusing) == (False, False)

    asyncio.run(story())


def test_a_refusal_is_told_once_and_again_when_it_is_another():
    async def story():
        reports = Reports()
        one, two = (DeniedError("mesh.refused", text, "Ask.") for text in ("One.", "Two."))
        dialler, _, _ = dialler_of([one, one, two, None], reports)
        await dialler.run()
        assert [more["detail"] for _, _, more in reports] == ["One.", "Two."]
        assert (dialler.failures, dialler.trouble) == (0, "")

    asyncio.run(story())
