"""F31, the dispatch side: 5,000 alarms in one second are durable within 10 s and told within 30 s, with every receipt in the
journal, while the loop that orders sirens stays free.

Here a fifth of the storm has a fifth of that time on one processor, in seconds of its own: machines are shared.
`BUCIUM_STORM=5000` asks for the whole storm by the clock on the wall, on a quiet machine, by hand.
"""

import asyncio
import os
import random
import time
from dataclasses import astuple
from pathlib import Path

from controller.alarm.changes import AlarmChange
from controller.dispatch import Delivery
from controller.dispatch.cap import Author, identifier_of
from controller.dispatch.channels import channels_of
from controller.dispatch.dispatcher import Dispatcher
from controller.dispatch.feed import Feed
from controller.dispatch.settings import AtomSettings, CapPushSettings, CapSettings
from controller.record.journal import Journal
from controller.record.records import Record
from cython_ext import SystemClock
from lanes.store import ThreadRunner
from tests.kit.capkeys import signer
from tests.kit.plans import key
from tests.kit.receivers import receiver
from tests.kit.telling import change, plan

BY_HAND = "BUCIUM_STORM" in os.environ
ALARMS = int(os.environ.get("BUCIUM_STORM", "1000"))
DURABLE_S, TOLD_S, STORM = 10.0, 30.0, 5000  # reliability.md F31
PATIENCE_S = TOLD_S if BY_HAND else 110.0


def storm(clock: SystemClock) -> list[AlarmChange]:
    now_us = clock.wall_us()
    return [change(seq=n + 1, at_us=now_us + n) for n in range(ALARMS)]


async def test_a_storm_of_alarms_is_durable_and_told_in_time(tmp_path: Path) -> None:
    clock = SystemClock()
    disk, write, files = (ThreadRunner(name) for name in ("journal", "dispatch", "files"))
    journal = Journal(tmp_path / "journal.db", clock=clock, runner=disk, key=key("iasi"), new_id=bytes(8))
    committing = asyncio.create_task(journal.run())
    settings = CapSettings(sender="alarms@galati.example")

    async def receipt(delivery: Delivery) -> None:
        row = journal.append(Record.DELIVERY, list(astuple(delivery)))
        await journal.durable(row.seq)

    async with receiver() as server:
        configured = (
            CapPushSettings.model_validate({"kind": "cap", "name": "centre", "url": server.url}),
            AtomSettings.model_validate({"kind": "atom"}),
        )
        channels = channels_of(configured, clock=clock, runner=files, data=tmp_path, sender=settings.sender)
        dispatcher = Dispatcher(
            Author(plan(), settings, signer()),
            channels,
            path=tmp_path / "outbox.db",
            clock=clock,
            runner=write,
            entropy=random.Random(1),
            receipt=receipt,
            trouble=lambda *_: None,
        )
        running = asyncio.create_task(dispatcher.run())
        lag = asyncio.create_task(_lag())
        loop = asyncio.get_running_loop()
        changes = storm(clock)
        began_s, cpu_s = loop.time(), time.process_time()
        async with asyncio.timeout(PATIENCE_S):
            async with asyncio.timeout(DURABLE_S):
                for each in changes:
                    journal.append(Record.ALARM, [each.pack(), b""])
                await journal.durable()  # as the controller does it: from here on no crash forgets one (teller.py)
            durable_s, durable_cpu_s = loop.time() - began_s, time.process_time() - cpu_s
            await asyncio.gather(*(dispatcher.tell(each) for each in changes))
            written_s = loop.time() - began_s
            await dispatcher.settled(PATIENCE_S)
            await server.until(ALARMS, PATIENCE_S)
        told_s, told_cpu_s = loop.time() - began_s, time.process_time() - cpu_s
        lag.cancel()
        worst_ms, mean_ms = await lag
        print(f"{ALARMS} alarms: durable {durable_s:.2f} s, written {written_s:.2f} s, told {told_s:.2f} s")
        print(f"loop late {mean_ms:.1f} ms mean, {worst_ms:.0f} ms worst; {told_cpu_s:.1f} s of CPU")
        assert durable_cpu_s <= DURABLE_S * ALARMS / STORM
        assert told_cpu_s <= TOLD_S * ALARMS / STORM
        feed = next(channel for channel in channels if isinstance(channel, Feed))
        assert {b"<identifier>" + identifier_of(each).encode() for each in changes} == {
            posted.body[posted.body.index(b"<identifier>") : posted.body.index(b"</identifier>")]
            for posted in server.taken
        }
        assert await dispatcher.pending() == {"centre": 0, "atom": 0}
        assert (await feed.alert(identifier_of(changes[-1]))) is not None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await journal.durable()
    told = [row.value for row in journal.rows(0) if row.kind is Record.DELIVERY]
    assert {(row[0], row[1]) for row in told if row[3] == "delivered"} == {
        (name, identifier_of(each)) for name in ("centre", "atom") for each in changes
    }
    committing.cancel()
    await asyncio.gather(committing, return_exceptions=True)
    await journal.close()
    for runner in (disk, write, files):
        runner.close()


async def _lag() -> tuple[float, float]:
    """How late the loop comes back to a task that waits for 10 ms: what an order to a siren would feel. (worst, mean) in ms."""
    loop, late = asyncio.get_running_loop(), [0.0]
    try:
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            late.append((loop.time() - due) * 1000)
    except asyncio.CancelledError:
        return max(late), sum(late) / len(late)
