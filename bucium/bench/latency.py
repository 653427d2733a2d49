"""`bucium bench latency`: how soon a siren sounds and falls silent, over the demo's real programs, broker and simulated devices.

    order     the last approval handed to the controller → the relay, coil or siren function, by its device's own record
    issued    the controller has decided the order (its journal's row) → the same: what the order's own way takes
    stop      a person's stop handed to the controller → off, by the same records
    crossing  a fire panel's register changes → the first sound (polled each 0.5 s, judged, agreed, ordered)
    sequence  each switch of the pattern against its time after the first sound
    verify    one order with two approvals, by the node's own code in this process; its disk is left out

Every instant is of this machine's monotonic clock, which all its processes share.
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import apsw

from bucium.demo import site as files
from bucium.demo import stage
from bucium.demo.happening import Teller
from bucium.demo.sounds import Blast
from bucium.demo.stage import Stage
from bucium.output import emit, plain
from bucium.people import Person
from controller.record.records import Record
from cython_ext import BuciumError, SystemClock
from edge.siren.moment import Moment
from edge.siren.orders import Accepted, OpenOrder, judge, open_order
from edge.siren.orderstore import OrderStore
from edge.siren.standing import Standing
from lanes import acts, cbor, planfile
from lanes.control import ask
from lanes.envelope import BOOT_BYTES, NOT_AFTER_MAX_US, Envelope, Kind, peek, seal
from lanes.identity import INCIDENT_BYTES, STORE_ID_BYTES, AlarmId
from lanes.keys import Mode, read_key
from lanes.orders import Action, Order, OrderCore
from lanes.store import run_here

ROUNDS: Final = 40  # three sirens each: 120 orders, so that the 99th percentile is measured and not guessed
CROSSINGS: Final = 12
WHOLE: Final = 3  # patterns that are played to their end
VERIFIED: Final = 300
VERIFY_TRIES: Final = (
    5  # of each order the quickest counts: what else the machine does meanwhile is not the node's cost
)
WAIT_S: Final = 20.0
ZONES: Final = ("riverside", "mill")
SIRENS: Final = ("bridge", "quay", "mill")
PATTERN: Final = "demo-disaster"
PROMISE: Final = {"order": 250.0, "stop": 2000.0, "crossing": 10_000.0, "sequence": 50.0, "verify": 2.0}


@dataclass
class _Found:
    """Milliseconds, by what was measured."""

    order: list[float] = field(default_factory=list)
    issued: list[float] = field(default_factory=list)
    stop: list[float] = field(default_factory=list)
    crossing: list[float] = field(default_factory=list)
    sequence: list[float] = field(default_factory=list)
    verify: list[float] = field(default_factory=list)


class _Bench:
    """One run on a running town."""

    def __init__(self, town: Stage, clock: SystemClock, say: Callable[[str], None]) -> None:
        self.town = town
        self.clock = clock
        self.say = say
        self.found = _Found()
        self.controller = town.site.socket("controller")
        self.people = [Person(self.controller, town.site.key(person), clock) for person in files.PEOPLE]
        self.sounded: list[tuple[str, int]] = []  # siren, and when it began

    async def run(self, rounds: int, crossings: int) -> None:
        for number in range(rounds):
            await self._order(whole=number < WHOLE)
        self.say(f"{len(self.found.order)} orders and {len(self.found.stop)} stops measured")
        for _ in range(crossings):
            await self._cross()
        self.say(f"{len(self.found.crossing)} crossings measured")

    async def _order(self, *, whole: bool) -> None:
        """Two people order all three sirens; then one stops them, or the pattern plays to its end."""
        first, second = self.people
        request = await asyncio.to_thread(first.do, acts.RequestSiren(ZONES, PATTERN, Mode.LIVE, 0, "bench", acts.ALL))
        await asyncio.to_thread(first.approve, request)
        began_ns = self.clock.monotonic_ns()
        await asyncio.to_thread(second.approve, request)
        blasts = [await self._sound(siren, began_ns) for siren in SIRENS]
        self.found.order += [(blast.on_ns - began_ns) / 1e6 for blast in blasts]
        self.sounded += [(siren, blast.on_ns) for siren, blast in zip(SIRENS, blasts, strict=True)]
        if whole:
            await self._play_out(began_ns)
            return
        stop_ns = self.clock.monotonic_ns()
        await asyncio.to_thread(first.do, acts.StopSiren(zones=ZONES))
        await self._until(lambda: not self.town.world.sounds.sounding)
        self.found.stop += [(blast.off_ns - stop_ns) / 1e6 for blast in blasts]

    async def _play_out(self, began_ns: int) -> None:
        pattern = self.town.plan.pattern(PATTERN)
        assert pattern is not None
        segment = pattern.segments[0]
        await asyncio.sleep(pattern.length_s)
        await self._until(lambda: not self.town.world.sounds.sounding)
        for siren in SIRENS:
            played = self.town.world.sounds.since(siren, began_ns)
            for number, blast in enumerate(played):
                at_s = number * (segment.on_s + segment.off_s)
                zero_ns = played[0].on_ns
                self.found.sequence.append(abs((blast.on_ns - zero_ns) / 1e6 - at_s * 1e3))
                self.found.sequence.append(abs((blast.off_ns - zero_ns) / 1e6 - (at_s + segment.on_s) * 1e3))

    async def _cross(self) -> None:
        """Smoke at the mill: the panel's register, to the first sound; then all is made ready for the next."""
        began_ns = self.clock.monotonic_ns()
        await self.town.world.ask("set", device="mill-panel", channel="alarm", value=1)
        blast = await self._sound("mill", began_ns)
        self.found.crossing.append((blast.on_ns - began_ns) / 1e6)
        await asyncio.to_thread(self.people[0].do, acts.StopSiren(zones=("mill",)))
        await self.town.world.ask("set", device="mill-panel", channel="alarm", value=0)
        await self._until(lambda: not self.town.world.sounds.sounding)
        async with asyncio.timeout(WAIT_S):
            while not await asyncio.to_thread(self._close):  # noqa: ASYNC110 - another process must be asked
                await asyncio.sleep(0.2)

    def _close(self) -> bool:
        """Acknowledge and reset what is over; whether no alarm is open any more."""
        person = self.people[0]
        alarms = ask(self.controller, "alarm.list")
        for alarm in alarms:
            if alarm["unseen"]:
                person.acknowledge(alarm["alarm"])
            elif alarm["state"] == "latched-acknowledged":
                person.do(acts.ResetAlarm(AlarmId.parse(alarm["alarm"])))
        return not alarms

    async def _sound(self, siren: str, from_ns: int) -> Blast:
        """The siren's first blast since then."""
        await self._until(lambda: bool(self.town.world.sounds.since(siren, from_ns)))
        return self.town.world.sounds.since(siren, from_ns)[0]

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self.town.family.require()
                await asyncio.sleep(0.02)

    def issues(self) -> None:
        """After the run: when the controller decided each order, from its journal."""
        store = apsw.Connection(str(self.town.site.journal), flags=apsw.SQLITE_OPEN_READONLY)
        query = "SELECT monotonic_ns, payload FROM entry WHERE kind = ? ORDER BY seq"
        rows = [(at_ns, cbor.decode(payload)) for at_ns, payload in store.execute(query, (int(Record.ORDER),))]
        store.close()
        starts = [(at_ns, siren) for at_ns, (_, siren, data, *_) in rows if _starts(data)]
        for siren, on_ns in self.sounded:
            decided_ns = max(at_ns for at_ns, ordered in starts if ordered == siren and at_ns <= on_ns)
            self.found.issued.append((on_ns - decided_ns) / 1e6)


def _starts(data: bytes) -> bool:
    envelope = peek(data)
    return envelope is not None and Order.unpack(envelope.body).action is Action.START


def verify_ms(town: Stage, clock: SystemClock, count: int) -> list[float]:
    """The time of `count` verifications of fresh orders by two people, as a node's own code does it."""
    signed = planfile.read(town.site.plan)
    boot = secrets.token_bytes(BOOT_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        store = OrderStore(
            Path(folder) / "o.db",
            anchor=Path(folder) / "a",
            clock=clock,
            runner=run_here,
            entropy=secrets.token_bytes,
        )
        standing = Standing(signed, "bridge", boot, store)
        found = []
        for number in range(count):
            data = _order_by_people(town, signed, clock, boot, number + 1)
            found.append(min(_verify_ms(data, standing, clock) for _ in range(VERIFY_TRIES)))
        store.close()
    return found


def _verify_ms(data: bytes, standing: Standing, clock: SystemClock) -> float:
    began_ns = clock.monotonic_ns()
    opened = open_order(data, standing)
    assert isinstance(opened, OpenOrder), opened
    verdicts = judge(opened, standing, Moment.of(clock))
    took_ms = (clock.monotonic_ns() - began_ns) / 1e6
    assert all(isinstance(verdict, Accepted) for verdict in verdicts), verdicts
    return took_ms


def _order_by_people(town: Stage, signed: planfile.SignedPlan, clock: SystemClock, boot: bytes, counter: int) -> bytes:
    """A start of the bridge's siren, approved by both people."""
    now_us = clock.wall_us()
    end_us = now_us + NOT_AFTER_MAX_US
    core = OrderCore(secrets.token_bytes(INCIDENT_BYTES), ("riverside",), PATTERN, Mode.LIVE, 8, end_us, signed.digest)
    approvals = tuple(
        acts.sign_approval(
            core.digest(),
            nonces=(boot,),
            person=person,
            service=files.CONTROLLER,
            key=read_key(town.site.key(person)),
            now_us=now_us,
            not_after_us=end_us,
            once=secrets.token_bytes(STORE_ID_BYTES),
        )
        for person in files.PEOPLE
    )
    body = Order(Action.START, "bridge", core, 0, boot, (), approvals).pack()
    envelope = Envelope(
        Kind.ORDER, files.CONTROLLER, "bridge", boot, counter, now_us, signed.plan.version, 0, body, end_us
    )
    return seal(envelope, read_key(town.site.key(files.CONTROLLER)))


@asynccontextmanager
async def running(clock: SystemClock) -> AsyncIterator[Stage]:
    """The demo's town with every program at work."""
    async with stage.build(clock=clock, teller=Teller(clock), out=None, broker="") as town:
        watchers = [asyncio.create_task(each) for each in (town.world.run(), town.world.watch(), town.lane.run())]
        try:
            await asyncio.wait_for(town.lane.connected.wait(), WAIT_S)
            await stage.start(town)
            await town.ready()
            yield town
        finally:
            for task in watchers:
                task.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
        await town.stop()


async def measure(rounds: int, crossings: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every figure; BuciumError when a program does not come up or a siren does not sound."""
    clock = SystemClock()
    async with running(clock) as town:
        bench = _Bench(town, clock, say)
        try:
            await bench.run(rounds, crossings)
        except TimeoutError:
            raise BuciumError(f"a siren did not do as ordered within {WAIT_S:g} s") from None
        bench.issues()
        bench.found.verify = verify_ms(town, clock, VERIFIED)
    return summary(bench.found)


def summary(found: _Found) -> dict[str, Any]:
    """Percentiles in milliseconds, beside what is promised of the 99th."""
    figures = {name: figure(getattr(found, name), PROMISE.get(name)) for name in found.__dataclass_fields__}
    return {"bench": "latency", "unit": "ms", **figures}


def figure(values: Sequence[float], promised_ms: float | None) -> dict[str, Any]:
    """p50, p99 and the most of these milliseconds."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0, "promised_p99": promised_ms}
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {
        "count": len(ordered),
        "p50": round(median(ordered), 2),
        "p99": round(p99, 2),
        "most": round(ordered[-1], 2),
        "promised_p99": promised_ms,
    }


def run(*, json: bool, rounds: int = ROUNDS, crossings: int = CROSSINGS) -> None:
    """Measure and print."""
    found = asyncio.run(measure(rounds, crossings, lambda line: None if json else plain(line)))
    if json:
        emit({"ok": True, **found})
        return
    for name, row in found.items():
        if isinstance(row, dict) and row["count"]:
            promised = f", promised {row['promised_p99']:g}" if row["promised_p99"] else ""
            plain(f"{name:9} n {row['count']:4}  p50 {row['p50']:8.2f} ms  p99 {row['p99']:8.2f} ms{promised}")
