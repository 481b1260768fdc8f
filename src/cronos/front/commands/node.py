"""`cronos node`: be one node of a federation, with the roles that its certificate allows."""

import argparse
from typing import Final, cast

from msgspec.structs import replace

from cronos.config import Config, Mesh, Role
from cronos.errors import InputError
from cronos.front import settings
from cronos.front.commands.run import with_detection
from cronos.front.commands.up import watch, watching, with_sources
from cronos.front.compose import run_loop
from cronos.front.enrolling import SERVICE
from cronos.front.result import print_json

_LISTEN: Final = "127.0.0.1:7443"
_SHARE: Final = 0.25
_ROLES: Final = Mesh().roles


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--name", default="", help="this node's instance, over [node] instance")
    parser.add_argument(
        "--roles",
        default="",
        metavar="ROLES",
        help="what it does for all by itself, comma-separated: " + ", ".join(_ROLES),
    )
    parser.add_argument(
        "--listen", default="", metavar="HOST:PORT", help=f"where peers reach it ({_LISTEN})"
    )
    parser.add_argument(
        "--join", action="append", default=[], metavar="HOST:PORT", help="a peer to begin with"
    )
    parser.add_argument(
        "--share",
        type=float,
        default=0.0,
        metavar="PART",
        help=f"its part of the federation's budget of actions ({_SHARE:g})",
    )
    watching(parser)
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM."""
    config = with_sources(with_detection(settings.config_of(options), options), options)
    config = with_mesh(config, options)
    document = run_loop(watch(config, settings.state_of(options)))
    if options.json:
        print_json(replace(document, schema="cronos.node/1"))
    return 1 if document.incidents else 0


def with_mesh(config: Config, options: argparse.Namespace) -> Config:
    """Put the command line's part of the federation over the configuration's.

    Raises:
        InputError: a role is none, or the part of the budget is no part.
    """
    roles = tuple(one.strip() for one in options.roles.split(",") if one.strip())
    unknown = [one for one in roles if one not in _ROLES]
    if unknown:
        raise InputError(
            "front.unknown_role",
            f"{unknown[0]!r:.80} is no role.",
            f"Name some of: {', '.join(_ROLES)}.",
        )
    share = options.share or config.policy.budget_share
    if not 0.0 < share <= 1.0:
        raise InputError(
            "front.bad_share", f"--share {share:g} is no part of a whole.", "Give one like 0.25."
        )
    mesh = replace(
        config.mesh,
        listen=options.listen or config.mesh.listen or _LISTEN,
        join=(*config.mesh.join, *options.join),
        roles=cast("tuple[Role, ...]", roles) or config.mesh.roles,
    )
    # A whole budget is what a node has that stands alone: in a federation it has its part.
    # Without it the certificate would end after a day, and the node's part in the federation too.
    services = (*config.services, *({SERVICE} - set(config.services)))
    policy = replace(config.policy, budget_share=share if share < 1.0 else _SHARE)
    node = replace(config.node, instance=options.name or config.node.instance)
    return replace(config, mesh=mesh, policy=policy, node=node, services=services)
