"""`cronos mesh status|peers|leave|indicators`: the federation as a running node sees it.

`cronos mesh recover` is for a node that does not run, and lost its ledger.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from cronos.config import Config
from cronos.errors import InputError
from cronos.front import plugins, settings
from cronos.front.documents_mesh import MeshDocument, PeerView
from cronos.front.federation import MESH_SOCKET
from cronos.front.recovering import Watch, recover
from cronos.front.result import print_json
from cronos.link.asking import ask
from cronos.link.text import plain
from cronos.types import ControlCall, Members

_GONE = frozenset({"dead", "left"})
_AT_ONCE = 500


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "what",
        choices=("status", "peers", "leave", "indicators", "recover"),
        help="how it stands; one line for each peer; tell the peers good-bye; what is shared, as "
        "a STIX 2.1 bundle; get this node's lost ledger back from its peers, before it starts",
    )
    parser.add_argument(
        "--join",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="recover: a peer to ask, besides those of [mesh] join",
    )
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Show it, or leave; 1 where no peer can be reached."""
    config = settings.config_of(options)
    if options.what == "recover":
        return _recover(config, options)
    path = settings.state_of(options) / config.node.instance / "run" / MESH_SOCKET
    if options.what == "indicators":
        print_json(_indicators(path))
        return 0
    verb = "leave" if options.what == "leave" else "status"
    document = holding(msgspec.json.decode(ask(path, ControlCall(1, verb)), type=MeshDocument))
    if options.json:
        print_json(document)
    else:
        _print(document, options.what)
    return 0 if document.left or any(one.linked for one in document.peers) else 1


def _recover(config: Config, options: argparse.Namespace) -> int:
    seeds = (*config.mesh.join, *options.join)
    if not seeds:
        raise InputError(
            "front.no_peer",
            "No peer is named that could keep this node's records.",
            "Name one with --join HOST:PORT, or under [mesh] join.",
        )
    document = recover(config, settings.state_of(options), seeds, watch=Watch(tell=_tell))
    if options.json:
        print_json(document)
        return 0
    kept = ", ".join(f"{plain(peer)} {size}" for peer, size in sorted(document.kept.items()))
    print(f"{document.records} records of {plain(document.node)} came from {plain(document.peer)}.")
    print(f"  each was opened with this node's keys; peers keep: {kept}")
    if document.contradicts:
        print(f"  of another chain: {plain(', '.join(document.contradicts))}")
    print("  what had not been replicated is lost; the node can be started")
    return 0


def _tell(sentence: str) -> None:
    print(plain(sentence), file=sys.stderr)


def held(document: MeshDocument, name: str) -> frozenset[str]:
    """Give the roles that a member holds: those of its own, and those that nobody else has."""
    alive = [one for one in document.peers if one.status not in _GONE]
    roles = {one.instance: one.roles for one in alive} | {document.node: document.roles}
    allowed = {one.instance: one.allowed for one in alive} | {document.node: document.allowed}
    duties = plugins.load("entry", "duties")(name, roles[name])
    duties.on_members(Members(tuple(sorted(set(roles) - {name})), roles, allowed))
    found: frozenset[str] = duties.held
    return found


def holding(document: MeshDocument) -> MeshDocument:
    """Add which roles each member holds just now, as follows from who is alive."""
    peers = tuple(
        one
        if one.status in _GONE
        else replace(one, holds=tuple(sorted(held(document, one.instance))))
        for one in document.peers
    )
    return replace(document, peers=peers, holds=tuple(sorted(held(document, document.node))))


def _indicators(path: Path) -> dict[str, Any]:
    """Ask until all are there: an answer has to fit a frame."""
    objects: dict[str, Any] = {}
    first = 0
    while True:
        words = msgspec.json.encode({"first": first})
        part: dict[str, Any] = msgspec.json.decode(
            ask(path, ControlCall(1, "indicators", words)), type=dict[str, Any]
        )
        objects.update({one["id"]: one for one in part["objects"]})
        first += _AT_ONCE
        if first >= part.pop("x_total"):
            return {**part, "objects": list(objects.values())}


def _print(document: MeshDocument, what: str) -> None:
    if document.left:
        print(f"{plain(document.node)} has left; it goes on alone.")
        return
    if what == "status":
        print(f"{plain(document.node)} at {plain(document.address)}, view {document.view}")
        print(f"  incarnation {document.incarnation}")
        print(f"  health      {plain(document.health)}")
        print(f"  holds       {', '.join(document.holds)}")
        print(f"  may         {', '.join(document.allowed)}")
        for name, count in (*document.records.items(), *sorted(document.counts.items())):
            print(f"  {plain(name):11} {count}")
    for peer in document.peers:
        print(_line(peer))


def _line(peer: PeerView) -> str:
    link = f"{peer.rtt_ms:.1f} ms" if peer.linked else "no link"
    load = f"load {peer.load.queued}/{peer.load.health}" if peer.load is not None else "load -"
    breaker = f"breaker {peer.breaker or '-'}"
    return (
        f"  {plain(peer.instance):12} {peer.status:8} {link:9} queue {peer.queued:<6}"
        f" {plain(load):10} {plain(breaker):15}"
        f" incarnation {peer.incarnation}  holds {plain(', '.join(peer.holds)) or '-'}"
        f"  may {plain(', '.join(peer.allowed)) or '-'}  {plain(peer.address)}"
    )
