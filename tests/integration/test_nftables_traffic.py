"""Real packets in a network namespace: they stop at the block and flow again after it."""

import pytest
from tests.integration.netns import require_namespaces, run_in_namespace

pytestmark = pytest.mark.net

HELPERS = """
from cronos.respond.nftables import NftablesConfig, NftablesExecutor
from cronos.types import Entity, EntityKind, flow_entity
from tests.unit.respond.stage import deny

def plans(executor, *targets, lease_s=60, kind=EntityKind.ADDRESS):
    ready = executor.plan([deny(t, lease_s=lease_s, point="nftables", kind=kind) for t in targets])
    return ready

def udp(host):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((host, 0)); s.settimeout(0.3); return s

def passes(a, b):
    try:
        a.sendto(b"x", b.getsockname())
    except PermissionError:
        return False
    try:
        return b.recv(10) == b"x"
    except TimeoutError:
        return False

def tcp(client, server):
    listener = socket.create_server((server, 0))
    c = socket.socket(); c.bind((client, 0)); c.connect(listener.getsockname())
    s, _ = listener.accept(); s.settimeout(0.5)
    return listener, c, s

def talks(c, s):
    try:
        c.send(b"y")
        return s.recv(100).startswith(b"y")
    except (TimeoutError, PermissionError):
        return False
"""


@pytest.fixture(autouse=True, scope="module")
def _namespaces():
    require_namespaces()


def test_an_address_is_cut_in_both_directions_and_passes_again_after_undo():
    run_in_namespace(
        HELPERS
        + """
e = NftablesExecutor(NftablesConfig())
bad, good, server = udp("127.0.0.66"), udp("127.0.0.2"), udp("127.0.0.1")
assert passes(bad, server) and passes(good, server)
p = plans(e, "127.0.0.66")
assert all(o.ok for o in e.apply(p)), e.apply(p)
assert e.verify(p) == [True] and e.observe() == {p[0].action.action_id}
assert not passes(bad, server) and not passes(server, bad)
assert passes(good, server)
assert all(o.ok for o in e.undo(p)) and e.verify(p) == [False] and not e.observe()
assert all(o.ok for o in e.undo(p))
assert passes(bad, server) and passes(server, bad)
"""
    )


def test_an_ipv6_address_is_cut_too():
    run_in_namespace(
        HELPERS
        + """
subprocess.run(["ip", "addr", "add", "fd00::66/128", "dev", "lo", "nodad"], check=True)
e = NftablesExecutor(NftablesConfig())
bad, server = udp("fd00::66"), udp("::1")
assert passes(bad, server)
p = plans(e, "fd00::66")
assert all(o.ok for o in e.apply(p)) and e.verify(p) == [True]
assert e.observe() == {p[0].action.action_id}
assert not passes(bad, server)
e.undo(p)
assert passes(bad, server)
"""
    )


def test_one_established_flow_is_cut_and_its_neighbour_is_not():
    run_in_namespace(
        HELPERS
        + """
e = NftablesExecutor(NftablesConfig())
l1, c1, s1 = tcp("127.0.0.66", "127.0.0.1")
l2, c2, s2 = tcp("127.0.0.66", "127.0.0.1")
assert talks(c1, s1) and talks(c2, s2)
flow = flow_entity("tcp", *c1.getsockname(), *l1.getsockname())
p = plans(e, flow.value, kind=EntityKind.FLOW)
assert all(o.ok for o in e.apply(p)) and e.verify(p) == [True]
assert e.observe() == {p[0].action.action_id}, e.observe()
assert not talks(c1, s1) and talks(c2, s2)
e.undo(p)
s1.settimeout(20)
assert s1.recv(10).startswith(b"y")  # retransmitted once the path is open
"""
    )


def test_the_kernel_ends_the_lease_though_its_owner_was_killed():
    run_in_namespace(
        HELPERS
        + """
bad, server = udp("127.0.0.66"), udp("127.0.0.1")
pid = os.fork()
if pid == 0:
    e = NftablesExecutor(NftablesConfig())
    p = plans(e, "127.0.0.66", lease_s=2)
    assert all(o.ok for o in e.apply(p))
    os.kill(os.getpid(), 9)
os.waitpid(pid, 0)
assert not passes(bad, server)
begun = time.monotonic()
while not passes(bad, server):
    assert time.monotonic() - begun < 10
assert time.monotonic() - begun > 0.5
"""
    )


def test_a_renewal_leaves_no_gap_and_moves_the_end():
    run_in_namespace(
        HELPERS
        + """
e = NftablesExecutor(NftablesConfig())
bad, server = udp("127.0.0.66"), udp("127.0.0.1")
short, long = plans(e, "127.0.0.66", lease_s=1), plans(e, "127.0.0.66", lease_s=60)
e.apply(short)
assert all(o.ok for o in e.renew(long))
begun = time.monotonic()
while time.monotonic() - begun < 1.6:
    assert not passes(bad, server)
assert e.verify(long) == [True]
"""
    )


def test_a_removed_table_is_made_again_and_a_restart_keeps_the_elements():
    run_in_namespace(
        HELPERS
        + """
e = NftablesExecutor(NftablesConfig())
p = plans(e, "127.0.0.66")
e.apply(p)
again = NftablesExecutor(NftablesConfig())
assert again.verify(p) == [True]
again._nft.run("delete table inet cronos")
assert e.verify(p) == [False] and e.observe() == frozenset()
assert all(o.ok for o in e.apply(p)) and e.verify(p) == [True]
bad, server = udp("127.0.0.66"), udp("127.0.0.1")
assert not passes(bad, server)
"""
    )


def test_a_thousand_blocks_are_one_transaction_and_all_are_seen():
    run_in_namespace(
        HELPERS
        + """
e = NftablesExecutor(NftablesConfig())
names = [f"198.18.{i // 250}.{i % 250 + 1}" for i in range(1000)]
p = plans(e, *names)
assert all(o.ok for o in e.apply(p)) and all(e.verify(p)) and len(e.observe()) == 1000
assert all(o.ok for o in e.renew(p))
assert all(o.ok for o in e.undo(p[:500])) and sum(e.verify(p)) == 500
assert len(e.observe()) == 500
"""
    )


def test_without_the_right_to_change_the_filter_there_is_a_sentence():
    run_in_namespace(
        """
import ctypes
from cronos.errors import DeniedError
from cronos.respond.nftables import NftablesConfig, NftablesExecutor
libc = ctypes.CDLL(None, use_errno=True)
assert libc.setgid(0) == 0
class Head(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
class Data(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]
head, none = Head(0x20080522, 0), (Data * 2)()
assert libc.capset(ctypes.byref(head), none) == 0
try:
    NftablesExecutor(NftablesConfig())
except DeniedError as error:
    assert "CAP_NET_ADMIN" in error.remedy
else:
    raise AssertionError("no capability was needed")
"""
    )


def test_it_conforms_to_its_port():
    run_in_namespace(
        HELPERS
        + """
from cronos.testing.conformance.executor import ReversibleExecutorConformance

class Suite(ReversibleExecutorConformance):
    def make(self):
        subprocess.run(["nft", "flush", "ruleset"], check=False)
        return NftablesExecutor(NftablesConfig())
    def actions(self):
        flow = flow_entity("tcp", "192.0.2.9", 40000, "198.51.100.2", 502)
        return [
            *(deny(f"192.0.2.{i}", point="nftables") for i in range(1, 20)),
            deny("2001:db8::7", point="nftables"),
            deny(flow.value, point="nftables", kind=EntityKind.FLOW),
        ]
    def impossible(self):
        return deny("plc-1", point="nftables", kind=EntityKind.HOST)

suite = Suite()
names = [name for name in dir(suite) if name.startswith("test_")]
assert len(names) > 5
for name in names:
    getattr(suite, name)()
"""
    )


def test_under_the_enforcer_a_protected_address_is_never_blocked():
    run_in_namespace(
        HELPERS
        + """
import pathlib, tempfile
from cronos.respond.enforcer import Enforcer
from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import LeaseBook
from tests.unit.respond.stage import BootClock, apply, undo

e = NftablesExecutor(NftablesConfig())
with tempfile.TemporaryDirectory() as folder:
    book = LeaseBook(pathlib.Path(folder))
    enforcer = Enforcer(EnforcerConfig(), {"nftables": e}, book, BootClock())
    bad, server = udp("127.0.0.66"), udp("127.0.0.1")
    block, forbidden = deny("127.0.0.66", point="nftables"), deny("127.0.0.1", point="nftables")
    done, refused = enforcer.handle(apply(block, forbidden)).outcomes
    assert done.verified and not refused.ok and "protected" in refused.detail
    assert e.observe() == {block.action_id}
    assert not passes(bad, server) and passes(server, server)
    assert enforcer.handle(undo(block)).outcomes[0].verified
    assert passes(bad, server)
    book.close()
"""
    )
