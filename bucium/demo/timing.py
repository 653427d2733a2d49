"""The milliseconds each step took, from the register that changed to the sound and to the dispatch centre's door.

Every instant is a reading of this machine's monotonic clock, which all its processes share: taken by the simulated device
(crossed, sounding), by the node (transition, accepted; they stand in its signed events), by the controller (alarm and order, in
its journal), by the demo's own eyes on the broker (committed, acked) and by the receiver (webhook). Wall-clock stamps (the CAP
file's) are brought over by the difference of the two clocks at that moment.

A chain begins with the event that tipped the scale: of the evidence in the first start order, the newest.
"""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Step:
    """A step, and the step that it is counted from."""

    name: str
    after: str
    short: str
    means: str


STEPS: Final = (
    Step(
        "transition",
        "crossed",
        "judged",
        "register crossed the mark → node's core says so (poll and on-delay included)",
    ),
    Step("committed", "transition", "on disk", "→ durable in the node's ledger, signed, and seen outside of the node"),
    Step("acked", "committed", "acked", "→ the controller's signed ack, after its own commit"),
    Step("alarm", "committed", "alarm", "→ verified, in the controller's journal and in its alarm"),
    Step("order", "alarm", "order", "→ decided, and the order signed with its evidence"),
    Step(
        "accepted",
        "order",
        "accept",
        "→ durable in the journal, sent, verified at the node and its counter durable there",
    ),
    Step("sounding", "accepted", "sound", "→ the siren's own device switches on"),
    Step("cap", "raised", "CAP", "the alarm, first at this Level, in the journal → its CAP message is written"),
    Step("webhook", "raised", "webhook", "the same alarm → that message is at the dispatch centre's server"),
    Step("all", "crossed", "all", "register crossed the mark → siren on"),
)
_ALL: Final = "all"


@dataclass(slots=True)
class Chain:
    """The instants of one alarm, in monotonic nanoseconds; each is noted once, the first counts."""

    name: str
    instants: dict[str, int] = field(default_factory=dict)

    def note(self, step: str, at_ns: int) -> bool:
        """Note an instant; whether it was new."""
        if step in self.instants:
            return False
        self.instants[step] = at_ns
        return True

    @property
    def took_ms(self) -> dict[str, float]:
        """Milliseconds of every step whose both ends are known."""
        known = dict(self.instants)
        if "sounding" in known:
            known[_ALL] = known["sounding"]
        return {
            step.name: (known[step.name] - known[step.after]) / 1e6
            for step in STEPS
            if step.name in known and step.after in known
        }
