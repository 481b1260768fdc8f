"""The mesh process: what is blamed on a peer, and what waits until all of it stands."""

import asyncio
import pathlib
import tempfile

import pytest

from cronos.errors import DeniedError, InputError
from cronos.mesh import process as process_module
from cronos.mesh.process import MeshProcess, Place, Ports, _listening
from cronos.runtime.tasks import AsyncTasks
from cronos.testing.clock import VirtualClock
from cronos.types import ControlCall, Members


class Heard:
    def __init__(self):
        self.reproached = []
        self.said = []
        self.refuses = False

    async def hear(self, said):
        if self.refuses:
            raise DeniedError("mesh.journal_unwritable", "The disk is full.", "Make room.")
        self.said += said

    def reproach(self, peer, why):
        self.reproached.append((peer, why))


def process(reported):
    folder = pathlib.Path(tempfile.gettempdir())
    place = Place("north", 1, folder, folder, (), ("defense",), "127.0.0.1:7443")
    ports = Ports(
        None, lambda: None, None, None, None, None, VirtualClock(), AsyncTasks(lambda *_: None),
        lambda *said, **more: reported.append((said, more)),
    )  # fmt: skip
    return MeshProcess(place, ports, lambda: None)


@pytest.mark.parametrize("code", ["mesh.forged", "mesh.false_origin", "mesh.flooding"])
def test_what_a_peer_does_on_purpose_is_held_against_it(code):
    reported = []
    one = process(reported)
    one._courier = heard = Heard()
    one._wrong("east", code, "It was caught.")

    assert heard.reproached == [("east", "It was caught.")]
    assert reported == [(("warning", code), {"peer": "east", "detail": "It was caught."})]


def test_a_role_that_no_certificate_allows_is_held_against_whoever_claims_it():
    one = process([])
    one._courier = heard = Heard()
    one._blamed("east", "east claims roles that it may not.", "mesh.uncertified_role")

    assert heard.reproached == [("east", "east claims roles that it may not.")]


def test_a_flood_of_strange_datagrams_is_told_of_and_a_few_are_not(monkeypatch):
    monkeypatch.setattr(process_module, "_LOOK_S", 0.01)

    class Counting:
        refused = 0

    async def story():
        reported, counting = [], Counting()
        one = process(reported)
        watching = asyncio.create_task(one._watch(counting))
        counting.refused = 99
        await asyncio.sleep(0.05)
        assert reported == []
        counting.refused = 250
        while not reported:  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0.005)
        watching.cancel()
        return reported

    ((said, more), *_) = asyncio.run(story())
    assert said == ("warning", "mesh.strange_datagrams")
    assert more["detail"].startswith("151 datagrams")


@pytest.mark.parametrize(("peer", "code"), [("east", "mesh.unknown_key"), ("", "mesh.forged")])
def test_bad_luck_is_only_reported(peer, code):
    reported = []
    one = process(reported)
    one._courier = heard = Heard()
    one._wrong(peer, code, "It happened.")
    one._blamed(peer, "It happened.")

    assert heard.reproached == []
    assert len(reported) == 2


def test_what_is_said_before_all_of_it_stands_is_kept_and_a_full_disk_does_not_end_it():
    async def story():
        reported = []
        one = process(reported)
        one._courier = heard = Heard()
        waiting = asyncio.gather(one._hear([Members(())]))
        await asyncio.sleep(0)
        assert heard.said == []
        with pytest.raises(InputError):
            await one._answer(ControlCall(1, "status"))
        one._begun.set()
        await waiting
        heard.refuses = True
        await one._hear([Members(())])
        return heard, reported

    heard, reported = asyncio.run(story())
    assert heard.said == [Members(())]
    assert [said for said, _ in reported] == [("error", "mesh.journal_unwritable")]


def test_where_it_listens_must_be_an_address():
    assert _listening("127.0.0.1:7443") == ("127.0.0.1", 7443)
    with pytest.raises(InputError):
        _listening("nowhere")
