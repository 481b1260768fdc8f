"""The egress gate: the one place that every outward call passes, closed by default."""

import ipaddress
from collections.abc import Iterable

from cronos.config import EgressRule
from cronos.errors import DeniedError


class EgressGate:
    """Permits loopback, and beyond it only what a rule names by host and port.

    It resolves nothing: a name is compared as it is written, since whoever answers for the name
    could otherwise open the gate. An address given as a number other than dotted is no address.
    """

    def __init__(self, rules: Iterable[EgressRule] = ()) -> None:
        self._allowed = frozenset((_spelled(rule.host), rule.port) for rule in rules)

    def permit(self, host: str, port: int, purpose: str) -> None:
        """Return when the call may be made; see `Egress.permit`."""
        name = _spelled(host)
        if (_is_loopback(name) or (name, port) in self._allowed) and 1 <= port <= 65535:
            return
        raise DeniedError(
            "link.egress_closed",
            f"A call to {host!r} port {port} ({purpose!r}) is not on the allow-list.",
            "Add it as a table [[egress]] with `host` and `port`, or leave it closed.",
        )


def _spelled(host: str) -> str:
    """Give one spelling per host: lower case, no final dot, addresses in canonical form."""
    name = host.casefold().removesuffix(".")
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return name


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
