"""`protocol.md`: what was found out, for people and for version control.

Whatever a stranger sent stands in it as hexadecimal, or as text without anything that a viewer of
Markdown would act upon.
"""

import re
import string
from collections.abc import Iterator, Sequence
from typing import Final

from cronos.discover.learned import Learned, Summary, Validation
from cronos.discover.messages import Service
from cronos.discover.names import Proposal
from cronos.discover.order import Order
from cronos.discover.pictures import Example, FieldView, TypeView
from cronos.link.text import plain

_ROW: Final = 16
_SAFE: Final = frozenset([*string.ascii_letters, *string.digits, *" .,:;/=-+%@?"])
_MAX_CLAIMS: Final = 60
_WAYS: Final = {
    "grammar": "how often each type comes",
    "previous": "the type before it in the flow",
    "network": "a network over the last 64",
    "mixture": "all three, mixed",
}


def document(
    name: str,
    service: Service,
    learned: Learned,
    views: Sequence[TypeView],
    proposals: Sequence[Proposal],
    order: Order | None = None,
) -> str:
    """Write the document; `order` is what is known of the order of messages."""
    told = {one.name: one for one in proposals}
    lines = [
        f"# Protocol `{name}`",
        "",
        f"Learnt from what was seen of {_text(service.name)}; nothing else is known of it.",
        "",
        *_summary(learned.summary, service),
        *_verdict(learned),
        *_validation(learned.validation),
        *_overview(views),
    ]
    for view in views:
        lines += _type(view, told)
    lines += [*_order(order), *_claims(learned), *_remarks(learned)]
    return "\n".join(lines).rstrip() + "\n"


def _summary(one: Summary, service: Service) -> Iterator[str]:
    sent = ", ".join(f"{count} {way or 'of unknown direction'}" for way, count in one.sent.items())
    yield "| | |"
    yield "|---|---|"
    yield f"| messages | {one.messages} ({sent}), {one.distinct} of them distinct |"
    yield f"| sizes | {one.shortest} to {one.longest} bytes, median {one.median} |"
    yield f"| flows | {one.flows}{f', over {one.seconds:.1f} s' if one.seconds else ''} |"
    yield f"| entropy | {one.entropy_bits:.2f} bits a byte, {one.printable:.0%} printable |"
    if service.rule:
        yield f"| messages told apart by | {_text(service.rule)} |"
    yield ""


def _verdict(learned: Learned) -> Iterator[str]:
    if learned.why:
        yield f"**{_text(learned.verdict.value.capitalize())}.** {_text(learned.why)}"
        yield ""
    if learned.stopped:
        yield f"**Stopped before its end.** {_text(learned.stopped)} This is the best so far."
        yield ""


def _validation(one: Validation | None) -> Iterator[str]:
    if one is None:
        return
    yield "## Proof of the parser"
    yield ""
    yield f"On {one.held_back} messages that the grammar was not learnt from:"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| parsed | {one.parsed:.1%} |"
    yield f"| the same bytes when put together again | {one.exact:.1%} |"
    yield f"| random messages refused | {one.noise_refused:.1%} |"
    yield f"| may be used | {'yes' if one.passed else 'no: it asks for 99 % of each'} |"
    yield ""
    for reason in one.reasons:
        yield f"* refused: {_text(reason)}"
    yield ""


def _overview(views: Sequence[TypeView]) -> Iterator[str]:
    if not views:
        return
    yield "## Message types"
    yield ""
    yield "| type | direction | messages | share | bytes | fields |"
    yield "|---|---|---|---|---|---|"
    for one in views:
        yield (
            f"| {_text(one.name)} | {one.direction or 'both'} | {one.messages} | {one.share:.0%} "
            f"| {one.sizes} | {len(one.fields)} |"
        )
    yield ""


def _type(view: TypeView, told: dict[str, Proposal]) -> Iterator[str]:
    yield f"## {_text(view.name)}"
    yield ""
    if view.fields:
        yield "| offset | bytes | field | meaning | sure | values | vouched for by |"
        yield "|---|---|---|---|---|---|---|"
        yield from (_field(one, told) for one in view.fields)
        yield ""
    for example in view.examples:
        yield "```text"
        yield from _hex(example)
        yield "```"
        yield ""


def _field(one: FieldView, told: dict[str, Proposal]) -> str:
    proposal = told.get(one.name)
    said = f"; {proposal.description}" if proposal else ""
    values = ", ".join(one.values) or "varying"
    return (
        f"| {one.offset} | {one.length} | `{one.name}` | {_text(one.form + said)} "
        f"| {one.confidence:.0%} | {_text(values)} | {_text(one.vouched) or '-'} |"
    )


def _hex(example: Example) -> Iterator[str]:
    """Give rows of sixteen bytes; a bar stands before each byte that begins a field."""
    starts = {span.offset for span in example.spans}
    for at in range(0, len(example.data), _ROW):
        row = example.data[at : at + _ROW]
        cells = "".join(
            f"{'|' if at + n in starts else ' '}{byte:02x}" for n, byte in enumerate(row)
        )
        text = "".join(chr(byte) if chr(byte) in _SAFE else "." for byte in row)
        yield f"{at:04x} {cells:<{3 * _ROW}}  {text}"
    if example.size > len(example.data):
        yield f"and {example.size - len(example.data)} bytes more"


def _order(one: Order | None) -> Iterator[str]:
    if one is None:
        return
    yield "## What follows what"
    yield ""
    yield f"How well the next of {one.messages} messages was foreseen from those before it:"
    yield ""
    yield "| by | bits a message | right |"
    yield "|---|---|---|"
    for name, way in one.foresight._asdict().items():
        yield f"| {_WAYS[name]} | {way.bits:.2f} | {way.right:.0%} |"
    yield ""
    yield "| after | comes | times | share |"
    yield "|---|---|---|---|"
    for pair in one.follows:
        before, after = _text(pair.before), _text(pair.after)
        yield f"| {before} | {after} | {pair.times} | {pair.share:.0%} |"
    yield ""


def _claims(learned: Learned) -> Iterator[str]:
    claims = learned.discovery.claims if learned.discovery else ()
    if not claims:
        return
    yield "## What is vouched for"
    yield ""
    yield "| claim | meaning | holds in | by chance at most | terms |"
    yield "|---|---|---|---|---|"
    for one in sorted(claims, key=lambda claim: (-claim.support, claim.kind))[:_MAX_CLAIMS]:
        terms = ", ".join(f"{key} {value}" for key, value in sorted(one.terms.items()))
        yield (
            f"| {_text(one.kind)} | {one.sem.value} | {one.support:.0%} | {one.alarm:.1e} "
            f"| {_text(terms)} |"
        )
    yield ""


def _remarks(learned: Learned) -> Iterator[str]:
    found = learned.discovery
    remarks = [*learned.remarks, *(found.remarks if found else ())]
    if remarks:
        yield "## Remarks"
        yield ""
        yield from (f"* {_text(one)}" for one in remarks)
        yield ""


def _text(text: str) -> str:
    """Give text in which nothing means anything to Markdown or HTML."""
    kept = "".join([c if c in _KEPT or c.isalnum() else "?" for c in plain(text, 300)])
    kept = _MARKING.sub("?", kept)
    return _LINK.sub(lambda found: f"{found[0][:-1]}\u2024", kept)


_KEPT: Final = frozenset(_SAFE | set("()'\"…,≤≥_")) - {"@"}
# Within a word it is a letter like any other (CommonMark 6.2); elsewhere it marks.
_MARKING: Final = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
# Viewers of Markdown make links of bare addresses: no text of a stranger is one to be followed.
_LINK: Final = re.compile(r"\bwww\.|\b[a-z][a-z0-9+-]*:(?=//)", re.IGNORECASE)
