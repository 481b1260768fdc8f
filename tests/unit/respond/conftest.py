import contextlib
import errno
import os

import pytest


@pytest.fixture
def full_disk(monkeypatch):
    """A disk without room: the operating system's write refuses half-way through."""

    @contextlib.contextmanager
    def full():
        real = os.write

        def write(descriptor, data):
            if len(data) > 8:
                return real(descriptor, bytes(data[:8]))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            yield

    return full
