"""The controller, wired: what hears, judges, decides, orders, tells and remembers, and in which order it starts and ends.

Embeddable: several nodes and a controller run in one loop of a demo or a simulation. A broker that is absent at the start or lost
later is ordinary; a bug, or a journal that cannot be written, ends the program, and start-up is recovery.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import astuple
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from cython_ext import NS_PER_S, Clock, ConfigError, WireError
from lanes import control, plankept, pulse
from lanes.counterfile import StateTimeFile
from lanes.identity import STORE_ID_BYTES
from lanes.keys import Mode
from lanes.link import Connector
from lanes.planfile import Root, SignedPlan
from lanes.settings import load
from lanes.store import Runner

from .acting import Acting
from .alarm.changes import AlarmChange
from .config import Ready, duty_watch
from .deciding import Deciding
from .desk import Desk
from .dispatch import Delivery
from .dispatch.cap import Author
from .dispatch.channels import channels_of
from .dispatch.dispatcher import Dispatcher
from .escalating import Escalating
from .exchange import Exchange
from .falling import Falling
from .hearing import Hearing
from .history.dated import dated
from .history.history import History, InfluxWriter
from .intake import Intake, resolver
from .lane import Lane
from .ordering import Ordering
from .planning import Place, Planning
from .record.checking import Checking
from .record.emergency import NAME as EMERGENCY_NAME
from .record.journal import Former, Journal, Spare
from .record.recording import Recorder
from .record.records import Record
from .recovery import open_room
from .refusals import Refusals
from .replan import Replan, settle
from .retelling import Retelling
from .room import Room, Tellable
from .seeing import Samples, Seeing
from .siren.people import People
from .spread import Spread
from .telemetry.host import Host, HostIdentity
from .telemetry.presence import Data
from .teller import Teller
from .tracing import Tracing
from .upkeep import Upkeep
from .watchdog import Watchdog

log = logging.getLogger("bucium.controller")

Entropy = Callable[[int], bytes]
Runners = Callable[[str], Runner]
MIB: Final = 1 << 20
PULSE_S: Final = 5.0
STUCK_S: Final = 60.0  # an SD card's worst pause is some ten seconds; systemd's own patience comes on top


async def run(
    ready: Ready,
    *,
    clock: Clock,
    connector: Connector,
    runner: Runner,
    entropy: Entropy,
    stop: asyncio.Event,
    others: Runners | None = None,
) -> None:
    """Run one controller until `stop`. ConfigError or StoreError before anything is sent.

    `runner` is the journal's; `others` makes one each for dispatch, history and the network, which may be slow (None: the same).
    """
    _make_folder(ready.data)
    await runner(plankept.keep, ready.signed, ready.data)
    controller = _Controller(ready, clock, connector, runner, entropy, others or (lambda _: runner))
    await controller.run(stop)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise ConfigError(f"cannot make this folder: {error.strerror}", source=str(folder)) from None


class _Controller:
    """One controller's parts, and their life."""

    def __init__(
        self, ready: Ready, clock: Clock, connector: Connector, runner: Runner, entropy: Entropy, others: Runners
    ) -> None:
        self._ready = ready
        self._clock = clock
        self._connector = connector
        self._runner = runner
        self._pulse = pulse.Pulse(clock)
        self._rng = Random(int.from_bytes(entropy(8), "big"))  # noqa: S311 - jitter, not secrets
        self._entropy = entropy
        spare = Spare(ready.emergency / EMERGENCY_NAME, ready.local.config.controller.emergency_mib * MIB)
        self._recovered = open_room(
            ready.data / "journal.db", spare.path, partial(self._open_journal, spare), self._new_room
        )
        self._room = self._recovered.room
        self._journal = self._room.journal
        with self._room.clock.hold():
            self._build()
            self._changed()
        self._tellers(others)

    def _open_journal(self, spare: Spare, former: Former | None) -> Journal:
        ready = self._ready
        return Journal(
            ready.data / "journal.db",
            clock=self._clock,
            runner=self._runner,
            key=ready.keys[Mode.LIVE],
            new_id=self._entropy(STORE_ID_BYTES),
            controller=ready.signed.plan.controller,
            spare=spare,
            former=former,
        )

    def _new_room(self, journal: Journal) -> Room:
        ready = self._ready
        return Room(signed=ready.signed, journal=journal, keys=ready.keys, clock=self._clock, entropy=self._entropy)

    def _build(self) -> None:
        room, jitter, recovered = self._room, self._rng.random, self._recovered
        log.info("journal.recovered rows=%d seq=%d alarms=%d", recovered.rows, self._journal.seq, len(room.book))
        room.begin()
        if recovered.aside:
            log.error("journal.aside name=%s", recovered.aside)
            room.trouble("journal-aside", recovered.aside, True)
        self._journal.notice = room.trouble
        if why := self._ready.plan_refused:
            log.error("plan.refused why=%s", why)
        room.trouble("plan-refused", "plan", bool(self._ready.plan_refused))
        self._refusals = Refusals(room)
        self._ordering = Ordering(room, jitter)
        self._deciding = Deciding(room, self._ordering)
        self._falling = Falling(room, self._ordering, self._deciding)
        self._falling.resume()
        self._acting = Acting(room, self._ordering, self._deciding)
        self._spread = Spread(room, jitter)
        self._hearing = Hearing(room, self._ordering, self._deciding, heard=self._heard, wants=self._spread.want)
        self._watchdog = Watchdog(room, self._deciding)
        self._samples = Samples()
        self._seeing = Seeing(room, self._watchdog, self._samples)
        self._lane = Lane(room, self._hearing, self._refusals, self._spread, connector=self._connector, jitter=jitter)
        self._upkeep = Upkeep(
            room,
            ordering=self._ordering,
            deciding=self._deciding,
            falling=self._falling,
            acting=self._acting,
            watchdog=self._watchdog,
            lane=self._lane,
            refusals=self._refusals,
        )

    def _changed(self) -> None:
        """What a plan that was delivered since the last run means for what stands."""
        room = self._room
        former = plankept.before(self._ready.data)
        if former is not None:
            room.fold.remember(former)
            room.fold.remember(room.signed)
        if room.ran not in (b"", room.signed.digest):
            settle(room, self._deciding)

    def _tellers(self, others: Runners) -> None:
        ready, clock = self._ready, self._clock
        config, plan = ready.local.config, ready.signed.plan
        author = Author(plan, config.cap, ready.signer)
        channels = channels_of(
            config.dispatch,
            clock=clock,
            runner=others("files"),
            data=ready.data,
            sender=config.cap.sender,
            duty=ready.duty,
            others=others,
            refuse=self._refusals.count,
        )
        self._exchange = Exchange(ready, self._room, self._upkeep.heeding, self._refusals, channels, others=others)
        self._dispatcher = Dispatcher(
            author,
            channels,
            path=ready.data / "outbox.db",
            clock=clock,
            runner=others("dispatch"),
            entropy=self._rng,
            receipt=self._delivered,
            trouble=self._trouble,
            fallbacks={each.name: by for each in config.dispatch if (by := getattr(each, "fallback", None))},
            standby=frozenset(each.name for each in config.dispatch if getattr(each, "standby", False)),
        )
        self._escalating = Escalating(self._room, ready.duty, duty_watch(ready.local))
        self._history: History | None = None
        if config.history is not None:
            self._history = History(
                plan,
                InfluxWriter(config.history, others("network")),
                path=ready.data / "spool.db",
                clock=clock,
                disk=others("history"),
                entropy=self._rng,
                trouble=self._trouble,
                bytes_max=config.history.spool_mib * MIB,
            )
        self._recorder: Recorder | None = None
        if config.controller.inputs_mib:
            self._recorder = Recorder(
                ready.data / "inputs",
                bytes_max=config.controller.inputs_mib * MIB,
                boot=self._room.boot,
                runner=others("files"),
                seq=lambda: self._journal.seq,
                closed=lambda row: self._journal.append(Record.INPUT, row),
                trouble=self._room.trouble,
            )
        self._teller = Teller(self._room, self._tell, lambda: self._lane.crowded)
        self._retelling = Retelling(
            self._room,
            self._dispatcher,
            channels=[channel.name for channel in channels if channel.wants(cap=False)],
            clock=clock,
            runner=others("files"),
            wake=self._teller.wake,
        )
        folder = ready.local.at(config.controller.plan).parent
        self._people = People(self._room, folder, others("files"))
        self._checking = Checking(self._journal.path, lambda: self._journal.id, others("files"), self._trouble)
        keep = self._keep if self._history else None
        self._host = Host(
            HostIdentity(config.telemetry.host or plan.controller, (plan.group,)),
            listener=Intake(self._room, self._watchdog, keep, self._samples.keep, self._refusals.count),
            resolve=resolver(plan),
            connector=self._connector,
            store=StateTimeFile(ready.data / "state-time", others("files")),
            clock=clock,
            rng=self._rng,
        )
        self._room.notify = self._notify
        self._planning = self._make_planning()

    def _make_planning(self) -> Planning:
        """How another plan comes to run here."""
        local, section = self._ready.local, self._ready.local.config.controller
        replan = Replan(self._room, self._deciding, self._watchdog, self._spread, (self._replan,))
        place = Place(self._ready.data, local.at(section.plan), lambda: load(local.at(section.root), Root))
        return Planning(self._room, self._acting, place, runner=self._runner, run=replan)

    def _replan(self, signed: SignedPlan) -> None:
        """Those that have nothing to do with alarms."""
        self._samples.clear()
        self._host.replan(resolver(signed.plan))
        self._dispatcher.author = Author(signed.plan, self._ready.local.config.cap, self._ready.signer)
        if self._history is not None:
            self._history.replan(signed.plan)
        log.info("plan.changed version=%d sha256=%s", signed.plan.version, signed.digest.hex())

    def _notify(self) -> None:
        self._lane.wake()
        self._teller.wake()

    # What flows between the parts.

    async def _tell(self, change: Tellable) -> bool:
        durable = await self._dispatcher.tell(self._seeing.told(change) if isinstance(change, AlarmChange) else change)
        if durable and self._history is not None and isinstance(change, AlarmChange):
            self._history.alarm(change)
        return durable

    async def _delivered(self, delivery: Delivery) -> None:
        value = list(astuple(delivery))
        row = self._journal.append(Record.DELIVERY, value)
        self._room.escalations.delivered(value)
        await self._journal.durable(row.seq)

    def _trouble(self, code: str, on: bool, subject: str) -> None:
        self._room.trouble(code, subject, on)

    def _heard(self, node: str, data: Any, at_us: int) -> None:
        if self._history is not None:
            self._history.transition(node, data, at_us)

    def _keep(self, data: Data) -> None:
        """Readings for the history; those that cannot be read have been refused already."""
        assert self._history is not None
        with contextlib.suppress(WireError):
            for records, offset_us in dated(data, self._clock):
                self._history.readings(records, offset_us)

    # Life.

    async def run(self, stop: asyncio.Event) -> None:
        committing = asyncio.create_task(self._journal.run(), name="journal")
        try:
            await self._working(stop, committing)
        finally:
            if self._recorder is not None:
                await self._recorder.flush(self._clock.monotonic_ns(), last=True)
            committing.cancel()
            await asyncio.gather(committing, return_exceptions=True)
            self._refusals.flush()
            self._room.snapshot()
            await self._journal.close()
            if not committing.cancelled():
                committing.result()  # a journal that could not be written is why we end, whatever else says so

    async def _working(self, stop: asyncio.Event, committing: asyncio.Task[None]) -> None:
        await self._journal.durable()  # our start is on disk before anyone hears of us
        if self._recorder is not None:
            await self._recorder.open()
            self._watchdog.record(self._recorder)
        socket = self._ready.local.at(self._ready.local.config.controller.socket)
        _make_folder(socket.parent)
        desk = Desk(
            self._room,
            acting=self._acting,
            deciding=self._deciding,
            lane=self._lane,
            refusals=self._refusals,
            planning=self._planning,
            spread=self._spread,
            pending=self._dispatcher.pending,
            picture=self._upkeep.picture,
            sparing=self._upkeep.sparing,
            seeing=self._seeing,
            strays=self._ordering.strays,
        )
        async with control.serve(socket, desk.verbs), asyncio.TaskGroup() as group:
            tasks = [group.create_task(work, name=name) for name, work in self._loops(committing)]
            plan = self._room.plan
            log.info("controller.started controller=%s plan=%d", plan.controller, plan.version)
            pulse.notify("READY=1")
            await stop.wait()
            pulse.notify("STOPPING=1")
            self._host.stop()
            for task in tasks:
                if task.get_name() != "host":
                    task.cancel()

    async def _beat(self) -> None:
        """The journal promises to be durable soon; systemd starts us again if it hangs, or if this whole loop of events does."""
        while True:
            self._pulse.expect("journal", self._clock.monotonic_ns() + round(STUCK_S * NS_PER_S))
            await self._journal.durable()
            await asyncio.sleep(PULSE_S)

    def _loops(self, committing: asyncio.Task[None]) -> list[tuple[str, Coroutine[Any, Any, Any]]]:
        loops: list[tuple[str, Coroutine[Any, Any, Any]]] = [
            ("committing", _watch(committing)),
            ("lane", self._lane.run()),
            ("upkeep", self._upkeep.run()),
            ("dispatch", self._dispatcher.run()),
            ("escalating", self._escalating.run()),
            *self._exchange.loops(),
            ("teller", self._teller.run()),
            ("tracing", Tracing(self._room, self._seeing).run()),
            ("retelling", self._retelling.run()),
            ("host", self._host.run()),
            ("people", self._people.run()),
            ("checking", self._checking.run()),
            ("pulse", self._beat()),
            ("watchdog", pulse.watchdog(self._pulse)),
        ]
        if self._recorder is not None:
            loops.append(("recording", self._recorder.run(self._clock)))
        if self._history is not None:
            loops.append(("history", self._history.run()))
        return loops


async def _watch(committing: asyncio.Task[None]) -> None:
    """A journal that can no longer be written ends everything."""
    await asyncio.wait([committing])
    committing.result()
