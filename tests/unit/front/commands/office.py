"""A node to talk to: the real control server, before a desk that is a fake."""

import contextlib
import json

import msgspec
from tests.unit.front.views import incident_view
from tests.unit.link.desk import FakeDesk
from tests.unit.link.test_control import serving

from cronos.front.cli import main
from cronos.link.people import Operators


class Office:
    """A state folder with a node in it, and the command line before both."""

    def __init__(self, folder, capsys):
        self.state = folder / "state"
        self.capsys = capsys
        self.desk = FakeDesk()
        self.desk.incidents = {}
        self.add("local-1-i1")

    def add(self, incident_id, **more):
        view = incident_view(incident_id, **more)
        self.desk.incidents[incident_id] = msgspec.to_builtins(view)

    @contextlib.contextmanager
    def open(self, known=lambda: None, clock=None):
        run = self.state / "local" / "run"
        run.mkdir(parents=True, exist_ok=True)
        authority = Operators(known, "local", clock) if clock else None
        with serving(run, self.desk, authority) as (_, faults):
            yield
        assert faults == []

    def run(self, *words):
        """Give exit code and what was printed, on standard output and error."""
        code = main([*words, "--state", str(self.state)])
        shown = self.capsys.readouterr()
        return code, shown.out, shown.err

    def document(self, *words, code=0):
        got, out, err = self.run(*words, "--json")
        assert got == code, err
        return json.loads(out)
