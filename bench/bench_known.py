"""Boundaries of protocols that are known: do their other messages come out right, and is it told?

``python bench/bench_known.py [NAME...]``. Needs ../shared and the extra `train`. A protocol's trees
and beginnings are learnt from some of its messages and judged by 120 others, or a third of them:
drawn from among all (`same captures`), or the first ones, where what is learnt from comes later,
often from other captures, devices and vendors (`others`). Nothing else may be recognised: neither
the protocols of other groups nor drawn grammars that no model has seen.
"""

import pathlib
import sys

import numpy as np

import cronos.discover
from cronos.discover import folds, train
from cronos.discover.lessons import drawn, published, stretch
from cronos.discover.published import Published
from cronos.discover.published_train import FEWEST, Own, beginnings_of, known_again
from cronos.discover.scorer import Trees, read
from cronos.discover.shipped import NAMES, Models
from cronos.discover.teaching import MIN_MESSAGES, Teacher

MODELS = pathlib.Path(cronos.discover.__file__).parent / "models"
STRANGE = range(20_001, 20_401, 2)


def split(lesson, same):
    """Give what is learnt from, and what is judged."""
    total = len(lesson.messages)
    judged = min(train.JUDGED, total // 3)
    order = np.random.default_rng(1).permutation(total) if same else np.arange(total)
    return (
        stretch(lesson, np.sort(order[judged:]).tolist()),
        stretch(lesson, np.sort(order[:judged]).tolist()),
    )


def judged_all(every, strange, own, trees, same, names):
    """Learn and judge each protocol; print a row for it, and the means."""
    where = "same captures" if same else "others"
    learnt = {name: split(one, same)[0] for name, one in every.items()}
    begun = beginnings_of([e for e in learnt.values() if len(e.messages) >= FEWEST], strange)
    rows = []
    for name in names:
        _, judged = split(every[name], same)
        known = Published(begun | own(learnt[name]))
        said = known.recognise(judged.messages)
        figures = train.judged(judged, Models(*trees, published=known if said == name else None))
        plain = train.judged(judged, Models(*trees))
        rows.append((said == name, figures.accuracy, figures.f1, plain.accuracy))
        told = "yes" if said == name else said or "no"
        row(name, where, told, *rows[-1][1:])
    mean = np.mean(rows, axis=0).tolist()
    row("mean", where, f"{mean[0]:.2f}", *mean[1:])


def row(name, where, told, *figures):
    cells = (name, where, told, *(f"{each:.3f}" for each in figures))
    print(f"| {' | '.join(cells)} |", flush=True)


def taken(every, strange):
    """Say which protocols are taken for one of another group, where their own is not known."""
    for group in folds.GROUPS:
        known = Published(
            beginnings_of([one for one in every.values() if one.name not in group], strange)
        )
        for name in group:
            if name in every and (said := known.recognise(every[name].messages)):
                yield f"{name} for {said}"


def main():
    parts = {name: read((MODELS / f"{name}.npz").read_bytes()) for name in NAMES}
    trees = [Trees(parts[name]) for name in NAMES]
    own = Own(Teacher(parts["order"], parts["keys"], parts["boundary"]), train.OWN_RECIPE)
    every = {one.name: one for one in known_again(list(published(train.PUBLISHED)))}
    names = [one for one in sys.argv[1:] if not one.startswith("-")] or list(every)
    strange = list(drawn(train.BEGINNING_SEEDS))
    print("| protocol | from | recognised | gap accuracy | F1 | accuracy if not known |")
    print("|---|---|---|---|---|---|")
    for same in (True, False):
        judged_all(every, strange, own, trees, same, names)
    wrong = ", ".join(taken(every, strange)) or "none"
    whole = Published(beginnings_of(list(every.values()), strange))
    drawings = [one for one in drawn(STRANGE) if len(one.messages) >= MIN_MESSAGES]
    false = sum(bool(whole.recognise(one.messages)) for one in drawings)
    print(f"\nOf {len(every)} protocols, their groups not known, taken for another: {wrong}.")
    print(f"Of {len(drawings)} drawn grammars taken for a protocol: {false}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
