"""A whole node in one loop: real Modbus devices on sockets, a broker in memory, and a home controller that checks signatures."""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path

import pytest

from cython_ext import Cause, ConfigError, Level, SystemClock, Trouble
from edge import app, config
from firmware_bridge.simulators.faults import Fault
from lanes import control
from lanes.reports import BootData, TroubleData
from lanes.store import ThreadRunner
from tests.kit.broker import MemoryBroker
from tests.kit.site import lay_out
from tests.kit.whole_node import LIMIT_S, site


async def test_a_rising_river_reaches_the_controller_with_its_level(tmp_path):
    async with site(tmp_path) as it:
        it.start()
        it.permit(900)
        await it.until(lambda: it.far.events)
        assert isinstance(it.far.events[0].data, BootData)
        assert it.far.events[0].data.why == "first-start"
        it.devices.set("gauge", "level", 3.4)
        await it.until(lambda: it.raised("level"))
        assert it.raised("level")[-1] is Level.ALARM
        assert it.transitions("level")[-1].value == pytest.approx(3.4, abs=0.001)
        it.devices.set("gauge", "level", 1.0)
        await it.until(lambda: it.transitions("level")[-1].level is Level.NORMAL)
        await it.end()


async def test_a_restart_restates_the_held_level_without_waiting_for_a_sample(tmp_path):
    async with site(tmp_path) as it:
        it.start()
        it.permit(900)  # on a machine too busy to ack for 10 s the reflex may sound
        it.devices.set("gauge", "level", 4.2)
        await it.until(lambda: it.raised("level"))
        await it.end()
        it.devices.fault("gauge", Fault.DEAD)
        before = len(it.far.events)
        it.start()
        await it.until(lambda: len(it.far.events) >= before + 2)
        restated, boot = (event.data for event in it.far.events[before : before + 2])
        assert (restated.cause, restated.level) == (Cause.RESTATED, Level.DANGER), "the danger goes first"
        assert isinstance(boot, BootData)
        assert boot.why == "after-stop"
        await it.until(lambda: it.far.states and it.far.states[-1].points)
        [row] = [row for row in it.far.states[-1].points if row.point == 1]
        assert (row.level, row.raise_seq) == (Level.DANGER, it.far.events[before].seq)
        await it.end()


async def test_after_a_crash_everything_told_is_still_owed_and_the_reason_is_said(tmp_path):
    async with site(tmp_path) as it:
        it.broker.stop()
        it.start()
        await it.until(lambda: (tmp_path / "run" / "node.sock").exists())
        it.permit(900)
        it.devices.set("gauge", "level", 3.4)
        status = await until_unacked(tmp_path, 2)
        await it.kill()
        it.broker.start()
        it.start()
        await it.until(lambda: len([e for e in it.far.events if isinstance(e.data, BootData)]) == 2)
        await it.until(lambda: it.raised("level"))
        assert [e.data.why for e in it.far.events if isinstance(e.data, BootData) and e.seq > 1] == ["after-crash"]
        assert {e.ledger.hex() for e in it.far.events} == {status["ledger"]["id"]}
        await it.end()


async def until_unacked(folder: Path, least: int) -> dict:
    async with asyncio.timeout(LIMIT_S):
        while True:
            status = await asyncio.to_thread(control.ask, folder / "run" / "node.sock", "node.status")
            if status["ledger"]["unacked"] >= least:
                return status
            await asyncio.sleep(0.05)


async def test_a_dead_gauge_is_trouble_and_never_silence(tmp_path):
    async with site(tmp_path) as it:
        it.start()
        await it.until(lambda: it.far.events)
        it.devices.fault("gauge", Fault.DEAD)
        lost = TroubleData("device-lost", True, "gauge")
        await it.until(lambda: lost in [e.data for e in it.far.events])
        await it.until(lambda: any(t.trouble & (Trouble.MISSING | Trouble.STALE) for t in it.transitions("level")))
        it.devices.fault("gauge", Fault.NONE)
        await it.until(lambda: TroubleData("device-lost", False, "gauge") in [e.data for e in it.far.events])
        await it.end()


async def test_the_desk_shows_the_node_as_it_is(tmp_path):
    async with site(tmp_path) as it:
        it.start()
        await it.until(lambda: it.far.events)
        it.devices.set("gauge", "level", 2.5)
        await it.until(lambda: it.raised("level"))
        socket = tmp_path / "run" / "node.sock"

        async def ask(verb: str, **args: object) -> object:
            return await asyncio.to_thread(control.ask, socket, verb, **args)

        status = await ask("node.status")
        assert status["lane"]["connected"]
        [siren] = status["sirens"]
        assert (siren["id"], siren["stage"], siren["order_epoch"], siren["hold_s"]) == ("school", "done", 0, 0)
        [level] = [row for row in await ask("node.points") if row["id"] == "level"]
        assert (level["level"], level["unit"], level["value"]) == ("attention", "m", pytest.approx(2.5, abs=0.001))
        newest = await ask("node.events", limit=1)
        assert (newest[0]["kind"], newest[0]["point"], newest[0]["level"]) == ("transition", "level", "attention")
        with pytest.raises(control.ControlError, match="limit"):
            await ask("node.events", limit=0)
        with pytest.raises(control.ControlError, match="veto does not count"):
            await ask("siren.veto", act="AAAA")
        await it.end()


async def test_cut_off_the_node_sounds_its_own_siren_and_stopping_it_leaves_the_relay_off(tmp_path):
    """No controller at all: the flood reaches the relay, as the relay board itself recorded it."""
    segments = [{"mode": "steady", "on_s": 60}]
    pattern = [{"id": "flood", "source": "test", "verified": False, "segments": segments}]
    async with site(tmp_path, pattern=pattern) as it:
        it.broker.stop()
        it.start()
        it.permit(60)
        it.devices.set("gauge", "level", 3.4)
        await it.until(lambda: 1 in it.relay)
        await it.end()
        assert it.relay[-1] == 0


async def refusal(folder: Path, **layout: object) -> Awaitable[ConfigError]:
    ready = config.ready(config.load(lay_out(folder, **layout)))
    with pytest.raises(ConfigError) as refused:
        await app.run(
            ready,
            clock=SystemClock(),
            connector=MemoryBroker().connector(),
            runner=ThreadRunner("ledger"),
            entropy=os.urandom,
            stop=asyncio.Event(),
        )
    return refused.value


async def test_a_demo_plan_is_refused_by_real_drivers(tmp_path):
    from tests.kit.site import TOML

    error = await refusal(tmp_path, root="DEMO", text=TOML.replace("simulated = true", "simulated = false"))
    assert "reaches real hardware" in str(error)
    assert not (tmp_path / "data" / "ledger.db").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('channel = "level"', 'channel = "depth"', "device 'gauge' has no channel 'depth'; it has level"),
        ('profile = "vegapuls"', 'profile = "vegapulse"', "vegapulse"),
        ('any = "relay-1"', 'any = "relay-9"', "no relay 'relay-9'"),
        ('device = "panel"\nchannel = "alarm-2"', 'device = "gauge"\nchannel = "level"\nfactor = 2', ""),
    ],
)
async def test_what_the_wires_cannot_do_is_refused_before_anything_opens(tmp_path, old, new, says):
    from tests.kit.site import TOML

    text = TOML.replace(old, new)
    assert text != TOML
    if not says:
        app.examine(config.ready(config.load(lay_out(tmp_path, text=text))), SystemClock())
        return
    error = await refusal(tmp_path, text=text)
    assert says in str(error)
    assert str(error).startswith(str(tmp_path / "node.toml"))
