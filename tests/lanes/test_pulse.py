"""The watchdog's honesty: systemd is told that a program lives only while all of it does."""

import asyncio
import socket

import pytest

from lanes.pulse import Pulse, notify, watchdog
from tests.kit.clock import ManualClock, run_virtual


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path, abstract):
    address = f"@bucium-test-{tmp_path.name}-{id(tmp_path)}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        manager.settimeout(60)
        assert notify("READY=1", {"NOTIFY_SOCKET": address})
        assert manager.recv(64) == b"READY=1"


def test_without_systemd_nothing_happens(tmp_path):
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})


def test_the_watchdog_is_not_fed_while_a_loop_is_stuck(tmp_path):
    clock = ManualClock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}

        def pings() -> int:
            found = 0
            try:
                while manager.recv(64):
                    found += 1
            except BlockingIOError:
                return found
            return found

        async def main():
            pulse = Pulse(clock)
            pulse.expect("sampler", clock.monotonic_ns() + 35 * 10**9)
            task = asyncio.create_task(watchdog(pulse, environment))
            await asyncio.sleep(31)
            assert pings() == 4, "at twice systemd's pace"
            await asyncio.sleep(30)
            assert pings() == 0
            assert pulse.late() == ["sampler"]
            pulse.expect("sampler", clock.monotonic_ns() + 100 * 10**9)
            await asyncio.sleep(20)
            assert pings() == 2
            task.cancel()

        run_virtual(main(), clock)
