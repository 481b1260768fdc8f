"""From two keyboards to one deed: what operators sign is what the enforcer checks.

Real credentials, the real command line, control server and enforcer; the node's desk between them
is a fake that collects approvals as the kernel does, and the deed is recorded, not done.
"""

import msgspec
import pytest
from tests.unit.crypto.pki.plant import PASSPHRASE, Plant, passphrase_root
from tests.unit.front.commands.office import Office
from tests.unit.link.desk import question
from tests.unit.link.test_people import known
from tests.unit.respond.stage import BootClock, apply, deny
from tests.unit.respond.test_deeds import Ending

from cronos.crypto.pki.files import write_credential
from cronos.link.people import approvals
from cronos.respond.deeds import Deeds
from cronos.respond.enforcer import Enforcer
from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import LeaseBook
from cronos.testing.clock import VirtualClock
from cronos.types import EntityKind, Verb

STOP = deny("plc-9/4711", "local-1-i1", kind=EntityKind.PROCESS, verb=Verb.STOP)


class Site:
    def __init__(self, folder, office):
        self.folder = folder
        self.office = office
        self.now_ns = BootClock().now().wall_ns
        self.plant = Plant(folder / "plant", clock=VirtualClock(wall_ns=self.now_ns))
        self.root = passphrase_root(folder)
        self.passphrase = folder / f"passphrase-{len(PASSPHRASE)}"
        self.world = {}
        self.book = LeaseBook(folder / "leases")
        self.deeds = Deeds(
            folder / "deeds", None, BootClock(), approvals(known(self.plant), BootClock())
        )
        executors = {"world": Ending(self.world)}
        self.enforcer = Enforcer(EnforcerConfig(), executors, self.book, BootClock(), dict)
        self.enforcer.arm(None, self.deeds)
        office.desk.waiting = [question(audience="analyst", persons=2, asked=STOP)]

    def operator(self, name, role):
        credential = self.plant.authority.issue("operator", name, [role])
        path = self.folder / f"{name}.credential"
        write_credential(path, credential, self.root)
        return "--as", str(path), "--passphrase-file", str(self.passphrase)

    def approve(self, options):
        clock = VirtualClock(wall_ns=self.now_ns - 1_000_000_000)
        with self.office.open(known(self.plant), clock):
            assert self.office.document("approve", "local-1-q1", "--yes", *options)["signed"]

    def ordered(self, action=STOP):
        approved = tuple(one.approval for one in self.office.desk.heard)
        order = apply(msgspec.structs.replace(action, approvals=approved))
        (outcome,) = self.enforcer.handle(order).outcomes
        return outcome

    def close(self):
        self.deeds.close()
        self.book.close()


@pytest.fixture
def site(tmp_path, capsys):
    site = Site(tmp_path, Office(tmp_path, capsys))
    yield site
    site.close()


def test_two_operators_one_of_them_a_manager_and_it_is_done_once(site):
    site.approve(site.operator("eve", "analyst"))
    assert "operator/eve approved it" in site.ordered().detail
    assert not site.world
    site.approve(site.operator("mia", "manager"))
    outcome = site.ordered()
    assert outcome.ok
    assert outcome.verified
    assert len(site.world) == 1
    site.world.clear()
    assert site.ordered() == outcome
    assert not site.world


def test_one_operator_twice_two_analysts_and_another_action_are_refused(site):
    eve = site.operator("eve", "analyst")
    site.approve(eve)
    site.approve(eve)
    assert "operator/eve approved it" in site.ordered().detail
    site.approve(site.operator("ben", "analyst"))
    assert "none of them a manager" in site.ordered().detail
    site.approve(site.operator("mia", "manager"))
    other = deny("plc-8/4711", "local-1-i1", kind=EntityKind.PROCESS, verb=Verb.STOP)
    assert "does not hold" in site.ordered(other).detail
    assert not site.world


def test_who_was_revoked_between_approval_and_deed_has_approved_nothing(site):
    site.approve(site.operator("eve", "analyst"))
    site.approve(site.operator("mia", "manager"))
    site.plant.authority.revoke("operator/mia", "key-compromise")
    site.deeds._approvals = approvals(known(site.plant), BootClock())
    assert "revoked" in site.ordered().detail
    assert not site.world
