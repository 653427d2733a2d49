"""Which reports are opened first, when more have come than can be opened at once (F31).

    first   of nodes that drive a siren, or whose points may sound one without a person: raises, evidence, receipts
    then    of all others, in the order in which they came; of any five that are opened one is theirs

In which of the two a node is, the plan alone says: its own reports never overtake each other. A node whose ack is late sends the
same bytes again; while the first still wait, the second are passed over, since they would be verified to the same end.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from lanes.link import Message
from lanes.plan import Plan, Point

FIRST_IN_A_ROW: Final = 4  # then one of the others, so that none waits for ever
SOUNDING: Final = ("automatic", "unless-vetoed")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A report that is still to be opened. `acked`: the broker has had its PUBACK."""

    node: str
    message: Message
    acked: bool


class Precedence:
    """The reports that wait. The caller bounds them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._nodes = nodes_first(plan)
        self._first: deque[Waiting] = deque()
        self._then: deque[Waiting] = deque()
        self._same: set[tuple[str, bytes]] = set()
        self._in_a_row = 0

    def __len__(self) -> int:
        return len(self._first) + len(self._then)

    def replan(self, plan: Plan) -> None:
        """Another plan, if it is another: what waits is ordered by it anew."""
        if plan is self._plan:
            return
        self._plan, self._nodes = plan, nodes_first(plan)
        waiting = [*self._first, *self._then]
        self.clear()
        for each in waiting:
            self.put(each)

    def put(self, each: Waiting) -> bool:
        """False: the same bytes of the same node wait already."""
        same = each.node, each.message.payload
        if same in self._same:
            return False
        self._same.add(same)
        (self._first if each.node in self._nodes else self._then).append(each)
        return True

    def next(self) -> Waiting | None:
        """The report whose turn it is; None: none waits."""
        others = self._then and (not self._first or self._in_a_row >= FIRST_IN_A_ROW)
        self._in_a_row = 0 if others else self._in_a_row + 1
        queue = self._then if others else self._first
        if not queue:
            return None
        each = queue.popleft()
        self._same.discard((each.node, each.message.payload))
        return each

    def clear(self) -> None:
        """Our connection is gone: what waits comes again."""
        self._first.clear()
        self._then.clear()
        self._same.clear()


def nodes_first(plan: Plan) -> frozenset[str]:
    """The nodes that drive a siren, or whose points may sound one without a person."""
    sounded = {zone for siren in plan.sirens for zone in siren.zones}
    zones = sounded & {policy.zone for policy in plan.policies if policy.mode in SOUNDING}
    points = [plan.judged(name) for group in plan.groups if zones & set(group.zones) for name in group.points]
    points += [point for point in plan.points if zones & set(point.zones)]
    return frozenset(
        {siren.node for siren in plan.sirens} | {point.node for point in points if isinstance(point, Point)}
    )
