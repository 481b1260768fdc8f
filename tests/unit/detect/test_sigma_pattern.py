import pytest

from cronos.detect.sigma_pattern import compile_pattern, parse


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("cmd", "cmd", True),
        ("cmd", "cmd.exe", False),
        ("cmd*", "cmd.exe", True),
        ("*.exe", "cmd.exe", True),
        ("*md.e*", "cmd.exe", True),
        ("c?d", "cmd", True),
        ("c?d", "cd", False),
        ("a*a", "a", False),
        ("a*b*c", "a--b--c", True),
        ("a*b*c", "a--c--b", False),
        ("?*?", "x", False),
        ("?*?", "xy", True),
        ("*", "", True),
        ("", "", True),
        ("", "x", False),
        (r"\*", "*", True),
        (r"\*", "x", False),
        (r"\\*", "\\anything", True),
        (r"c:\windows", "c:\\windows", True),
        (r"\\\\host", r"\\host", True),
        ("a*\n*b", "a\n\nb", True),
        ("**b", "ab", True),
    ],
)
def test_wildcards_and_escapes(pattern, value, matches):
    assert compile_pattern(parse(pattern))(value) is matches


def test_contains_lets_anything_stand_around():
    around = parse("b").around(before=True, after=True)
    assert compile_pattern(around)("abc")
    assert compile_pattern(parse("*b*").around(before=True, after=True))("b")


def test_many_stars_stay_fast_on_hostile_text():
    test = compile_pattern(parse("*".join("a" * 60) + "b?"))
    assert not test("a" * 100_000)
