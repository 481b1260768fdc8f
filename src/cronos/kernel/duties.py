"""Duties: who does what is done for all, who takes it over, and when it is handed back.

Every node carries all four agencies, and what concerns only itself it always does: to isolate on
its own evidence, to record, to tell its peers. A role is what it does for all: `defense` acts on
what peers tell, `operations` adjusts workloads for them, `audit` records what passes between
nodes, `communication` tells the outside.

Rule 1: who has a role by itself holds it while it lives. Rule 2: a role that nobody alive has by
itself is held by the one with the highest rendezvous weight among those certified for it. Both
follow from the view alone, so that nodes of one view agree without a word; nodes of two views may
both hold a role, which is why no two effects may conflict.
"""

import hashlib
from typing import Final

from cronos.types import Members, Roles

ROLES: Final = ("defense", "operations", "audit", "communication")


class Duties:
    """Knows which roles this node holds.

    Args:
        instance: this node.
        home: what it does by itself.
    """

    def __init__(self, instance: str, home: tuple[str, ...]) -> None:
        self._instance = instance
        self._home = home
        self.held: frozenset[str] = frozenset()
        self.assumed: frozenset[str] = frozenset()
        self.on_members(Members(()))

    def on_members(self, members: Members) -> bool:
        """Take the view; say whether that changes what is held."""
        me = self._instance
        home = {**members.roles, me: self._home}
        allowed = {me: ROLES, **members.allowed}
        alive = (*members.instances, me)
        taken = {role for one in alive for role in home.get(one, ())}
        fit = {role: [one for one in alive if role in allowed.get(one, ())] for role in ROLES}
        assumed = frozenset(
            role
            for role in fit.keys() - taken
            if me == max(fit[role], key=lambda one: _weight(role, one), default="")
        )
        before, self.assumed = self.held, assumed
        self.held = assumed.union(self._home)
        return self.held != before

    def told(self, epoch: int) -> Roles:
        """Put what is held into words."""
        return Roles(tuple(sorted(self.held)), tuple(sorted(self.assumed)), epoch)


def _weight(role: str, instance: str) -> bytes:
    return hashlib.sha256(f"{role}/{instance}".encode()).digest()
