"""What the commands for people share: a line to the running node, and an operator's signature."""

import argparse
import functools
import getpass
import sys
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from cronos.config import Config
from cronos.errors import InputError
from cronos.front import settings
from cronos.link.asking import SOCKET_NAME, ask
from cronos.link.clerk import QuestionView, Reply, signed_words
from cronos.link.text import plain
from cronos.types import ControlCall

_SHOWN: Final = 300
_SILENCE: Final = {
    "analyst": "then the manager is asked",
    "manager": "then the pager",
    "pager": "then the case is only watched, or what holds meanwhile is left as it is",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the node is, and who signs."""
    settings.shared(parser)
    parser.add_argument(
        "--as",
        dest="credential",
        type=Path,
        metavar="CREDENTIAL",
        help="sign it with this operator's credential (of `cronos pki issue --operator`)",
    )
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="F", help="opens it; asked for without"
    )


def answering(parser: argparse.ArgumentParser) -> None:
    """Declare which question is answered."""
    arguments(parser)
    parser.add_argument(
        "question", metavar="QUESTION", help="its id, or that of its incident: see --waiting"
    )


class Line:
    """A line to a running node.

    Args:
        options: of a command that declared `arguments`.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.config: Config = settings.config_of(options)
        self.node = self.config.node.instance
        self.state: Path = settings.state_of(options)
        self.socket = self.state / self.node / "run" / SOCKET_NAME
        self.signed = options.credential is not None
        self._options = options
        self._credential: Any = None

    def ask(self, verb: str, argument: Any = None) -> Any:
        """Give the node's answer to what needs no signature."""
        return self._call(verb, _json(argument), b"")

    def order(self, verb: str, argument: Any = None) -> Any:
        """Order something, signed where a credential was given."""
        words = _json(argument)
        signature = self.sign(self.node, verb, words) if self.signed else b""
        return self._call(verb, words, signature)

    def sign(self, node: str, verb: str, words: bytes) -> bytes:
        """Sign an order for a node, or for every one."""
        from cronos.front import plugins  # noqa: PLC0415 - only a signature needs cryptography

        if self._credential is None:
            self._credential = _credential(self._options, self.config)
        clock = plugins.load("entry", "clock")()
        order = signed_words(node, verb, words)
        signature: bytes = plugins.load("entry", "pki-sign-order")(
            order, self._credential, clock.now()
        )
        return signature

    def questions(self) -> tuple[QuestionView, ...]:
        """Give the questions that wait for an answer."""
        told = self.ask("questions.list")
        return msgspec.convert(told["questions"], tuple[QuestionView, ...])

    def question(self, name: str) -> QuestionView:
        """Find the one question of an id, or of an incident's id.

        Raises:
            InputError: there is none, or more than one.
        """
        waiting = self.questions()
        found = [one for one in waiting if name in (one.question, one.incident)]
        exact = [one for one in found if one.question == name]
        if len(exact or found) == 1:
            return (exact or found)[0]
        known = ", ".join([one.question for one in (found or waiting)[:8]])
        raise InputError(
            "orders.unknown_question",
            f"{'More than one question belongs' if found else 'No question belongs'} to "
            f"{name!r:.80}.",
            f"These wait: {known}." if known else "None waits for an answer now.",
        )

    def answer(self, verb: str, asked: QuestionView) -> Any:
        """Approve or deny exactly what was shown."""
        words = Reply(asked.question, asked.incident, asked.action, asked.digest, verb == "approve")
        return self.order(verb, words)

    def _call(self, verb: str, argument: bytes, order: bytes) -> Any:
        return msgspec.json.decode(ask(self.socket, ControlCall(1, verb, argument, order)))


def described(asked: QuestionView) -> list[str]:
    """Say exactly what is asked, line by line."""
    undo = (
        "it cannot be taken back; two operators have to approve it"
        if asked.persons > 1
        else f"it ends after {asked.lease_s:g} s unless renewed, or with "
        f"`cronos release {asked.incident}`"
    )
    return [
        plain(f"question  {asked.question} for the {asked.audience}", _SHOWN),
        plain(f"asks      {asked.text}", 4 * _SHOWN),
        plain(f"action    {asked.verb} {asked.kind} {asked.target} at {asked.point}", _SHOWN * 4),
        plain(f"lease     {asked.lease_s:g} s", _SHOWN),
        plain(f"waits     {asked.waits_s:g} s; {_SILENCE.get(asked.audience, '')}", _SHOWN),
        plain(f"undo      {undo}", _SHOWN * 2),
        plain(f"digest    {asked.digest}", _SHOWN),
    ]


def consents(asked: QuestionView) -> bool:
    """Show a person what is asked, and hear whether it shall be.

    Raises:
        InputError: nobody sits at a terminal.
    """
    for line in described(asked):
        print(line, file=sys.stderr)
    if not sys.stdin.isatty():
        raise InputError(
            "orders.no_terminal",
            "Nobody can be asked: this is no terminal.",
            "Answer it at one, or say --yes after having seen what is asked.",
        )
    print("Shall this be done? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def state_of(shown: Any) -> str:
    """Give the state in what a node showed of an incident."""
    table = cast("dict[str, Any]", shown) if isinstance(shown, dict) else {}
    return str(table.get("state", ""))


def _json(argument: Any) -> bytes:
    return b"{}" if argument is None else msgspec.json.encode(argument)


def _credential(options: argparse.Namespace, config: Config) -> Any:
    """Open an operator's credential with its passphrase.

    Raises:
        CronosError: it is not there, or does not open.
    """
    from cronos.front import keyring, plugins  # noqa: PLC0415 - only a signature needs them

    file = Path(options.credential).absolute()
    if not file.exists():
        raise InputError(
            "orders.no_credential",
            f"There is no credential at {file}.",
            "Name the file that `cronos pki issue --operator` wrote.",
        )
    path = options.passphrase_file
    given = {"passphrase_file": str(path)} if path else None
    asking = functools.partial(getpass.getpass, "Passphrase: ") if sys.stdin.isatty() else None
    root = keyring.root_key(
        config, file.parent, name="passphrase", given=given, ask=None if path else asking
    )
    return plugins.load("entry", "pki-read-credential")(file, root)
