"""Whatever is appended, trimmed and reopened: no unacknowledged line is lost."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=200, deadline=None)
@given(_STEPS)
def test_lines_not_acknowledged_are_always_read_again(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool, appended, safe = Spool(Path(folder), 400), 0, 0
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
                spool = Spool(Path(folder), 400)
            assert spool.first_line <= safe + 1
        spool.close()
        again = Spool(Path(folder), 400)
        lines = b"".join(iter(lambda: again.read(33) or b"", b"")).splitlines()
        assert [int(line) for line in lines] == list(range(again.first_line, appended + 1))
        again.close()
