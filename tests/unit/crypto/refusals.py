"""What every refusal to open or to verify must look like, whatever its reason was."""

import pytest

from cronos.crypto.refusal import REFUSED, refused
from cronos.errors import DeniedError


def assert_refused(action, *arguments):
    """Call, and see the one text, with no cause that would tell more."""
    with pytest.raises(DeniedError) as caught:
        action(*arguments)
    assert caught.value.code == REFUSED
    assert str(caught.value) == str(refused())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def flip(data, bit):
    """Give `data` with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
