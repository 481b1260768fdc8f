"""The shell around the kernel: takes events, carries effects out, and forgets nothing unanswered.

Everything that the events of one turn of the loop ask for leaves in one batch: orders to the
enforcer first, records to the ledger beside them. An isolation waits for neither a record nor a
signature; the one rule is the enforcer's, that what must be undone is durable before it is done.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from cronos.kernel.node import Kernel
from cronos.link.metrics import MemoryMetrics
from cronos.link.peering import Peering
from cronos.ports import Clock, Planner
from cronos.runtime.backlog import Backlog
from cronos.runtime.telemetry import Log
from cronos.runtime.timers import Timers
from cronos.types import (
    Action,
    After,
    Answer,
    Append,
    Appended,
    Ask,
    AuditRecord,
    Datum,
    Decision,
    Do,
    Effect,
    Event,
    Finding,
    Incident,
    Note,
    Now,
    Operation,
    Order,
    Outcome,
    Outcomes,
    Propose,
    Publish,
    Question,
    Recall,
    Recalled,
    Report,
    Reported,
    Restart,
    State,
    Unknown,
    encode,
)

_MAX_BATCH: Final = 1_000
_ORDER_AT: Final = 250
# What waits is taken so many at a time: between two turns the loop sends what the first led to.
_TURN: Final = 250
_MAX_UNENCODED: Final = 20_000
# So many records at once wait for so long, where peers are told and answer meanwhile.
_MANY_NOTES: Final = 500
_HELD_NS: Final = 300_000_000
_ANSWERS_NS: Final = 10_000_000
_ANSWERED_NS: Final = 2_000_000_000
_MAX_BATCH_BYTES: Final = 512 * 1024
_MAX_CASES: Final = 20_000
_MAX_OUTCOMES: Final = 1_000
_LEDGER_RETRY_S: Final = 1.0
_RECALL_S: Final = 10.0
_ENDED: Final = frozenset({"closed", "evicted"})
_TOLD: Final = _ENDED | frozenset(
    {"decision", "outcome", "workflow", "adopted", "kill", "recalled", "step", "answer"}
)
# After these a planner may see its next step due.
_PLANNED: Final = frozenset({"confirmed", "outcome", "answer"})
_HELD: Final = frozenset({State.ISOLATED, State.CONFIRMED})
_UNSETTLED: Final = frozenset({State.DETECTED, State.ISOLATING, State.ISOLATED})

Send = Callable[[Datum], bool]


@dataclass(slots=True)
class Case:
    """What is shown of an incident beyond the kernel's own view of it; there are many."""

    findings: list[Finding] = field(default_factory=list[Finding])
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    answers: list[Answer] = field(default_factory=list[Answer])
    questions: dict[str, Question] = field(default_factory=dict[str, Question])
    proposed: frozenset[tuple[str, str, str, int]] = frozenset()
    first_position: int = 0
    last_position: int = 0
    recorded_boot_ns: int = 0


class Reflex:
    """Drives one kernel on the running event loop.

    Args:
        kernel: the pure part.
        node: this instance's name, written into every record.
        clock: the time.
        log: where each step of an incident is told.
        send_order: gives an `Order` to the enforcer.
        send_append: gives an `Append`, or a `Recall`, to the ledger.

    Attributes:
        planners: propose steps after an isolation.
        peering: what the mesh is owed.
        recall_hours: how far back incidents are taken up from the ledger at the start; 0 for none.
            Until they are, or too long has passed, findings and what the enforcer holds wait.
    """

    planners: Sequence[Planner] = ()
    recall_hours: int = 0

    def __init__(
        self,
        kernel: Kernel,
        node: str,
        clock: Clock,
        log: Log,
        send_order: Send,
        send_append: Send,
    ) -> None:
        self.kernel = kernel
        self.metrics = MemoryMetrics()
        self.cases: dict[str, Case] = {}
        self.refused = ""  # why the ledger stores nothing at present
        self._log = log
        self._node = node
        self._clock = clock
        self._send_order = send_order
        self._send_append = send_append
        self._orders: dict[Operation, list[Action]] = {}
        self._notes: list[tuple[Note, Now]] = []
        self._flushing = False
        self._next_id = 1
        self._unanswered: dict[int, Order] = {}
        self._unstored: dict[int, tuple[Append, tuple[str, ...]]] = {}
        self._refused: dict[int, None] = {}  # by how long they have waited
        self._probe = 0
        self._retry: asyncio.TimerHandle | None = None
        self._answers: list[Callable[[], bool]] = []
        self._owed: deque[tuple[int, Callable[[], bool]]] = deque()
        self._backlog = Backlog()
        self._draining = False  # a further turn is on its way
        self._timers = Timers(self._ring)
        self._to_plan: dict[str, None] = {}
        self._most_active = kernel.max_active
        self._held_back: deque[Callable[[], None]] = deque()
        self.peering = Peering(log.write)
        self._asked: dict[str, dict[str, Question]] = {}  # of open cases, by action

    def take(self, event: Event) -> None:
        """Give the kernel an event and carry out what it answers."""
        now = self._clock.now()
        for effect in self.kernel.step(event, now):
            self._carry_out(effect, now)

    # --- from the workers --------------------------------------------------------------------

    def on_report(self, report: Report, answer: Callable[[Datum], bool]) -> None:
        """Take findings; they are acknowledged once all that follows from them is durable.

        While `max_active_incidents` are under way they wait, the gravest first.
        """

        def taken() -> None:
            self._answers.append(lambda: answer(Reported(report.report_id)))
            self._flush_soon()

        self.metrics.count("findings", len(report.findings))
        self._backlog.put(report.findings, taken)
        self._drain()

    def _drain(self) -> None:
        """Take what waits, as far as there is room, a turn's worth at a time."""
        if self._backlog and not self._draining:
            self._take_turn()

    def _take_turn(self) -> None:
        self._draining = False
        for _ in range(_TURN):
            if not self._may_take():
                break
            finding, done = self._backlog.get()
            self.take(finding)
            done()
        if self._may_take():
            self._draining = True
            self._order()
            asyncio.get_running_loop().call_soon(self._take_turn)
        else:
            self.metrics.count("deferred", bool(self._backlog))
            asyncio.get_running_loop().call_soon(self._hear_held_back)
        self.metrics.gauge("backlog", len(self._backlog))

    def _may_take(self) -> bool:
        room = not self.recall_hours and self.kernel.cases.active < self._most_active
        return room and bool(self._backlog)

    def on_enforcer(self, datum: Datum | Unknown) -> None:
        """Take outcomes, and at each connection what the enforcer holds."""
        if self.recall_hours or self._draining or self._held_back:
            # In the order in which it came: what has ended since must not count as held. And
            # what waits to be isolated goes before what has been; room for it is bounded.
            self._held_back.append(lambda: self._from_enforcer(datum))
        else:
            self._from_enforcer(datum)

    def _from_enforcer(self, datum: Datum | Unknown) -> None:
        if isinstance(datum, Outcomes):
            self._count_down(datum)
            for outcome in datum.outcomes:
                outcomes = self._case(outcome.incident_id).outcomes
                outcomes.append(outcome)
                del outcomes[:-_MAX_OUTCOMES]
                self.take(outcome)
                self._measure(outcome)
            self._drain()
        elif isinstance(datum, Restart):
            self.take(datum)

    def on_mesh(self, datum: Datum | Unknown) -> None:
        """Take what peers tell, and who they are."""
        if self.recall_hours:
            self._held_back.append(lambda: self.on_mesh(datum))
        elif heard := self.peering.hear(datum):
            self.metrics.count(f"heard.{type(heard).__name__.lower()}")
            self.take(heard)

    def _measure(self, outcome: Outcome) -> None:
        """Count what became of an action, and how long after its detection it was there."""
        self.metrics.count(f"actions.{outcome.operation}.{'ok' if outcome.ok else 'refused'}")
        incident = self.kernel.incident(outcome.incident_id)
        if incident is not None and incident.moments[-1].name in ("isolated", "confirmed"):
            at_ns = {moment.name: moment.boot_ns for moment in incident.moments}
            if outcome.operation is Operation.APPLY and {"detected", "isolated"} <= at_ns.keys():
                took_ns = at_ns["isolated"] - at_ns["detected"]
                self.metrics.observe("isolation_ms", took_ns / 1e6)

    def _count_down(self, answer: Outcomes) -> None:
        """Forget an order once all its actions are answered; a long answer comes in parts."""
        order = self._unanswered.get(answer.order_id)
        if order is not None:
            told = {(one.action_id, one.incident_id) for one in answer.outcomes}
            left = [one for one in order.actions if (one.action_id, one.incident_id) not in told]
            if left:
                self._unanswered[order.order_id] = replace(order, actions=tuple(left))
            else:
                del self._unanswered[order.order_id]
                self._acknowledge()

    def on_ledger(self, datum: Datum | Unknown) -> None:
        """Learn what is durable; what could not be stored is tried again."""
        if isinstance(datum, Recalled) and (self.recall_hours or datum.past):
            self.take(datum)
            if datum.complete and not datum.past:
                self._go_on()
        if not isinstance(datum, Appended) or datum.request_id not in self._unstored:
            return
        before, self.refused = self.refused, datum.error
        if datum.error:
            self._wait_to_try(datum, told=datum.error == before)
            return
        append, incidents = self._unstored.pop(datum.request_id)
        self._refused.pop(datum.request_id, None)  # a ledger that restarted was given all anew
        now = self._clock.now()
        for position, incident_id in enumerate(incidents, datum.first):
            case = self._case(incident_id)
            case.first_position = case.first_position or position
            case.last_position, case.recorded_boot_ns = position, now.boot_ns
        self.metrics.count("records", len(append.records))
        self._acknowledge()
        if datum.request_id == self._probe:
            waiting, self._refused = sorted(self._refused), {}
            self._send_again(waiting)

    def _wait_to_try(self, refusal: Appended, *, told: bool) -> None:
        if not told:
            self._log.write("error", "ledger.append_failed", detail=refusal.error)
        self._refused[refusal.request_id] = None
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_LEDGER_RETRY_S, self._try_again)

    def _try_again(self) -> None:
        """Send one of what the ledger refused once more; once that is stored, the others follow.

        What is refused again comes last: one that never can be stored holds up no other.
        """
        self._retry, self._probe = None, next(iter(self._refused), 0)
        self._refused.pop(self._probe, None)
        self._send_again((self._probe,))

    def _send_again(self, requests: Iterable[int]) -> None:
        for request_id in requests:
            if request_id in self._unstored:
                self._send_append(self._unstored[request_id][0])

    def resend_orders(self) -> None:
        """Send again what the enforcer has not answered: it has just been (re)started.

        What was to begin for a case that has ended meanwhile is not begun any more.
        """
        known = self.kernel.cases.open
        for number, order in list(self._unanswered.items()):
            if order.operation is Operation.APPLY:
                wanted = tuple([one for one in order.actions if one.incident_id in known])
                order = replace(order, actions=wanted)  # noqa: PLW2901 - what is left of it
                self._unanswered[number] = order
            if order.actions:
                self._send_order(order)
            else:
                del self._unanswered[number]
        self._acknowledge()

    def _go_on(self) -> None:
        """Begin with what has waited for the past to be taken up."""
        self.recall_hours = 0
        while self._held_back:
            self._held_back.popleft()()
        self._drain()

    def _hear_held_back(self) -> None:
        """Hear the first, and the next in a turn of its own, so that what it led to leaves."""
        if self._held_back and not (self._draining or self.recall_hours):
            self._held_back.popleft()()
            asyncio.get_running_loop().call_soon(self._hear_held_back)

    def _give_up_recall(self) -> None:
        if self.recall_hours:
            self._log.write("error", "ledger.recall_failed", detail="It did not answer in time.")
            self._go_on()

    def resend_records(self) -> None:
        """Send again what the ledger has not acknowledged; it may come to hold a record twice."""
        if self.recall_hours:
            self._send_append(Recall(self._take_id(), self.recall_hours))
            asyncio.get_running_loop().call_later(_RECALL_S, self._give_up_recall)
        for append, _ in self._unstored.values():
            self._send_append(append)

    def settled(self) -> bool:
        """Say whether no case is on its way and nothing is unanswered or unrecorded."""
        waiting = self._unanswered or self._unstored or self._owed or self._backlog or self._notes
        busy = self._flushing or self._draining or bool(waiting)
        return not busy and not any(
            case.state in _UNSETTLED for case in self.kernel.cases.open.values()
        )

    def incidents(self) -> list[Incident]:
        """Give all incidents, open and lately closed, in the order in which they began."""
        cases = self.kernel.cases
        every = [*cases.closed.values(), *cases.open.values()]
        return sorted(
            every, key=lambda one: (one.opened_wall_ns, len(one.incident_id), one.incident_id)
        )

    def questions(self) -> list[Question]:
        """Give what people are asked and have not answered, the oldest first."""
        waiting: list[Question] = []
        for incident_id, questions in self._asked.items():
            incident = self.kernel.cases.open.get(incident_id)
            if incident is None:
                continue
            asked = {one.action_id for one in incident.proposed}
            if incident.state is State.WAITING and incident.decision and incident.decision.action:
                asked.add(incident.decision.action.action_id)
            waiting += [one for name, one in questions.items() if name in asked]
        return waiting

    # --- effects -----------------------------------------------------------------------------

    def _carry_out(self, effect: Effect, now: Now) -> None:
        match effect:
            case Note():
                self._note(effect, now)
            case Do(operation, action):
                waiting = self._orders.setdefault(operation, [])
                waiting.append(action)
                # The enforcer begins while the kernel goes on with what else has come.
                if len(waiting) >= _ORDER_AT:
                    self._order()
                self._flush_soon()
            case After(delay_ns, event):
                self._timers.after(delay_ns, event)
            case Ask(question):
                name = question.action.action_id
                self._case(question.incident_id).questions[name] = question
                self._asked.setdefault(question.incident_id, {})[name] = question
                self.metrics.count(f"questions.{question.audience}")
                self._log.write(
                    "info", "approval.needed", question.incident_id, question=question.text
                )
            case Publish():
                self.metrics.count("bulletins")
                self.peering.publish(effect)
                self._flush_soon()
            case _:
                self.metrics.count("confirmed")

    def _ring(self, event: Event) -> None:
        if isinstance(event, Finding) and self.peering.owing and self._is_young(event):
            # A peer's word: the answers to all peers go first, for as long as records are stored.
            self._timers.after(_ANSWERS_NS, event)
            return
        self.take(event)
        self._drain()

    def _is_young(self, finding: Finding) -> bool:
        return self._clock.now().boot_ns - finding.detected_boot_ns < _ANSWERED_NS

    def _note(self, note: Note, now: Now) -> None:
        match note.body:
            case Finding():
                findings = self._case(note.incident_id).findings
                if len(findings) < 16:
                    findings.append(note.body)
            case Answer():
                self._case(note.incident_id).answers.append(note.body)
            case Decision(disposition=disposition):
                self.metrics.count(f"decisions.{disposition}")
            case _:
                self.peering.note(note.body)
        if self.planners and note.kind in _PLANNED:
            self._to_plan[note.incident_id] = None
        if note.kind in _TOLD:
            self._tell(note)
        self._notes.append((note, now))
        self._flush_soon()

    def _tell(self, note: Note) -> None:
        """Log a step that people follow an incident by."""
        if note.kind in _ENDED:
            self._asked.pop(note.incident_id, None)
        incident = self.kernel.incident(note.incident_id)
        state = incident.state.value if incident is not None else ""
        title = incident.title if incident is not None else ""
        body = note.body
        detail = body.detail if isinstance(body, Outcome) else title
        self._log.write(
            "info", f"incident.{note.kind}", note.incident_id, state=state, detail=detail
        )

    def _case(self, incident_id: str) -> Case:
        case = self.cases.get(incident_id)
        if case is None:
            case = self.cases[incident_id] = Case()
            if len(self.cases) > _MAX_CASES:
                del self.cases[next(iter(self.cases))]
        return case

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _order(self) -> None:
        orders, self._orders = self._orders, {}
        epoch = self.kernel.defense.epoch
        for operation, actions in orders.items():
            # What was decided before a restart, or a takeover, is ordered by who orders it now.
            now = [one if one.epoch == epoch else replace(one, epoch=epoch) for one in actions]
            order = Order(self._take_id(), operation, tuple(now))
            self._unanswered[order.order_id] = order
            self._send_order(order)

    def _flush(self) -> None:
        self._flushing = False
        self._order()
        # Encoding comes after all orders are on their way: no isolation waits for its record.
        if self._draining and len(self._notes) < _MAX_UNENCODED:
            self._flush_soon()
            return
        if self._may_wait():
            asyncio.get_running_loop().call_later(_HELD_NS / 1e10, self._flush_soon)
            return
        notes, self._notes = self._notes, []
        records = [(note.incident_id, self._record(note, now)) for note, now in notes]
        for batch in _batches(records):
            incidents = tuple([incident_id for incident_id, _ in batch])
            append = Append(self._take_id(), tuple([data for _, data in batch]))
            self._unstored[append.request_id] = append, incidents
            self._send_append(append)

        self.peering.mark(self._next_id - 1)
        # What the scorer reported is acknowledged when everything up to here is durable and done.
        self._owed.extend([(self._next_id - 1, answer) for answer in self._answers])
        self._answers.clear()
        self._acknowledge()
        if self._to_plan:
            self._plan()

    def _may_wait(self) -> bool:
        """Say whether records let peers go first: what they are told, and what they are owed."""
        many = _MANY_NOTES <= len(self._notes) < _MAX_UNENCODED
        if not many or self.peering.send is None or self.peering.owing:
            return False
        return self._clock.now().boot_ns - self._notes[0][1].boot_ns < _HELD_NS

    def _plan(self) -> None:
        """Ask the planners what else is due; what is proposed once is not proposed again."""
        due, self._to_plan = self._to_plan, {}
        for incident_id in due:
            incident, case = self.kernel.incident(incident_id), self._case(incident_id)
            if incident is None or incident.state not in _HELD:
                continue
            history: list[Outcome | Answer] = [*case.outcomes, *case.answers]
            for planner in self.planners:
                name = planner.manifest.name
                try:
                    steps = planner.plan(incident, history)
                except Exception as error:  # noqa: BLE001 - a plug-in's fault must not end the node
                    self._log.write("error", "planner.failed", incident_id, detail=repr(error))
                    continue
                keyed = {(name, s.verb, s.target.value, len(history)): s for s in steps}
                fresh = [step for key, step in keyed.items() if key not in case.proposed]
                case.proposed |= keyed.keys()
                if fresh:
                    self.take(Propose(incident_id, tuple(fresh), name))

    def _record(self, note: Note, now: Now) -> bytes:
        body = encode(note.body)
        return encode(
            AuditRecord(self._node, note.kind, now.wall_ns, now.boot_ns, note.incident_id, body)
        )

    def _acknowledge(self) -> None:
        stored = min(self._unstored, default=self._next_id)
        self.peering.stored(stored)
        oldest = min([stored, *self._unanswered])
        while self._owed and self._owed[0][0] < oldest:
            self._owed.popleft()[1]()

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


def _batches(records: list[tuple[str, bytes]]) -> list[list[tuple[str, bytes]]]:
    """Cut records into batches that fit a frame with room to spare."""
    batches: list[list[tuple[str, bytes]]] = []
    size = _MAX_BATCH_BYTES
    for record in records:
        size += len(record[1])
        if size > _MAX_BATCH_BYTES or len(batches[-1]) >= _MAX_BATCH:
            batches.append([])
            size = len(record[1])
        batches[-1].append(record)
    return batches
