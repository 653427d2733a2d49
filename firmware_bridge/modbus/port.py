"""Bytes in and out: TCP and serial connections by pymodbus's transport. The only file that opens anything."""

import asyncio
import os
import termios
from collections.abc import Awaitable, Callable
from typing import Protocol

from pymodbus.transport.transport import CommParams, CommType, ModbusProtocol

from firmware_bridge.settings import ModbusRtuBus, ModbusTcpBus


class Listener(Protocol):
    """Who is told of bytes and of the end."""

    def received(self, data: bytes) -> None: ...

    def lost(self) -> None: ...


class Connection(Protocol):
    """An open port."""

    def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...


# Opens a port within a time; raises OSError or TimeoutError with the reason. A simulated network gives its own.
Connect = Callable[[Listener, float], Awaitable[Connection]]

_PARITY = {"none": "N", "even": "E", "odd": "O"}


class _Pymodbus(ModbusProtocol):
    """One connection, used once: no reconnecting of its own, no buffer of its own."""

    def __init__(self, params: CommParams, listener: Listener) -> None:
        super().__init__(params, is_server=False)
        self._listener = listener

    async def open(self) -> None:
        async with asyncio.timeout(self.comm_params.timeout_connect):  # wait_for can swallow a cancellation
            self.transport, _ = await self.call_create()

    def data_received(self, data: bytes) -> None:
        self._listener.received(data)

    def callback_connected(self) -> None:
        """Nothing to do: `open` returns."""

    def callback_new_connection(self) -> ModbusProtocol:
        raise AssertionError("a client accepts no connections")

    def callback_data(self, data: bytes, addr: tuple[str, int] | None = None) -> int:
        raise AssertionError("data_received above takes the bytes")

    def callback_disconnected(self, exc: Exception | None) -> None:
        del exc  # the bus learns the reason from what it tries next
        self._listener.lost()


def connector(settings: ModbusTcpBus | ModbusRtuBus) -> Connect:
    """How this bus is opened."""
    if isinstance(settings, ModbusTcpBus):
        params = CommParams(comm_name=settings.id, comm_type=CommType.TCP, host=settings.host, port=settings.port)
    else:
        params = CommParams(
            comm_name=settings.id,
            comm_type=CommType.SERIAL,
            host=settings.device,
            baudrate=settings.baud,
            bytesize=8,
            parity=_PARITY[settings.parity],
            stopbits=settings.stop,
        )

    async def connect(listener: Listener, timeout_s: float) -> Connection:
        if isinstance(settings, ModbusRtuBus):
            require_simulated_is_pty(settings)
        params.timeout_connect = timeout_s
        port = _Pymodbus(params, listener)
        try:
            await port.open()
        except termios.error as error:  # no OSError: the line refuses speed or parity (a pseudo-terminal has none)
            raise OSError(f"{params.host} does not take these line settings: {error.args[-1]}") from None
        return port

    return connect


def require_simulated_is_pty(settings: ModbusRtuBus) -> None:
    """OSError when a line that says `simulated` leads to anything but a pseudo-terminal."""
    if settings.simulated and not os.path.realpath(settings.device).startswith("/dev/pts/"):
        raise OSError(f"{settings.device} is declared simulated, but is not a pseudo-terminal: not opened")
