"""The same order once more: resent until it is answered, or delivered twice. It changes nothing (design §2.4)."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from cython_ext import Clock
from lanes.orders import Action
from lanes.reports import ReceiptData, Stage

from .orders import OpenOrder

KNOWN_MAX: Final = 256  # orders whose repeat is known as such; each costs 200 bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a repeat is answered: what was told last. `stage` None: nothing yet, the order still waits to be judged."""

    stage: Stage | None
    reason: str = ""
    measured: bool = False


class Repeats:
    """The last orders of this boot, by reference. Across boots the counters stand."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Answer] = OrderedDict()

    def find(self, opened: OpenOrder, clock: Clock) -> Answer | None:
        """What was answered; None for an order that is new, or that has expired: then it is a replay, and told as one."""
        expires = opened.order.action is not Action.STOP and clock.quality().trusted
        if expires and clock.wall_us() > opened.envelope.not_after_us:
            return None
        return self._known.get(opened.reference)

    def wait(self, reference: bytes) -> None:
        """This order is on its way to be judged."""
        self._set(reference, Answer(None))

    def answered(self, reference: bytes, stage: Stage, reason: str, *, measured: bool = False) -> None:
        """What was told of it last. With several sirens a refusal does not hide what the others do."""
        before = self._known.get(reference)
        if stage is Stage.REFUSED and before is not None and before.stage not in (None, Stage.REFUSED):
            return
        self._set(reference, Answer(stage, str(reason), measured))

    def told(self, receipt: ReceiptData) -> None:
        """A step of a siren, of an order that is known here."""
        if receipt.order in self._known:
            self.answered(receipt.order, receipt.stage, receipt.reason, measured=receipt.measured)

    def forget(self, reference: bytes) -> None:
        """It may be tried again as it is."""
        self._known.pop(reference, None)

    def _set(self, reference: bytes, answer: Answer) -> None:
        self._known[reference] = answer
        self._known.move_to_end(reference)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
