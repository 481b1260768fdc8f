"""Two ends of a wire in one process."""

import pytest

from cronos.errors import UnreachableError
from cronos.testing.memory_transport import memory_pair


def test_once_the_other_end_was_seen_to_close_sending_is_refused():
    one, other = memory_pair()
    other.close()
    with pytest.raises(UnreachableError):
        one.receive(1.0)
    with pytest.raises(UnreachableError):
        one.send(b"x")
