"""Pairwise keys: agreed once, in both names, and every record opened once."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.unit.mesh.nodes import cards

from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.mesh.memberwire import Agreed
from cronos.mesh.pairwise import OVERHEAD, REKEY_NS, Pairwise
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock


def ends(*names, clock=None):
    clock = clock or SystemClock()
    made = {name: Pairwise(cards(name), clock) for name in names}
    for one in made.values():
        for other in made.values():
            one._cards.learn(other._cards.of(other._cards.me).packed)
    return list(made.values())


def agree(one, other):
    """Agree on what `one` seals for `other`."""
    me, peer = one._cards.me, other._cards.me

    async def exchange():
        offer = await other.offer(me)
        confirmed = other.agree(me, await one.accept(peer, offer))
        one.confirmed(peer, confirmed.short_id)

    asyncio.run(exchange())


def test_what_one_seals_the_other_opens_and_nobody_else():
    alpha, beta, gamma = ends("alpha", "beta", "gamma")
    agree(alpha, beta)
    agree(alpha, gamma)
    before = alpha.seal("nobody", b"x")

    record = alpha.seal("beta", b"hello")

    assert before is None
    assert len(record) == len(b"hello") + OVERHEAD
    with pytest.raises(DeniedError):
        gamma.open(record)
    assert beta.open(record) == ("alpha", b"hello")


def test_a_record_is_opened_once_and_no_changed_one_ever():
    alpha, beta = ends("alpha", "beta")
    agree(alpha, beta)
    record = alpha.seal("beta", b"hello")
    for at in range(len(record)):
        with pytest.raises(DeniedError):
            beta.open(record[:at] + bytes((record[at] ^ 1,)) + record[at + 1 :])
    beta.open(record)

    with pytest.raises(DeniedError) as refused:
        beta.open(record)

    assert refused.value.code == "crypto.replayed"


def test_each_direction_has_its_own_keys():
    alpha, beta = ends("alpha", "beta")
    agree(alpha, beta)

    assert beta.seal("alpha", b"x") is None
    with pytest.raises(DeniedError):
        alpha.open(alpha.seal("beta", b"x"))


def test_the_last_records_of_the_keys_before_still_open_and_older_ones_do_not():
    alpha, beta = ends("alpha", "beta")
    records = []
    for _ in range(5):
        agree(alpha, beta)
        records.append(alpha.seal("beta", b"x"))

    with pytest.raises(DeniedError):
        beta.open(records[0])
    assert [beta.open(record) for record in records[1:]] == [("alpha", b"x")] * 4


def test_new_keys_are_used_once_their_receiver_has_confirmed_them():
    alpha, beta = ends("alpha", "beta")
    agree(alpha, beta)

    async def story():
        answers = [await alpha.accept("beta", await beta.offer("alpha")) for _ in range(2)]
        meanwhile = alpha.seal("beta", b"old")
        assert beta.open(meanwhile) == ("alpha", b"old")
        confirmed = [beta.agree("alpha", one) for one in answers]
        alpha.confirmed("beta", b"none")
        assert alpha.seal("beta", b"old")[2:6] == meanwhile[2:6]
        for one in confirmed:
            alpha.confirmed("beta", one.short_id)
        latest = alpha.seal("beta", b"new")
        assert latest[2:6] == confirmed[-1].short_id
        assert beta.open(latest) == ("alpha", b"new")

    asyncio.run(story())


def test_an_offer_for_another_or_by_another_is_refused():
    alpha, beta, gamma = ends("alpha", "beta", "gamma")

    async def story():
        for_gamma = await beta.offer("gamma")
        of_gamma = await gamma.offer("alpha")
        good = await beta.offer("alpha")
        for offer in (
            for_gamma,
            of_gamma,
            replace(good, issued_ns=good.issued_ns + 1),
            replace(good, public=of_gamma.public),
            replace(good, public=bytes(1665)),
        ):
            with pytest.raises(DeniedError):
                await alpha.accept("beta", offer)
        assert not alpha.ready("beta")

    asyncio.run(story())


def test_an_answer_that_nobody_asked_for_is_refused_and_so_is_one_given_twice():
    alpha, beta, gamma = ends("alpha", "beta", "gamma")

    async def story():
        agreed = await alpha.accept("beta", await beta.offer("alpha"))
        for wrong in (
            Agreed(b""),
            Agreed(agreed.packet[:-1]),
            Agreed(agreed.packet[:40] + b"\xff" + agreed.packet[41:]),
        ):
            with pytest.raises(CronosError):
                beta.agree("alpha", wrong)
        # In another's name, and to another than it was made for.
        with pytest.raises(CronosError):
            beta.agree("gamma", agreed)
        with pytest.raises(CronosError):
            gamma.agree("alpha", agreed)
        beta.agree("alpha", agreed)
        with pytest.raises(CronosError):
            beta.agree("alpha", agreed)

    asyncio.run(story())


def test_who_has_shown_no_card_agrees_on_nothing():
    alpha = Pairwise(cards("alpha"), SystemClock())
    beta = Pairwise(cards("beta"), SystemClock())

    async def story():
        with pytest.raises(UnreachableError):
            await alpha.accept("beta", await beta.offer("alpha"))

    asyncio.run(story())


def test_keys_are_due_anew_after_an_hour_and_gone_when_a_peer_is():
    clock = VirtualClock(wall_ns=SystemClock().now().wall_ns)
    alpha, beta = ends("alpha", "beta", clock=clock)
    agree(alpha, beta)
    agree(beta, alpha)
    record = alpha.seal("beta", b"x")
    fresh = beta.stale()
    clock.advance(REKEY_NS)
    stale = beta.stale()

    beta.forget("alpha")

    assert (fresh, stale) == ((), ("alpha",))
    assert beta.stale() == ()
    assert not beta.ready("alpha")
    with pytest.raises(DeniedError):
        beta.open(record)


def test_a_wall_clock_that_is_set_back_opens_records_all_the_same():
    clock = VirtualClock(wall_ns=SystemClock().now().wall_ns)
    alpha, beta = ends("alpha", "beta", clock=clock)
    for _ in range(3):
        agree(alpha, beta)
        clock.set_wall(clock.now().wall_ns - 5 * 10**9)

    assert beta.open(alpha.seal("beta", b"x")) == ("alpha", b"x")
