"""A small plant to defend: a water tank behind Modbus/TCP, its operator, and an attacker.

Each is a process of its own, built on the maintained library pymodbus, and writes JSON lines
to standard output: ``python -m cronos.testing.plant server|operator|attacker --port …``. The
operator and the attacker call from loopback addresses of their own, so that a block can tell
them apart. Nothing here knows Cronos.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, cast

from cronos.errors import ExtraMissingError

try:
    from pymodbus import ModbusException
    from pymodbus.client import ModbusTcpClient
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice
except ImportError as error:  # pragma: no cover - the extra is installed where tests run
    raise ExtraMissingError("demo", "The plant") from error

UNIT: Final = 1
LEVEL: Final = 0  # holding register: level of the tank in 0.1 %
SETPOINT: Final = 1  # holding register: level to hold in 0.1 %, from 200 to 800
PUMP: Final = 0  # coil: the pump that fills the tank
SAFE_SETPOINTS: Final = (200, 800)
UNSAFE_SETPOINT: Final = 60_000
OPERATOR: Final = "127.0.0.2"
ATTACKER: Final = "127.0.0.66"

_READ_HOLDING: Final = 3
_WRITE_HOLDING: Final = 16
_WRITE_COIL: Final = 15
_STEP_S: Final = 0.05
_NS_PER_S: Final = 1_000_000_000
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Tank:
    """Water: the pump raises the level, use lowers it; both in 0.1 % of the tank per step."""

    def __init__(self, level: int = 500) -> None:
        self.level = level
        self.pump = False

    def step(self, setpoint: int) -> None:
        """Let one step pass: the pump runs while the level is below `setpoint`."""
        self.pump = self.level < setpoint
        self.level = max(0, min(1000, self.level + (5 if self.pump else -3)))


class _Server(Protocol):
    """The part of pymodbus' server that is used, with its types."""

    transport: Any
    serve_forever: Callable[..., Awaitable[None]]
    # pymodbus' own names.
    async_getValues: Callable[[int, int, int, int], Awaitable[list[int]]]  # noqa: N815
    async_setValues: Callable[[int, int, int, list[Any]], Awaitable[None]]  # noqa: N815


class _Client(Protocol):
    """The part of pymodbus' client that is used, with its types."""

    connect: Callable[[], bool]
    close: Callable[[], None]
    read_holding_registers: Callable[..., Any]
    write_register: Callable[..., Any]


def tell(event: str, **facts: object) -> None:
    """Write one JSON line: what happened, at which boot time."""
    line = {"event": event, "at_boot_ns": now_ns(), **facts}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def now_ns() -> int:
    """Give boot time. The plant stands outside Cronos, so no port carries it here."""
    return time.clock_gettime_ns(_BOOT_CLOCK)


async def serve(host: str, port: int) -> None:
    """Run the tank and its Modbus server until cancelled; port 0 takes a free one."""
    device = SimDevice(
        UNIT,
        (
            [SimData(0, count=16, values=False, datatype=DataType.BITS)],
            [SimData(0, count=16, values=False, datatype=DataType.BITS)],
            [SimData(0, values=[500, 500] + [0] * 14, datatype=DataType.REGISTERS)],
            [SimData(0, count=16, values=0, datatype=DataType.REGISTERS)],
        ),
    )
    server = cast("_Server", ModbusTcpServer(device, address=(host, port)))
    await server.serve_forever(background=True)
    tell("listening", port=server.transport.sockets[0].getsockname()[1])
    tank = Tank()
    safe = True
    while True:
        (setpoint,) = await server.async_getValues(UNIT, _READ_HOLDING, SETPOINT, 1)
        tank.step(setpoint)
        await server.async_setValues(UNIT, _WRITE_HOLDING, LEVEL, [tank.level])
        await server.async_setValues(UNIT, _WRITE_COIL, PUMP, [tank.pump])
        was_safe, safe = safe, SAFE_SETPOINTS[0] <= setpoint <= SAFE_SETPOINTS[1]
        if safe != was_safe:
            tell("safe" if safe else "unsafe", setpoint=setpoint, level=tank.level)
        await asyncio.sleep(_STEP_S)


class Caller:
    """A Modbus client with a source address of its own, whose failures are answers."""

    def __init__(self, host: str, port: int, source: str, timeout_s: float = 3.0) -> None:
        self._client = cast(
            "_Client",
            ModbusTcpClient(
                host, port=port, source_address=(source, 0), timeout=timeout_s, retries=0
            ),
        )

    def read(self) -> list[int] | None:
        """Give level and setpoint, or None where no answer came."""
        return self._ask(lambda: self._client.read_holding_registers(LEVEL, count=2))

    def write(self, setpoint: int) -> bool:
        """Set the level to hold; say whether the plant answered so."""
        return self._ask(lambda: self._client.write_register(SETPOINT, setpoint)) is not None

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _ask(self, call: Callable[[], Any]) -> list[int] | None:
        try:
            if not self._client.connect():
                return None
            answer = call()
        except (ModbusException, OSError):
            self._client.close()
            return None
        return None if answer.isError() else list(answer.registers)


def operate(host: str, port: int, source: str, period_ms: int, duration_s: float) -> bool:
    """Poll the plant at a steady pace and move the setpoint now and then, within its range.

    Tells every poll; at the end a summary. Gives True when every poll succeeded.
    """
    caller = Caller(host, port, source)
    end_ns = now_ns() + int(duration_s * _NS_PER_S)
    polls = failed = 0
    begin_ns = now_ns()
    while begin_ns < end_ns:
        ok = caller.read() is not None
        if polls % 25 == 0:
            ok = caller.write(400 + polls % 200) and ok
        polls += 1
        failed += not ok
        tell("poll", ok=ok, latency_us=(now_ns() - begin_ns) // 1000)
        spent_s = (now_ns() - begin_ns) / _NS_PER_S
        time.sleep(max(0.0, period_ms / 1000 - spent_s))
        begin_ns = now_ns()
    caller.close()
    tell("summary", polls=polls, failed=failed)
    return not failed


def attack(host: str, port: int, source: str, period_ms: int, duration_s: float) -> bool:
    """Read, then write an unsafe setpoint until cut; then knock until let in again.

    Tells ``connected``, ``attacks`` before its first write, ``write`` for each that the plant
    answered, ``cut``, ``refused`` (once) and ``connected_again``, after which it ends. Gives
    True when it was cut.
    """
    caller = Caller(host, port, source)
    end_ns = now_ns() + int(duration_s * _NS_PER_S)
    was_in = was_cut = was_refused = False
    while now_ns() < end_ns:
        if not was_in:
            was_in = caller.read() is not None
            tell("connected" if was_in else "unreachable")
            if was_in:
                tell("attacks", value=UNSAFE_SETPOINT)
                continue
        elif not was_cut:
            was_cut = not caller.write(UNSAFE_SETPOINT)
            tell("cut" if was_cut else "write", value=UNSAFE_SETPOINT)
        elif caller.read() is not None:
            tell("connected_again")
            break
        elif not was_refused:
            was_refused = True
            tell("refused")
        time.sleep(period_ms / 1000)
    caller.close()
    return was_cut


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cronos.testing.plant", description=__doc__)
    parser.add_argument("role", choices=("server", "operator", "attacker"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--source", default="", help="the loopback address to call from")
    parser.add_argument("--period-ms", type=int, default=20)
    parser.add_argument("--duration-s", type=float, default=30.0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one role; give 0 when it went as its role hopes, else 1."""
    given = _arguments(arguments)
    # A refused connection is an event here, told on standard output.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    if given.role == "server":
        asyncio.run(serve(given.host, given.port))
        return 0
    role, source = (operate, OPERATOR) if given.role == "operator" else (attack, ATTACKER)
    went_well = role(
        given.host, given.port, given.source or source, given.period_ms, given.duration_s
    )
    return 0 if went_well else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
