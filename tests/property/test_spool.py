"""Whatever is appended, trimmed and reopened: no unacknowledged line is lost."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sealers import Scrambler

from cronos.sense.spool import Spool

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("acknowledge"), st.integers(0, 40)),
        st.tuples(st.just("read"), st.integers(1, 50)),
        st.tuples(st.just("reopen"), st.just(0)),
    ),
    max_size=30,
)
_KINDS = pytest.mark.parametrize(
    ("max_bytes", "sealer"), [(400, None), (3000, Scrambler())], ids=["readable", "sealed"]
)


@_KINDS
@settings(max_examples=200, deadline=None)
@given(steps=_STEPS)
def test_lines_not_acknowledged_are_always_read_again(
    steps: list[tuple[str, int]], max_bytes: int, sealer: Scrambler | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool, appended, safe = Spool(Path(folder), max_bytes, sealer), 0, 0
        for step, amount in steps:
            if step == "append" and spool.room >= 10 * amount:
                spool.append(b"".join(b"%08d\n" % (appended + n + 1) for n in range(amount)))
                appended += amount
            elif step == "acknowledge" and amount <= appended:
                spool.acknowledge(amount)
                safe = max(safe, amount)
            elif step == "read":
                spool.read(amount)
            elif step == "reopen":
                spool.close()
                spool = Spool(Path(folder), max_bytes, sealer)
            assert spool.first_line <= safe + 1
        spool.close()
        again = Spool(Path(folder), max_bytes, sealer)
        lines = b"".join(iter(lambda: again.read(33) or b"", b"")).splitlines()
        assert [int(line) for line in lines] == list(range(again.first_line, appended + 1))
        again.close()


_PIPED = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.binary(min_size=1, max_size=200)),
        st.tuples(st.just("take"), st.integers(1, 300)),
        st.tuples(st.just("kill"), st.sampled_from(["spliced", "sealed", "done"])),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(_PIPED)
def test_each_byte_of_a_pipe_is_kept_once_however_often_it_is_killed(
    steps: list[tuple[str, int | bytes | str]],
) -> None:
    """Killing is done by putting the folder back as it lay between two writes."""
    with tempfile.TemporaryDirectory() as name:
        folder, sealer = Path(name), Scrambler()
        reading, writing = os.pipe()
        spool, written = Spool(folder, 1 << 20, sealer, keep_torn=True), b""
        for step, what in steps:
            if isinstance(what, bytes):
                os.write(writing, what)
                written += what
            elif step == "kill":
                tail = folder / "tail"
                segment = max(folder.glob("*.sealed"))
                size, at = segment.stat().st_size, spool._at
                if written[at:] and what != "done":
                    count = spool.take_from(reading, 100)
                    if what == "spliced":
                        os.truncate(segment, size)
                    tail.write_bytes(bytes(at) + written[at : at + count])
                spool.close()
                spool = Spool(folder, 1 << 20, sealer, keep_torn=True)
            elif isinstance(what, int) and written[spool._at :]:
                spool.take_from(reading, what)
        os.close(writing)
        while spool.take_from(reading, 1000):
            pass
        os.close(reading)
        spool.close()
        again = Spool(folder, 1 << 20, sealer, keep_torn=True)
        assert b"".join(iter(lambda: again.read(33) or b"", b"")) == written
        again.close()
