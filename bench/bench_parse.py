"""One message: recognised among twelve profiles and taken apart; p50, p95 and p99.

Usage: python bench/bench_parse.py [--json]

The profiles are inferred from random protocols with their truth (`cronos.discover.synthetic`), each
from two thirds of 300 messages; the messages timed are of the last third, in turn of every
protocol. *Classify and parse* is what the first message of an unknown flow costs: every profile is
tried. *Parse* is what a message of a recognised flow costs. *Refuse* is noise that no profile
takes. What is timed is one call; CPU time stands beside the wall clock, which on a shared machine
counts others' turns.
"""

import random
import time
from collections.abc import Callable

from report import Report, quantile

from cronos.discover import ir
from cronos.discover.grammar import infer, samples_of
from cronos.discover.interpreter import Interpreter, Parsed
from cronos.discover.matching import Matcher
from cronos.discover.messages import Message
from cronos.discover.model import Discovery, Field, Sem
from cronos.discover.synthetic import samples
from cronos.discover.verify import split

PROTOCOLS = 12
MESSAGES = 300
TIMED = 1_200
ROUNDS = 5


def truth(seed: int) -> Discovery:
    """Give a random protocol as a discovery that found everything."""
    drawn = samples(seed, MESSAGES)
    kinds = {name: n for n, name in enumerate(sorted({one.message_type for one in drawn}))}
    fields = tuple(
        tuple([Field(f.offset, f.length, Sem(f.sem), 1.0) for f in one.fields]) for one in drawn
    )
    messages = tuple([Message(one.payload, one.flow, one.direction, one.ts) for one in drawn])
    return Discovery(messages, tuple([kinds[one.message_type] for one in drawn]), fields, ())


def learnt(seed: int) -> tuple[ir.Grammar, list[Message]]:
    """Give the grammar of a protocol, and the messages that it was not learnt from."""
    found = truth(seed)
    first, held = split(len(found.messages))
    return infer(samples_of(found, first)), [found.messages[n] for n in held]


def timed(work: Callable[[Message], object], messages: list[Message], cpu: bool) -> list[float]:
    """Time single calls, in milliseconds."""
    clock = time.process_time_ns if cpu else time.perf_counter_ns
    took: list[float] = []
    for message in messages:
        began = clock()
        work(message)
        took.append((clock() - began) / 1e6)
    return took


def main() -> None:
    """Learn, time, and tell."""
    report = Report("parse: one message among twelve profiles")
    learnt_from = {f"p{seed}": learnt(seed) for seed in range(1, PROTOCOLS + 1)}
    matcher = Matcher({name: grammar for name, (grammar, _) in learnt_from.items()})
    runs = {name: Interpreter(grammar) for name, (grammar, _) in learnt_from.items()}
    of = [(name, message) for name, (_, held) in learnt_from.items() for message in held]
    rng = random.Random(1)
    rng.shuffle(of)
    of = of[:TIMED]
    whose = {id(message): name for name, message in of}
    messages = [message for _, message in of]
    noise = [Message(rng.randbytes(len(message.payload))) for message in messages]
    own = [(whose[id(one)], matcher.match([one])) for one in messages]
    right = sum(found is not None and found.name == name for name, found in own)
    taken = sum(isinstance(runs[whose[id(one)]].parse(one.payload), Parsed) for one in messages)
    falsely = sum(matcher.match([one]) is not None for one in noise)

    def both(message: Message) -> object:
        found = matcher.match([message])
        return found and runs[found.name].parse(message.payload, message.direction)

    def alone(message: Message) -> object:
        return runs[whose[id(message)]].parse(message.payload, message.direction)

    for what, work, given, must in (
        ("classify and parse", both, messages, (5, 10, 20)),
        ("parse", alone, messages, (3, 6, 10)),
        ("refuse noise", both, noise, (5, 10, 20)),
    ):
        for cpu in (False, True):
            rounds = [timed(work, given, cpu) for _ in range(ROUNDS)]
            for q, most in zip((0.5, 0.95, 0.99), must, strict=True):
                name = f"{'CPU' if cpu else 'wall'}: {what}, p{q * 100:.0f}"
                report.add(
                    name, [quantile(one, q) for one in rounds], "ms", len(given), f"<= {most}"
                )
    total = len(messages)
    report.add("messages whose own profile takes them", [taken / total * 100], "%", total)
    report.add("single messages given to their own profile", [right / total * 100], "%", total)
    report.add("noise given to a profile", [falsely / total * 100], "%", total)
    report.show()


if __name__ == "__main__":
    main()
