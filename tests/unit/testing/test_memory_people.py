"""A person in memory remembers what was asked."""

import asyncio

from cronos.testing.conformance.samples import question
from cronos.testing.memory_people import MemoryAsker


def test_every_question_is_remembered():
    asker = MemoryAsker({"test-1-q1": True}, subject="ada")
    answer = asyncio.run(asker.ask(question(1)))
    assert (answer.granted, answer.subject, asker.asked) == (True, "ada", [question(1)])
