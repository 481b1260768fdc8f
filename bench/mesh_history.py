"""What must hold of a recorded history of nodes, whatever was done to them; pure.

A history is what each node told, life by life (`bench.story_node`), what was found isolated in its
kernel at moments, and what its ledger holds in the end. `lost`, `ended_early` and the rest give
sentences, one for each violation; none is the only good answer.
"""

import bisect
import itertools
from collections import Counter

from bench.report import quantile

SECOND = 1_000_000_000
_SETTLES_NS = 2 * SECOND


class History:
    """Everything that was recorded of some nodes.

    Args:
        lives: for each node the lists of what it told, one list for each life.
        samples: (at, node, numbers isolated in its kernel).
        statuses: (at, node, life, records acknowledged, records replicated).
        lease_ns: how long an isolation lasts if nobody renews it.
        ledgers: for each node, how often each bulletin is recorded, and how many records there are.
        lost_folders: node -> (records replicated when its folder was lost, records recovered, its
            lives until then).
    """

    def __init__(self, lives, samples=(), statuses=(), lease_ns=0, ledgers=None, lost_folders=None):
        self.lives = lives
        self.samples = samples
        self.statuses = statuses
        self.lease_ns = lease_ns
        self.ledgers = ledgers or {}
        self.lost_folders = lost_folders or {}

    def told(self, what, name=None):
        """List (node, life, what it told) of a kind."""
        return [
            (node, life, one)
            for node, lives in self.lives.items()
            if name in (None, node)
            for life, lines in enumerate(lives)
            for one in lines
            if one["what"] == what
        ]

    def acknowledged(self, numbers=None):
        """Give, for each bulletin said to be durable at its node: id -> (node, life, number)."""
        durable = {}
        for node, life, one in self.told("durable"):
            key = node, life
            durable[key] = max(durable.get(key, 0), one["sequence"])
        return {
            one["id"]: (node, life, one["n"])
            for node, life, one in self.told("told")
            if one["sequence"] <= durable.get((node, life), 0)
            and (numbers is None or one["n"] in numbers)
        }

    def heard(self):
        """Give which bulletins each node has heard, in any life."""
        found = {node: set() for node in self.lives}
        for node, _, one in self.told("heard"):
            found[node].add(one["id"])
        return found

    # --- what must hold ------------------------------------------------------------------------

    def lost(self, numbers=None, among=None):
        """List acknowledged bulletins that a node among those that must know never heard.

        What had not left an outbox when its folder was lost is not among them: see `with_folder`.
        """
        return self._unheard(numbers, among, with_folder=False)

    def with_folder(self, numbers=None):
        """List those that were lost with the folder that their outbox lay in, as it must be."""
        return self._unheard(numbers, None, with_folder=True)

    def _unheard(self, numbers, among, *, with_folder):
        heard = self.heard()
        return [
            f"{name} never heard {bulletin}, which {origin} had acknowledged"
            for bulletin, (origin, life, _) in self.acknowledged(numbers).items()
            if self._had_folder(origin, life) is with_folder
            for name in (among or self.lives)
            if name != origin and bulletin not in heard[name]
        ]

    def _had_folder(self, origin, life):
        """Say whether what a node told in a life went with its folder, if it had not left it."""
        return life < self.lost_folders.get(origin, (0, 0, 0))[2]

    def unrecorded(self):
        """List what ledgers lack in the end, of what was acknowledged to stand in them."""
        wrong = []
        acknowledged = self.acknowledged()
        for name, (counts, size) in self.ledgers.items():
            stored = max((one["upto"] for _, _, one in self.told("stored", name)), default=0)
            before, recovered, _ = self.lost_folders.get(name, (None, None, 0))
            if before is None and size < stored:
                wrong.append(f"{name} has {size} records of {stored} that it acknowledged")
            if before is not None and recovered < before:
                wrong.append(f"{name} recovered {recovered} records of {before} replicated ones")
            wrong += [
                f"{name}'s ledger has no record of {bulletin}, which {origin} had acknowledged"
                for bulletin, (origin, life, _) in acknowledged.items()
                if bulletin not in counts and before is None
                if not self._had_folder(origin, life)
            ]
        return wrong

    def ended_early(self, margin_ns=_SETTLES_NS):
        """List isolations that were gone while their lease ran and nobody had undone them."""
        wrong = []
        for name in self.lives:
            if name in self.lost_folders:
                continue
            looked = self._looked(name)
            moments = [at for at, _ in looked]
            holds, undone = self._leases(name)
            for number, times in holds.items():
                released = undone.get(number, ())
                for begin, end in self._spans(times, margin_ns):
                    first = bisect.bisect_right(moments, begin)
                    last = bisect.bisect_left(moments, end)
                    gone = [at for at, found in looked[first:last] if number not in found]
                    gone = [at for at in gone if not _before(released, at + margin_ns)]
                    if gone:
                        left_s = (end + margin_ns - gone[0]) / SECOND
                        wrong.append(
                            f"{name} no longer isolates {number}, and its lease runs for "
                            f"{left_s:.1f} s from {gone[0]} on"
                        )
                        break
        return wrong

    def outlasting(self, margin_ns=_SETTLES_NS):
        """List effects that stand though their undoing was recorded, or that nobody asked for."""
        known = {one["n"] for _, _, one in self.told("sent")}
        known |= {one["n"] for _, _, one in self.told("heard")}
        wrong = set()
        for name in self.lives:
            looked = self._looked(name)
            holds, undone = self._leases(name)
            for at, found in looked:
                wrong |= {f"{name} isolates {one}, which nobody told of" for one in found - known}
                for number in found & undone.keys():
                    last = max(undone[number])
                    again = any(when > last for when in holds.get(number, ()))
                    if at > last + margin_ns and not again:
                        wrong.add(f"{name} still isolates {number}, which it had released")
        return sorted(wrong)

    def _looked(self, name):
        """Give the samples of one node, in order."""
        return sorted(((at, found) for at, node, found in self.samples if node == name),
                      key=lambda one: one[0])  # fmt: skip

    def _spans(self, times, margin_ns):
        """Give the times through which a lease must have run, overlapping ones as one."""
        spans = []
        for at in sorted(times):
            begin, end = at + margin_ns, at + self.lease_ns - margin_ns
            if spans and begin <= spans[-1][1] + 2 * margin_ns:
                spans[-1][1] = end
            else:
                spans.append([begin, end])
        return spans

    def epochs_falling(self):
        """List nodes whose fencing epoch fell."""
        wrong = []
        for name, lives in self.lives.items():
            if name in self.lost_folders:
                continue
            told = [one["epoch"] for lines in lives for one in lines if one["what"] == "roles"]
            if any(b < a for a, b in itertools.pairwise(told)):
                wrong.append(f"{name}'s epoch fell: {told}")
        return wrong

    def _leases(self, name):
        """Give when each number's isolation was applied or renewed, and when it was undone."""
        holds, undone = {}, {}
        for _, _, one in self.told("outcome", name):
            if one["ok"] and one["operation"] in ("apply", "renew"):
                # A lease runs from when it was set, not from when its node heard of it.
                holds.setdefault(one["n"], []).append(one["at"] - one.get("age_ns", 0))
            elif one["operation"] == "undo":
                undone.setdefault(one["n"], []).append(one["at"])
        return holds, undone

    # --- one story's row -----------------------------------------------------------------------

    def row(self, numbers, among=None):
        """Count what became of the incidents with these numbers."""
        acknowledged = self.acknowledged(numbers)
        # A view of 0 is a node's that acts on a peer's word alone.
        confirmed = [one for _, _, one in self.told("confirmed") if one["n"] in numbers]
        times = [one["ms"] for one in confirmed if one["view"]]
        mine = [one for _, _, one in self.told("sent") if one["n"] in numbers]
        heard = Counter(
            (node, life, one["id"]) for node, life, one in self.told("heard") if one["n"] in numbers
        )
        return {
            "sent": len(mine),
            "acknowledged": len(acknowledged),
            "replicated": self.replicated(numbers, acknowledged),
            "lost": len(self.lost(numbers, among)),
            "duplicated": sum(count - 1 for count in heard.values()),
            "confirmed": len(times),
            "p50": quantile(times, 0.5) if times else float("nan"),
            "p99": quantile(times, 0.99) if times else float("nan"),
        }

    def replicated(self, numbers, acknowledged):
        """Count the acknowledged ones whose records a peer keeps a sealed copy of."""
        positions = {}
        for node, _, one in self.told("stored"):
            for number, position in one["of"].items():
                if int(number) in numbers:
                    positions[node, int(number)] = position
        most = {}
        for _, node, _, _, replicated in self.statuses:
            most[node] = max(most.get(node, 0), replicated)
        return sum(
            positions.get((node, number), 1 << 62) <= most.get(node, 0)
            for node, _, number in acknowledged.values()
        )


def _before(times, end):
    return any(at <= end for at in times)
