"""Names: trust domains, the names in them, and the SPIFFE ids that both make.

An id is ``spiffe://<domain>/<kind>/<name>``. Names are those of `cronos.toml`: lower case, digits,
``-`` and ``_``, at most 63. Nothing else passes, so that no name is a path, a wildcard or a
look-alike.

Source: SPIFFE-ID 1.0, sections 2.1 to 2.3.
"""

import re
from collections.abc import Iterable
from typing import Final

from cronos.errors import InputError

NODE: Final = "node"
OPERATOR: Final = "operator"
SERVICE: Final = "service"
KINDS: Final = (NODE, OPERATOR, SERVICE)
ROLES: Final = {
    NODE: ("defense", "operations", "audit", "communication"),
    OPERATOR: ("analyst", "responder", "manager", "admin"),
    SERVICE: (),
}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
# A host name is at most 253 characters, and `<name>.<kind>.` goes before the domain.
_MAX_DOMAIN: Final = 253 - 64 - 9
_ID: Final = re.compile(r"spiffe://([a-z0-9.-]{1,180})/([a-z]{1,8})/([a-z0-9_-]{1,63})", re.ASCII)


def require_domain(domain: str) -> str:
    """Give the trust domain back.

    Raises:
        InputError: it is no host name in lower case.
    """
    if len(domain) <= _MAX_DOMAIN and _DOMAIN.fullmatch(domain):
        return domain
    raise InputError(
        "crypto.bad_domain",
        f"{domain[:80]!r} is no trust domain.",
        "Give a host name in lower case, such as plant.example.",
    )


def require_name(name: str) -> str:
    """Give the name back.

    Raises:
        InputError: it is not made of lower-case letters, digits, ``-`` and ``_``.
    """
    if _NAME.fullmatch(name):
        return name
    raise InputError(
        "crypto.bad_name",
        f"{name[:80]!r} is no name of a node, an operator or a service.",
        "Use up to 63 of a-z, 0-9, - and _, beginning with a letter or digit.",
    )


def require_roles(kind: str, roles: Iterable[str]) -> tuple[str, ...]:
    """Give the roles in their fixed order, each once.

    Raises:
        InputError: one of them is none of this kind, or a node or operator got none at all.
    """
    given = set(roles)
    known = ROLES[kind]
    if given <= set(known) and (given or not known):
        return tuple(role for role in known if role in given)
    raise InputError(
        "crypto.bad_role",
        f"These are no roles of the kind `{kind}`: {', '.join(sorted(given)) or 'none'}.",
        f"Choose of: {', '.join(known) or 'no role at all'}.",
    )


def spiffe_id(domain: str, kind: str, name: str) -> str:
    """Give the id that stands in the certificate."""
    return f"spiffe://{domain}/{kind}/{name}"


def host_name(domain: str, kind: str, name: str) -> str:
    """Give the host name for stacks that check one, such as gRPC: ``<name>.<kind>.<domain>``."""
    return f"{name}.{kind}.{domain}"


def parse_id(uri: str) -> tuple[str, str, str] | None:
    """Give domain, kind and name of an id; None where it is not exactly of our form."""
    found = _ID.fullmatch(uri)
    if found is None:
        return None
    domain, kind, name = found.groups()
    if kind not in KINDS or not _NAME.fullmatch(name) or not _DOMAIN.fullmatch(domain):
        return None
    return domain, kind, name
