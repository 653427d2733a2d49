"""The other half by somebody else: pymodbus's clients on our simulators, and our bus on pymodbus's server."""

from pathlib import Path

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from cython_ext.clock import SystemClock
from firmware_bridge.modbus.bus import ModbusBus
from firmware_bridge.settings import ModbusTcpBus
from firmware_bridge.simulators.settings import WorldSettings
from firmware_bridge.simulators.world import Simulation
from tests.kit.modbus import device

WORLD = WorldSettings.model_validate(
    {
        "line": [{"type": "tcp", "id": "tcp"}, {"type": "pty", "id": "rtu"}],
        "device": [
            {"id": f"{name}-{line}", "line": line, "profile": profile, "unit": unit}
            for line in ("tcp", "rtu")
            for unit, (name, profile) in enumerate([("rain", "sonbest-xm9505"), ("relays", "waveshare-relay8")], 1)
        ],
    }
)


async def test_pymodbus_reads_and_writes_our_simulators(tmp_path: Path) -> None:
    async with Simulation(WORLD, clock=SystemClock(), base=tmp_path) as world:
        tcp, rtu = world.endpoint("tcp"), world.endpoint("rtu")
        clients = {
            "tcp": AsyncModbusTcpClient(str(tcp["host"]), port=int(tcp["port"])),
            "rtu": AsyncModbusSerialClient(str(rtu["device"]), baudrate=9600),
        }
        for line, client in clients.items():
            assert await client.connect()
            world.set(f"rain-{line}", "rain", 53.6)
            assert (await client.read_holding_registers(0, count=1, device_id=1)).registers == [536]
            assert (await client.read_holding_registers(7, count=1, device_id=1)).exception_code == 2
            await client.write_coil(3, True, device_id=2)
            assert (await client.read_coils(0, count=8, device_id=2)).bits[:8] == [n == 3 for n in range(8)]
            await client.write_coils(0, [True, False, True, False], device_id=2)
            assert (await client.read_coils(0, count=4, device_id=2)).bits[:4] == [True, False, True, False]
            client.close()
        edges = [entry.name for entry in world.record if entry.device == "relays-tcp"]
        assert edges == ["relay-4", "relay-1", "relay-3", "relay-4"]


async def test_our_bus_reads_pymodbus_server() -> None:
    gauge = SimDevice(
        1,
        simdata=(
            [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
            [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
            [SimData(0, values=[536], datatype=DataType.REGISTERS)],
            [SimData(0, values=[0], datatype=DataType.REGISTERS)],
        ),
    )
    server = ModbusTcpServer(context=gauge, address=("127.0.0.1", 0))
    assert await server.listen()
    port = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    settings = ModbusTcpBus(type="modbus-tcp", id="bus", host="127.0.0.1", port=port, simulated=True, timeout_s=2.0)
    bus = ModbusBus(settings, SystemClock())
    await bus.open()
    (reading,) = await device(bus, "sonbest-xm9505", 1, SystemClock()).read(["rain"])
    assert round(reading.value, 6) == 53.6
    await bus.close()
    await server.shutdown()
