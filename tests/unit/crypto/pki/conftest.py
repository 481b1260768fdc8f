"""What a full disk looks like to a program: a limit on the size of files."""

import contextlib
import resource
import signal

import pytest


@pytest.fixture
def file_size_limit():
    """Let every file of this process end after some bytes; writing on fails with EFBIG."""

    @contextlib.contextmanager
    def limited(most):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)

    return limited
