"""Ask only the rules that could match: by kind of observation, then by anchor.

The kinds are few, so each gets its bucket when it is first met. Within a bucket a rule with
anchors is asked only where an event carries one of them; this changes no result, only its cost.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from cronos.detect import sigma_source
from cronos.detect.sigma_event import Event
from cronos.detect.sigma_rule import Rule
from cronos.detect.sigma_source import Origin
from cronos.types import Observation

_MAX_BUCKETS: Final = 1024


class Bucket:
    """The rules for one kind of observation, in the order in which they were loaded."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._free: list[int] = []
        self._anchored: dict[str, dict[str, list[int]]] = {}
        for number, rule in enumerate(rules):
            anchors = rule.node.anchors
            if not anchors:
                self._free.append(number)
                continue
            for field, text in anchors:
                self._anchored.setdefault(field, {}).setdefault(text, []).append(number)

    def match(self, event: Event) -> list[Rule]:
        """Give the rules that hold, in the order in which they were loaded."""
        rules = self._rules
        found = [number for number in self._free if rules[number].node.check(event)]
        anchored = self._candidates(event)
        if anchored:
            found += [number for number in anchored if rules[number].node.check(event)]
            found.sort()
        return [rules[number] for number in found]

    def match_naively(self, event: Event) -> list[Rule]:
        """Ask every rule; the index must never differ from this."""
        return [rule for rule in self._rules if rule.node.check(event)]

    def _candidates(self, event: Event) -> set[int]:
        candidates: set[int] = set()
        for field, table in self._anchored.items():
            value = event[field]
            if value is None:
                continue
            for text in (value,) if isinstance(value, str) else value:
                # A path may be anchored whole, or by its last part with the backslash.
                candidates.update(table.get(text, ()))
                at = text.rfind("\\")
                if at >= 0:
                    candidates.update(table.get(text[at:], ()))
        return candidates


class Index:
    """All rules, by kind of observation."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._services = frozenset(
            name for rule in self._rules for name in sigma_source.named_logs(rule.source)
        )
        self._buckets: dict[Origin, Bucket] = {}

    def bucket(self, observation: Observation) -> Bucket:
        """Give the rules that are about observations of this kind."""
        kind = sigma_source.origin(observation, self._services)
        bucket = self._buckets.get(kind)
        if bucket is None:
            if len(self._buckets) >= _MAX_BUCKETS:
                self._buckets.clear()
            chosen = [r for r in self._rules if sigma_source.applies(r.source, kind)]
            bucket = self._buckets[kind] = Bucket(chosen)
        return bucket
