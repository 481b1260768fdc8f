"""What `cronos discover` shows while it works."""

from cronos.discover.jobs import Event
from cronos.discover.learned import Phase, Told
from cronos.discover.messages import Message, Service
from cronos.front import discovering
from cronos.front.discovering import Shown


class Screen:
    """Writes down what a progress display is told."""

    def __init__(self):
        self.tasks, self.updates = [], []

    def add_task(self, _description, **given):
        self.tasks.append(given["service"])
        return len(self.tasks) - 1

    def update(self, task, **given):
        self.updates.append((task, given["completed"], given["total"], given["description"]))

    def stop(self):
        self.updates.append("stopped")


def test_each_discovery_has_a_bar_that_moves_with_its_phases():
    shown, screen = Shown(), Screen()
    shown._bars, shown._phases = screen, Phase
    shown.names = {1: "tcp/502", 2: "udp/53"}
    shown.heard(Event(1, Told(Phase.STATISTICS)))
    shown.heard(Event(2, Told(Phase.BOUNDARIES, 0.5)))
    shown.heard(Event(1, Told(Phase.VALIDATION, 1.0)))
    shown.end()

    assert screen.tasks == ["tcp/502", "udp/53"]
    assert screen.updates == [
        (0, 0, 7, "statistics"),
        (1, 3.5, 7, "boundaries and meaning"),
        (0, 7.0, 7, "validation"),
        "stopped",
    ]


def test_where_nobody_watches_nothing_is_drawn():
    shown = Shown()
    shown.begin()
    shown.heard(Event(1, Told(Phase.STATISTICS)))
    shown.end()

    assert shown._bars is None


def services(*sizes):
    return [Service(f"tcp/{n}", (Message(b"a"),) * size) for n, size in enumerate(sizes)]


def test_services_with_too_little_are_left_out_unless_there_is_nothing_else():
    chosen, left = discovering._wanted(services(50, 9, 3), 0, 32)
    assert [one.name for one in chosen] == ["tcp/0", "tcp/1"]
    assert left == {"tcp/2": 3}
    assert [one.name for one in discovering._wanted(services(50, 9, 3), 20, 32)[0]] == ["tcp/0"]
    assert [one.name for one in discovering._wanted(services(3, 2), 0, 32)[0]] == ["tcp/0"]
    assert discovering._wanted(services(1), 0, 32)[1] == {}
    assert len(discovering._wanted(services(*[9] * 40), 0, 32)[0]) == 32
    assert len(discovering._wanted(services(*[9] * 40), 0, 5)[0]) == 5
