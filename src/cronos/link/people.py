"""Who gives orders: operators by their signatures, and the node's own user by the socket.

`Operators` answers for the control socket, `approvals` for the enforcer, which believes no other
process: it checks the signatures of two persons itself before it does what cannot be taken back.

An approval is a signed order like any other: `approve`, with the digest of the action. It must
have been valid when it was given, and be no older than half an hour when it is used, since the
second person may come when the first one's ten minutes are long over. Whoever was revoked by then
has approved nothing.
"""

import pwd
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec

from cronos.crypto.pki.chain import Revoked
from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.orders import SKEW_NS, Nonces, issued_ns, verify_order
from cronos.crypto.pki.trust import Trust
from cronos.errors import CronosError, DeniedError
from cronos.link.clerk import EVERY_NODE, Caller, Reply, read_words, words_of
from cronos.ports import Clock
from cronos.types import Action, ControlCall, Now, digest_of

ROLES: Final = ("analyst", "responder", "manager", "admin")
LEADING: Final = frozenset({"manager", "admin"})
MAX_APPROVAL_AGE_NS: Final = 1800 * 1_000_000_000
_MAX_APPROVALS: Final = 8
_ENTIRE: Final = frozenset({"kill"})  # what may be ordered of every node at once


class Joined(NamedTuple):
    """The trust domain of a node, and who was revoked in it."""

    trust: Trust
    revoked: Revoked


Known: TypeAlias = Callable[[], Joined | None]
"""Gives the trust domain that the node has joined, None where it has joined none.

Raises `CronosError` where it has joined one that cannot be read: nobody is believed then.
"""


class Membership:
    """Reads a node's trust domain from its folder, anew whenever that changes; for any thread.

    Once it was there, its absence is no reason to believe unsigned orders: it was taken away.

    Args:
        folder: of the node's own credential.
        holder: opens it; called only where there is one.
    """

    def __init__(self, folder: Path, holder: Callable[[], Holder]) -> None:
        self._folder = folder
        self._open = holder
        self._lock = threading.Lock()
        self._stamp: tuple[tuple[int, int, int], ...] = ()
        self._joined: Joined | None = None

    def __call__(self) -> Joined | None:
        """Give it; see `Known`."""
        with self._lock:
            stamp = (_stamp(self._folder / "credential"), _stamp(self._folder / "revoked"))
            if stamp[0] == _ABSENT:
                if self._joined is None:
                    return None
                raise DeniedError(
                    "control.no_trust",
                    f"The node's credential in {self._folder} is gone.",
                    "Join the trust domain again with `cronos pki join`.",
                )
            if stamp != self._stamp or self._joined is None:
                holder = self._open()
                trust = holder.membership().credential.trust
                self._joined, self._stamp = Joined(trust, holder.revocations()), stamp
            return self._joined


class Operators:
    """Finds out who gave a command; for any thread.

    Orders that were signed before this began are not believed: what was carried out before a
    restart is remembered nowhere, and must not be carried out again.

    Args:
        known: the node's trust domain.
        node: this node's name, for which an order must be meant.
        clock: the time.
    """

    def __init__(self, known: Known, node: str, clock: Clock) -> None:
        self._known = known
        self._node = node
        self._clock = clock
        self._nonces = Nonces()
        self._lock = threading.Lock()
        self._began_ns = clock.now().wall_ns

    def identify(self, call: ControlCall, uid: int) -> Caller:
        """Say who called.

        Args:
            call: with a signed order, or without.
            uid: the user whose process called.

        Raises:
            DeniedError: the signature does not hold, or not for this node and this call.
        """
        if not call.order:
            alone = self._is_alone()
            return Caller(f"local/{_name_of(uid)}", ("analyst",) * alone, signed=False, alone=alone)
        joined = self._known()
        if joined is None:
            raise DeniedError(
                "control.no_trust",
                "This node has joined no trust domain: it knows no operator's signature.",
                "Join one with `cronos pki join`, or leave --as out.",
            )
        with self._lock:
            now = self._clock.now()
            verified = verify_order(
                call.order, joined.trust, now, joined.revoked, self._nonces, roles=ROLES
            )
        node, verb, argument = read_words(verified.order)
        everywhere = node == EVERY_NODE and verb in _ENTIRE
        if (verb, argument) != (call.verb, call.argument) or not (node == self._node or everywhere):
            raise DeniedError(
                "control.other_order",
                "What was signed is not what is ordered here.",
                "Give the order anew, for this node.",
            )
        if verified.issued_ns < self._began_ns:
            raise DeniedError(
                "control.before_start",
                "This order was signed before the node started.",
                "Give it anew.",
            )
        identity = verified.identity
        return Caller(f"operator/{identity.name}", identity.roles, signed=True, alone=False)

    def _is_alone(self) -> bool:
        try:
            return self._known() is None
        except CronosError:
            return False  # it has joined one, whatever is wrong with it


def approvals(known: Known, clock: Clock) -> Callable[[Action], Sequence[tuple[str, bytes]] | str]:
    """Give what tells the enforcer which operators approved an action.

    Two distinct ones, one of them a manager or admin; with each the nonce of the order. Or a
    sentence on why that is not so.
    """

    def approved(action: Action) -> Sequence[tuple[str, bytes]] | str:
        try:
            joined = known()
            if joined is None:
                return "this node has joined no trust domain, so that it knows no operators"
            return _persons(action, joined, clock.now())
        except CronosError as error:
            return f"an approval does not hold: {error.sentence}"

    return approved


def _persons(action: Action, joined: Joined, now: Now) -> Sequence[tuple[str, bytes]] | str:
    found: dict[str, bytes] = {}
    leads = False
    for packet in action.approvals[:_MAX_APPROVALS]:
        # Whether it had expired is asked of the time at which it says it was given.
        given = msgspec.structs.replace(now, wall_ns=issued_ns(packet))
        age_ns = now.wall_ns - given.wall_ns
        if not -SKEW_NS <= age_ns <= MAX_APPROVAL_AGE_NS:
            return "an approval is too old, or from the future"
        verified = verify_order(packet, joined.trust, given, joined.revoked, Nonces(), roles=ROLES)
        _require_this(verified.order, action)
        found[f"operator/{verified.identity.name}"] = verified.nonce
        leads = leads or not LEADING.isdisjoint(verified.identity.roles)
    if len(found) < 2:
        return f"{' and '.join(found) or 'nobody'} approved it"
    if not leads:
        return f"{' and '.join(found)} approved it, none of them a manager or admin"
    return tuple(found.items())


def _require_this(order: bytes, action: Action) -> None:
    """Refuse an approval of anything else.

    Raises:
        DeniedError: it is none, or of another action.
    """
    _, verb, argument = read_words(order)
    words = words_of(argument, Reply) if verb == "approve" else None
    asked = (action.incident_id, action.action_id, digest_of(action))
    if words is None or not words.granted or (words.incident, words.action, words.digest) != asked:
        raise DeniedError(
            "control.other_action",
            "What was approved is not what is to be done.",
            "Approve it anew.",
        )


_ABSENT: Final = (0, 0, 0)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _ABSENT
    except OSError:
        return (1, 0, 0)  # it is there, as far as anyone can say
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
