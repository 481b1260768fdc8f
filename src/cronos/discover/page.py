"""The same as a page: fields coloured by meaning, an entropy strip, examples, confidence.

There is no script in it and nothing is loaded: the page's policy allows its own style sheet alone,
by its hash. Whatever a stranger sent is escaped text.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from cronos.discover.learned import Learned
from cronos.discover.messages import Service
from cronos.discover.model import Sem
from cronos.discover.names import Proposal
from cronos.discover.pictures import Example, FieldView, Span, TypeView
from cronos.link.text import plain

# Okabe and Ito's colours, which the colour-blind tell apart, and three greys.
COLOURS: Final[Mapping[Sem, str]] = {
    Sem.LENGTH: "#e69f00",
    Sem.COUNT: "#f0c35e",
    Sem.CHECKSUM: "#d55e00",
    Sem.TIMESTAMP: "#cc79a7",
    Sem.ID_SEQ: "#56b4e9",
    Sem.ENUM_FLAGS: "#009e73",
    Sem.ADDRESS: "#0072b2",
    Sem.TEXT: "#f0e442",
    Sem.FLOAT: "#9bd3c0",
    Sem.VALUE: "#bdbdbd",
    Sem.BYTES: "#e3e3e3",
}
_CELL: Final = 22
_ROW_BYTES: Final = 32
_STRIP: Final = 18
_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:62rem}
body{padding:0 1rem;color:#1b1b1b}
h2{margin-top:2.2rem;border-bottom:1px solid #ccc}
table{border-collapse:collapse;margin:.6rem 0}
td,th{border:1px solid #ccc;padding:.2rem .5rem;text-align:left}
svg{display:block;margin:.4rem 0;max-width:100%}svg text{font:11px ui-monospace,monospace}
.note{color:#444}div svg,td svg{display:inline-block;margin:.1rem}
"""


def page(
    name: str,
    service: Service,
    learned: Learned,
    views: Sequence[TypeView],
    proposals: Sequence[Proposal],
) -> str:
    """Write the page."""
    told = {one.name: one for one in proposals}
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    body = [f"<h1>Protocol {_text(name)}</h1>", *_head(service, learned), _legend()]
    for view in views:
        body += _type(view, told)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Protocol {_text(name)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _head(service: Service, learned: Learned) -> Iterator[str]:
    one = learned.summary
    yield (
        f"<p>Learnt from {one.messages} messages of {_text(service.name)}: {one.shortest} to "
        f"{one.longest} bytes, {one.flows} flows, {one.entropy_bits:.2f} bits a byte.</p>"
    )
    if service.rule:
        yield f'<p class="note">Messages are told apart by {_text(service.rule)}.</p>'
    if learned.why:
        yield f"<p><b>{_text(learned.verdict.value.capitalize())}.</b> {_text(learned.why)}</p>"
    if learned.stopped:
        yield f"<p><b>Stopped before its end.</b> {_text(learned.stopped)}</p>"
    proof = learned.validation
    if proof is not None:
        yield (
            f"<p>Of {proof.held_back} held-back messages {proof.parsed:.1%} parse and "
            f"{proof.exact:.1%} come back byte by byte; {proof.noise_refused:.1%} of random "
            f"messages are refused.</p>"
        )


def _legend() -> str:
    # Presentation attributes are no styles: the policy lets them be.
    swatches = "".join(
        f'<svg width="{9 * len(sem.value) + 18}" height="20" role="img">'
        f'<rect width="100%" height="20" fill="{colour}" stroke="#888"/>'
        f'<text x="8" y="14">{sem.value}</text></svg>'
        for sem, colour in COLOURS.items()
    )
    return f"<div>{swatches}</div>"


def _type(view: TypeView, told: Mapping[str, Proposal]) -> Iterator[str]:
    yield f"<h2>{_text(view.name)}</h2>"
    yield (
        f"<p>{view.messages} messages ({view.share:.0%}), {view.direction or 'both directions'}, "
        f"{view.sizes} bytes.</p>"
    )
    yield _strip(view.entropy)
    for example in view.examples:
        yield _drawn(example)
    if view.fields:
        yield "<table><tr><th>offset</th><th>bytes</th><th>field</th><th>meaning</th>"
        yield "<th>sure</th><th>values</th><th>vouched for by</th></tr>"
        yield from (_field(one, told) for one in view.fields)
        yield "</table>"


def _strip(entropy: Sequence[float]) -> str:
    """Draw how much each offset varies: white never, black like random bytes."""
    if not entropy:
        return ""
    width = min(_CELL, max(2, 900 // len(entropy)))
    bars = "".join(
        f'<rect x="{at * width}" y="0" width="{width}" height="{_STRIP}" '
        f'fill="#000" fill-opacity="{min(1.0, bits / 8):.2f}"/>'
        for at, bits in enumerate(entropy)
    )
    total = width * len(entropy)
    return (
        f'<svg width="{total}" height="{_STRIP + 2}" role="img" aria-label="entropy by offset">'
        f'<rect width="{total}" height="{_STRIP}" fill="#fff" stroke="#888"/>{bars}</svg>'
    )


def _drawn(example: Example) -> str:
    """Draw one message: a box for each byte in its field's colour, a line where a field begins."""
    owner: dict[int, Span] = {}
    for span in example.spans:
        for at in range(span.offset, min(len(example.data), span.offset + span.length)):
            owner[at] = span
    parts: list[str] = []
    for at, byte in enumerate(example.data):
        x, y = at % _ROW_BYTES * _CELL, at // _ROW_BYTES * (_CELL + 4)
        here = owner.get(at)
        colour = COLOURS[here.sem] if here else "#ffffff"
        title = f"<title>{_text(here.name)} ({here.sem.value})</title>" if here else ""
        parts.append(
            f'<g><rect x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" fill="{colour}">{title}'
            f'</rect><text x="{x + 4}" y="{y + 15}">{byte:02x}</text></g>'
        )
        if here and here.offset == at:
            parts.append(
                f'<line x1="{x}" y1="{y}" x2="{x}" y2="{y + _CELL}" stroke="#000" '
                'stroke-width="2"/>'
            )
    rows = -(-len(example.data) // _ROW_BYTES)
    width, height = _ROW_BYTES * _CELL, rows * (_CELL + 4)
    more = example.size - len(example.data)
    after = f'<p class="note">and {more} bytes more</p>' if more else ""
    return f'<svg width="{width}" height="{height}" role="img">{"".join(parts)}</svg>{after}'


def _field(one: FieldView, told: Mapping[str, Proposal]) -> str:
    proposal = told.get(one.name)
    said = f"<br>{_text(proposal.description)}" if proposal else ""
    sure = round(one.confidence * 40)
    bar = (
        f'<svg width="42" height="10" role="img" aria-label="{one.confidence:.0%}">'
        f'<rect width="40" height="8" fill="#fff" stroke="#888"/>'
        f'<rect width="{sure}" height="8" fill="#0072b2"/></svg>{one.confidence:.0%}'
    )
    cells = (
        str(one.offset),
        str(one.length),
        f"<code>{_text(one.name)}</code>",
        f"{_text(one.form)}{said}",
        bar,
        _text(", ".join(one.values) or "varying"),
        _text(one.vouched or "-"),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _text(text: str) -> str:
    return escape(plain(text, 300))
