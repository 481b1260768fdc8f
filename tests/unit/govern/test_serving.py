"""The ledger process: one commit for all who wait, and nobody's nonsense disturbs another."""

import contextlib
import threading

from cronos.errors import InputError, UnreachableError
from cronos.govern import standing as standing_module
from cronos.govern.serving import LedgerServer
from cronos.govern.standing import Place, Standing
from cronos.link.frames import connect, listen
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemoryLedger, MemorySealer
from cronos.types import (
    Append,
    Appended,
    AuditRecord,
    Bulletin,
    BulletinKind,
    EvidenceClass,
    Hello,
    Incident,
    Provenance,
    Recall,
    Reported,
    State,
    decode,
    encode,
)


class GatedLedger(MemoryLedger):
    """A ledger whose next commit waits at a gate; it remembers how large each commit was."""

    def __init__(self):
        super().__init__(MemorySealer(), VirtualClock())
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.gate.set()
        self.commits = []
        self.full = False
        self.closed = False

    def append(self, records):
        self.entered.set()
        assert self.gate.wait(20)
        if self.full:
            raise InputError("testing.full", "The disk is full.", "Make room.")
        self.commits.append(len(records))
        return super().append(records)

    def close(self):
        self.closed = True


@contextlib.contextmanager
def serving(folder):
    ledger = GatedLedger()
    listener = listen(folder / "s")
    server = LedgerServer(ledger, listener)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield folder / "s", ledger
    finally:
        ledger.gate.set()
        server.stopping = True
        thread.join(20)
        assert not thread.is_alive()
        listener.close()


def hear(client):
    received = client.receive(20)
    assert received is not None
    return decode(received)


def test_each_request_is_answered_with_the_position_of_its_first_record(tmp_path):
    with serving(tmp_path) as (path, ledger):
        client = connect(path)
        client.send(encode(Hello("reflex", 1)))
        client.send(encode(Append(7, (b"a", b"b"))))
        assert hear(client) == Appended(7, 1)
        client.send(encode(Append(8, (b"c",))))
        assert hear(client) == Appended(8, 3)
        client.close()
        assert ledger.read(1, 9) == [b"a", b"b", b"c"]
    assert ledger.closed


def test_whatever_arrives_during_a_commit_becomes_one_commit(tmp_path):
    with serving(tmp_path) as (path, ledger):
        client = connect(path)
        ledger.gate.clear()
        client.send(encode(Append(1, (b"first",))))
        assert ledger.entered.wait(20)
        for number in range(2, 52):
            client.send(encode(Append(number, (b"x", b"y"))))
        ledger.gate.set()
        answers = [hear(client) for _ in range(51)]
        client.close()

    assert ledger.commits == [1, 100]
    assert [one.first for one in answers] == [1, *range(2, 102, 2)]


def test_a_commit_stays_bounded_however_much_waits(tmp_path):
    with serving(tmp_path) as (path, ledger):
        client = connect(path)
        ledger.gate.clear()
        client.send(encode(Append(1, (b"first",))))
        assert ledger.entered.wait(20)
        for number in range(2, 12):
            client.send(encode(Append(number, (b"x",) * 1_000)))
        ledger.gate.set()
        for _ in range(11):
            assert hear(client).error == ""
        client.close()

    assert sum(ledger.commits) == 10_001
    assert max(ledger.commits) <= 4_000


def test_what_could_not_be_stored_is_told_and_may_be_sent_again(tmp_path):
    with serving(tmp_path) as (path, ledger):
        client = connect(path)
        ledger.full = True
        client.send(encode(Append(1, (b"a",))))
        assert "The disk is full. Make room." in hear(client).error
        ledger.full = False
        client.send(encode(Append(1, (b"a",))))
        assert hear(client) == Appended(1, 1)
        client.close()


def test_who_talks_nonsense_is_cut_off_and_the_others_are_served(tmp_path):
    with serving(tmp_path) as (path, ledger):
        good = connect(path)
        good.send(encode(Append(1, (b"a",))))
        assert hear(good) == Appended(1, 1)
        for nonsense in (b"", b"\x01\x05Batch", encode(Reported(1)), b"\xff" * 99):
            bad = connect(path)
            bad.send(nonsense)
            with contextlib.suppress(UnreachableError):
                assert bad.receive(20) is None
            bad.close()
        good.send(encode(Append(2, (b"b",))))
        assert hear(good) == Appended(2, 2)
        good.close()
        assert ledger.read(1, 9) == [b"a", b"b"]


def test_a_client_that_leaves_before_its_answer_loses_nothing(tmp_path):
    with serving(tmp_path) as (path, ledger):
        hasty = connect(path)
        ledger.gate.clear()
        hasty.send(encode(Append(1, (b"a",))))
        assert ledger.entered.wait(20)
        hasty.close()
        ledger.gate.set()
        patient = connect(path)
        patient.send(encode(Append(2, (b"b",))))
        assert hear(patient) == Appended(2, 2)
        patient.close()
        assert ledger.read(1, 9) == [b"a", b"b"]


def told(n, why=""):
    """Give the record of an incident's state."""
    one = Incident(
        f"i-{n}", State.ISOLATED, None, None, "t", 0.9, 4, EvidenceClass.DECLARED,
        Provenance.AUTHENTICATED, (), (), 1, 0, 0, 1, why=why,
    )  # fmt: skip
    wall_ns = VirtualClock().now().wall_ns
    return encode(AuditRecord("local", "state", wall_ns, 0, one.incident_id, encode(one)))


def test_incidents_are_recalled_in_parts_while_others_append(tmp_path):
    with serving(tmp_path) as (path, ledger):
        # More than a client may leave untaken: each part waits for the one before.
        ledger.append([told(n, "w" * 100_000) for n in range(250)])
        asking, other = connect(path), connect(path)
        asking.send(encode(Recall(5, 24)))
        asking.send(encode(Append(6, (b"a",))))
        other.send(encode(Append(1, (b"b",))))
        assert isinstance(hear(other), Appended)
        parts, appended = [], None
        while appended is None or not parts or not parts[-1].complete:
            heard = hear(asking)
            if isinstance(heard, Appended):
                appended = heard
            else:
                parts.append(heard)
        asking.close()
        other.close()

    assert appended.error == ""
    assert {part.request_id for part in parts} == {5}
    assert sum(len(part.incidents) for part in parts) == 250
    assert len(parts) > 20


def test_who_leaves_during_a_recall_or_asks_for_too_many_is_let_go(tmp_path):
    with serving(tmp_path) as (path, ledger):
        ledger.append([told(n, "w" * 100_000) for n in range(250)])
        hasty, greedy, patient = connect(path), connect(path), connect(path)
        hasty.send(encode(Recall(1, 24)))
        hasty.close()
        for number in range(9):
            with contextlib.suppress(UnreachableError):
                greedy.send(encode(Recall(number, 24)))
        with contextlib.suppress(UnreachableError):
            while greedy.receive(20) is not None:
                pass
        greedy.close()
        patient.send(encode(Recall(3, 24)))
        while not (part := hear(patient)).complete:
            assert part.request_id == 3
        patient.close()


class Process:
    """A ledger process that ends and begins again; what it stores stays."""

    def __init__(self, folder):
        self.folder = folder
        self.ledger = MemoryLedger(MemorySealer(), SystemClock())
        self.sealer = MemorySealer()

    @contextlib.contextmanager
    def runs(self):
        listener = listen(self.folder / "s")
        self.standing = Standing(self.folder, self.sealer)
        server = LedgerServer(self.ledger, listener, self.standing)
        thread = threading.Thread(target=server.serve)
        thread.start()
        client = connect(self.folder / "s")
        try:
            yield client
        finally:
            client.close()
            server.stopping = True
            thread.join(20)
            assert not thread.is_alive()
            listener.close()


def stood(name, version, state):
    body = Incident(
        name, state, None, None, "t", 0.9, 4, EvidenceClass.DECLARED, Provenance.AUTHENTICATED,
        (), (), 1, 0, 0, version,
    )  # fmt: skip
    kind = "closed" if state is State.CLOSED else "state"
    return encode(AuditRecord("local", kind, SystemClock().now().wall_ns, 0, name, encode(body)))


def test_a_process_that_begins_again_tells_what_is_open_first_and_then_what_has_closed(tmp_path):
    process = Process(tmp_path)
    with process.runs() as client:
        client.send(encode(Recall(1, 24)))
        assert hear(client).complete
        some = [stood(f"{n}", 2, State.CLOSED) for n in range(3)]
        client.send(encode(Append(2, (*some, stood("held", 1, State.CONFIRMED)))))
        assert hear(client) == Appended(2, 1)
    with process.runs() as client:
        client.send(encode(Recall(3, 24)))
        first, then = hear(client), hear(client)
        assert [one.incident_id for one in first.incidents] == ["held"]
        assert (first.complete, first.past) == (True, False)
        assert [one.incident_id for one in then.incidents] == ["2", "1", "0"]
        assert (then.complete, then.past) == (True, True)


def test_a_process_that_nobody_asks_finds_out_what_its_successor_has_to_know(tmp_path, monkeypatch):
    monkeypatch.setattr(standing_module, "EVERY", 8)
    process = Process(tmp_path)
    process.ledger.append([stood("before", 1, State.WAITING)])
    written = tmp_path / "standing"
    with process.runs() as client:
        number = 0
        while not written.exists():
            number += 1
            client.send(encode(Append(number, (b"x",) * 8)))
            assert isinstance(hear(client), Appended)
    assert process.standing.open == {"before": Place(1, 1)}
    with process.runs() as client:
        client.send(encode(Recall(1, 24)))
        assert [one.incident_id for one in hear(client).incidents] == ["before"]


def test_keys_that_are_away_when_somebody_asks_are_waited_for_while_others_append(tmp_path):
    class Away(MemorySealer):
        tries = 3

        def open(self, sealed, context):
            self.tries -= context == b"ledger/standing"
            if self.tries > 0:
                raise UnreachableError("testing.away", "The keys are away.", "Wait.")
            return super().open(sealed, context)

    process = Process(tmp_path)
    with process.runs() as client:
        client.send(encode(Recall(1, 24)))
        assert hear(client).complete
        client.send(
            encode(Append(2, (stood("gone", 2, State.CLOSED), stood("held", 1, State.WAITING))))
        )
        assert hear(client) == Appended(2, 1)
    process.sealer = Away()
    with process.runs() as client:
        client.send(encode(Recall(3, 24)))
        client.send(encode(Append(4, (b"x",))))
        assert hear(client) == Appended(4, 3)
        assert [one.incident_id for one in hear(client).incidents] == ["held"]
        assert process.sealer.tries == 0


def test_a_peers_bulletin_ends_no_ledger(tmp_path):
    process = Process(tmp_path)
    wild = Bulletin(
        "b", BulletinKind.ISOLATED, "b", "b-1-1", 1, None, None, (), 0.9, None, (1 << 64) - 1
    )
    now = SystemClock().now().wall_ns
    record = encode(AuditRecord("local", "bulletin", now, 0, "b-1-1", encode(wild)))
    for _ in range(2):
        with process.runs() as client:
            client.send(encode(Recall(1, 24)))
            while not (part := hear(client)).complete:
                assert part.bulletins
            client.send(encode(Append(2, (record,))))
            assert hear(client).error == ""
    assert process.standing.upto == 2
