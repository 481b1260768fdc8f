"""`cronos pki`: found an authority, issue, join, renew, revoke, list, back up and serve it."""

import argparse
import contextlib
import functools
import getpass
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cronos.config import Config
from cronos.errors import InputError, UnreachableError
from cronos.front import keyring, membership, plugins, settings
from cronos.front.documents_pki import (
    PkiDocument,
    certificate_view,
    identity_view,
    issuer_view,
    list_view,
    token_view,
)
from cronos.front.result import print_json
from cronos.link.egress import EgressGate
from cronos.link.text import plain

_LISTEN: Final = "127.0.0.1:7445"
_LONGEST_PATH: Final = 4096
_REASONS: Final = ("unspecified", "key-compromise", "superseded", "decommissioned", "privilege")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    settings.shared(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _declare_authority(actions)
    _declare_issue(actions)
    _declare_care(actions)
    _declare_node(actions)


def _declare_authority(actions: Any) -> None:
    init = _authority(actions, "init", "found an authority, or add an issuer to it")
    init.add_argument("--domain", default="", help="its trust domain, such as plant.example")
    init.add_argument("--issuer", default="", metavar="NAME", help="add this issuer instead")
    init.add_argument("--kind", default="node,service", help="what --issuer may issue")
    _root(init)
    serve = _authority(actions, "serve", "let nodes join and renew over the network")
    serve.add_argument("--listen", default=_LISTEN, metavar="HOST:PORT")


def _declare_issue(actions: Any) -> None:
    issue = _authority(actions, "issue", "invite a node, or issue to an operator or a service")
    whom = issue.add_mutually_exclusive_group(required=True)
    whom.add_argument("--node", default="", metavar="NAME", help="gives a one-time join token")
    whom.add_argument("--operator", default="", metavar="NAME", help="gives a sealed credential")
    whom.add_argument("--service", default="", metavar="NAME", help="gives PEM files, for 90 days")
    whom.add_argument("--request", type=Path, metavar="FILE", help="answers a carried request")
    issue.add_argument(
        "--role", action="append", default=[], metavar="ROLES", help="comma-separated"
    )
    issue.add_argument("--address", default=_LISTEN, metavar="HOST:PORT", help="for the token")
    issue.add_argument("--life-s", type=int, default=0, metavar="S", help="of the token")
    issue.add_argument("--out", type=Path, metavar="PATH", help="the file or folder to write")
    _passphrase_option(issue, "seals the operator's credential")


def _declare_care(actions: Any) -> None:
    revoke = _authority(actions, "revoke", "take certificates back, at once")
    revoke.add_argument(
        "what", metavar="WHAT", help="a serial number, a name, kind/name, an issuer"
    )
    revoke.add_argument("--reason", default="unspecified", choices=_REASONS)
    revoke.add_argument("--issuer", action="store_true", help="WHAT is an issuer; needs the root")
    _root(revoke)
    _authority(actions, "list", "show issuers, certificates, tokens and revocation lists")
    for name, summary in (
        ("backup", "write the whole authority into one sealed file"),
        ("restore", "bring an authority back into an empty folder"),
    ):
        own = _authority(actions, name, summary)
        own.add_argument("file", type=Path, metavar="FILE")
        _passphrase_option(own, "seals the backup")


def _declare_node(actions: Any) -> None:
    join = _action(actions, "join", "join a trust domain with a token")
    join.add_argument(
        "token", nargs="?", default="", metavar="TOKEN", help="- reads it from a pipe"
    )
    join.add_argument("--request", type=Path, metavar="FILE", help="write the request, to carry it")
    join.add_argument(
        "--accept", type=Path, metavar="FILE", help="take the answer that was carried"
    )
    rotate = _action(
        actions, "rotate", "renew this node's or a service's certificates; the old stand until then"
    )
    rotate.add_argument(
        "--service", type=Path, metavar="DIR", help="of a service's folder, if they are due"
    )
    rotate.add_argument("--now", action="store_true", help="with --service: due or not")
    rotate.add_argument(
        "--address", default="", metavar="HOST:PORT", help="of another enrolment service"
    )


def _authority(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    own = _action(actions, name, summary)
    own.add_argument("--dir", type=Path, metavar="DIR", help="(default: STATE/authority)")
    return own


def _root(own: argparse.ArgumentParser) -> None:
    own.add_argument("--root", type=Path, metavar="DIR", help="the root's keys (default: DIR/root)")
    _passphrase_option(own, "seals the root's keys")


def _passphrase_option(own: argparse.ArgumentParser, what: str) -> None:
    own.add_argument("--passphrase-file", type=Path, metavar="F", help=f"{what}; asked for without")


def _action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    own: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=f"{summary.capitalize()}."
    )
    # Said once before the action or after it: what stands after it wins, if it stands there.
    own.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS)
    own.add_argument("--state", type=Path, metavar="DIR", default=argparse.SUPPRESS)
    own.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    return own


def execute(options: argparse.Namespace) -> int:
    """Do it and tell."""
    document = _ACTIONS[options.action](options, _Place(options))
    if options.json:
        print_json(document)
    else:
        _print(document)
    return 0


class _Place:
    """Where authority and node lie, and what unlocks them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.config: Config = settings.config_of(options)
        self.state = settings.state_of(options)
        self.clock = plugins.load("entry", "clock")()
        given = getattr(options, "dir", None)
        self.folder: Path = Path(given).absolute() if given else self.state / "authority"
        home = getattr(options, "root", None)
        self.home: Path = Path(home).absolute() if home else self.folder / "root"
        self.settings = plugins.settings_of(plugins.load("entry", "pki"), "pki", self.config, None)

    def online(self) -> Any:
        """Give the root key of the issuers' keys."""
        return keyring.root_key(self.config, self.folder, name=self.settings.root, ask=_asking())

    def passphrase(self, options: argparse.Namespace, *, new: bool) -> Any:
        """Give a passphrase as root key: of a file, or of the person at the terminal."""
        path = options.passphrase_file
        given = {"passphrase_file": str(path)} if path else None
        ask = None if path else _asking(twice=new)
        return keyring.root_key(self.config, self.folder, name="passphrase", given=given, ask=ask)

    def authority(self) -> Any:
        """Open the authority."""
        return plugins.load("entry", "pki")(self.folder, self.online(), self.clock)

    def holder(self) -> Any:
        """Open this node's own credential."""
        return membership.holder_of(self.config, self.state, self.clock, ask=_asking())

    def bound(self) -> Any:
        """Give the node's signing key, which the authority binds, for a while."""
        return membership.bound_of(self.config, self.state, ask=_asking())

    def at_first(self, address: str, ask: Callable[[str], Any]) -> Any:
        """Ask the enrolment service that was named, or the configured ones until one answers."""
        service = plugins.load("service", "certificate-renewal")
        known = plugins.settings_of(service, "certificate-renewal", self.config, None).addresses
        *others, last = [address] if address else known or [_LISTEN]
        for one in others:
            with contextlib.suppress(UnreachableError):
                return ask(one)
        return ask(last)

    def read(self, path: Path, what: str) -> bytes:
        """Read a file that was carried here."""
        data: bytes = plugins.load("entry", "pki-read")(path, what)
        return data

    def write(self, path: Path, data: bytes) -> str:
        """Write a file of mode 0600, whole or not at all; give its path."""
        plugins.load("entry", "pki-write")(path.absolute(), data)
        return _shown(path)


def _init(options: argparse.Namespace, place: _Place) -> PkiDocument:
    offline = place.passphrase(options, new=not options.issuer)
    if options.issuer:
        authority = place.authority()
        kinds = [_named(kind) for kind in options.kind.split(",") if kind]
        authority.add_issuer(options.issuer, kinds, place.home, offline)
        return _document("founded", authority)
    if not options.domain:
        raise InputError(
            "pki.no_domain", "No trust domain was given.", "Name it: --domain plant.example"
        )
    authority = plugins.load("entry", "pki-found")(
        place.folder, options.domain, place.home, offline, place.online(), place.clock
    )
    remark = f"Move {place.home} to a safe: only a new or a revoked issuer needs it."
    return _document("founded", authority, remarks=(remark,))


def _issue(options: argparse.Namespace, place: _Place) -> PkiDocument:
    authority = place.authority()
    roles = [_named(role) for given in options.role for role in given.split(",") if role]
    if options.node:
        life_s = options.life_s or place.settings.token_life_s
        token = authority.invite(options.node, roles, options.address, life_s)
        remark = f"Whoever has this token joins as {options.node}, once, within {life_s} s."
        return _document("invited", authority, token=token, remarks=(remark,))
    if options.request:
        answer = authority.admit(place.read(options.request, "request"))
        out = options.out or options.request.with_suffix(".answer")
        return _document("answered", authority, outputs=(place.write(out, answer),))
    if options.service:
        return _issue_service(options, authority, roles)
    return _issue_operator(options, place, authority, roles)


def _issue_operator(
    options: argparse.Namespace, place: _Place, authority: Any, roles: list[str]
) -> PkiDocument:
    root = place.passphrase(options, new=True)
    out = (options.out or Path(f"{options.operator}.credential")).absolute()
    _require_free(out)
    credential = authority.issue("operator", options.operator, roles)
    plugins.load("entry", "pki-write-credential")(out, credential, root)
    return _document("issued", authority, outputs=(_shown(out),))


def _issue_service(options: argparse.Namespace, authority: Any, roles: list[str]) -> PkiDocument:
    out = (options.out or Path(options.service)).absolute()
    _require_free(out)
    credential = authority.issue("service", options.service, roles)
    written = plugins.load("entry", "pki-write-pems")(out, credential)
    remark = f"The private keys in {out} are not encrypted: who may read them is the service."
    return _document("issued", authority, outputs=tuple(map(_shown, written)), remarks=(remark,))


def _revoke(options: argparse.Namespace, place: _Place) -> PkiDocument:
    authority, what = place.authority(), _named(options.what)
    if options.issuer:
        offline = place.passphrase(options, new=False)
        authority.revoke_issuer(what, options.reason, place.home, offline)
        remark = f"All that {what} issued is refused from now on."
        return _document("revoked", authority, remarks=(remark,))
    rows = authority.revoke(what, options.reason)
    if not rows:
        remark = f"{what} had not joined; its open tokens are withdrawn."
        return _document("revoked", authority, remarks=(remark,))
    return _document("revoked", authority, certificates=tuple(map(certificate_view, rows)))


def _list(_: argparse.Namespace, place: _Place) -> PkiDocument:
    authority = place.authority()
    found, now_ns = authority.listing(), place.clock.now().wall_ns
    lists = tuple(list_view(row, now_ns) for row in found.lists)
    late = [one.scope for one in lists if one.stale]
    return _document(
        "listed",
        authority,
        certificates=tuple(map(certificate_view, found.issued)),
        issuers=tuple(map(issuer_view, found.issuers)),
        tokens=tuple(token_view(row, now_ns) for row in found.tokens),
        lists=lists,
        remarks=(f"Stale revocation lists: {', '.join(late)}.",) if late else (),
    )


def _backup(options: argparse.Namespace, place: _Place) -> PkiDocument:
    _require_free(options.file)
    root = place.passphrase(options, new=True)
    data = plugins.load("entry", "pki-back-up")(place.folder, root, place.clock.now().wall_ns)
    return PkiDocument("backed-up", outputs=(place.write(options.file, data),))


def _restore(options: argparse.Namespace, place: _Place) -> PkiDocument:
    root = place.passphrase(options, new=False)
    data = place.read(options.file, "backup")
    plugins.load("entry", "pki-restore")(data, place.folder, root)
    authority = place.authority()
    withdrawn = authority.take_up()
    remarks = (
        "Revoke again what was revoked after this backup was made: it does not know of that.",
        f"Open join tokens that were withdrawn, for they may have been used since: {withdrawn}.",
    )
    return _document("restored", authority, outputs=(_shown(place.folder),), remarks=remarks)


def _serve(options: argparse.Namespace, place: _Place) -> PkiDocument:
    """Serve until told to stop; the first line says where, so that a script can wait for it."""
    authority = place.authority()
    log = plugins.load("entry", "log")(place.config.node.instance, place.clock)
    with _listening(options.listen) as listener:

        def report(event: str, who: str) -> None:
            log.write("info", event, who=who)

        make = plugins.load("entry", "enrolment-server")
        server = make(authority, listener, place.clock, report, place.settings.grace_s)

        def stop(*_: object) -> None:
            server.stopping = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        host, port = listener.getsockname()[:2]
        log.write("info", "enrolment.listening", address=f"{host}:{port}")
        server.serve()
    return _document("served", authority)


def _join(options: argparse.Namespace, place: _Place) -> PkiDocument:
    holder = place.holder()
    if options.accept:
        return _own("joined", holder, holder.accept(place.read(options.accept, "answer")))
    text = sys.stdin.read(4096) if options.token == "-" else options.token  # noqa: S105 - a dash
    token = plugins.load("entry", "pki-token")(text)
    if token.name != place.config.node.instance:
        raise InputError(
            "pki.other_node",
            f"This token is for the node `{token.name}`; this is `{place.config.node.instance}`.",
            "Set `instance` under [node] to the token's name, or ask for another token.",
        )
    with place.bound() as bound:
        if options.request:
            written = place.write(options.request, holder.request(token, bound))
            return PkiDocument("requested", token.domain, token.pin.hex(), outputs=(written,))
        gate = EgressGate(place.config.egress)
        join = plugins.load("entry", "enrolment-join")
        return _own("joined", holder, join(holder, token, place.clock, gate, bound))


def _rotate(options: argparse.Namespace, place: _Place) -> PkiDocument:
    if options.service is not None:
        return _rotate_service(options, place)
    holder = place.holder()
    renew = plugins.load("entry", "enrolment-renew")
    with place.bound() as bound:
        gate = EgressGate(place.config.egress)
        identity = renew(holder, place.clock, gate, bound, options.address)
        return _own("rotated", holder, identity)


def _rotate_service(options: argparse.Namespace, place: _Place) -> PkiDocument:
    """Renew a service's folder if it is due; asked again, it says so and changes nothing."""
    folder = plugins.load("entry", "pki-pems")(options.service.absolute(), place.clock)
    if not options.now and not folder.due():
        remark = "Nothing is due: they are renewed after two thirds of their life, or with --now."
        return _own("standing", folder, folder.own(), remarks=(remark,))
    renew = plugins.load("entry", "enrolment-renew")
    gate = EgressGate(place.config.egress)
    identity = place.at_first(
        options.address, lambda one: renew(folder, place.clock, gate, None, one)
    )
    return _own("rotated", folder, identity, outputs=tuple(map(_shown, folder.paths())))


_ACTIONS: Final[dict[str, Callable[[argparse.Namespace, _Place], PkiDocument]]] = {
    "init": _init,
    "issue": _issue,
    "revoke": _revoke,
    "list": _list,
    "backup": _backup,
    "restore": _restore,
    "serve": _serve,
    "join": _join,
    "rotate": _rotate,
}


def _document(done: str, authority: Any, **more: Any) -> PkiDocument:
    return PkiDocument(done, authority.trust.domain, authority.trust.fingerprint.hex(), **more)


def _own(done: str, holder: Any, identity: Any, **more: Any) -> PkiDocument:
    trust = holder.membership().credential.trust
    view = (identity_view(identity),)
    return PkiDocument(done, trust.domain, trust.fingerprint.hex(), certificates=view, **more)


def _require_free(path: Path) -> None:
    """Refuse before anything is issued: a certificate without its key is no use."""
    try:
        taken = path.exists() or path.is_symlink()
    except (OSError, ValueError) as error:
        raise InputError(
            "pki.bad_path", f"No file can be called {_shown(path)[:80]}.", "Choose another name."
        ) from error
    if taken:
        raise InputError(
            "crypto.file_exists",
            f"{path} is there already.",
            "Choose another name with --out; nothing is overwritten.",
        )


def _shown(path: Path) -> str:
    """Write a path so that it is text, whatever bytes it is made of."""
    return plain(str(path), _LONGEST_PATH)


def _named(what: str) -> str:
    """Give what a person wrote; bytes that are no text name nothing."""
    return what if what.isascii() else plain(what)


@contextlib.contextmanager
def _listening(address: str) -> Any:
    host, _, port = address.rpartition(":")
    try:
        # Asked for first: a name that is none would leave the socket open behind it.
        host.encode("idna")
        listener = socket.create_server((host.strip("[]"), int(port)))
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            "pki.cannot_listen",
            f"Cannot listen on {address[:80]!r}: {error}.",
            "Give a free HOST:PORT with --listen.",
        ) from error
    with listener:
        yield listener


def _asking(*, twice: bool = False) -> Callable[[], str] | None:
    """Give a way to ask a person for a passphrase, where there is a person."""
    return functools.partial(_passphrase, twice=twice) if sys.stdin.isatty() else None


def _passphrase(*, twice: bool) -> str:
    given = getpass.getpass("Passphrase: ")
    if twice and getpass.getpass("The same again: ") != given:
        raise InputError("pki.passphrases_differ", "The two are not the same.", "Try again.")
    return given


def _print(document: PkiDocument) -> None:
    if document.token:
        print(document.token)
    else:
        print(f"{document.done}: {document.domain or 'the authority'}")
    if document.done == "founded":
        print(f"pin {document.pin}")
    _print_book(document)
    for path in document.outputs:
        print(f"wrote {path}")
    for remark in document.remarks:
        print(plain(remark), file=sys.stderr)


def _print_book(document: PkiDocument) -> None:
    for one in document.issuers:
        print(f"issuer {one.name}: {', '.join(one.kinds)}, until {one.ends}{_gone(one.revoked)}")
    for cert in document.certificates:
        roles = f" ({', '.join(cert.roles)})" if cert.roles else ""
        print(
            f"{cert.serial} {cert.kind}/{cert.name}{roles} {cert.algorithm}, "
            f"until {cert.ends}{_gone(cert.revoked)}"
        )
    for token in document.tokens:
        print(f"token of {token.name}: {token.state}, until {token.ends}")
    for each in document.lists:
        late = ", stale" if each.stale else ""
        print(f"list of {each.scope}: number {each.number}, {each.revoked} revoked{late}")


def _gone(revoked: str) -> str:
    return f", revoked {revoked}" if revoked else ""
