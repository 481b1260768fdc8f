import contextlib
import gc
import os
import signal
import socket
import threading

import pytest
from tests.unit.respond.stage import BootClock, WorldExecutor, apply, deny
from tests.unit.respond.test_aside import Slow, work

from cronos.errors import DeniedError, UnreachableError
from cronos.link.frames import connect, frame, listen
from cronos.link.killswitch import KillSwitch
from cronos.respond.aside import Aside, Lanes
from cronos.respond.enforcer import Enforcer
from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import LeaseBook
from cronos.respond.serving import Home, Keyless, run, serve
from cronos.types import Hello, Kill, Now, Operation, Outcomes, Restart, decode, encode


@contextlib.contextmanager
def enforcing(folder, hook=None, *, executor=None, **terms):
    """A served enforcer in a thread of the test, and its socket; `hook` serves workloads."""
    book = LeaseBook(folder / "state")
    config = EnforcerConfig(**terms)
    executor = executor or WorldExecutor({})
    enforcer = Enforcer(config, {"world": executor}, book, BootClock(), dict)
    switch = KillSwitch(folder / "KILL", folder / "kill")
    enforcer.arm(switch, None)
    listener = listen(folder / "s")
    told, teller = socket.socketpair()
    lane = hooks_book = None
    if hook is not None:
        hooks_book = LeaseBook(folder / "hooks")
        other = Enforcer(config, {"workflow": hook}, hooks_book, BootClock(), dict)
        other.arm(switch, None)
        lane = Lanes({"workflow": Aside(other, BootClock())})
    arguments = (enforcer, listener, BootClock(), told, None, lane)
    thread = threading.Thread(target=serve, args=arguments)
    thread.start()
    try:
        yield folder / "s", teller, thread
    finally:
        teller.close()
        thread.join(20)
        assert not thread.is_alive()
        listener.close()
        told.close()
        if lane is not None:
            hook.let_go.set()
            lane.close()
            hooks_book.close()
        book.close()


def hear(client, timeout_s=10.0):
    received = client.receive(timeout_s)
    assert received is not None
    return decode(received)


def hello(path):
    client = connect(path)
    client.send(encode(Hello("kernel", 1)))
    restart = hear(client)
    assert isinstance(restart, Restart)
    return client, restart


def test_a_client_is_greeted_with_what_is_held_and_its_orders_are_answered(tmp_path):
    with enforcing(tmp_path) as (path, _, _):
        client, restart = hello(path)
        assert restart.leases == ()
        client.send(encode(apply(deny("192.0.2.7"), order_id=42)))
        answer = hear(client)
        assert answer.order_id == 42
        assert answer.outcomes[0].verified
        again, restart = hello(path)
        assert [lease.plan.action.target.value for lease in restart.leases] == ["192.0.2.7"]
        again.close()
        client.close()


def test_everyone_hears_what_expired(tmp_path):
    with enforcing(tmp_path) as (path, _, _):
        (one, _), (two, _) = hello(path), hello(path)
        one.send(encode(apply(deny("192.0.2.7", lease_s=0.05))))
        assert hear(one).outcomes[0].operation is Operation.APPLY
        for client in (one, two):
            news = hear(client)
            assert isinstance(news, Outcomes)
            assert news.order_id == 0
            assert news.outcomes[0].operation is Operation.UNDO
            client.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff" + b"x" * 100,
        frame(b""),
        frame(b"no canonical bytes"),
        frame(encode(Now(1, 2))),
        frame(b"\x01\x07Unknown\x90"),
    ],
)
def test_who_talks_nonsense_loses_its_own_connection_only(tmp_path, garbage):
    with enforcing(tmp_path) as (path, _, _):
        good, _ = hello(path)
        with socket.socket(socket.AF_UNIX) as bad:
            bad.settimeout(10)
            bad.connect(str(path))
            bad.sendall(garbage)
            with contextlib.suppress(ConnectionResetError):
                assert bad.recv(100) == b""
        good.send(encode(apply(deny("192.0.2.7"))))
        assert hear(good).outcomes[0].ok
        good.close()


def test_connections_beyond_the_bound_are_closed(tmp_path):
    with enforcing(tmp_path, max_clients=2) as (path, _, _):
        (one, _), (two, _) = hello(path), hello(path)
        third = connect(path)
        third.send(encode(Hello("kernel", 1)))
        with pytest.raises(UnreachableError):
            third.receive(10)
        for client in (one, two, third):
            client.close()


def test_an_answer_longer_than_a_frame_comes_in_several(tmp_path):
    with enforcing(tmp_path, actions_per_minute=9000) as (path, _, _):
        client, _ = hello(path)
        actions = [deny(f"198.{i // 250}.{i % 250}.1", f"{i}-" + "x" * 200) for i in range(2500)]
        client.send(encode(apply(*actions, order_id=7)))
        heard = []
        while len(heard) < len(actions):
            part = hear(client, 30)
            assert part.order_id == 7
            heard += part.outcomes
        assert [o.action_id for o in heard] == [a.action_id for a in actions]
        client.close()
        client, first = hello(path)
        held = len(first.leases)
        while held < len(actions):
            held += len(hear(client, 30).leases)
        client.close()


def test_told_to_stop_it_leaves_at_once_and_undoes_nothing(tmp_path):
    with enforcing(tmp_path) as (path, teller, thread):
        client, _ = hello(path)
        client.send(encode(apply(deny("192.0.2.7"))))
        assert hear(client).outcomes[0].ok
        teller.send(b"\x0f")
        thread.join(10)
        assert not thread.is_alive()
        client.close()
    book = LeaseBook(tmp_path / "state")
    assert len(book.leases) == 1
    book.close()


def test_a_lingering_one_stays_until_the_last_lease_has_ended(tmp_path):
    with enforcing(tmp_path, linger=True) as (path, teller, thread):
        client, _ = hello(path)
        client.send(encode(apply(deny("192.0.2.7", lease_s=0.3))))
        assert hear(client).outcomes[0].ok
        teller.send(b"\x0f")
        assert hear(client).outcomes[0].operation is Operation.UNDO
        thread.join(10)
        assert not thread.is_alive()
        client.close()


def test_a_lingering_one_leaves_by_itself_when_its_last_client_is_gone(tmp_path):
    with enforcing(tmp_path, linger=True) as (path, _, thread):
        client, _ = hello(path)
        client.send(encode(apply(deny("192.0.2.7", lease_s=0.1))))
        assert hear(client).outcomes[0].ok
        client.close()
        thread.join(10)
        assert not thread.is_alive()


def test_a_slow_hook_delays_no_other_action_not_even_of_its_own_order(tmp_path):
    hook = Slow()
    with enforcing(tmp_path, hook) as (path, _, _):
        client, _ = hello(path)
        client.send(encode(apply(work(), deny("192.0.2.7"), order_id=1)))
        assert [o.action_id for o in hear(client).outcomes] == [deny("192.0.2.7").action_id]
        assert hook.begun.wait(20)
        client.send(encode(apply(deny("192.0.2.8"), order_id=2)))
        assert hear(client).order_id == 2
        hook.let_go.set()
        answer = hear(client)
        assert (answer.order_id, answer.outcomes[0].action_id) == (1, work().action_id)
        assert answer.outcomes[0].verified
        again, restart = hello(path)
        held = {lease.plan.action.target.value for lease in restart.leases}
        assert held == {"tank", "192.0.2.7", "192.0.2.8"}
        again.close()
        client.close()


def test_what_a_hook_did_for_a_caller_who_left_is_news_to_the_others(tmp_path):
    hook = Slow()
    with enforcing(tmp_path, hook) as (path, _, _):
        one, _ = hello(path)
        one.send(encode(apply(work(), order_id=1)))
        assert hook.begun.wait(20)
        two, _ = hello(path)
        one.close()
        hello(path)[0].close()  # by now the leaving was noticed
        hook.let_go.set()
        news = hear(two)
        assert (news.order_id, news.outcomes[0].ok) == (0, True)
        two.close()


def test_too_many_orders_for_hooks_are_refused_at_once(tmp_path):
    hook = Slow()
    with enforcing(tmp_path, hook) as (path, _, _):
        client, _ = hello(path)
        for i in range(300):
            client.send(encode(apply(work(f"w{i}"), order_id=i)))
        refused = hear(client).outcomes[0]
        assert not refused.ok
        assert "too many orders" in refused.detail
        client.close()


def test_without_a_key_everything_that_would_seal_is_refused_with_its_reason():
    keyless = Keyless(DeniedError("testing.lost", "The machine key is gone.", "Restore it."))
    assert keyless.seal_version > 0
    for call in (
        lambda: keyless.seal(b"plain", b"context"),
        lambda: keyless.open(b"sealed", b"context"),
        lambda: keyless.shred("someone"),
    ):
        with pytest.raises(UnreachableError, match="The machine key is gone") as refused:
            call()
        assert refused.value.remedy == "Restore it."


def kill(client, generation=1, *, engaged=True, release_all=False):
    client.send(encode(Kill(generation, engaged, release_all)))
    while not isinstance(answer := hear(client), Kill):
        pass
    return answer


def test_the_kill_switch_is_answered_and_every_apply_after_it_refused(tmp_path):
    with enforcing(tmp_path) as (path, _, _):
        client, _ = hello(path)
        client.send(encode(apply(deny("192.0.2.7"))))
        assert hear(client).outcomes[0].ok
        thrower = connect(path)
        assert kill(thrower) == Kill(1, engaged=True)
        client.send(encode(apply(deny("192.0.2.8"))))
        refused = hear(client).outcomes[0].detail
        assert refused == "refused: the kill switch is engaged (generation 1)."
        assert kill(thrower, 2, engaged=False) == Kill(2, engaged=False)
        client.send(encode(apply(deny("192.0.2.8"))))
        assert hear(client).outcomes[0].ok
        thrower.close()
        client.close()


def test_everything_is_released_before_the_kill_switch_is_answered(tmp_path):
    world = {}
    with enforcing(tmp_path, executor=WorldExecutor(world)) as (path, _, _):
        client, _ = hello(path)
        client.send(encode(apply(*(deny(f"192.0.2.{i}") for i in range(9)))))
        assert hear(client).outcomes[0].ok
        thrower = connect(path)
        assert kill(thrower, release_all=True).engaged
        assert not world
        news = hear(client)
        assert (news.order_id, len(news.outcomes)) == (0, 9)
        assert all(one.operation is Operation.UNDO and one.ok for one in news.outcomes)
        thrower.close()
        client.close()


def test_the_file_alone_stops_everything_and_releases_within_a_moment(tmp_path):
    world = {}
    with enforcing(tmp_path, executor=WorldExecutor(world)) as (path, _, _):
        client, _ = hello(path)
        client.send(encode(apply(deny("192.0.2.7"))))
        assert hear(client).outcomes[0].ok
        (tmp_path / "KILL").touch()
        client.send(encode(apply(deny("192.0.2.8"))))
        assert "kill switch is engaged" in hear(client).outcomes[0].detail
        (tmp_path / "KILL").write_text("7 release-all")
        assert hear(client).outcomes[0].operation is Operation.UNDO
        assert not world
        client.close()


def test_a_place_is_kept_for_the_kill_switch_when_all_are_taken(tmp_path):
    with enforcing(tmp_path, max_clients=2) as (path, _, _):
        idle = [connect(path) for _ in range(2)]
        silent = [connect(path) for _ in range(9)]
        thrower = connect(path)
        assert kill(thrower).engaged
        for client in (*idle, *silent, thrower):
            client.close()


def test_one_who_talks_without_end_does_not_keep_the_kill_switch_waiting(tmp_path):
    with enforcing(tmp_path, actions_per_minute=1_000_000) as (path, _, _):
        talker, _ = hello(path)
        orders = b"".join(
            frame(encode(apply(deny(f"10.{i >> 8}.{i & 255}.7"), order_id=i))) for i in range(900)
        )
        talker._socket.sendall(orders)
        hear(talker)
        thrower = connect(path)
        assert kill(thrower).engaged
        answered = [hear(talker).outcomes[0].ok for _ in range(899)]
        assert not answered[-1]
        assert answered == sorted(answered, reverse=True)
        thrower.close()
        talker.close()


def test_what_is_under_way_aside_is_told_and_undone_when_it_ends(tmp_path):
    hook = Slow()
    with enforcing(tmp_path, hook) as (path, _, _):
        client, _ = hello(path)
        client.send(encode(apply(work(), order_id=1)))
        assert hook.begun.wait(20)
        thrower = connect(path)
        first = kill(thrower, release_all=True)
        assert "under way" in first.subject
        hook.let_go.set()
        while not isinstance(last := hear(thrower), Kill):
            pass
        assert last == Kill(1, engaged=True, release_all=True)
        again, restart = hello(path)
        assert restart.leases == ()
        for one in (again, thrower, client):
            one.close()


def test_it_stays_killed_through_a_restart(tmp_path):
    with enforcing(tmp_path) as (path, _, _):
        client = connect(path)
        assert kill(client, 9).engaged
        client.close()
    with enforcing(tmp_path) as (path, _, _):
        client, _ = hello(path)
        client.send(encode(apply(deny("192.0.2.8"))))
        assert "generation 9" in hear(client).outcomes[0].detail
        client.close()


class Foreign(WorldExecutor):
    """Stands for an executor that waits for a foreign system."""

    foreign = True


def test_what_a_lost_book_of_a_lane_held_is_named(tmp_path):
    left, said, named = deny("192.0.2.7", point="afar"), [], threading.Event()

    def say(sentence):
        said.append(sentence)
        named.set()

    def end_it():
        named.wait(20)
        os.kill(os.getpid(), signal.SIGTERM)

    thresholds = gc.get_threshold()
    former = signal.signal(signal.SIGTERM, lambda *_: None)  # one that comes late ends no test
    ender = threading.Thread(target=end_it)
    home = Home(tmp_path / "state", say=say)
    config = EnforcerConfig(reconcile_ms=50)
    afar = Foreign({left.action_id: left})
    try:
        ender.start()
        run(config, {"afar": afar}, home, tmp_path / "s", BootClock(), dict)
    finally:
        ender.join(30)
        signal.signal(signal.SIGTERM, former)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    (sentence,) = said
    assert left.action_id in sentence
    assert "No lease in the book holds 1 effects" in sentence
