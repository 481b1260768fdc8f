"""Nobody alone drives a node's stream up, and a node that is behind itself is heard again."""

import pytest

from cronos.mesh.claims import Claims
from cronos.types import Now

SECOND = 1_000_000_000
NOW = Now(100 * SECOND, 2_000_000_000 * SECOND)
FAR = 1 << 38


def test_a_step_is_believed_of_one_once_a_minute():
    claims = Claims()
    assert claims.believed("b", 7, 5, NOW, 3) == 7
    assert claims.believed("b", 70, 8, NOW, 3) == 0
    later = Now(NOW.boot_ns + 61 * SECOND, NOW.wall_ns)
    assert claims.believed("b", 70, 8, later, 3) == 70


def test_a_leap_takes_two_and_goes_no_further_than_the_lower():
    claims = Claims()
    for _ in range(9):
        assert claims.believed("mallory", FAR + 9, 5, NOW, 2) == 0
    assert claims.believed("b", FAR, 5, NOW, 2) == FAR


def test_who_has_one_peer_alone_believes_it():
    assert Claims().believed("b", FAR, 5, NOW, 1) == FAR


@pytest.mark.parametrize("stream", [4, 1 << 40, 1 << 61])
def test_what_no_stream_of_ours_can_be_is_not_believed_of_anyone(stream):
    claims = Claims()
    assert claims.believed("b", stream, 5, NOW, 1) == 0
    assert claims.believed("c", stream, 5, NOW, 2) == 0


def test_memory_is_bounded():
    claims = Claims()
    for number in range(5_000):
        claims.believed(f"n{number}", FAR + number % 2 * 0, 1 << 39, NOW, 9)
        claims.believed(f"n{number}", (1 << 39) + FAR, 5, NOW, 9)
    assert len(claims._said) <= 4_096
