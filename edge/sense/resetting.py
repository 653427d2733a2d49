"""A person's reset of a latched point, verified here: the person's signature, zone and time, whoever carried it (design §2.4).

The message is of the home controller and said now: the lane has seen to that. The act in it must be a live operator's, whom our
plan names for the alarm's zone, for an alarm that the point can raise, and not older than it may be; where our clock is in doubt,
the message must quote our boot nonce. Each act resets a point once. What is still seen above its threshold stays, and the answer
says so: a durable event, as every answer of a node.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from cython_ext import NS_PER_S, Clock, Level, Trouble, WireError
from lanes.acts import ResetAlarm, Signed, open_act
from lanes.envelope import Opened, peek
from lanes.keys import Mode
from lanes.orders import reference_of
from lanes.plan import Plan, Point
from lanes.reports import ResetData
from lanes.resets import PointReset

from .judge import Judge

KNOWN_MAX: Final = 256  # acts that are remembered: they live 60 s, and people are slower
REFUSALS_MAX: Final = 30  # a minute: whoever floods us with bad resets must not fill the ledger
BLIND: Final = Trouble.MISSING | Trouble.STALE


class Resetting:
    """`post` makes the answer durable. `plan` gives the one that runs."""

    def __init__(
        self,
        plan: Callable[[], Plan],
        node: str,
        *,
        boot: bytes,
        judge: Judge,
        clock: Clock,
        post: Callable[[ResetData], None],
    ) -> None:
        self._plan = plan
        self._node = node
        self._boot = boot
        self._judge = judge
        self._clock = clock
        self._post = post
        self._known: OrderedDict[tuple[bytes, str], None] = OrderedDict()
        self._minute_ns = -60 * NS_PER_S
        self._refused = 0

    def take(self, opened: Opened) -> str:
        """A RESET of the home controller; "" when it is one, answered by an event, else why not."""
        try:
            wanted = PointReset.unpack(opened.envelope.body)
        except WireError:
            return "malformed-reset"
        try:
            signed = self._authority(opened, wanted)
        except WireError as error:
            if self._may_refuse():
                self._answer(opened, wanted.point, done=False, why=error.code)
            return ""
        key = signed.once, wanted.point
        if key in self._known:  # sent again: the first answer is on its way
            return ""
        self._known[key] = None
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        done, why = self._reset(wanted.point)
        self._answer(opened, wanted.point, done=done, why=why)
        return ""

    def _authority(self, opened: Opened, wanted: PointReset) -> Signed:
        """The person's act; WireError with why it does not count for this point now."""
        said, plan, trusted = peek(wanted.act), self._plan(), self._clock.quality().trusted
        if said is None:
            raise WireError("malformed", "the act cannot be read")
        if not trusted and wanted.nonce != self._boot:
            raise WireError("nonce", "our clock is not trusted: quote our boot nonce")
        now_us = self._clock.wall_us() if trusted else said.issued_us
        if trusted and now_us > opened.envelope.not_after_us:
            raise WireError("expired", "too late")
        signed = open_act(wanted.act, plan.roster, service=plan.controller, now_us=now_us)
        act = signed.act
        if not isinstance(act, ResetAlarm):
            raise WireError("kind", "not a reset")
        if signed.mode is not Mode.LIVE:
            raise WireError("mode", "a live key is needed")
        if act.alarm.zone not in signed.zones:
            raise WireError("zone", f"{signed.person} is not named for zone {act.alarm.zone}")
        point = plan.judged(wanted.point)
        if not isinstance(point, Point) or point.node != self._node:
            raise WireError("point", "not a point of this node")
        if not self._raises(wanted.point, act, plan):
            raise WireError("zone", "this point does not endanger the alarm's zone")
        if not point.latch:
            raise WireError("not-latched", "it clears by itself")
        return signed

    def _raises(self, point: str, act: ResetAlarm, plan: Plan) -> bool:
        """Whether the point can raise this alarm, alone or through a vote."""
        speaking = [point, *(group.id for group in plan.groups if point in group.points)]
        zones = {zone for judged in speaking for zone in plan.zones_of(judged)}
        return act.alarm.zone in zones and plan.hazard_of(point) is act.alarm.hazard

    def _reset(self, point: str) -> tuple[bool, str]:
        before, after, trouble = self._judge.reset(point)
        if before is Level.NORMAL:
            return False, "normal"
        if after is Level.NORMAL:
            return True, "reset"
        return False, "unseen" if trouble & BLIND else "above"

    def _may_refuse(self) -> bool:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._minute_ns >= 60 * NS_PER_S:
            self._minute_ns, self._refused = now_ns, 0
        self._refused += 1
        return self._refused <= REFUSALS_MAX

    def _answer(self, opened: Opened, point: str, *, done: bool, why: str) -> None:
        self._post(ResetData(point, reference_of(opened.data), done, why[:24]))
