"""A bar where a person watches; nothing where nobody does."""

import sys

from cronos.front.progress import ByteProgress


class Terminal:
    """Standard error as a person sees it; a double of a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        """Keep what was written."""


def run(steps, total=100 << 20):
    with ByteProgress("sealing", total) as progress:
        for done in steps:
            progress(done)


def test_nobody_watching_sees_nothing(capsys):
    run([50 << 20, 100 << 20])
    assert capsys.readouterr() == ("", "")


def test_a_person_sees_what_is_done(monkeypatch):
    watched = Terminal()
    monkeypatch.setattr(sys, "stderr", watched)
    monkeypatch.setenv("TERM", "xterm")
    run([1, 50 << 20, 100 << 20])
    assert "sealing" in watched.text
    assert "104.9" in watched.text


def test_what_is_done_at_once_draws_no_bar(monkeypatch):
    watched = Terminal()
    monkeypatch.setattr(sys, "stderr", watched)
    monkeypatch.setenv("TERM", "xterm")
    run([1 << 20], total=1 << 20)
    assert watched.text == ""


def test_a_length_that_nobody_knows_is_no_obstacle(monkeypatch):
    watched = Terminal()
    monkeypatch.setattr(sys, "stderr", watched)
    monkeypatch.setenv("TERM", "xterm")
    run([50 << 20], total=0)
    assert "sealing" in watched.text
