import re
import subprocess
import sys

import pytest

from cronos.detect.sigma import SigmaConfig, load_rules
from cronos.detect.sigma_event import Event
from cronos.detect.sigma_modifiers import Refused, predicate
from cronos.detect.sigma_regex import TooCostly, subject_limit
from cronos.types import Observation, Provenance

# Runs in a process of its own: a search that never ends cannot be stopped from within.
STORY = """
from cronos.detect.sigma import SigmaConfig, SigmaDetector
from cronos.types import Observation, Provenance
detector = SigmaDetector(SigmaConfig())
for part in ("nc ", "-e", " -", "x", "e ", "-e /", "-enc ", " -eA", "nc -e", "reg save hklm"):
    line = ("nc " * 9000 + " -" + "e" * 9000 + " " + part * 40_000)[:65_536]
    for product, image in (("linux", "/bin/sh"), ("windows", "C:\\\\powershell.exe")):
        fields = {"metadata.product": product, "metadata.log_name": "security"}
        native = {"CommandLine": line, "Image": image, "EventID": 4688, "ProcessName": line}
        detector.detect([Observation("s", 1, 0, "process_activity", Provenance.SPOOFABLE,
            fields=fields, native=native)])
print("done")
"""


def limit(source, flags=0):
    return subject_limit(re.compile(source, flags))


@pytest.mark.parametrize(
    "source",
    [
        r"(a+)+$",
        r"(a|a)*$",
        r"(a|ab|ba)*$",
        r"(a*)*b",
        r"([a-z]+[0-9]?)*$",
        r"(.*a){20}",
        "a?" * 40 + "a" * 40,
        r"x(?:\w+\.?)+y",
        r"(?:(?:a|b|ab)c?)+$",
        r".*.*.*.*.*.*.*.*x",
        r"((a)|b)(?(2)c|d)",
        r"(?a:\s+x)",
    ],
)
def test_an_expression_that_may_never_end_is_refused_and_listed(source):
    with pytest.raises(TooCostly):
        limit(source)
    with pytest.raises(Refused, match="may never end"):
        predicate("a", ("re",), source)


@pytest.mark.parametrize(
    ("source", "least", "most"),
    [
        (r"plain", 65_536, 65_536),
        (r"(hklm|hkey_local_machine)\\(sam|security)", 65_536, 65_536),
        (r"^[^\"]*\"", 65_536, 65_536),
        (r"\"[^\"]*\"", 2_048, 4_096),
        (r"(ab|cd)*x", 2_048, 4_096),
        (r"(?:\w+\s)*$", 2_048, 4_096),
        (r"x.*y", 2_048, 4_096),
        (r"x.*y.*z", 256, 512),
        (r"^(.+)\1$", 256, 4_096),
        (r"(?=a*b)a*c", 256, 4_096),
        (r"(?>a*)b", 2_048, 4_096),
    ],
)
def test_the_more_choices_an_expression_has_the_less_text_it_meets(source, least, most):
    assert least <= limit(source) <= most


def test_a_search_stops_where_the_limit_is():
    test = predicate("a", ("re",), "x.*y.*z").check
    most = limit("x.*y.*z")
    assert test(event("x" + "y" * (most - 2) + "z"))
    assert not test(event("x" + "y" * (most - 1) + "z"))


def event(text):
    seen = Observation("s", 1, 0, "base_event", Provenance.SPOOFABLE, native={"a": text})
    return Event(seen)


@pytest.mark.parametrize("flags", [0, re.IGNORECASE])
def test_letters_that_fold_to_each_other_are_shared(flags):
    # K, the Kelvin sign, is a k where case is ignored.
    assert limit("[a-z]+\u212a*x", flags) <= limit("[a-z]+[0-9]*x", flags)


def test_no_builtin_rule_can_be_held_up_by_64_kib_made_for_it():
    done = subprocess.run(
        [sys.executable, "-c", STORY], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "done\n"


def test_our_own_rules_all_run():
    assert load_rules(SigmaConfig())[1] == ()
