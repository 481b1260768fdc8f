"""What four nodes make of what can befall them: one table, and a checker over what was recorded.

Four whole nodes in network namespaces, each isolating with nftables in its own kernel and each with
another boot clock (`bench.story_world`). While each is handed findings, nodes are killed, stopped,
cut off, robbed of their folder, parted, given a lossy network or a wrong clock, slowed down,
flooded and lied to. For each story: incidents sent; *acknowledged*, durable at their node;
*replicated*, their records kept by a peer too; *lost*, acknowledged and not heard by a node that
must know; *duplicated*, heard twice in one life; milliseconds from detection to the last receipt
of the view. In the end all ledgers are opened and compared with what was acknowledged.

Run as root: ``python -m bench.bench_mesh_stories [STORY …] [--json]``. It ends with 1 where the
checker found anything.
"""

import contextlib
import json
import signal
import sys
import time

from bench.mesh_history import History
from bench.mesh_world import Process, why_not
from bench.story_node import number_of
from bench.story_world import ENEMY, StoryWorld

from cronos.config import Config
from cronos.crypto.pki.authority import Authority
from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.tokens import parse_token
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.front import keyring
from cronos.runtime.world import SystemClock
from cronos.types import AuditRecord, Bulletin, Defect, decode

NUMBERS = 8_192  # of one story; a node's are an eighth of them
FIRST_LIE, LIES = 1 << 22, 32_768
EACH = 40
GAP_MS = 250
HIT_S, MEND_S = 3.0, 8.0
DRAIN_S = 60.0
LIAR = "west"  # its word about what it told is worth nothing: it is not loaded then


class Stage:
    """Plays stories in one world, one after the other."""

    def __init__(self, world, each=EACH, gap_ms=GAP_MS):
        self.world = world
        self.each, self.gap_ms = each, gap_ms
        self.lead_s = min(HIT_S, each * gap_ms / 4000)
        self.rows = []
        self.wrong = []
        self.must = []  # (node, code): what its ledger has to say of the mesh in the end
        self.base = self.lied = 0

    # --- the frame of each story -------------------------------------------------------------

    def play(self, label, work, idle=()):
        """Load the nodes, let `work` happen meanwhile, wait until it is over, and count."""
        world, self.base = self.world, self.base + NUMBERS
        note = ""
        began = time.monotonic()
        world.settle()
        for name in set(world.alive()) - set(idle):
            self.load(name)
        try:
            note = work() or ""
            left = self.each * self.gap_ms / 1000 - (time.monotonic() - began)
            time.sleep(max(0.0, left))
            self.drain()
        except (RuntimeError, OSError) as error:
            self.wrong.append(f"{label}: {error}")
        numbers = range(self.base, self.base + NUMBERS)
        row = self.history().row(numbers)
        self.rows.append({"story": label, **row, "note": note})
        print(line_of(self.rows[-1]), file=sys.stderr, flush=True)

    def load(self, name, beyond=0):
        """Hand a node findings at a steady pace, a second time from `beyond` on."""
        first = self.base + self.world.members.index(name) * (NUMBERS // 8) + beyond
        self.world.nodes[name].say(f"load {first} {self.each} {self.gap_ms}")

    def lies(self):
        """Give numbers that are nobody's findings, others each time."""
        self.lied += LIES
        return FIRST_LIE + self.lied

    def drain(self):
        """Wait until everybody has heard what was acknowledged, and it is confirmed."""
        until = time.monotonic() + DRAIN_S
        numbers = range(self.base, self.base + NUMBERS)
        while time.monotonic() < until:
            if not self.history().lost(numbers):
                break
            time.sleep(0.5)
        time.sleep(1.0)

    def drain_all(self):
        """Wait until everybody has heard everything."""
        until = time.monotonic() + DRAIN_S
        while self.history().lost() and time.monotonic() < until:
            time.sleep(2.0)

    def history(self, ledgers=None):
        """Give what has been recorded so far."""
        world = self.world
        lives = {
            name: [list(one.lines) for one in processes] for name, processes in world.lives.items()
        }
        return History(
            lives, list(world.samples), list(world.statuses), world.lease_s * 10**9, ledgers,
            world.lost_folders,
        )  # fmt: skip

    # --- what befalls them -------------------------------------------------------------------

    def lose(self, how, count, hit_s=HIT_S, mend_s=MEND_S):
        """Kill, stop or cut off the last `count` nodes for five seconds."""
        world, victims = self.world, self.world.members[-count:]
        time.sleep(hit_s)
        began_ns = time.time_ns()
        for name in victims:
            if how == "kill":
                world.kill(name)
            elif how == "stop":
                world.every(name, signal.SIGSTOP)
            else:
                world.cut_off(name)
        alone = self.noticed(len(world.members) - count, began_ns)
        time.sleep(max(0.0, mend_s - hit_s - (time.time_ns() - began_ns) / 1e9))
        for name in victims:
            if how == "kill":
                world.start(name)
            elif how == "stop":
                world.every(name, signal.SIGCONT)
            else:
                world.heal(name)
        healed = time.monotonic()
        world.settle(90)
        return f"{alone}; whole again {time.monotonic() - healed:.1f} s after"

    def noticed(self, view, began_ns):
        """Wait until the first node sees so many, and say how long it took."""
        until = time.monotonic() + 12
        while time.monotonic() < until:
            seen = self.world.status(self.world.members[0])
            if seen is not None and seen.view == view:
                return f"view {view} after {(time.time_ns() - began_ns) / 1e9:.1f} s"
            time.sleep(0.05)
        return f"view {view} not within 12 s"

    def folder(self):
        """Kill a node, lose all that it kept, and get its ledger back from its peers."""
        world, victim = self.world, self.world.members[1]
        time.sleep(MEND_S)
        world.kill(victim)
        replicated, recovered = world.lose_folder(victim)
        world.start(victim)
        world.settle(90)
        gone = len({one.split()[3] for one in self.history().with_folder()})
        return (
            f"{victim}: {recovered} records recovered, {replicated} had been replicated; "
            f"{gone} bulletins lost with its outbox"
        )

    def parted(self, one, other):
        """Part the nodes for four seconds."""
        world = self.world
        time.sleep(self.lead_s)
        world.part(one, other)
        time.sleep(4.0)
        world.heal_all()
        began = time.monotonic()
        world.settle(90)
        return f"4 s; one view again {time.monotonic() - began:.1f} s after"

    def lossy(self, share):
        """Drop what arrives at random, and read back how much was."""
        world = self.world
        world.lose(share)
        time.sleep(self.each * self.gap_ms / 1000)
        came, dropped = world.lost()
        world.lose(0.0)
        world.heal_all()
        if abs(dropped - share) > 0.03:
            self.wrong.append(f"{dropped:.1%} of {came} packets were dropped, not {share:.0%}")
        return f"{dropped:.1%} of {came} packets dropped"

    def skewed(self, seconds, for_s=5.0):
        """Set one node's wall clock off while it runs."""
        world, victim = self.world, self.world.members[2]
        time.sleep(self.lead_s)
        world.skew(victim, seconds)
        time.sleep(for_s)
        world.skew(victim, 0)
        return f"{victim}'s wall clock {seconds:+g} s for {for_s:g} s"

    def started_skewed(self, seconds):
        """Have a node killed and start with a wrong wall clock, and right it while it runs."""
        world, victim = self.world, self.world.members[2]
        world.kill(victim)
        world.skew(victim, seconds)
        world.start(victim)
        world.settle(90)
        self.load(victim, EACH)
        time.sleep(5.0)
        world.skew(victim, 0)
        time.sleep(self.each * self.gap_ms / 1000 - 5.0)
        return f"{victim} started {seconds:+g} s off, then a step back"

    def slow(self):
        """Let a node run for a fifth of the time."""
        world, victim = self.world, self.world.members[2]
        until = time.monotonic() + self.each * self.gap_ms / 1000
        while time.monotonic() < until:
            world.every(victim, signal.SIGSTOP)
            time.sleep(0.08)
            world.every(victim, signal.SIGCONT)
            time.sleep(0.02)
        world.settle(90)
        return f"{victim} stood still for four fifths of the time"

    def strangers(self, seconds=8.0):
        """Have somebody without a certificate flood a node by TCP and UDP."""
        world, victim = self.world, self.world.members[1]
        before = world.memory_mb(victim)
        process = self.enemy("bench.stranger", world.address(victim), str(seconds))
        process.process.wait(30)
        process.thread.join(5)
        most = world.memory_mb(victim)
        if most - before > 64:
            self.wrong.append(f"strangers cost {victim} {most - before:.0f} MiB")
        told = {key: value for key, value in process.lines[-1].items() if key not in ("what", "at")}
        codes = ("mesh.strange_datagrams", "mesh.no_tls", "mesh.unfinished", "mesh.crowded_port")
        self.must += [(victim, code) for code in codes]
        process.end()
        world.settle(60)
        return f"{told}; mesh process {before:.0f} -> {most:.0f} MiB"

    def damaged(self):
        """Kill a node, and damage its outbox before it starts again."""
        world, victim = self.world, self.world.members[1]
        time.sleep(self.each * self.gap_ms / 1000 + 1.0)
        world.kill(victim)
        path = world.state / victim / victim / "outbox" / "outbox"
        data = bytearray(path.read_bytes())
        for place in range(len(data) // 2, len(data), 997):
            data[place] ^= 0x55
        path.write_bytes(data)
        world.start(victim)
        world.settle(90)
        self.load(victim, EACH)
        time.sleep(self.each * self.gap_ms / 1000)
        self.must.append((victim, "mesh.journal_damaged"))
        return f"{victim}'s outbox of {len(data):,} bytes damaged from its middle on"

    def full_disk(self):
        """Give a node's outbox a small file system of its own, full until it is cleared."""
        world, victim = self.world, self.world.members[1]
        time.sleep(self.each * self.gap_ms / 1000 + 1.0)
        world.kill(victim)
        place = world.give_disk(victim, "outbox", mib=32)
        world.start(victim)
        world.settle(90)
        ballast = place / "ballast"
        # Unbuffered: what was kept would be written when it is closed, and refused then.
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        self.load(victim, EACH)
        time.sleep(self.each * self.gap_ms / 1000)
        numbers = range(self.base, self.base + NUMBERS)
        full = len(self.history().acknowledged(numbers))
        ballast.unlink()
        time.sleep(3.0)
        more = len(self.history().acknowledged(numbers)) - full
        self.must.append((victim, "mesh.journal_unwritable"))
        return f"{victim}: {more} acknowledged only when there was room again"

    def enemy(self, module, *words):
        """Start something in the namespace of whoever does not belong."""
        world = self.world
        command = ["ip", "netns", "exec", world.space(ENEMY), sys.executable, "-m", module, *words]
        with (world.state / "enemy.log").open("ab") as errors:
            return Process(ENEMY, command, errors)

    def hostile(self, *orders, seconds=6.0):
        """Let a certified member do what it is told, and say what the others made of it."""
        world = self.world
        first = world.members[0]
        before = {name: world.memory_mb(name) for name in world.members}
        began_ns = time.time_ns()
        process = self.enemy(
            "bench.hostile_node", str(world.state / "enemy"), ENEMY, world.address(ENEMY),
            world.address(first),
        )  # fmt: skip
        until = time.monotonic() + 30
        while {one["peer"] for one in process.told("changed", status="alive")} < set(world.members):
            if time.monotonic() > until:
                raise RuntimeError(f"the enemy did not get in: {process.lines[-20:]}")
            time.sleep(0.05)
        time.sleep(1.0)
        for order in orders:
            process.say(order)
        time.sleep(seconds)
        told = [f"{one['what']} {one.get('sent', '')}" for one in process.lines
                if one["what"] in ("replayed", "lied", "garbage", "buried", "claimed")]  # fmt: skip
        process.end()
        grown = max(world.memory_mb(name) - before[name] for name in world.members)
        if grown > 128:
            self.wrong.append(f"a hostile member cost {grown:.0f} MiB")
        if any("garbage" in order for order in orders):
            self.must += [(name, "mesh.bad_frame") for name in world.members]
        blamed = self.blamed(began_ns)
        world.settle(60)
        return f"{', '.join(told)}; +{grown:.0f} MiB; {blamed}"

    def blamed(self, began_ns):
        """Say how many nodes reproached the enemy in their ledgers, and who died falsely."""
        told = [(node, one) for node, _, one in self.history().told("reproach")
                if one["at"] >= began_ns]  # fmt: skip
        nodes = {node for node, one in told if one["peer"] == ENEMY}
        innocent = {one["peer"] for _, one in told} - {ENEMY}
        if innocent:
            self.wrong.append(f"reproached without fault: {sorted(innocent)}")
        whys = sorted({one["why"][:60] for _, one in told})
        return f"reproached by {len(nodes)}: {whys}" if nodes else "nobody reproached it"

    def insider(self):
        """Let one of the four say, past its own kernel, what it never saw, at a high rate."""
        world, liar = self.world, LIAR
        began_ns = time.time_ns()
        first = self.lies()
        world.nodes[liar].say(f"forge {world.members[0]} {first} 50")
        world.nodes[liar].say("accuse 10.77.0.1")
        world.nodes[liar].say(f"claim {first + 100} 3000")
        world.nodes[liar].say("again 50")
        time.sleep(6.0)
        told = [(node, one) for node, _, one in self.history().told("reproach")
                if one["at"] >= began_ns]  # fmt: skip
        nodes = {node for node, one in told if one["peer"] == liar}
        if nodes != set(world.members) - {liar}:
            self.wrong.append(f"an insider's lies were reproached by {sorted(nodes)} only")
        forged = {number for _, _, found in world.samples for number in found
                  if first <= number < first + 50}  # fmt: skip
        if forged:
            self.wrong.append(f"forged bulletins isolated {len(forged)} addresses")
        if any(number_of("10.77.0.1") in found for _, _, found in world.samples):
            self.wrong.append("a protected address was isolated")
        # It began to count where its kernel will: it starts again, as another life.
        world.kill(liar)
        world.start(liar)
        world.settle(90)
        return f"{liar} forged 50, claimed 3,000, replayed 50; reproached by {len(nodes)}"


def certified(world):
    """Let the enemy join with one role: it was somebody once."""
    folder = world.state / "enemy"
    (folder / "machine").mkdir(parents=True, mode=0o700)
    online = keyring.root_key(Config(), world.state / "authority", name="machine-key")
    authority = Authority(world.state / "authority", online, SystemClock())
    root = MachineRoot(MachineConfig(), folder / "machine")
    holder = Holder(folder / f"node-{ENEMY}", root, SystemClock())
    token = parse_token(authority.invite(ENEMY, ("audit",), "", 3600))
    holder.accept(authority.admit(holder.request(token)))


def stories(stage):
    """Name every story, and what happens in it."""
    north, east, south, west = stage.world.members
    found = {
        f"{how} {count} of 4": lambda how=how, count=count: stage.lose(how, count)
        for how in ("kill", "stop", "drop")
        for count in (1, 2, 3)
    }
    found["a folder lost"] = stage.folder
    found["parted 2 : 2"] = lambda: stage.parted((north, east), (south, west))
    found["parted 3 : 1"] = lambda: stage.parted((north, east, south), (west,))
    found["10 % loss"] = lambda: stage.lossy(0.1)
    found["30 % loss"] = lambda: stage.lossy(0.3)
    found["clock +5 s"] = lambda: stage.skewed(5)
    found["clock -5 s"] = lambda: stage.skewed(-5)
    found["clock steps back"] = lambda: stage.started_skewed(60)
    found["a slow peer"] = stage.slow
    found["a damaged outbox"] = stage.damaged
    found["a full disk"] = stage.full_disk
    found["strangers flood"] = stage.strangers
    # The noise first: behind the flood it would still wait at the member when that ends.
    found["a member floods"] = lambda: stage.hostile("garbage 300", f"flood {stage.lies()} 20000")
    found["a member replays and forges"] = lambda: stage.hostile(
        "replay", f"forge north {stage.lies()} 100"
    )
    found["a member lies of death and roles"] = lambda: stage.hostile("roles", f"bury {south}")
    found["one of the four lies"] = stage.insider
    return found


def ledgers_of(world, must=()):
    """Stop all nodes, and read what each ledger holds in the end; and what it lacks of `must`."""
    found, noted = {}, {name: set() for name in world.members}
    for name in world.members:
        world.stop(name)
    for name in world.members:
        counts, size = {}, 0
        for position, data in world.ledger(name):
            size = max(size, position)
            try:
                record = decode(data)
            except ValueError:
                continue
            body = decode(record.body) if isinstance(record, AuditRecord) else None
            if isinstance(body, Bulletin) and record.kind == "bulletin":
                counts[body.bulletin_id] = counts.get(body.bulletin_id, 0) + 1
            elif isinstance(body, Defect):
                noted[name].add(body.reason.partition(":")[0])
        found[name] = counts, size
    lacks = [f"{name}'s ledger says nothing of {code}, only {sorted(noted[name])}"
             for name, code in must if code not in noted[name]]  # fmt: skip
    return found, lacks


COLUMNS = ("sent", "acknowledged", "replicated", "lost", "duplicated", "confirmed", "p50", "p99")


def line_of(row):
    """Give a row as one line of the table."""
    shown = [f"{row[one]:,.0f}" for one in COLUMNS]
    return f"| {row['story']} | {' | '.join(shown)} | {row['note']} |"


def checked(history):
    """Give every violation in what was recorded."""
    return (
        history.lost()
        + history.unrecorded()
        + history.ended_early()
        + history.outlasting()
        + history.epochs_falling()
    )


def main():
    if reason := why_not():
        print(f"bench_mesh_stories: nothing was played: {reason}", file=sys.stderr)
        return 0
    chosen = [one for one in sys.argv[1:] if not one.startswith("-")]
    with StoryWorld() as world:
        certified(world)
        world.start_all()
        stage = Stage(world)
        stage.play("nothing happens", lambda: None)
        for label, work in stories(stage).items():
            if not chosen or any(one in label for one in chosen):
                stage.play(label, work, idle=(LIAR,) if work == stage.insider else ())
        ledgers, lacks = ledgers_of(world, stage.must)
        wrong = stage.wrong + lacks + checked(stage.history(ledgers))
        twice = sum(n - 1 for counts, _ in ledgers.values() for n in counts.values())
    if "--json" in sys.argv:
        document = {"schema": "cronos.bench/1", "name": "mesh_stories", "rows": stage.rows}
        print(json.dumps({**document, "wrong": wrong, "recorded_twice": twice}, indent=2))
    else:
        print(f"| story | {' | '.join(COLUMNS)} | what happened |")
        print(f"|---|{'---|' * (len(COLUMNS) + 1)}")
        print("\n".join(map(line_of, stage.rows)))
        print(f"\nBulletins recorded twice in a ledger: {twice}.")
        print(
            "\n".join(
                ["The checker found:", *wrong[:50]] if wrong else ["The checker found nothing."]
            )
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
