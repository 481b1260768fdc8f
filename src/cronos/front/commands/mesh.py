"""`cronos mesh status|peers|leave`: the federation as a running node sees it."""

import argparse

import msgspec

from cronos.front import settings
from cronos.front.documents_mesh import MeshDocument, PeerView
from cronos.front.federation import MESH_SOCKET
from cronos.front.result import print_json
from cronos.link.asking import ask
from cronos.link.text import plain
from cronos.types import ControlCall


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "what",
        choices=("status", "peers", "leave"),
        help="how it stands; one line for each peer; or tell the peers good-bye",
    )
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Show it, or leave; 1 where no peer can be reached."""
    config = settings.config_of(options)
    path = settings.state_of(options) / config.node.instance / "run" / MESH_SOCKET
    verb = "leave" if options.what == "leave" else "status"
    document = msgspec.json.decode(ask(path, ControlCall(1, verb)), type=MeshDocument)
    if options.json:
        print_json(document)
    else:
        _print(document, options.what)
    return 0 if document.left or any(one.linked for one in document.peers) else 1


def _print(document: MeshDocument, what: str) -> None:
    if document.left:
        print(f"{plain(document.node)} has left; it goes on alone.")
        return
    if what == "status":
        print(f"{plain(document.node)} at {plain(document.address)}, view {document.view}")
        print(f"  incarnation {document.incarnation}")
        print(f"  roles       {', '.join(document.roles)}")
        print(f"  allowed     {', '.join(document.allowed)}")
        for name, count in sorted(document.counts.items()):
            print(f"  {plain(name):11} {count}")
    for peer in document.peers:
        print(_line(peer))


def _line(peer: PeerView) -> str:
    link = f"{peer.rtt_ms:.1f} ms" if peer.linked else "no link"
    return (
        f"  {plain(peer.instance):12} {peer.status:8} {link:9} queue {peer.queued:<6}"
        f" incarnation {peer.incarnation}  holds {plain(', '.join(peer.roles)) or '-'}"
        f"  may {plain(', '.join(peer.allowed)) or '-'}  {plain(peer.address)}"
    )
