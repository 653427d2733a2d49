"""One siren at work: it plays activations, proves them, tells each step, and is switched off whatever happens.

Off is looked after three times over: by the player at the end of each blast, by the guard at the limit, and by the driver's own
dead man (in hardware where there is one). An off that is not confirmed is tried again until it is.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from cython_ext import NS_PER_S, Clock
from firmware_bridge.driver import Outcome
from firmware_bridge.sirens.driver import DEAD_MAN_S
from firmware_bridge.sirens.driver import Siren as Driver
from firmware_bridge.sirens.mode import Mode as SirenMode
from lanes import readiness
from lanes.orders import Action, Order
from lanes.plan import Siren
from lanes.reports import REFERENCE_BYTES, ReceiptData, SirenTrouble, Stage

from .activation import RESTING, SHOWN, Activation, Cue, Phase, step
from .orderstore import OrderStore
from .proof import SPARE_S, Watch
from .sequencer import Player, blasts, until
from .standing import ALL
from .supervision import LOOKED_AT, Supervision

ARM_TRIES: Final = 3
ARM_EVERY_S: Final = 0.5
OFF_TRY_S: Final = 2.0  # one try may take so long before the next
OFF_EVERY_S: Final = 0.5
GUARD_S: Final = 0.25  # how long after the limit the guard switches off on its own: design, off ≤ max + 1 s
POLL_S: Final = 0.1  # proof: feedback is looked at so often while it should sound
SUPERVISE_S: Final = 10.0  # issue 5: supervision ≤ 20 s, and a look is believed only when the next one says the same
AGAIN_S: Final = 1.0  # that next look
COAST_S: Final = 10.0  # a motor siren runs down; measured sound is not unordered before that
TURNING_S: Final = 1.0  # how often, while it sounds, the parts are looked at that show only then
QUIET_FAULTS: Final = ("unreachable", "driver", "not-seen", "sounding")
GROWL_S: Final = 0.5
ENDED_S: Final = 0.4  # how soon after its own end a siren must be seen silent: before the driver's dead man ends it
GROWL_EVERY_S: Final = 600.0  # heard by people, so no row of growls can become a signal that nobody approved


class Sounder:
    """A siren of this node. `tell` takes its receipts; `changed` is called when the store has something to commit."""

    def __init__(
        self,
        siren: Siren,
        driver: Driver,
        *,
        beyond: bool = False,
        clock: Clock,
        store: OrderStore,
        tell: Callable[[ReceiptData], None],
        changed: Callable[[], None],
    ) -> None:
        self.siren = siren
        self.driver = driver
        self.phase = Phase.IDLE
        self.current: Activation | None = None
        self.parts = Supervision(clock)
        self.trouble = self.parts.trouble
        self.replan(siren, beyond=beyond)
        self._clock = clock
        self._store = store
        self._tell_receipt = tell
        self._changed = changed
        self._group: asyncio.TaskGroup | None = None
        self._work: asyncio.Task[None] | None = None  # plays, or tests
        self._silencing: asyncio.Task[None] | None = None
        self._rested_ns = clock.monotonic_ns()  # since when it should be silent
        self._was_silent = False  # measured so since then
        self._growled_ns: int | None = None
        self._testing: tuple[bytes, bytes] | None = None  # the order's reference, and its incident

    def replan(self, siren: Siren, *, beyond: bool = False) -> None:
        """The siren as another plan describes it. What sounds goes on to its own end. `beyond`: a policy asks what it cannot."""
        self.siren = siren
        self._mark(SirenTrouble.BEYOND, on=beyond)
        self._mark(SirenTrouble.NO_FEEDBACK, on=siren.proof and not self.driver.can_prove)

    # Orders.

    def begin(self, activation: Activation) -> None:
        """Sound. What plays is ended first; who may end whom was decided before (`activation.arbitrate`)."""
        before = self._work
        if self.current is not None:
            self._end(self.current, Cue.STOP, "replaced", sounded=self.phase is Phase.SOUNDING)
        self._end_test("replaced")
        if before is not None:
            before.cancel()
        self.current = activation
        self._cue(Cue.ORDER, activation, activation.ground)
        self._work = self._spawn(self._perform(activation, before), "play")

    def stop(self, why: str = "stop") -> None:
        """Silence now. Returns at once; `silenced` waits for the driver's word."""
        if self.current is not None:
            self._end(self.current, Cue.STOP, why, sounded=False)
        self._end_test("stop")
        self._cue(Cue.STOP, None, "")
        if self._work is not None:
            self._work.cancel()
        self._silence()

    async def silenced(self, within_s: float | None) -> bool:
        """Whether off was confirmed within that time (None: however long it takes)."""
        task = self._silencing
        if task is not None:
            await asyncio.wait({task}, timeout=within_s)
        return not self.trouble & SirenTrouble.NOT_OFF and (task is None or task.done())

    def check(self, order: Order, reference: bytes) -> str:
        """Arm, a test or status. "" when it has begun, else why not: `busy`, `rate`, `unsupported`."""
        if self.phase not in RESTING or self.phase is Phase.ROGUE:
            return "busy"
        now_ns = self._clock.monotonic_ns()
        if order.action is Action.GROWL_TEST:
            if self._growled_ns is not None and now_ns - self._growled_ns < GROWL_EVERY_S * NS_PER_S:
                return "rate"
            if self._plain_mode() is None:
                return "unsupported"
            self._growled_ns = now_ns
        before = self._work
        self._testing = (reference, order.core.incident)
        self._tell_test(Cue.TEST, order.action.name.lower().replace("_", "-"))
        self._work = self._spawn(self._test(order.action, before), "test")
        return ""

    # The life of the siren.

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Off, then look after it until cancelled. Its work runs as tasks of `group`: what is a bug there ends the node."""
        self._group = group
        self._silence()
        while True:
            await self._look()
            await asyncio.sleep(SUPERVISE_S)
            if self.phase is Phase.HELD and not self.held_s():
                self._cue(Cue.FREE, None, "")

    async def off_for_good(self) -> None:
        """The last thing: for the end of the program."""
        for task in (self._work, self._silencing):
            if task is not None:
                task.cancel()
        await self._try_off()

    def held_s(self) -> float:
        """How long a stop still holds automatic orders back here."""
        return max(0.0, self._store.hold_left_s(self.siren.id, self._clock.monotonic_ns()))

    def shown(self) -> Stage:
        """The phase, as state reports have it."""
        if self.phase is Phase.HELD and not self.held_s():
            return Stage.DONE
        return SHOWN[self.phase]

    # Playing.

    async def _perform(self, activation: Activation, before: asyncio.Task[None] | None) -> None:
        await self._take_over(before)
        try:
            if not await self._arm():
                self._end(activation, Cue.BROKEN, "arm", sounded=False)
                return
            self._cue(Cue.ARMED, activation, "")
            began_ns = self._clock.monotonic_ns()
            limit_ns = began_ns + round(activation.limit_s * NS_PER_S)
            guard = self._spawn(self._guard(activation, limit_ns), "guard")
            watch = Watch(
                required=self.siren.proof, can_prove=self.driver.can_prove, within_s=self.driver.proof_within_s
            )
            player = Player(self.driver, self._clock)
            proving = self._spawn(self._prove(activation, watch, player), "prove")
            turning = self._spawn(self._watch_turning(player), "turning")
            self.parts.begins()
            try:
                await player.play(blasts(activation.pattern, activation.limit_s), began_ns)
                proving.cancel()
                self._silence()
                cue, reason = _outcome(player, off=await self.silenced(OFF_TRY_S))
                sounded = self.phase is Phase.SOUNDING
                self._end(activation, cue, reason, sounded=sounded, measured=watch.measured)
            finally:
                self.parts.sounded(player.sounded_ns())
                turning.cancel()
                proving.cancel()
                guard.cancel()
        finally:
            if self.current is activation or self.current is None:
                self._silence()

    async def _take_over(self, before: asyncio.Task[None] | None) -> None:
        """Wait until what played before has let go of the driver, so that its off cannot silence us."""
        old = {task for task in (before, self._silencing) if task is not None and not task.done()}
        if old:
            await asyncio.wait(old, timeout=OFF_TRY_S)
        if self._silencing is not None:
            self._silencing.cancel()
            self._silencing = None

    async def _arm(self) -> bool:
        for number in range(ARM_TRIES):
            outcome = await self.driver.arm()
            if outcome.ok:
                return True
            if number + 1 < ARM_TRIES:
                await asyncio.sleep(ARM_EVERY_S)
        return False

    async def _guard(self, activation: Activation, limit_ns: int) -> None:
        """Off at the limit, even if the player is stuck."""
        await until(self._clock, limit_ns + round(GUARD_S * NS_PER_S))
        if self.current is activation:
            if self._work is not None:
                self._work.cancel()
            self._end(activation, Cue.END, "limit", sounded=self.phase is Phase.SOUNDING)
            self._silence()

    async def _prove(self, activation: Activation, watch: Watch, player: Player) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if not player.on:
                continue
            proof = await self.driver.measure() if self.driver.can_prove else None
            if not player.on:
                continue  # the blast ended while we looked
            found = watch.judge(player.sounded_ns(), proof, started=player.started, failing=player.failing)
            if found is not None and self.current is activation:
                self._cue(found.cue, activation, found.reason, measured=found.measured)

    async def _watch_turning(self, player: Player) -> None:
        """What shows only while it sounds: a rotor, a motor's current."""
        late_ns = round((self.driver.proof_within_s + SPARE_S) * NS_PER_S)
        while self.parts.turns:
            await asyncio.sleep(TURNING_S)
            if player.on:
                self.parts.sounds(await self.driver.status(), late=player.sounded_ns() > late_ns)

    # Testing.

    async def _test(self, action: Action, before: asyncio.Task[None] | None) -> None:
        await self._take_over(before)
        ok, reason = await self._do_test(action)
        self._tell_test(Cue.END if ok else Cue.BROKEN, reason)
        self._testing = None
        if self.phase is Phase.IDLE and self.held_s():
            self.phase = Phase.HELD

    async def _do_test(self, action: Action) -> tuple[bool, str]:
        if action is Action.ARM:
            return (await self.driver.arm()).ok, "arm"
        if action is Action.SILENT_TEST:
            outcome = await self.driver.quiet_test()
            return outcome.ok, "silent-test" if outcome.ok else _fault(outcome.reason)
        if action is Action.GROWL_TEST:
            return await self._growl()
        await self._look()
        seen = self.trouble & (SirenTrouble.UNREACHABLE | SirenTrouble.SUPERVISION | SirenTrouble.NOT_SEEN)
        return not seen, "unreachable" if seen & SirenTrouble.UNREACHABLE else "supervision" if seen else "ready"

    def _end_test(self, reason: str) -> None:
        """A test gives way to whoever comes."""
        if self._testing is not None:
            self._tell_test(Cue.STOP, reason)
            self._testing = None

    def _tell_test(self, cue: Cue, reason: str) -> None:
        assert self._testing is not None
        self.phase, stage = step(self.phase, cue)
        if stage is not None:
            self._tell(*self._testing, stage, reason)

    async def _growl(self) -> tuple[bool, str]:
        mode = self._plain_mode()
        assert mode is not None
        ends_s = self.driver.own_end_s(mode, GROWL_S)
        try:
            outcome = await self.driver.start(mode, (ends_s or GROWL_S) + DEAD_MAN_S)
            if ends_s is None or not self.driver.hears or not outcome.ok:
                await asyncio.sleep(GROWL_S)
                return outcome.ok, "growl-test"
            return await self._ends_alone(ends_s)
        finally:
            self._silence()

    async def _ends_alone(self, ends_s: float) -> tuple[bool, str]:
        """A sound that the siren is to end by itself is let do so, and measured: nothing else ends it if this node dies."""
        began_ns = self._clock.monotonic_ns()
        within_ns = round((ends_s + ENDED_S) * NS_PER_S)
        heard = False
        while self._clock.monotonic_ns() - began_ns < within_ns:
            await asyncio.sleep(POLL_S)
            proof = await self.driver.measure()
            if heard and proof is not None and proof.sounding is False:
                return True, "growl-test"
            heard = heard or (proof is not None and proof.sounding is True)
        return not heard, "own-end" if heard else "growl-test"  # too short to be heard: nothing is known

    def _plain_mode(self) -> SirenMode | None:
        """A tone that it has, for as long as a growl."""
        tones = (mode for mode in SirenMode if mode is not SirenMode.VOICE)
        return next((mode for mode in tones if self.driver.can_sound(mode, GROWL_S)), None)

    # Silence and supervision.

    def _silence(self) -> None:
        """Off, until the driver says so."""
        self._rested_ns = self._clock.monotonic_ns()
        self._was_silent = False
        if self._silencing is None or self._silencing.done():
            # Not of the group: silence is still to be had when the group is being ended.
            self._silencing = asyncio.create_task(self._off_until_confirmed(), name=f"siren {self.siren.id}: off")

    async def _off_until_confirmed(self) -> None:
        while not await self._try_off():  # noqa: ASYNC110 - the device must be asked again
            await asyncio.sleep(OFF_EVERY_S)

    async def _try_off(self) -> bool:
        try:
            async with asyncio.timeout(OFF_TRY_S):
                outcome = await self.driver.off()
        except TimeoutError:
            outcome = Outcome(False, "no answer")
        self._mark(SirenTrouble.NOT_OFF, on=not outcome.ok)
        return outcome.ok

    async def _look(self) -> None:
        """Could it sound? Is it silent? A siren that sounds though nobody here ordered it is a security alarm."""
        status = await self.driver.status()
        if not self.parts.take(status):
            await asyncio.sleep(AGAIN_S)
            status = await self.driver.status()
            self.parts.take(status, again=True)
        self._mark(LOOKED_AT, on=False)
        self._mark(self.parts.trouble, on=True)
        if status.proof is None or status.proof.sounding is None or self.phase not in RESTING:
            return
        if not status.proof.sounding:
            self._was_silent = True
            self._mark(SirenTrouble.UNORDERED, on=False)
            self._cue(Cue.QUIET, None, "quiet")
        elif self._clock.monotonic_ns() - self._rested_ns >= COAST_S * NS_PER_S:
            await self._look_again()

    async def _look_again(self) -> None:
        rested_ns = self._rested_ns
        await asyncio.sleep(AGAIN_S)
        proof = await self.driver.measure()
        if proof is None or not proof.sounding or self.phase not in RESTING or self._rested_ns != rested_ns:
            return
        self._mark(SirenTrouble.UNORDERED, on=True)
        if self.phase is not Phase.ROGUE:
            self._cue(Cue.INTRUDER, None, "unordered" if self._was_silent else "stuck")
        if not self._was_silent:
            await self._try_off()  # ours, and it has not ended

    def _mark(self, trouble: SirenTrouble, *, on: bool) -> None:
        self.trouble = self.trouble | trouble if on else self.trouble & ~trouble

    # Telling.

    def _end(self, activation: Activation, cue: Cue, reason: str, *, sounded: bool, measured: bool = False) -> None:
        """This activation is over, once: whoever comes second finds another one, or none, at its place."""
        if self.current is not activation:
            return
        self._cue(cue, activation, reason, measured=measured)
        self.current = None
        if self.phase is Phase.HELD and not self.held_s():
            self.phase = Phase.IDLE
        if cue is not Cue.STOP:
            self._mark(SirenTrouble.FAILED, on=self.phase is Phase.FAILED)
        self._store.finish(activation, sounded=sounded)
        self._changed()

    def _cue(self, cue: Cue, activation: Activation | None, reason: str, *, measured: bool = False) -> None:
        self.phase, stage = step(self.phase, cue)
        if stage is None:
            return
        reference = activation.reference if activation is not None else bytes(REFERENCE_BYTES)
        incident = activation.incident if activation is not None else ALL
        self._tell(reference, incident, stage, reason, measured=measured)

    def _tell(self, reference: bytes, incident: bytes, stage: Stage, reason: str, *, measured: bool = False) -> None:
        epoch = self._store.order_epoch
        self._tell_receipt(ReceiptData(self.siren.id, reference, stage, reason, incident, epoch, measured))

    def _spawn(self, work: Coroutine[None, None, None], what: str) -> asyncio.Task[None]:
        assert self._group is not None, "run() first"
        return self._group.create_task(work, name=f"siren {self.siren.id}: {what}")


def _fault(reason: str) -> str:
    """A silent test's fault as a receipt has it: a code of docs/receipts.md; a supervised point's name is its input's."""
    return reason if reason in QUIET_FAULTS else readiness.input_of(reason).name.lower()


def _outcome(player: Player, *, off: bool) -> tuple[Cue, str]:
    """How a pattern that was played to its end has ended."""
    if not off:
        return Cue.BROKEN, "not-off"
    if not player.started:
        return Cue.BROKEN, "driver"
    return (Cue.BROKEN, "partial") if player.missed else (Cue.END, "end")
