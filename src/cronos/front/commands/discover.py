"""`cronos discover INPUT`: learn protocols from their traffic; also `profiles` and `train`."""

import argparse
from typing import Any, Final

from cronos.errors import InputError
from cronos.front import settings
from cronos.front.documents_discover import (
    DiscoverDocument,
    ProfilesDocument,
    ProfileView,
    ServiceView,
)
from cronos.front.limits import positive, size
from cronos.front.plugins import load
from cronos.front.profiles import store_of
from cronos.front.result import print_json
from cronos.link.text import plain

_PROFILES: Final = "profiles"
_TRAIN: Final = "train"
_MAX_LEFT_OUT: Final = 12
_FIT: Final = 0.99


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="pcap, pcapng or JSON lines, gzipped or not; `profiles` shows the stored ones and"
        " `train` trains the model anew (a file of such a name is ./profiles)",
    )
    parser.add_argument(
        "--out", default="", metavar="DIR", help="write the document, page, profile and parsers"
    )
    parser.add_argument(
        "--predictions",
        default="",
        metavar="FILE",
        help="write each message's fields as JSON lines",
    )
    parser.add_argument("--save", default="", metavar="NAME", help="store it as a candidate")
    parser.add_argument(
        "--filter", default="", metavar="EXPR", help="which packets are meant: tcp port 502"
    )
    parser.add_argument("--relearn", action="store_true", help="do not try known profiles first")
    parser.add_argument(
        "--labeller",
        default="",
        metavar="FILE",
        help="let a network that `train` wrote set the fields, in place of the shipped scorers",
    )
    limits = parser.add_argument_group("limits; at one of them the best result so far is given")
    limits.add_argument("--max-seconds", type=positive, default=120.0, metavar="S")
    limits.add_argument("--max-memory", type=size, default=1024, metavar="MIB")
    limits.add_argument(
        "--max-messages", type=size, default=1000, metavar="N", help="to learn a service from"
    )
    limits.add_argument(
        "--min-messages", type=size, default=0, metavar="N", help="that make a service worthwhile"
    )
    limits.add_argument(
        "--jobs", type=size, default=0, metavar="N", help="discoveries at once, at most 10"
    )
    stored = parser.add_argument_group("stored profiles (with `profiles`)")
    stored.add_argument("--promote", default="", metavar="NAME@VERSION", help="put it into use")
    stored.add_argument("--retire", default="", metavar="NAME@VERSION", help="take it out of use")
    stored.add_argument("--forget", default="", metavar="NAME", help="delete all its versions")
    stored.add_argument("--diff", default="", metavar="NAME", help="compare its last two versions")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Discover, look after profiles, or train."""
    if options.input == _PROFILES:
        return _profiles(options)
    if options.input == _TRAIN:
        # What is shipped first: the network that is not comes last.
        entries = ("discover-train", "discover-train-networks")
        return max([int(load("entry", entry)(options.out)) for entry in entries])
    from cronos.front.discovering import discover  # noqa: PLC0415 - the other two do without

    document = discover(options)
    if options.json:
        print_json(document)
    else:
        _print(document)
    return 0


def _print(document: DiscoverDocument) -> None:
    for one in document.services:
        _print_service(one)
    if document.left_out:
        most = sorted(document.left_out.items(), key=lambda one: -one[1])
        names = ", ".join(f"{plain(name)} ({n})" for name, n in most[:_MAX_LEFT_OUT])
        others = len(most) - _MAX_LEFT_OUT
        print(f"Not learnt, by messages: {names}{f' and {others} others' if others > 0 else ''}.")
    if document.predictions:
        print(f"Fields of each message: {plain(document.predictions)}")


def _print_service(one: ServiceView) -> None:
    seen = f"{_many(one.messages, 'message')} in {_many(one.flows, 'flow')}"
    print(f"{plain(one.service)}: {seen}, {one.verdict}.")
    if one.why:
        print(f"  {plain(one.why)}")
    if one.fields:
        each = one.fields / max(1, one.learnt_from)
        kinds = f"{_many(one.message_types, 'message type')}, {each:.1f} fields a message"
        print(f"  {kinds}, learnt from {one.learnt_from} of the messages.")
    if one.claims:
        print(f"  vouched for: {plain(', '.join(one.claims[:12]), 600)}")
    if one.held_back:
        _print_proof(one)
    if one.stopped:
        print(f"  stopped: {plain(one.stopped)} This is the best so far.")
    for remark in one.remarks[:8]:
        print(f"  {plain(remark)}")
    took = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in one.seconds.items())
    print(f"  {took or 'no phase was completed'}")
    if one.written:
        print(f"  written: {plain(', '.join(one.written), 600)}")


def _print_proof(one: ServiceView) -> None:
    print(
        f"  parser: {one.reparsed:.1%} of {one.held_back} held-back messages parse, "
        f"{one.exact:.1%} come back byte by byte, {one.noise_refused:.1%} of noise refused."
    )
    if min(one.reparsed, one.exact, one.noise_refused) < _FIT:
        print("  not fit for use: it asks for 99% of each.")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _profiles(options: argparse.Namespace) -> int:
    """Show the stored profiles, after one change at most."""
    with store_of(options) as store:
        changed = _changed(options, store)
        differences = _differences(store, options.diff) if options.diff else ()
        views = tuple(
            [_profile_view(stored) for name in store.names() for stored in store.versions(name)]
        )
    document = ProfilesDocument(views, changed, differences)
    if options.json:
        print_json(document)
        return 0
    for one in views:
        services = plain(", ".join(one.services), 200)
        print(
            f"{one.name}@{one.version}  {one.status:<9}  {one.reparsed:.1%} of held-back messages; "
            f"since then {one.parsed} parsed, {one.failed} not  {services}"
        )
    if not views:
        print("No profiles are stored. Learn one with: cronos discover INPUT --save NAME")
    for line in (*differences, *((changed,) if changed else ())):
        print(plain(line))
    return 0


def _changed(options: argparse.Namespace, store: Any) -> str:
    if options.promote:
        name, version = _versioned(options.promote)
        store.promote(name, version)
        return f"{name}@{version} is in use."
    if options.retire:
        name, version = _versioned(options.retire)
        store.retire(name, version)
        return f"{name}@{version} is out of use."
    if options.forget:
        return f"{store.forget(options.forget)} versions of {options.forget} were deleted."
    return ""


def _versioned(text: str) -> tuple[str, int]:
    name, _, version = text.partition("@")
    if not version.isdecimal():
        raise InputError(
            "discover.no_version", f"`{text}` names no version.", "Write it like pump@2."
        )
    return name, int(version[:9])


def _differences(store: Any, name: str) -> tuple[str, ...]:
    versions = store.versions(name)
    if len(versions) < 2:
        return (f"{name} has {len(versions)} versions: nothing to compare.",)
    before, after = versions[-2].profile, versions[-1].profile
    found: tuple[str, ...] = load("entry", "grammar-differences")(before.grammar, after.grammar)
    return found or ("They parse alike.",)


def _profile_view(stored: Any) -> ProfileView:
    one = stored.profile
    return ProfileView(
        one.name,
        one.version,
        one.status,
        one.services,
        one.messages,
        one.reparsed,
        one.learned_ns,
        stored.parsed,
        stored.failed,
    )
