"""A person's stop at the node itself: one signature, once, and of their own zones."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from cython_ext import ClockQuality, ClockSource
from lanes.acts import StopSiren
from lanes.reports import Stage
from tests.kit.clock import run_virtual
from tests.kit.siren_rig import Rig, rig


def run(folder: Path, test: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with rig(folder) as r:
            await test(r)
            r.lawful()

    run_virtual(main())


async def stop(r: Rig, data: bytes, *relays: str) -> str:
    for relay in relays:
        r.monitor.stop(relay, r.clock.monotonic_ns())
    why = r.sirens.stop_by_person(data)
    await asyncio.sleep(0.05)
    return why


def test_one_person_silences_a_siren_without_a_controller(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        data = r.make.stop_act()
        assert await stop(r, data, "R1") == ""
        assert not r.on()
        assert r.told()[-1] == (Stage.STOPPED, "stopped")
        assert await stop(r, data) == "counter", "once"
        await r.give(r.make.order())
        assert r.told()[-1] == (Stage.REFUSED, "order-epoch")
        await r.give(r.make.order(order_epoch=1))
        assert r.told()[-1] == (Stage.REFUSED, "held")

    run(tmp_path, test)


def test_a_stop_needs_no_clock(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        data = r.make.stop_act()
        await asyncio.sleep(90)
        assert await stop(r, data) == "expired"
        r.clock.trust(ClockQuality(ClockSource.NONE))
        assert await stop(r, data, "R1") == ""
        assert not r.on()
        assert await stop(r, data) == "counter"

    run(tmp_path, test)


def test_what_does_not_count(tmp_path: Path) -> None:
    async def test(r: Rig) -> None:
        await r.give(r.make.order(), "R1")
        make = r.make
        assert await stop(r, make.stop_act("eva")) == "zone"
        assert await stop(r, make.stop_act("n2")) == "role"
        assert await stop(r, make.stop_act("mallory")) == "unknown-key"
        assert await stop(r, make.stop_act(service="n2")) == "addressee"
        assert await stop(r, make.stop_act(act=StopSiren(sirens=("s3",)))) == "siren"
        assert await stop(r, make.veto(b"incident")) == "kind"
        assert await stop(r, b"nothing") == "malformed"
        assert r.on()
        assert await stop(r, make.stop_act("eva", StopSiren(sirens=("s2",))), "R2") == "", "of her own zone"
        assert r.on()
        assert await stop(r, make.stop_act(act=StopSiren(zones=("ungheni",))), "R1") == ""
        assert not r.on()

    run(tmp_path, test)
