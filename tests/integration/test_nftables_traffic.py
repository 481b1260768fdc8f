"""Real packets in a network namespace: they stop at the block and flow again after it."""

import pytest
from tests.integration.netns import require_namespaces, run_in_namespace

pytestmark = pytest.mark.net

HELPERS = """
from cronos.respond.nftables import NftablesConfig, NftablesExecutor
from cronos.types import Entity, EntityKind, Outcome, Verb, flow_entity
from tests.unit.respond.stage import deny

def plans(executor, *targets, lease_s=60, kind=EntityKind.ADDRESS, verb=Verb.DENY):
    told = {"lease_s": lease_s, "point": "nftables", "kind": kind, "verb": verb}
    return executor.plan([deny(t, **told) for t in targets])

def state():
    listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True)
    return listed.stdout

def ok(outcomes):
    assert outcomes and all(o.ok for o in outcomes), outcomes

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


def test_rules_that_were_flushed_are_noticed_and_made_again_though_the_elements_stayed():
    run_in_namespace(
        HELPERS
        + """
bad, server = udp("127.0.0.66"), udp("127.0.0.1")
e = NftablesExecutor(NftablesConfig())
p = plans(e, "127.0.0.66")
ok(e.apply(p))
assert e.verify(p) == [True] and not passes(bad, server)
harms = [["flush", "table", "inet", "cronos"], ["flush", "chain", "inet", "cronos", "input"],
         ["insert", "rule", "inet", "cronos", "input", "accept"],
         ["flush", "chain", "inet", "cronos", "output"]]
for harm in harms:
    subprocess.run(["nft", *harm], check=True)
    assert e.verify(p) == [False], harm
    ok(e.apply(p))
    assert e.verify(p) == [True] and not passes(bad, server), harm
# What others do to their own tables is none of our business.
subprocess.run(["nft", "add", "table", "inet", "others"], check=True)
assert e.verify(p) == [True]
n = plans(e, "10.1.0.0/16", kind=EntityKind.NETWORK)
ok(e.apply(n)); assert e.verify(n + p) == [True, True]
ok(e.undo(n)); assert e.verify(n + p) == [False, True]
# The first block after a flush holds at once, without a reconciler.
subprocess.run(["nft", "flush", "table", "inet", "cronos"], check=True)
q = plans(e, "127.0.0.67")
ok(e.apply(q)); assert e.verify(q + p) == [True, True]
"""
    )


def test_a_filter_that_cannot_be_asked_is_not_said_to_be_open():
    run_in_namespace(
        HELPERS
        + """
from cronos.errors import UnreachableError
e = NftablesExecutor(NftablesConfig())
p = plans(e, "127.0.0.66")
ok(e.apply(p))
e._elements._socket.close()
try:
    print(e.verify(p))
    raise AssertionError("it has said something")
except UnreachableError:
    pass
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


def test_a_network_is_cut_and_networks_within_it_have_leases_of_their_own():
    run_in_namespace(
        HELPERS
        + """
e = NftablesExecutor(NftablesConfig())
before = state()
near, far, other = udp("127.7.7.1"), udp("127.7.9.1"), udp("127.8.0.1")
server = udp("127.0.0.1")
wide, narrow = plans(e, "127.7.0.0/16", "127.7.7.0/24", kind=EntityKind.NETWORK)
ok(e.apply([wide, narrow]))
assert e.verify([wide, narrow]) == [True, True]
assert e.observe() == {wide.action.action_id, narrow.action.action_id}
assert not passes(near, server) and not passes(server, far) and passes(other, server)
ok(e.undo([wide]))
assert e.verify([wide, narrow]) == [False, True]
assert not passes(near, server) and passes(far, server)
ok(e.undo([narrow]))
assert passes(near, server) and state() == before
assert isinstance(plans(e, "126.0.0.0/7", kind=EntityKind.NETWORK)[0], Outcome)
"""
    )


def test_an_ipv6_network_is_cut_and_its_neighbour_is_not():
    run_in_namespace(
        HELPERS
        + """
for address in ("fd00:1::66/128", "fd00:2::66/128"):
    subprocess.run(["ip", "addr", "add", address, "dev", "lo", "nodad"], check=True)
e = NftablesExecutor(NftablesConfig())
before = state()
bad, good, server = udp("fd00:1::66"), udp("fd00:2::66"), udp("::1")
p = plans(e, "FD00:1::/48", kind=EntityKind.NETWORK)
assert isinstance(p[0], Outcome) and not p[0].ok  # its canonical spelling is another
p = plans(e, "fd00:1::/48", kind=EntityKind.NETWORK)
ok(e.apply(p)); assert e.verify(p) == [True]
assert not passes(bad, server) and not passes(server, bad) and passes(good, server)
ok(e.undo(p)); assert passes(bad, server) and state() == before
"""
    )


def test_a_service_is_closed_for_requests_and_answers_and_its_neighbours_stay_open():
    run_in_namespace(
        HELPERS
        + """
e = NftablesExecutor(NftablesConfig())
before = state()
l1, c1, s1 = tcp("127.0.0.66", "127.0.0.1")
l2, c2, s2 = tcp("127.0.0.66", "127.0.0.1")
closed = "tcp/%s:%d" % l1.getsockname()
p = plans(e, closed, kind=EntityKind.SERVICE)
ok(e.apply(p)); assert e.verify(p) == [True] and e.observe() == {p[0].action.action_id}
assert not talks(c1, s1) and talks(c2, s2)
c1.settimeout(0.3)
try:
    s1.send(b"answer"); c1.recv(10)
except (TimeoutError, PermissionError):
    pass
else:
    raise AssertionError("a closed service answered")
fresh = socket.socket(); fresh.settimeout(0.3)
try:
    fresh.connect(l1.getsockname())
except (TimeoutError, PermissionError):
    pass
else:
    raise AssertionError("a closed service took a connection")
ok(e.undo(p)); assert state() == before
s1.settimeout(20)
assert s1.recv(10).startswith(b"y")
"""
    )


@pytest.mark.parametrize(("unit", "rate"), [("packets", 50), ("bytes", 50 * 129)])
def test_a_limited_address_gets_through_its_rate_and_no_more(unit, rate):
    run_in_namespace(
        HELPERS
        + f"""
limits = NftablesConfig(limit_rate={rate}, limit_unit={unit!r}, limit_burst={rate})
"""
        + """
e = NftablesExecutor(limits)
before = state()
bad, good, server = udp("127.0.0.66"), udp("127.0.0.2"), udp("127.0.0.1")
p = plans(e, "127.0.0.66", verb=Verb.LIMIT)
ok(e.apply(p)); ok(e.apply(p)); assert e.verify(p) == [True]
assert e.observe() == {p[0].action.action_id}
def burst(sender, count):
    for _ in range(count):
        try:
            sender.sendto(b"x" * 101, server.getsockname())
        except PermissionError:
            pass
    server.setblocking(False)
    got = 0
    while True:
        try:
            server.recv(200); got += 1
        except BlockingIOError:
            return got
through = burst(bad, 500)
# The loopback's packets pass two hooks, so each counts twice.
assert 20 <= through <= 60, through
assert burst(good, 100) == 100
ok(e.renew(p)); assert burst(bad, 500) <= 60
ok(e.undo(p)); assert burst(bad, 100) == 100 and state() == before
"""
    )


def test_a_segment_is_cut_off_and_what_stays_within_it_flows():
    run_in_namespace(
        HELPERS
        + """
for address in ("fd00:1::1/128", "fd00:1::2/128"):
    subprocess.run(["ip", "addr", "add", address, "dev", "lo", "nodad"], check=True)
segments = {"cell": ("127.5.0.0/24", "127.5.1.0/24", "fd00:1::/64"), "hall": ("127.6.0.0/16",)}
e = NftablesExecutor(NftablesConfig(segments=segments))
before = state()
one, two, three = udp("127.5.0.1"), udp("127.5.1.1"), udp("127.6.0.1")
server, six, six2, six0 = udp("127.0.0.1"), udp("fd00:1::1"), udp("fd00:1::2"), udp("::1")
assert passes(one, server) and passes(six, six0)
p = plans(e, "cell", kind=EntityKind.SEGMENT)
ok(e.apply(p)); assert e.verify(p) == [True] and e.observe() == {p[0].action.action_id}
assert passes(one, two) and passes(two, one) and passes(six, six2)
assert not passes(one, server) and not passes(server, two) and not passes(one, three)
assert not passes(six, six0) and passes(three, server)
again = NftablesExecutor(NftablesConfig(segments=segments))
assert again.verify(p) == [True] and not passes(one, server)
ok(e.undo(p)); assert passes(one, server) and passes(six, six0) and state() == before
ok(e.apply(p))
without = NftablesExecutor(NftablesConfig())
assert without.verify(p) == [False] and passes(one, server) and not without.observe()
assert not without.apply(p)[0].ok and not without.renew(p)[0].ok
assert isinstance(plans(e, "nowhere", kind=EntityKind.SEGMENT)[0], Outcome)
"""
    )


def test_the_kernel_ends_each_kind_of_lease_though_its_owner_was_killed():
    run_in_namespace(
        HELPERS
        + """
segments = NftablesConfig(segments={"cell": ("127.5.0.0/24",)})
targets = [("127.7.7.0/24", EntityKind.NETWORK), ("udp/127.0.0.9:99", EntityKind.SERVICE),
           ("cell", EntityKind.SEGMENT)]
pid = os.fork()
if pid == 0:
    e = NftablesExecutor(segments)
    for value, kind in targets:
        ok(e.apply(plans(e, value, kind=kind, lease_s=2)))
    ok(e.apply(plans(e, "127.0.0.66", verb=Verb.LIMIT, lease_s=2)))
    os.kill(os.getpid(), 9)
os.waitpid(pid, 0)
begun = time.monotonic()
net, cell, server = udp("127.7.7.1"), udp("127.5.0.1"), udp("127.0.0.1")
assert not passes(net, server) and not passes(cell, server)
after = NftablesExecutor(segments)
assert len(after.observe()) == 4 and not passes(net, server) and not passes(cell, server)
while after.observe():
    assert time.monotonic() - begun < 10
assert passes(net, server) and passes(cell, server)
NftablesExecutor(segments)
assert "net4_" not in state()
"""
    )


def test_a_table_that_was_removed_is_made_again_for_networks_too():
    run_in_namespace(
        HELPERS
        + """
e = NftablesExecutor(NftablesConfig())
p = plans(e, "127.7.0.0/16", kind=EntityKind.NETWORK)
ok(e.apply(p))
subprocess.run(["nft", "delete", "table", "inet", "cronos"], check=True)
assert e.verify(p) == [False] and not e.observe()
ok(e.apply(p)); assert e.verify(p) == [True]
net, server = udp("127.7.7.1"), udp("127.0.0.1")
assert not passes(net, server)
subprocess.run(["nft", "delete", "table", "inet", "cronos"], check=True)
ok(e.undo(p)); assert passes(net, server)
"""
    )


def test_what_this_machine_forwards_between_two_hosts_is_cut_and_limited_too():
    run_in_namespace(
        HELPERS
        + r"""
ECHO = '''
import socket, subprocess, sys
sys.stdin.readline()
for line in sys.argv[1:]:
    subprocess.run(["ip", *line.split()], check=True)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 7)); s.settimeout(0.3)
print("up", flush=True)
for line in sys.stdin:
    if line.startswith("to "):
        s.sendto(b"ping", (line.split()[1], 7))
    try:
        got, who = s.recvfrom(100)
        print("got", who[0], flush=True)
    except TimeoutError:
        print("nothing", flush=True)
'''
class Host:
    def __init__(self, name, net):
        self.name, self.address = name, f"{net}.2"
        self.process = subprocess.Popen(
            ["unshare", "-n", sys.executable, "-c", ECHO, "link set lo up",
             f"addr add {net}.2/24 dev {name}", f"link set {name} up",
             f"route add default via {net}.1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.links = [f"link add r{name} type veth peer name {name}",
                      f"addr add {net}.1/24 dev r{name}", f"link set r{name} up"]
    def up(self):
        for link in self.links:
            subprocess.run(["ip", *link.split()], check=True)
        while os.readlink(f"/proc/{self.process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        subprocess.run(["ip", "link", "set", self.name, "netns", str(self.process.pid)], check=True)
        self.say("go")
        assert self.hear() == "up"
        return self
    def say(self, text):
        self.process.stdin.write(text + "\n"); self.process.stdin.flush()
    def hear(self):
        return self.process.stdout.readline().strip()
    def reaches(self, other):
        other.say("listen"); self.say(f"to {other.address}")
        heard = other.hear(); self.hear()
        return heard == f"got {self.address}"
    def close(self):
        self.process.communicate(timeout=20)
open("/proc/sys/net/ipv4/ip_forward", "w").write("1")
plc, hmi = Host("plc", "10.1.3").up(), Host("hmi", "10.1.9").up()
e = NftablesExecutor(NftablesConfig(segments={"cell": ("10.1.3.0/24",)}))
before = state()
assert plc.reaches(hmi) and hmi.reaches(plc)
for value, kind in (("cell", EntityKind.SEGMENT), ("10.1.9.0/24", EntityKind.NETWORK)):
    p = plans(e, value, kind=kind)
    ok(e.apply(p)); assert not plc.reaches(hmi) and not hmi.reaches(plc), value
    ok(e.undo(p)); assert plc.reaches(hmi) and hmi.reaches(plc), value
p = plans(e, "udp/10.1.3.2:7", kind=EntityKind.SERVICE)
ok(e.apply(p)); assert not hmi.reaches(plc)
ok(e.undo(p)); assert hmi.reaches(plc) and state() == before
slow = NftablesExecutor(NftablesConfig(limit_rate=1, limit_burst=2))
p = plans(slow, "10.1.9.2", verb=Verb.LIMIT)
ok(slow.apply(p))
reached = [hmi.reaches(plc) for _ in range(8)]
assert reached[:2] == [True, True] and not all(reached), reached
ok(slow.undo(p)); assert hmi.reaches(plc)
plc.close(); hmi.close()
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
        return self.again()
    def again(self):
        segments = {"cell-3": ("10.1.3.0/24", "2001:db8:3::/64"), "hall": ("10.2.0.0/16",)}
        return NftablesExecutor(NftablesConfig(segments=segments))
    def state(self):
        return state()
    def actions(self):
        flow = flow_entity("tcp", "192.0.2.9", 40000, "198.51.100.2", 502)
        def at(value, kind, verb=Verb.DENY):
            return deny(value, point="nftables", kind=kind, verb=verb)
        return [
            *(deny(f"192.0.2.{i}", point="nftables") for i in range(1, 20)),
            deny("2001:db8::7", point="nftables"),
            at(flow.value, EntityKind.FLOW),
            at("10.9.0.0/16", EntityKind.NETWORK), at("10.9.8.0/24", EntityKind.NETWORK),
            at("10.9.8.128/25", EntityKind.NETWORK), at("10.9.8.7/32", EntityKind.NETWORK),
            at("2001:db8::/32", EntityKind.NETWORK), at("2001:db8:7::/48", EntityKind.NETWORK),
            at("tcp/198.51.100.2:502", EntityKind.SERVICE),
            at("udp/2001:db8::2:5353", EntityKind.SERVICE),
            at("192.0.2.1", EntityKind.ADDRESS, Verb.LIMIT),
            at("2001:db8::7", EntityKind.ADDRESS, Verb.LIMIT),
            at("cell-3", EntityKind.SEGMENT), at("hall", EntityKind.SEGMENT),
        ]
    def impossible(self):
        return deny("plc-1", point="nftables", kind=EntityKind.HOST)

suite = Suite()
names = [name for name in dir(suite) if name.startswith("test_")]
assert len(names) > 12
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
