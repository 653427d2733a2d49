"""What the home controller says to this node: authentic, addressed to us, and said now rather than replayed (design §2.4).

Whoever can replay old beats could keep a node from acting alone. So a message counts as heard only when its counter is above
the last of its kind. The controller's counters rise across its boots, unless it was restored from an old copy: then another
boot counts when it was signed later, by the controller's own clock, than all that we have heard. Orders are judged once more,
by durable counters, where they are obeyed.

Neither may hold for a controller that lost its journal after its clock had been years ahead: its counters begin low, and no date
of today is later. It proves that it speaks now by an ack for an event of ours that was never acked: nobody can have recorded one.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cython_ext import Clock, WireError
from lanes.envelope import Envelope, Kind, Opened, Refusal, open_envelope
from lanes.keys import Mode, Role
from lanes.orders import Ack
from lanes.plan import Plan

AHEAD_MAX_US: Final = 86_400_000_000  # a day: further ahead of a trusted clock no date is believed
BOOTS_MAX: Final = 16  # boots of the controller that are remembered as over
ORDERS: Final = frozenset(
    {Kind.ACK, Kind.ORDER, Kind.APPROVAL, Kind.CHUNK, Kind.RESET}
)  # what comes on our order topic


class Doubt(StrEnum):
    """Why an authentic message does not count; `Refused` has the reasons why one is not authentic."""

    NOT_CONTROLLER = "not-controller"
    NOT_FOR_US = "not-for-us"
    WRONG_TOPIC = "wrong-topic"
    WRONG_MODE = "wrong-mode"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True)
class Heard:
    """An authentic message of the home controller, said now."""

    opened: Opened


class Hearing:
    """Judges what arrives. `refused` counts what does not count, by reason."""

    def __init__(
        self,
        plan: Plan,
        node: str,
        clock: Clock | None = None,
        proves: Callable[[Ack], bool] = lambda _ack: False,
    ) -> None:
        """`proves`: whether this ack is of an event that has waited for one until now."""
        self._plan = plan
        self._node = node
        self._clock = clock
        self._proves = proves
        self._boot = b""
        self._over: OrderedDict[bytes, int] = OrderedDict()  # boots that we have left, and the highest counter of each
        self._floor = -1
        self._counters: dict[Kind, int] = {}
        self._highest = -1
        self._issued_us = 0
        self.refused: Counter[str] = Counter()

    def replan(self, plan: Plan) -> None:
        """Another plan: its roster counts from now on. What was heard stays heard."""
        self._plan = plan

    def judge(self, data: bytes, *, beat: bool) -> Heard | Refusal | Doubt:
        """What these bytes are; `beat`: they came on the group's beat topic."""
        opened = open_envelope(data, self._plan.roster)
        if isinstance(opened, Refusal):
            self.refused[opened.why] += 1
            return opened
        doubt = self._doubt(opened, beat)
        if doubt is not None:
            self.refused[doubt] += 1
            return doubt
        return Heard(opened)

    def _doubt(self, opened: Opened, beat: bool) -> Doubt | None:
        envelope, signer = opened.envelope, opened.signer
        if signer.role is not Role.CONTROLLER or signer.id != self._plan.controller:
            return Doubt.NOT_CONTROLLER
        if envelope.kind not in ((Kind.BEAT,) if beat else ORDERS):
            return Doubt.WRONG_TOPIC
        if envelope.addressee != self._node and not (beat and not envelope.addressee):
            return Doubt.NOT_FOR_US
        if envelope.kind is not Kind.ORDER and signer.mode is not Mode.LIVE:
            return Doubt.WRONG_MODE  # exercises have orders; they do not ack
        if envelope.boot != self._boot:
            left_at = self._over.get(envelope.boot)
            later = envelope.issued_us > self._issued_us and not self._absurd(envelope.issued_us)
            risen = envelope.counter > self._highest
            # A boot that we have left comes back only by date and counter both: else a clock that was ahead for a while would
            # let one recorded message shut out the present boot for as long.
            new = (later or risen) if left_at is None else later and risen and envelope.counter > left_at
            if self._boot and not new and not self._present(envelope):
                return Doubt.REPLAYED
            self._turn_to(envelope.boot)
        if envelope.counter <= max(self._floor, self._counters.get(envelope.kind, -1)):
            return Doubt.REPLAYED
        self._counters[envelope.kind] = envelope.counter
        self._highest = max(self._highest, envelope.counter)
        self._issued_us = envelope.issued_us
        return None

    def _present(self, envelope: Envelope) -> bool:
        """Whether a boot acks what was never acked before; one that we have left, with a counter that we have not heard."""
        if envelope.kind is not Kind.ACK or envelope.counter <= self._over.get(envelope.boot, -1):
            return False
        try:
            return self._proves(Ack.unpack(envelope.body))
        except WireError:
            return False

    def _absurd(self, issued_us: int) -> bool:
        """Whether our own clock, when somebody vouches for it, says that this date cannot be: a recording of a wrong clock."""
        clock = self._clock
        return clock is not None and clock.quality().trusted and issued_us > clock.wall_us() + AHEAD_MAX_US

    def _turn_to(self, boot: bytes) -> None:
        """The controller has started again."""
        self._floor = self._over.pop(boot, -1)
        if self._boot:
            self._over[self._boot] = self._highest
            while len(self._over) > BOOTS_MAX:
                self._over.popitem(last=False)
        self._boot = boot
        self._counters.clear()
        self._highest = self._floor
