"""Orders that reached a node and are none of ours: refused there, or obeyed (issue 5, item 1; domain.md §6.2).

Its node has refused it and told us why; it is shown, and Trouble for a day: somebody sends orders, or what was recorded comes
again. One that was obeyed is worse: it was signed with our key, and carried what its policy asks for. Then that key is in other
hands, or two controllers have it. Only a node's fresh words count: what it tells anew when we have lost our journal is no news.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from lanes.reports import REFERENCE_BYTES, ReceiptData, Stage

from .activation import Activations

SHOWN_MAX: Final = 32  # kinds of refusal, the newest; the journal has all
NO_ORDER: Final = bytes(REFERENCE_BYTES)
GROUNDS: Final = frozenset({"evidence", "people", "calendar"})  # of a start that was obeyed (docs/receipts.md)


class Told(Enum):
    """What a receipt that answers no order of ours tells of."""

    NOTHING = auto()
    REFUSED = auto()
    FOREIGN = auto()  # obeyed


@dataclass(slots=True)
class Stray:
    """Refusals of one node and siren for one reason. Times are ours."""

    node: str
    siren: str
    reason: str
    count: int = 0
    last_us: int = 0

    def shown(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "siren": self.siren,
            "reason": self.reason,
            "count": self.count,
            "last_us": self.last_us,
        }


class Strays:
    """Takes receipts that answer no order of ours."""

    def __init__(self, activations: Activations) -> None:
        self._activations = activations
        self._kinds: OrderedDict[tuple[str, str, str], Stray] = OrderedDict()

    def take(self, node: str, receipt: ReceiptData, now_us: int) -> Told:
        """What this receipt tells of. NOTHING: it answers an order of ours, or none."""
        if self._activations.knows(receipt.order):
            return Told.NOTHING
        if receipt.stage is Stage.ACCEPTED and receipt.reason in GROUNDS and receipt.order != NO_ORDER:
            return Told.FOREIGN
        if receipt.stage is not Stage.REFUSED:
            return Told.NOTHING
        key = (node, receipt.siren, receipt.reason)
        kind = self._kinds.setdefault(key, Stray(*key))
        kind.count, kind.last_us = kind.count + 1, now_us
        self._kinds.move_to_end(key)
        while len(self._kinds) > SHOWN_MAX:
            self._kinds.popitem(last=False)
        return Told.REFUSED

    def shown(self) -> list[dict[str, Any]]:
        """Since this program began, the newest first."""
        return [each.shown() for each in reversed(self._kinds.values())]
