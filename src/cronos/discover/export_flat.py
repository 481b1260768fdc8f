"""Reads nested elements of a tag, a BER length and a value in one flat loop of generated Python.

A rule that calls itself for each element costs a call, a loop and several blocks for three fields.
Where a rule is nothing else than such elements, they are read with a stack of ends instead: the
same fields, the same evidence in the same order, refused at the same bytes, three to five times as
fast. What could be more than `MAX_STEPS` fields is left to the rule itself, which counts them.
"""

from typing import Final, NamedTuple

from cronos.discover import ir
from cronos.discover.interpreter import MAX_CALLS, MAX_STEPS, SURE_BITS, gains_of
from cronos.discover.model import Sem

_TAGS: Final = 256

_LOOP: Final = '''

def flat_{rule}(d, p, e, o, g, z, gains=GAINS_{rule}):
    """Read elements up to the end of a region."""
    if p >= e:
        return g
    if len(o) + 3 * (e - p) // 2 > {steps}:
        while p < e:
            p, g = rule_{rule}(d, p, e, o, g, z + 1, p)
        return g
    z = {calls} - z
    if z <= 0:
        raise Misfit
    ends = []
    s = e
    try:
        while True:
            t = d[p]
            n = d[p + 1]
            g += gains[t]
            o.append(({tag!r}, p, 1, t))
            if n < 128:
                o.append(({length!r}, p + 1, 1, n))
                q = p + 2
            else:
                k = n & 127
                if not 1 <= k <= 4:
                    raise Misfit
                q = p + 2 + k
                n = int.from_bytes(d[p + 2 : q], "big")
                o.append(({length!r}, p + 1, k + 1, n))
            x = q + n
            if {nested}:
                if n:
                    if x >= s:
                        if x > s:
                            raise Misfit
                        g += {sure}
                    ends.append(s)
                    if len(ends) >= z:
                        raise Misfit
                    s = x
                    p = q
                    continue
            else:
                o.append(({value!r}, q, n, d[q:x]))
            p = x
            if x < s:
                continue
            if x > s:  # also where the tag or the length ran over the end
                raise Misfit
            g += {sure}
            while p == s:
                if not ends:
                    return g
                s = ends.pop()
    except IndexError:
        raise Misfit from None
'''


class Flat(NamedTuple):
    """A rule that can be read flat: its three leaves, and when its value holds elements again."""

    tag: ir.Number
    length: str
    value: str
    mask: int
    values: tuple[int, ...]


def flat_of(name: str, body: ir.Node) -> Flat | None:
    """Say how a rule is read flat, None where it is more than tag, BER length and value."""
    match body:
        case ir.Seq(
            (
                ir.Number(width=1, strict=False) as tag,
                ir.Varint(form="ber") as length,
                ir.Sized(
                    ir.Size("field", 0, ref, 0, 1, 0),
                    ir.Switch(of, (ir.Case(values, ir.Repeat(ir.Call(rule), None, b"")),), mask,
                              ir.Data(_, ir.Size("rest", 0, _, _, _, 0)) as value),
                ),
            )
        ) if (ref, of, rule) == (length.name, tag.name, name):  # fmt: skip
            if value.known or value.sem is Sem.TEXT:
                return None
            return Flat(tag, length.name, value.name, mask, values)
        case _:
            return None


def source(rule: str, flat: Flat) -> str:
    """Give the source of the function that reads elements up to the end of a region."""
    known, other = gains_of(flat.tag)
    gains = [known.get(tag, other) for tag in range(_TAGS)] if known else [0.0] * _TAGS
    mask, shift = flat.mask or 255, ir.shift_of(flat.mask)
    nested = [tag for tag in range(_TAGS) if (tag & mask) >> shift in flat.values]
    plain = [tag for tag in range(_TAGS) if tag & mask == mask] if shift or flat.mask else []
    told = f"t & {mask}" if nested == plain and mask & (mask - 1) == 0 else f"t in NESTED_{rule}"
    head = f"\n\nGAINS_{rule} = {tuple(gains)!r}\nNESTED_{rule} = frozenset({nested!r})\n"
    return head + _LOOP.format(
        rule=rule,
        steps=MAX_STEPS,
        calls=MAX_CALLS,
        tag=flat.tag.name,
        length=flat.length,
        value=flat.value,
        nested=told,
        sure=SURE_BITS,
    )
