"""All sirens of a node: orders come in, are judged, made durable and obeyed, and every one is answered (design §2.4).

Stops have a door of their own and are never behind a start that waits for the disk: a stop acts first and is made durable
after. A start's counter, its approvals and the fact that it sounds are durable before its relay moves; if a stop came in
between, it wins. Receipts go out through a queue, so that no relay waits for the ledger.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from cython_ext import Clock, Level
from firmware_bridge.sirens.driver import Siren as Driver
from lanes.identity import EventKey
from lanes.keys import Mode
from lanes.orders import SOUND_MAX_S, Action
from lanes.plan import Pattern
from lanes.planfile import SignedPlan
from lanes.reports import REFERENCE_BYTES, ReceiptData, SirenState, SirenTrouble, Stage
from lanes.store import StoreError

from . import fit
from .activation import Activation, Choice, arbitrate
from .answers import Answers
from .bystander import open_stop
from .moment import Moment
from .orders import SPARE_S, Accepted, Already, OpenOrder, judge, open_order, refuse
from .orderstore import OrderStore
from .refusals import Refused, Why
from .repeats import Answer, Repeats
from .sounder import Sounder
from .standing import ALL, Standing

WAITING_MAX: Final = 64  # verified orders that wait: all sirens of a node several times over
STOPPED_WITHIN_S: Final = 1.5  # then a stop that is not confirmed is reported as such; design: effective ≤ 2 s
TEND_S: Final = 60.0
RETRY_S: Final = 5.0  # a store that cannot be written
OFF_AT_END_S: Final = 5.0
REPLAYED: Final = (Why.COUNTER, Why.EXPIRED)  # authentic, but anyone can send them again


class Sirens:
    """`run` must be running for orders to be obeyed. `record` makes a receipt durable and sends it."""

    def __init__(
        self,
        *,
        signed: SignedPlan,
        node: str,
        drivers: Mapping[str, Driver],
        store: OrderStore,
        clock: Clock,
        boot: bytes,
        record: Callable[[ReceiptData], Awaitable[object]],
    ) -> None:
        self._standing = Standing(signed, node, boot, store)
        self._drivers = drivers
        self._store = store
        self._clock = clock
        self.answers = Answers(record, clock)
        self._dirty = asyncio.Event()
        self._stops: asyncio.Queue[OpenOrder] = asyncio.Queue(WAITING_MAX)
        self._orders: asyncio.Queue[OpenOrder] = asyncio.Queue(WAITING_MAX)
        self._repeats = Repeats()
        self._group: asyncio.TaskGroup | None = None
        self.sounders = {
            siren.id: Sounder(
                siren,
                drivers[siren.id],
                beyond=fit.beyond(signed.plan, siren, drivers[siren.id]),
                clock=clock,
                store=store,
                tell=self._step,
                changed=self._dirty.set,
            )
            for siren in self._standing.sirens.values()
            if siren.id in drivers
        }

    def replan(self, signed: SignedPlan) -> None:
        """Orders are judged by this plan from now on. What sounds goes on; counters, holds and epochs stay."""
        self._standing = Standing(signed, self._standing.node, self._standing.boot, self._store)
        for siren in self._standing.sirens.values():
            if siren.id in self.sounders:
                sounder = self.sounders[siren.id]
                sounder.replan(siren, beyond=fit.beyond(signed.plan, siren, sounder.driver))

    @property
    def undriven(self) -> tuple[str, ...]:
        """Sirens that the plan gives to this node and no driver has: their orders are refused."""
        return tuple(siren for siren in self._standing.sirens if siren not in self.sounders)

    async def order(self, data: bytes) -> None:
        """An ORDER envelope, as it came. Returns when it is judged as a message; `run` obeys it. Hostile bytes do not raise."""
        opened = open_order(data, self._standing)
        if isinstance(opened, Refused):
            self._refuse(opened)
            return
        known = self._repeats.find(opened, self._clock)
        if known is not None:
            self._repeat(opened, known)
            return
        queue = self._stops if opened.order.action is Action.STOP else self._orders
        if queue.full():
            self._refuse(refuse(opened, Why.BUSY, "too many orders at once"))
            return
        self._repeats.wait(opened.reference)
        queue.put_nowait(opened)

    def heard(self, issued_us: int) -> None:
        """A valid signed message of the controller (ack, beat) says this time: it has passed."""
        self._store.heard(issued_us, self._clock.monotonic_ns())

    def states(self) -> tuple[SirenState, ...]:
        """What each siren of this node is doing, for state reports."""
        shared = SirenTrouble.NONE
        if self._store.forgetful or not self._clock.quality().trusted:
            shared |= SirenTrouble.DOUBT
        if self._store.failed:
            shared |= SirenTrouble.STORE
        found = []
        for place, siren in enumerate(self._standing.plan.sirens):
            if siren.node != self._standing.node:
                continue
            sounder = self.sounders.get(siren.id)
            stage = sounder.shown() if sounder else Stage.FAILED
            trouble = shared | (sounder.trouble if sounder else SirenTrouble.UNREACHABLE)
            hold_s = int(sounder.held_s() + 0.999) if sounder else 0
            parts = sounder.parts.row() if sounder else ()
            found.append(SirenState(place, stage, self._store.order_epoch, hold_s, int(trouble), *parts))
        return tuple(found)

    async def run(self) -> None:
        """Everything off; then obey until cancelled; everything off at the end."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for sounder in self.sounders.values():
                    group.create_task(sounder.run(group))
                strange = [d for siren, d in self._drivers.items() if siren not in self.sounders]
                for driver in strange:
                    await driver.off()
                for siren, reference, incident in ((i.siren, i.reference, i.incident) for i in self._store.interrupted):
                    self._tell(siren, reference, incident, Stage.FAILED, "restart")
                self._store.forget_interrupted()
                self._dirty.set()
                for loop in (self.answers.run, self._obey_stops, self._obey_orders, self._commit, self._tend):
                    group.create_task(loop())
        finally:
            async with asyncio.timeout(OFF_AT_END_S):  # then the driver's close is the next to try
                await asyncio.gather(*(s.off_for_good() for s in self.sounders.values()))
            with suppress(StoreError, TimeoutError):  # what still waited; what sounded is told after the next start
                async with asyncio.timeout(OFF_AT_END_S):
                    await self._store.commit()

    # Stops.

    async def _obey_stops(self) -> None:
        while True:
            self._stop(await self._stops.get())

    def _stop(self, opened: OpenOrder) -> None:
        moment = Moment.of(self._clock)
        verdicts = judge(opened, self._standing, moment)
        accepted = [v for v in verdicts if isinstance(v, Accepted)]
        for verdict in verdicts:
            if isinstance(verdict, Refused):
                self._refuse(verdict)
        if accepted:
            core = opened.order.core
            self._store.accept(accepted, moment)
            self._silence([one.siren.id for one in accepted], core.incident, core.mode, opened.reference, moment)

    def stop_by_person(self, data: bytes) -> str:
        """A person's signed stop at this node's own socket, for when no controller can be reached. "" or why not."""
        moment = Moment.of(self._clock)
        found = open_stop(data, self._standing, moment)
        if isinstance(found, str):
            return found
        self._store.use("", found.kid, found.once, found.not_after_us)
        self._silence(found.sirens, found.incident, found.mode, found.reference, moment)
        return ""

    def _silence(self, sirens: Sequence[str], incident: bytes, mode: Mode, reference: bytes, moment: Moment) -> None:
        """End what the stop names, at once; the disk and the answer come after."""
        assert self._group is not None, "run() first"
        self._store.stop(sirens, incident, mode, moment, self._standing.plan.stop_hold_s)
        stopped: dict[str, bool] = {}  # siren → whether something was ended
        for sounder in (self.sounders[siren] for siren in sirens if siren in self.sounders):
            now = sounder.current
            ours = now is not None and mode in (Mode.LIVE, now.mode) and incident in (ALL, now.incident)
            if now is None or ours:
                sounder.stop()
            stopped[sounder.siren.id] = ours
        self._dirty.set()
        self._group.create_task(self._answer_stop(reference, incident, stopped))

    async def _answer_stop(self, reference: bytes, incident: bytes, stopped: Mapping[str, bool]) -> None:
        """Each siren's answer to a stop: when its driver has said that it is off, and the stop is durable."""
        for siren, ended in stopped.items():
            if not await self.sounders[siren].silenced(STOPPED_WITHIN_S):
                self._tell(siren, reference, incident, Stage.FAILED, "not-off")
                await self.sounders[siren].silenced(None)
            await self._committed()
            self._tell(siren, reference, incident, Stage.STOPPED, "stopped" if ended else "not-sounding")
        await self._store.keep_anchor()

    def danger(self, zone: str) -> None:
        """Our own points have opened an alarm in this zone: an exercise that sounds there gives way (live always wins)."""
        for sounder in self.sounders.values():
            if sounder.current is not None and sounder.current.mode is not Mode.LIVE and zone in sounder.siren.zones:
                sounder.stop("danger")
                self._dirty.set()

    # Starts and tests.

    async def _obey_orders(self) -> None:
        while True:
            opened = await self._orders.get()
            verdicts = judge(opened, self._standing, Moment.of(self._clock))
            accepted = []
            for verdict in verdicts:
                if isinstance(verdict, Accepted):
                    accepted.append(verdict)
                elif isinstance(verdict, Already):
                    self._already(opened, verdict)
                else:
                    self._refuse(verdict)
            if not accepted:
                continue
            if opened.order.action is Action.START:
                await self._start(opened, accepted)
            else:
                await self._check(opened, accepted)
            await self._store.keep_anchor()

    async def _start(self, opened: OpenOrder, accepted: Iterable[Accepted]) -> None:
        chosen = [(one, a) for one in accepted if (a := self._choose(one)) is not None]
        if not chosen:
            return
        self._store.accept((one for one, _ in chosen), Moment.of(self._clock))
        for _, activation in chosen:
            self._store.begin(activation)
        try:
            await self._store.commit()
        except StoreError as error:
            for one, activation in chosen:
                self._store.finish(activation, sounded=False)
                self._refuse(refuse(opened, Why.STORE, str(error), one.siren.id), final=False)
            return
        for one, activation in chosen:
            self._begin(one, activation)

    def _choose(self, one: Accepted) -> Activation | None:
        """What the siren is to sound, if nothing here and now stands against it; else it is answered."""
        assert one.pattern is not None
        sounder, opened = self.sounders.get(one.siren.id), one.opened
        why = fit.why_not(sounder.driver, one.pattern, one.limit_s) if sounder else "no driver"
        if sounder is None or why:
            self._refuse(refuse(opened, Why.UNSUPPORTED, why, one.siren.id))
            return None
        core = opened.order.core
        activation = Activation(
            one.siren.id,
            opened.reference,
            core.incident,
            core.mode,
            one.level,
            one.pattern,
            one.limit_s,
            self._store.order_epoch,
            people=bool(one.people),
            events=one.events,
            calendar=one.calendar,
        )
        return activation if self._may_begin(sounder, activation, opened) else None

    def _may_begin(self, sounder: Sounder, activation: Activation, opened: OpenOrder) -> bool:
        choice = arbitrate(sounder.current, activation)
        if choice is Choice.ALREADY:
            self._already(opened, Already(activation.siren, "incident"))
        elif choice is Choice.BUSY:
            self._refuse(refuse(opened, Why.BUSY, "another order has this siren", activation.siren))
        return choice in (Choice.BEGIN, Choice.REPLACE)

    def _begin(self, one: Accepted, activation: Activation) -> None:
        """The order is durable. What came while the disk was busy goes first: a stop, or another sound."""
        siren, opened = activation.siren, one.opened
        if self._store.stopped(siren, activation.mode) > opened.order.order_epoch:
            self._store.finish(activation, sounded=False)
            self._tell(siren, opened.reference, activation.incident, Stage.STOPPED, "overtaken")
        elif self._may_begin(self.sounders[siren], activation, opened):
            self.sounders[siren].begin(activation)
        else:
            self._store.finish(activation, sounded=False)
        self._dirty.set()

    async def _check(self, opened: OpenOrder, accepted: Iterable[Accepted]) -> None:
        accepted = list(accepted)
        self._store.accept(accepted, Moment.of(self._clock))
        try:
            await self._store.commit()
        except StoreError as error:
            self._refuse(refuse(opened, Why.STORE, str(error), opened.order.siren), final=False)
            return
        for one in accepted:
            sounder = self.sounders.get(one.siren.id)
            why = sounder.check(opened.order, opened.reference) if sounder else Why.UNSUPPORTED
            if why:
                self._refuse(refuse(opened, Why(why), siren=one.siren.id))

    # Reflex.

    def reflex(
        self, siren: str, pattern: Pattern, max_s: int, incident: bytes, level: Level, events: tuple[EventKey, ...]
    ) -> str:
        """Sound by this node's own decision, at once; the disk comes after. "" when it sounds, else why not."""
        sounder, store = self.sounders.get(siren), self._store
        limit_s = min(float(max_s or SOUND_MAX_S), pattern.length_s + SPARE_S, float(SOUND_MAX_S))
        if sounder is None or fit.why_not(sounder.driver, pattern, limit_s):
            return Why.UNSUPPORTED
        hold = store.hold(siren, incident, Mode.LIVE, self._clock.monotonic_ns(), events)
        if hold is not None and (hold.level is Level.NORMAL or level <= hold.level):
            store.learn(siren, incident, Mode.LIVE, level)
            return Why.HELD
        sounded = store.sounded(siren, incident, Mode.LIVE)
        spent = [store.spent(siren, event) for event in events]
        if (sounded is not None and level <= sounded) or (spent and all(s and level <= s.level for s in spent)):
            return "already"
        zeros, epoch = bytes(REFERENCE_BYTES), store.order_epoch
        activation = Activation(
            siren, zeros, incident, Mode.LIVE, level, pattern, limit_s, epoch, reflex=True, events=events
        )
        choice = arbitrate(sounder.current, activation)
        if choice not in (Choice.BEGIN, Choice.REPLACE):
            return choice.name.lower()
        store.begin(activation)
        sounder.begin(activation)
        self._dirty.set()
        return ""

    # Keeping.

    async def _commit(self) -> None:
        """Make durable what need not be so at once."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._committed()

    async def _committed(self) -> None:
        """Return when all that is queued now is durable, however long that takes."""
        while True:
            try:
                await self._store.commit()
            except StoreError:
                await asyncio.sleep(RETRY_S)  # `states` shows it
            else:
                return

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(TEND_S)
            try:
                await self._store.tend()
            except StoreError:
                continue  # tried again; `states` shows it
            await self._store.keep_anchor()

    # Answering.

    def _tell(self, siren: str, reference: bytes, incident: bytes, stage: Stage, reason: str) -> None:
        self._step(ReceiptData(siren, reference, stage, reason, incident, self._store.order_epoch))

    def _step(self, receipt: ReceiptData) -> None:
        self._repeats.told(receipt)
        self.answers.tell(receipt)

    def _already(self, opened: OpenOrder, already: Already) -> None:
        self._repeats.answered(opened.reference, Stage.ALREADY, already.why)
        incident = opened.order.core.incident
        self._limited(already.siren, opened.reference, incident, Stage.ALREADY, already.why, known=True)

    def _repeat(self, opened: OpenOrder, answer: Answer) -> None:
        """It changes nothing, and is answered as before."""
        if answer.stage is not None:
            core, epoch = opened.order.core, self._store.order_epoch
            heads = (opened.order.siren, opened.reference, answer.stage, answer.reason)
            self.answers.refuse(ReceiptData(*heads, core.incident, epoch, answer.measured), known=False)

    def _refuse(self, refused: Refused, *, final: bool = True) -> None:
        if refused.why is Why.HELD and refused.level is not Level.NORMAL:
            self._learn_hold(refused)
        if refused.authentic:
            if final:
                self._repeats.answered(refused.reference, Stage.REFUSED, refused.why)
            else:
                self._repeats.forget(refused.reference)
        known = refused.authentic and refused.why not in REPLAYED
        siren = refused.siren if refused.siren in self._standing.sirens else ""
        self._limited(siren, refused.reference, refused.incident, Stage.REFUSED, refused.why, known=known)

    def _limited(
        self, siren: str, reference: bytes, incident: bytes, stage: Stage, reason: str, *, known: bool
    ) -> None:
        epoch = self._store.order_epoch
        self.answers.refuse(ReceiptData(siren, reference, stage, str(reason), incident, epoch), known=known)

    def _learn_hold(self, refused: Refused) -> None:
        for mode in Mode:
            self._store.learn(refused.siren, refused.incident, mode, refused.level)
        self._dirty.set()
