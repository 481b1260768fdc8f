"""A command's memory is held to what it was allowed."""

import resource
import subprocess
import sys
import textwrap

import pytest

from cronos.front.limits import held_to, positive, size


def test_more_than_was_allowed_is_a_sentence_and_the_limit_goes():
    # In a process of its own: what others have freed there could be taken once more.
    program = """
        import resource
        from cronos.errors import InputError
        from cronos.front.limits import held_to

        before = resource.getrlimit(resource.RLIMIT_DATA)
        try:
            with held_to(64):
                bytearray(200 << 20)
        except InputError as error:
            print(error.code, error.sentence)
        print(resource.getrlimit(resource.RLIMIT_DATA) == before)
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert said.stdout == "front.memory More than 64 MiB of memory were needed.\nTrue\n"


def test_what_was_allowed_may_be_taken_and_inner_limits_never_raise_outer_ones():
    with held_to(256):
        outer = resource.getrlimit(resource.RLIMIT_DATA)[0]
        assert len(bytearray(100 << 20)) == 100 << 20
        with held_to(1 << 20):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == outer


WRONG = [(positive, "0"), (positive, "x"), (positive, "1e9")]
WRONG += [(size, "0"), (size, "1.5"), (size, "9999999")]


@pytest.mark.parametrize(("read", "text"), WRONG)
def test_what_is_no_limit_is_refused(read, text):
    with pytest.raises(ValueError):
        read(text)


def test_limits_are_numbers():
    assert positive("0.5") == 0.5
    assert size("64") == 64
