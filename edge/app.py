"""The node, wired: what reads, judges, keeps, sends and sounds, and in which order it starts and ends.

Embeddable: several nodes and a controller run in one loop of a demo or a simulation. A broker that is absent is ordinary; a
bug ends the program, relays OFF, and start-up is recovery.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from cython_ext import Clock, ClockQuality, ConfigError
from firmware_bridge.factory import Bridge
from lanes import control, plankept, pulse
from lanes.envelope import BOOT_BYTES
from lanes.keys import Mode, SigningKey
from lanes.link import Connector
from lanes.planfile import SignedPlan
from lanes.reports import BootData
from lanes.sparkplug import NodeMetric
from lanes.store import Runner

from . import VERSION, health
from .config import Ready
from .desk import Desk
from .health import NodeClock
from .plan.follow import Follower
from .replan import Replan
from .report.lane import Lane, Node
from .report.ledgers import Ledgers, free_bytes
from .report.reporter import Reporter
from .sense.judge import Judge
from .sense.resetting import Resetting
from .sense.sampler import Sampler, Source, sources
from .siren import fit
from .siren.orderstore import OrderStore
from .siren.readiness import readiness_line
from .siren.reflex import Reflex
from .siren.restating import Restating
from .siren.sirens import Sirens
from .telemetry.telemetry import Telemetry
from .troubles import Troubles

log = logging.getLogger("bucium.edge")

Entropy = Callable[[int], bytes]


async def run(
    ready: Ready,
    *,
    clock: Clock,
    connector: Connector,
    runner: Runner,
    entropy: Entropy,
    stop: asyncio.Event,
    bridge: Bridge | None = None,
    probe: Callable[[], ClockQuality] | None = None,
    spare: Runner | None = None,
) -> None:
    """Run one node until `stop`. ConfigError before anything opens.

    `bridge`: its devices, when they are not to be made from the configuration. `probe`: who vouches for the wall clock (the
    real service asks the kernel); without it the clock's own word counts. `spare`: runs what telemetry writes, so that the ledger
    never waits for it (None: the same).
    """
    data = ready.local.at(ready.local.config.node.data)
    _make_folder(data)
    await runner(plankept.keep, ready.signed, data)
    node_clock = await _start_clock(ready, data, clock, runner, probe)
    if bridge is None:
        bridge = make_bridge(ready, node_clock)
    bridge.require_real_allowed(ready.signed.plan.root)
    node = _Node(ready, data, node_clock, bridge, connector, runner, spare or runner, entropy)
    await node.run(stop)


def make_bridge(ready: Ready, clock: Clock) -> Bridge:
    """The buses, devices and sirens of node.toml; ConfigError with the file's name."""
    config = ready.local.config
    try:
        return Bridge(config.buses, config.devices, config.sirens, clock=clock, base=ready.local.base)
    except ConfigError as error:
        raise error if error.source else ready.local.error(str(error)) from None


def examine(ready: Ready, clock: Clock) -> None:
    """All that can be refused before a start, for `bucium config check`; nothing is opened."""
    bridge = make_bridge(ready, clock)
    bridge.require_real_allowed(ready.signed.plan.root)
    sources(ready.local, ready.signed.plan, bridge.devices)


def doubts(ready: Ready, clock: Clock) -> Iterator[str]:
    """What would start and hardly be meant, for `bucium config check`: of this node's sirens."""
    yield from fit.doubts(ready.signed.plan, ready.node, make_bridge(ready, clock).sirens)


def _make_folder(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise ConfigError(f"cannot make the data folder: {error.strerror}", source=str(data)) from None


async def _start_clock(
    ready: Ready, data: Path, clock: Clock, runner: Runner, probe: Callable[[], ClockQuality] | None
) -> NodeClock:
    persisted = await runner(health.load_time, data / "time")
    return NodeClock(
        clock,
        floor_us=max(persisted.wall_us, health.build_us()) if probe is not None else persisted.wall_us,
        synced_us=persisted.synced_us,
        rtc_hours=ready.local.config.clock.rtc_hours,
        probe=probe,
    )


class _Node:
    """One node's parts, and their life."""

    def __init__(
        self,
        ready: Ready,
        data: Path,
        clock: NodeClock,
        bridge: Bridge,
        connector: Connector,
        runner: Runner,
        spare: Runner,
        entropy: Entropy,
    ) -> None:
        self._ready = ready
        self._data = data
        self._clock = clock
        self._bridge = bridge
        self._connector = connector
        self._runner = runner
        self._spare = spare
        self._entropy = entropy
        self._sources: list[Source] = sources(ready.local, ready.signed.plan, bridge.devices)
        self._rng = Random(int.from_bytes(entropy(8), "big"))  # noqa: S311 - jitter, not secrets
        self._boot = entropy(BOOT_BYTES)
        self._pulse = pulse.Pulse(clock)

    async def run(self, stop: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as ends:
            ends.push_async_callback(self._bridge.close)
            await self._bridge.open()  # relays OFF before anything waits for the disk
            await self._build(ends)
            verbs = self._desk().verbs
            socket = self._ready.local.at(self._ready.local.config.node.socket)
            _make_folder(socket.parent)
            await ends.enter_async_context(control.serve(socket, verbs))
            await ends.enter_async_context(self._reporting())
            await self._reporter.record(BootData(f"bucium {VERSION}", await self._why()))
            await self._judge.restore()
            await self._judge.drain()  # held Levels are restated before anyone is told what is true now
            await self._work(stop)

    async def _build(self, ends: contextlib.AsyncExitStack) -> None:
        """Open what is on the disk, and make all parts. The last opened is the first closed."""
        ready, clock, runner = self._ready, self._clock, self._runner
        signed, node = ready.signed, ready.node
        self._ledgers: Ledgers = await runner(Ledgers, self._data, node, self._entropy)
        ends.push_async_callback(runner, self._ledgers.close)
        self._reporter = Reporter(
            signed=signed,
            node=node,
            key=ready.keys[Mode.LIVE],
            ledgers=self._ledgers,
            boot=self._boot,
            clock=clock,
            runner=runner,
        )
        self._troubles = Troubles(self._reporter.post)
        self._store = OrderStore(
            self._data / "orders.db",
            anchor=self._data / "orders.anchor",
            clock=clock,
            runner=runner,
            entropy=self._entropy,
        )
        ends.push_async_callback(runner, self._store.close)
        self._sirens = Sirens(
            signed=signed,
            node=node,
            drivers=self._bridge.sirens,
            store=self._store,
            clock=clock,
            boot=self._boot,
            record=self._reporter.record,
        )
        self._reflex = Reflex(signed=signed, node=node, sirens=self._sirens, store=self._store, clock=clock)
        self._judge = Judge(
            signed=signed,
            node=node,
            clock=clock,
            record=self._reporter.record,
            reflex=self._reflex.transition,
            turned=self._reflex.turned,
            snapshot=self._data / "panel",
            runner=runner,
            troubles=self._troubles,
            pulse=self._pulse,
        )
        self._by_plan()
        self._lane = Lane(
            signed=signed,
            node=node,
            reporter=self._reporter,
            troubles=self._troubles,
            rest=self._rest(),
            connector=self._connector,
            clock=clock,
            jitter=self._rng.random,
        )
        self._telemetry = self._make_telemetry()
        ends.push_async_callback(self._telemetry.close)
        self._sampler = Sampler(
            sources=self._sources,
            devices=self._bridge.devices,
            clock=clock,
            deliver=self._deliver,
            presence=self._presence,
            troubles=self._troubles,
            pulse=self._pulse,
        )

    def _by_plan(self) -> None:
        """What comes over the lane and is neither an order nor an ack: another plan, a latched point's reset."""
        plan, node, post = (lambda: self._ready.signed.plan), self._ready.node, self._reporter.post
        self._resetting = Resetting(plan, node, boot=self._boot, judge=self._judge, clock=self._clock, post=post)
        self._follower = Follower(
            self._ready.signed,
            change=Replan(
                self._ready, data=self._data, devices=self._bridge.devices, runner=self._runner, swap=self._swap
            ),
            troubles=self._troubles,
            ask=lambda: self._lane.ask(),  # noqa: PLW0108 (there is no lane yet)
        )

    def _rest(self) -> Node:
        return Node(
            order=self._sirens.order,
            heard=self._sirens.heard,
            piece=self._follower.piece,
            reset=self._resetting.take,
            want=self._follower.want,
            act=self._reflex.veto,
            states=lambda: (self._judge.states(self._reporter.ledger), self._sirens.states()),
            endangered=self._judge.endangered,
            cut_off=self._reflex.cut_off,
        )

    def _make_telemetry(self) -> Telemetry:
        return Telemetry(
            self._ready,
            [source.binding for source in self._sources],
            data=self._data,
            boot=self._boot,
            clock=self._clock,
            connector=self._connector,
            runner=self._runner,
            spare=self._spare,
            rng=self._rng,
            troubles=self._troubles,
            facts=self._facts,
            hold=lambda: self._lane.busy,
            first=lambda: self._lane.unsaid,
            free=free_bytes,
        )

    def _desk(self) -> Desk:
        return Desk(
            node=self._ready.node,
            boot=self._boot,
            signed=lambda: self._ready.signed,
            clock=self._clock,
            started_ns=self._clock.monotonic_ns(),
            reporter=self._reporter,
            ledgers=self._ledgers,
            judge=self._judge,
            lane=self._lane,
            sirens=self._sirens,
            troubles=self._troubles,
            samples=lambda: self._sampler.samples,
            telemetry=self._telemetry.status,
            veto=self._reflex.veto,
            alarms=self._reflex.shown,
            refused=lambda: self._follower.refused,
        )

    def _swap(self, signed: SignedPlan, keys: dict[Mode, SigningKey], found: list[Source]) -> None:
        """Another plan, in one step of the loop: nothing is judged, ordered or said half under each (design §2.5)."""
        self._ready = replace(self._ready, signed=signed, keys=keys, plan_refused="")
        self._judge.replan(signed)
        self._reporter.replan(signed, keys[Mode.LIVE])
        self._sirens.replan(signed)
        self._reflex.replan(signed)
        self._sampler.replan(found)
        self._telemetry.replan(signed.plan, [source.binding for source in found])
        self._lane.replan(signed)
        log.info("plan.changed version=%d sha256=%s", signed.plan.version, signed.digest.hex())

    # Its life.

    @contextlib.asynccontextmanager
    async def _reporting(self) -> AsyncIterator[None]:
        """The ledger takes events while the context lasts, and at its end all that were recorded before."""
        writer = self._writer = asyncio.create_task(self._reporter.run(), name="reporter")
        try:
            yield
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await self._reporter.flush()
        if not writer.cancelled():
            writer.result()

    async def _work(self, stop: asyncio.Event) -> None:
        """Until `stop`; a loop that ends in a bug ends them all."""
        work = asyncio.create_task(self._loops(), name="work")
        halt = asyncio.create_task(stop.wait(), name="halt")
        try:
            await asyncio.wait({work, halt}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pulse.notify("STOPPING=1")
            for task in (work, halt):
                task.cancel()
            await asyncio.gather(work, halt, return_exceptions=True)
        if not work.cancelled():
            work.result()
        # On purpose, and in order: what was judged is durable, and the next start begins from here.
        await self._judge.drain()
        await self._judge.keep()
        await health.save_time(self._clock, self._data / "time", self._runner)
        await self._runner((self._data / "running").unlink, True)
        log.info("node.stopped node=%s", self._ready.node)

    async def _loops(self) -> None:
        loops = (
            ("writing", _watch(self._writer)),
            ("sirens", self._sirens.run()),
            ("restating", Restating(self._sirens.states, self._lane.say_state).run()),
            ("reflex", self._reflex.run()),
            ("judge", self._judge.run()),
            ("lane", self._lane.run()),
            ("plan", self._follower.run()),
            ("sampler", self._sampler.run()),
            ("telemetry", self._telemetry.run()),
            ("time", health.keep_time(self._clock, self._data / "time", self._runner, self._troubles)),
            ("watchdog", pulse.watchdog(self._pulse)),
        )
        async with asyncio.TaskGroup() as group:
            for name, loop in loops:
                group.create_task(loop, name=name)
            for siren in self._sirens.undriven:
                self._troubles.set("siren-undriven", True, siren)
            if why := self._ready.plan_refused:
                log.error("plan.refused why=%s", why)
                self._troubles.set("plan-refused", True, "delivered")
            health.tell_back_out(self._data, self._troubles)
            pulse.notify("READY=1")
            log.info(
                "node.started node=%s plan=%d boot=%s",
                self._ready.node,
                self._ready.signed.plan.version,
                self._boot.hex(),
            )

    async def _why(self) -> str:
        """Why we start: `running` is there when the last run did not end on purpose."""
        marker = self._data / "running"
        why = "after-crash" if marker.exists() else "after-stop" if self._reporter.head else "first-start"
        with contextlib.suppress(OSError):  # a full disk; the next start then looks like one after a stop
            await self._runner(marker.touch)
        return why

    # What flows between the parts.

    async def _deliver(self, batch: bytes) -> None:
        self._judge.take(batch)
        self._telemetry.readings(batch)
        await self._judge.room()

    def _presence(self, device: str, there: bool) -> None:
        self._troubles.set("device-lost", not there, device)
        self._telemetry.presence(device, there)

    def _facts(self) -> dict[NodeMetric, int | str | None]:
        signed, quality, ledger = self._ready.signed, self._clock.quality(), self._ledgers.current
        return {
            NodeMetric.BOOT_ID: self._boot.hex(),
            NodeMetric.LEDGER_ID: ledger.id.hex(),
            NodeMetric.LEDGER_HEAD: ledger.head,
            NodeMetric.LEDGER_ACKED: ledger.through,
            NodeMetric.CLOCK_SOURCE: int(quality.source),
            NodeMetric.CLOCK_ERROR: quality.error_ms,
            NodeMetric.PLAN_VERSION: signed.plan.version,
            NodeMetric.PLAN_SHA256: signed.digest.hex(),
            NodeMetric.SIRENS: readiness_line(signed.plan, self._sirens.states()),
        }


async def _watch(writer: asyncio.Task[None]) -> None:
    """A reporter that has ended in a bug ends the node: without it no event is durable any more."""
    await asyncio.wait([writer])
    writer.result()
