"""The renewal service by a clock in the test's hand, where no issuer answers."""

import asyncio
import contextlib
import functools
import itertools

import pytest
from tests.unit.crypto.pki.plant import S_NS, Plant, shared_plant

from cronos.crypto.pki.credential import generate_keys
from cronos.crypto.pki.node import own_bound
from cronos.crypto.pki.pemfolder import write_pems
from cronos.crypto.pki.profile import DAY_NS
from cronos.errors import DeniedError
from cronos.link.egress import EgressGate
from cronos.link.renewal import CertificateRenewal
from cronos.link.upkeep import RenewalConfig
from cronos.runtime.tasks import AsyncTasks
from cronos.testing.conformance.service import ServiceConformance

NOBODY = "127.0.0.1:1"


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path / "plant")


class Told(list):
    """What the service reported: level, event, and the rest."""

    def __call__(self, level, event, /, **more):
        self.append((level, event, more))

    def events(self):
        return [event for _, event, _ in self]


def service(plant, told, *, holder=None, signing=None, **settings):
    @functools.cache
    def first():
        # The key that a node signs with is its keystore's: it outlives every certificate.
        return own_bound(plant.holder().membership().credential.keys)

    @contextlib.contextmanager
    def bound():
        yield (signing or first)()

    made = CertificateRenewal(
        RenewalConfig(**settings),
        clock=plant.clock,
        tasks=AsyncTasks(lambda _name, error: told("error", "task.failed", error=error)),
        egress=EgressGate(),
        holder=holder or plant.holder,
        bound=bound,
        report=told,
    )
    made._running = True  # as after `start`, without its loop: the test takes each step
    return made


def health(made):
    return asyncio.run(made.health())


def test_a_node_that_has_not_joined_waits_and_says_so_until_it_has(plant):
    told = Told()
    made = service(plant, told)
    made.step()
    assert "joined no trust domain" in health(made)

    plant.joined(address=NOBODY)
    made._lists.done(plant.clock.now().boot_ns + S_NS)
    made.step()
    assert (health(made), told) == ("ok", [])


def test_tries_are_bounded_by_pauses_that_double_up_to_the_longest(plant):
    plant.joined(address=NOBODY)
    told = Told()
    made = service(plant, told, retry_s=10, retry_most_s=60)
    plant.clock.advance(DAY_NS // 2)
    tries = []
    began = plant.clock.now().boot_ns
    for _ in range(300):
        before = len(told)
        made.step()
        if len(told) > before:
            tries.append((plant.clock.now().boot_ns - began) // S_NS)
        plant.clock.advance(S_NS)

    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert pauses == [10, 20, 40, 60, 60, 60]
    assert told[-1][2]["tries"] == 7
    assert set(told.events()) == {"pki.renewal_failed"}


def test_with_no_issuer_the_end_is_told_once_and_health_speaks_of_grace(plant):
    plant.joined(address=NOBODY)
    told = Told()
    made = service(plant, told)
    plant.clock.advance(DAY_NS // 2)
    made.step()
    assert health(made).startswith("The certificates end at 2026-09-")
    assert "1 tries in a row have failed; the last: Nothing answers" in health(made)

    plant.clock.advance(DAY_NS // 2)
    made.step()
    made.step()
    assert told.events().count("pki.grace_began") == 1
    assert "within its grace" in health(made)


def test_a_key_that_was_rotated_has_its_certificate_renewed_at_once(plant):
    plant.joined(address=NOBODY)
    told = Told()
    keys = [own_bound(plant.holder().membership().credential.keys)]
    made = service(plant, told, signing=lambda: keys[-1])
    made._lists.done(plant.clock.now().boot_ns + DAY_NS)
    made.step()
    assert told == []

    keys.append(own_bound(generate_keys()))
    made.step()
    assert told.events() == ["pki.renewal_failed"]  # it is asked for, and nobody is there


def test_nothing_is_asked_before_it_is_due(plant):
    plant.joined(address=NOBODY)
    told = Told()
    made = service(plant, told)
    made._lists.done(plant.clock.now().boot_ns + DAY_NS)
    made.step()
    plant.clock.advance(DAY_NS // 2 - 1)
    made.step()
    assert told == []

    plant.clock.advance(1)
    made.step()
    assert told.events() == ["pki.renewal_failed"]


def test_a_clock_that_was_set_back_does_not_put_off_renewal(plant):
    plant.joined(address=NOBODY)
    told = Told()
    made = service(plant, told)
    made._lists.done(plant.clock.now().boot_ns + 10 * DAY_NS)
    made.step()
    plant.clock.set_wall(plant.clock.now().wall_ns - 3600 * S_NS)
    plant.clock.advance(DAY_NS // 2)
    made.step()

    assert told.events() == ["pki.renewal_failed"]


def test_a_call_that_the_egress_gate_forbids_is_not_made_and_told(plant):
    plant.joined(address="192.0.2.1:7445")
    told = Told()
    made = service(plant, told)
    plant.clock.advance(DAY_NS // 2)
    made.step()

    assert told[0][2]["code"] == "link.egress_closed"


def test_a_folder_that_is_not_there_or_not_whole_is_told_once_and_looked_at_again(plant, tmp_path):
    told = Told()
    path = tmp_path / "gateway"
    made = service(plant, told, folders=(str(path),))
    made.step()
    made.step()
    assert [(event, more["folder"]) for _, event, more in told] == [
        ("crypto.missing_file", str(path))
    ]
    assert health(made).startswith(f"{path}: There is no folder")

    write_pems(path, plant.authority.issue("service", "gateway", ()))
    made.step()
    assert (health(made), len(told)) == ("ok", 1)


def test_without_any_enrolment_service_a_folder_that_is_due_says_what_to_set(plant, tmp_path):
    told = Told()
    write_pems(tmp_path / "gateway", plant.authority.issue("service", "gateway", ()))
    made = service(plant, told, folders=(str(tmp_path / "gateway"),))
    made.step()
    assert told == []

    plant.clock.advance(60 * DAY_NS)
    made.step()
    assert told[0][2]["code"] == "link.no_enrolment_service"
    assert "1 tries in a row" in health(made)


def test_folders_go_on_though_the_nodes_own_credential_does_not_open(plant, tmp_path):
    told = Told()

    def locked():
        raise DeniedError("crypto.refused", "It does not open.", "Look.")

    write_pems(tmp_path / "gateway", plant.authority.issue("service", "gateway", ()))
    folders = (str(tmp_path / "gateway"),)
    made = service(plant, told, holder=locked, folders=folders, addresses=(NOBODY,))
    plant.clock.advance(60 * DAY_NS)
    made.step()

    assert [event for _, event, _ in told] == ["crypto.refused", "pki.renewal_failed"]
    assert health(made) == "It does not open."


def test_a_credential_that_does_not_open_is_told_once_and_looked_at_again(plant):
    told = Told()
    locked = [True]

    def holder():
        if locked:
            raise DeniedError("crypto.refused", "It does not open.", "Look.")
        return plant.holder()

    made = service(plant, told, holder=holder)
    made.step()
    made.step()
    assert told.events() == ["crypto.refused"]
    assert health(made) == "It does not open."

    locked.clear()
    plant.joined(address=NOBODY)
    made._lists.done(plant.clock.now().boot_ns + S_NS)
    made.step()
    assert health(made) == "ok"


def test_it_starts_looks_and_stops_and_a_fault_of_its_own_does_not_end_it(plant):
    told = Told()

    class Breaking:
        """A double of a holder that fails as no holder should, once it was looked at."""

        def __init__(self):
            self.looks = 0

        def stamp(self):
            self.looks += 1
            return () if self.looks == 1 else 1 / 0

    async def lived():
        reported = asyncio.Event()
        made = service(plant, told, holder=Breaking, check_s=1)
        made._report = lambda *given, **more: (told(*given, **more), reported.set())
        await made.start()
        for _ in range(2):
            await reported.wait()
            reported.clear()
        await made.stop()
        await made.stop()
        return await made.health()

    assert "does not run" in asyncio.run(lived())
    assert told.events() == ["pki.renewal_fault", "pki.renewal_fault"]


def faulty(made, calls):
    """Folders in the service whose first one fails as none should."""

    class Folder:
        def __init__(self, name):
            self.name = name

        def step(self):
            calls.append(self.name)
            return 1 / (self.name != "one")

        def look(self, _):
            return self.step()

    made._folders = {name: Folder(name) for name in ("one", "two")}


def test_a_fault_with_one_folder_leaves_the_others_alone(plant):
    told, calls = Told(), []
    made = service(plant, told)
    faulty(made, calls)
    made._look()
    made.step()

    assert calls == ["one", "two"] * 2
    assert [(event, more["folder"]) for _, event, more in told] == [
        ("pki.renewal_fault", "one")
    ] * 2


def test_once_it_is_stopping_no_other_folder_is_begun(plant):
    calls = []
    made = service(plant, Told())
    faulty(made, calls)
    asyncio.run(made.stop())
    made.step()

    assert calls == []


class TestService(ServiceConformance):
    """A node that has joined; its enrolment service need not be there for it to serve."""

    async def make(self):
        plant = shared_plant()
        made = service(plant, Told(), holder=functools.partial(plant.joined, address=NOBODY))
        made._running = False
        made._lists.done(plant.clock.now().boot_ns + DAY_NS)
        return made
