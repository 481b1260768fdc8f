import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.errors import InputError
from cronos.link.frames import frame
from cronos.link.tapfeed import TapFrame, pack, unpack
from cronos.sense.tap import TapSensor, TapSensorConfig
from cronos.testing.memory_sense import MemorySource
from cronos.types import Observation

FRAMES = st.builds(
    TapFrame,
    seq=st.integers(0, 20),
    boot_ns=st.integers(0, 1 << 60),
    wall_ns=st.integers(0, 1 << 60),
    kind=st.sampled_from(["open", "data", "close", "cut", "refused"]),
    connection=st.integers(0, 3),
    client=st.sampled_from(["192.0.2.7", "2001:db8::7"]),
    client_port=st.integers(0, 65535),
    server=st.just("192.0.2.8"),
    server_port=st.just(502),
    direction=st.sampled_from(["request", "response"]),
    data=st.binary(max_size=300) | st.just(bytes.fromhex("000100000006010300000002")),
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(body):
    with contextlib.suppress(InputError):
        unpack(body)


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAMES.map(pack) | st.binary(max_size=60), max_size=12), st.integers(1, 50))
def test_any_feed_gives_rising_numbers_however_it_is_cut(bodies, cut):
    data = b"".join(frame(body) for body in bodies)
    sensor = TapSensor(TapSensorConfig(max_connections=2))
    whole = [r for batch in sensor.read(MemorySource(data)) for r in batch]
    assert [r for batch in sensor.read(MemorySource(data, (cut,))) for r in batch] == whole
    numbers = [r.seq for r in whole if isinstance(r, Observation)]
    assert numbers == sorted(set(numbers))
