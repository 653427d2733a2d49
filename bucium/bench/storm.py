"""`bucium bench storm`: a regional event (reliability.md F31). Thousands of alarms in one second, each of its own zone; at each
tenth a siren whose policy is automatic. A real controller process on a real broker, with a dispatch centre that takes signed CAP.

    durable    the last event has its signed ack, which is sent after the controller's own commit (promised: 10 s)
    told       the last CAP message has been taken by the dispatch centre (promised: 30 s)
    sirens     from handing an alarm to the broker to hearing its siren's order (promised: 2 s), ahead of the messages
    the desk   how long a dispatcher waits for the controller's status meanwhile (promised: 1 s)

Generator, broker, dispatch centre and controller share the machine's cores: what is told is what this machine does with all four.
"""

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bucium import certificates
from bucium.bench.fleet import CONTROLLER, GROUP, Speaker, key_of, plan_of, write_centre
from bucium.bench.ingest import Generator, cpu_s, rss_mib, start
from bucium.demo import broker
from bucium.demo.children import Family
from bucium.demo.receiver import Receiver
from cython_ext import SystemClock, topics
from lanes import control
from lanes.envelope import Envelope, Kind
from lanes.keys import verify
from lanes.orders import Action, Order
from lanes.reports import Stage

ALARMS: Final = 5_000
SIREN_EVERY: Final = 10
WAIT_S: Final = 240.0
CALM_S: Final = 60.0
RESTATE_S: Final = 30.0  # design §2.3
YARDSTICK: Final = 200
DURABLE_S, TOLD_S, SIREN_S, DESK_S = 10.0, 30.0, 2.0, 1.0  # reliability.md F31
_IDENTIFIER: Final = re.compile(rb"<identifier>([^<]+)</identifier>")
_ZONE: Final = re.compile(rb"bucium-(z\d+)-flood-")


class _Region(Generator):
    """The fleet, whose siren nodes answer the orders that they get."""

    def __init__(self, port: int, speakers: list[Speaker]) -> None:
        super().__init__(port, speakers)
        self.ordered_s: dict[str, float] = {}  # node → when its first start order was heard
        self._answers: set[asyncio.Task[None]] = set()

    async def heard(self, envelope: Envelope, payload: bytes, now_s: float) -> None:
        if envelope.kind is not Kind.ORDER:
            return
        order = Order.unpack(envelope.body)
        if order.action is not Action.START or envelope.addressee in self.ordered_s:
            return
        self.ordered_s[envelope.addressee] = now_s
        speaker = self.speakers[envelope.addressee]
        receipt = speaker.receipt(payload, order, Stage.SOUNDING)
        answer = self.say(self.links[0], speaker.id, topics.report(GROUP, speaker.id), receipt, 1)
        task = asyncio.create_task(answer)  # a broker's PUBACK must not keep us from hearing the next
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)


def measure(alarms: int = ALARMS) -> dict[str, Any]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="bucium-bench-") as folder, Receiver(SystemClock()) as centre:
        return asyncio.run(_measured(Path(folder), alarms, centre))


async def _measured(folder: Path, alarms: int, centre: Receiver) -> dict[str, Any]:
    signed = plan_of(alarms, zone_nodes=1, siren_every=SIREN_EVERY)
    speakers = [Speaker(number, signed) for number in range(alarms)]
    async with Family() as family:
        served = await broker.start(family, folder / "broker", folder / "broker.log")
        config = write_centre(folder / CONTROLLER, signed, served.port)
        _add_dispatch(folder / CONTROLLER, config, centre.url)
        region = _Region(served.port, speakers)
        async with region.connected():
            child, _ = await start(family, region, config, folder)
            await region.all_say(lambda s: (topics.report(GROUP, s.id), s.state(), 0))
            socket = folder / CONTROLLER / "run" / "controller.sock"
            await _calm(socket, alarms)
            found = await _storm(region, centre, socket, lambda: cpu_s(child.pid))
            found["rss_peak_mib"] = rss_mib(child.pid, "VmHWM")
            family.require()
    return found


def _add_dispatch(folder: Path, config: Path, url: str) -> None:
    """A key that signs CAP, and the dispatch centre that takes it."""
    now_us = SystemClock().wall_us()
    (folder / "tls").mkdir()
    (folder / "cap").mkdir()
    certificates.make_authority(folder / "tls", "bench", now_us)
    certificates.issue_cap(folder / "tls", folder / "cap", CONTROLLER, now_us)
    config.write_text(
        config.read_text()
        + f'[cap]\nkey = "cap/{CONTROLLER}.key"\ncertificate = "cap/{CONTROLLER}.crt"\nlanguages = ["ro", "en"]\n'
        f'[[dispatch]]\nkind = "cap"\nname = "centre"\nurl = "{url}"\n'
    )


async def _storm(region: _Region, centre: Receiver, socket: Path, spent_s: Callable[[], float]) -> dict[str, Any]:
    alarms = len(region.speakers)
    yardstick_us = _yardstick_us()
    desk: list[float] = []
    tasks = [asyncio.create_task(_ask(socket, desk)), asyncio.create_task(_restate(region))]
    began_s, began_us, idle_s = time.perf_counter(), SystemClock().wall_us(), spent_s()
    handed_s = await region.all_say(lambda s: (topics.report(GROUP, s.id), s.event(), 1))
    sent_s = {node: at_s for (node, seq), at_s in region.sent_at.items() if seq == 1}
    await region.settled()
    durable_s, durable_cpu_s = time.perf_counter() - began_s, spent_s() - idle_s
    sirens = [node for number, node in enumerate(region.speakers) if number % SIREN_EVERY == 0]
    with contextlib.suppress(TimeoutError):  # what did not come by then is told as missing
        async with asyncio.timeout(WAIT_S):
            # The dispatch centre runs in a thread of its own.
            while len(_told(centre)) < alarms or len(region.ordered_s) < len(sirens):  # noqa: ASYNC110
                await asyncio.sleep(0.25)
    told = _told(centre)
    for task in tasks:
        task.cancel()
    order_s = sorted(at_s - sent_s[node] for node, at_s in region.ordered_s.items())
    told_s = sorted((at_us - began_us) / 1e6 for at_us in told.values())
    last_order_s = max(region.ordered_s.values()) - began_s
    return {
        "alarms": alarms,
        "handed_s": round(handed_s, 2),
        "durable_s": round(durable_s, 2),
        "durable_cpu_s": round(durable_cpu_s, 1),
        "told_cpu_s": round(spent_s() - idle_s, 1),
        "told": len(told),
        "posts": len(centre.posts),
        "told_s": round(told_s[-1], 2),
        "sirens": len(sirens),
        "ordered": len(region.ordered_s),
        "prompt": sum(at_s - began_s < RESTATE_S for at_s in region.ordered_s.values()),  # by the event itself
        "order_ms": {name: round(_at(order_s, q) * 1000) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))},
        "told_before_the_last_order": sum(at_s < last_order_s for at_s in told_s),
        "siren_before_its_message": sum(
            at_s - began_s < (told.get(f"z{node[1:]}", began_us + 10**12) - began_us) / 1e6
            for node, at_s in region.ordered_s.items()
        ),
        "resent": region.resent,
        "verify_us": yardstick_us,
        "desk_ms": {name: round(_at(sorted(desk), q) * 1000) for name, q in (("p50", 0.5), ("max", 1.0))}
        if desk
        else {},
    }


def _told(centre: Receiver) -> dict[str, int]:
    """By zone: when the first CAP message about its alarm was taken."""
    found: dict[str, int] = {}
    for post in list(centre.posts):
        named = _IDENTIFIER.search(post.body)
        zone = _ZONE.match(named[1]) if named else None
        if zone is not None:
            found.setdefault(zone[1].decode(), post.at_us)
    return found


async def _restate(region: _Region) -> None:
    """As every node does while a Level stands: what comes so late that it is only history is said again as the present."""
    while True:
        await asyncio.sleep(RESTATE_S)
        for number, speaker in enumerate(list(region.speakers.values())):
            if number % SIREN_EVERY == 0 and speaker.id not in region.ordered_s:
                await region.links[0].publish(topics.report(GROUP, speaker.id), speaker.state(raised=True), qos=0)


async def _calm(socket: Path, reports: int) -> None:
    """Wait until the controller has taken every node's first state report: the storm meets a fleet that has been running."""
    with contextlib.suppress(TimeoutError):  # QoS 0 may lose some
        async with asyncio.timeout(CALM_S):
            while _reports(await asyncio.to_thread(control.ask, socket, "status", timeout_s=60.0)) < reports:  # noqa: ASYNC110
                await asyncio.sleep(0.25)
    await asyncio.sleep(1.0)


def _reports(status: Any) -> int:
    return int(status["alarm_lane"]["reports"])


async def _ask(socket: Path, took: list[float]) -> None:
    """A dispatcher who looks twice a second."""
    while True:
        began_s = time.perf_counter()
        await asyncio.to_thread(control.ask, socket, "status", timeout_s=60.0)
        took.append(time.perf_counter() - began_s)
        await asyncio.sleep(0.5)


def _yardstick_us() -> int:
    """What one signature's verification takes on this machine now: 135 µs where the promises were measured (libraries.md)."""
    key, data = key_of("yardstick"), bytes(200)
    signature = key.sign(data)
    began_s = time.perf_counter()
    for _ in range(YARDSTICK):
        verify(key.public, signature, data)
    return round((time.perf_counter() - began_s) / YARDSTICK * 1e6)


def _at(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def lines(found: dict[str, Any]) -> list[str]:
    """The figures for people."""
    order, desk = found["order_ms"], found["desk_ms"]
    shown = ", ".join(f"{name} {ms} ms" for name, ms in order.items())
    first, ordered = found["siren_before_its_message"], found["ordered"]
    desks = ", ".join(f"{name} {ms} ms" for name, ms in desk.items())
    return [
        f"{found['alarms']} alarms of as many zones, handed to the broker within {found['handed_s']} s",
        f"durable: all acked after {found['durable_s']} s (promised: {DURABLE_S:g} s), {found['resent']} sent again",
        f"told: {found['told']} signed CAP messages taken after {found['told_s']} s (promised: {TOLD_S:g} s)",
        f"sirens: {ordered} of {found['sirens']} ordered, {shown} (promised: {SIREN_S:g} s)",
        f"sirens first: {first} of {ordered} had their order before dispatch had the message",
        f"the desk answers: {desks} (promised: {DESK_S * 1000:g} ms)",
        f"one signature is verified in {found['verify_us']} µs here and now; promised for a machine of 135 µs",
        f"the controller's own time: {found['durable_cpu_s']} s of a core until durable, {found['told_cpu_s']} s until told",
        f"memory of the controller: at most {found['rss_peak_mib']} MiB",
    ]
