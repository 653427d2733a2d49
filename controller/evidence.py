"""The signed reports that stand behind a danger, kept for the orders that must carry them (design §2.4).

The node that drives a siren weighs them by the same rule (edge/siren/evidence.py): raises and state reports of sensor nodes, at
the policy's Level, not older than 5 minutes, of at least k different nodes; a vote's members count when enough of them speak.
"""

from dataclasses import dataclass
from typing import Final

from cython_ext import NS_PER_S, Hazard, Level
from lanes.plan import Group, Plan, Point, Policy

AGE_MAX_NS: Final = 270 * NS_PER_S  # the node's limit is 300 s; an order may travel and be resent for a while
PIECES_MAX: Final = 5  # of up to 300 bytes: with the core they stay within 2 KiB


@dataclass(frozen=True, slots=True)
class Piece:
    """One signed report that says `judged` is at `level`. `at_ns`: when it was true, by our monotonic clock."""

    judged: str
    node: str
    level: Level
    at_ns: int
    data: bytes


class Pool:
    """The newest piece of each point or vote; and, beside a state report, the newest raise.

    A state report counts points in the order of its plan, so a node with another one cannot read it; an event names its point.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._speakers = _speakers(plan)
        self._pieces: dict[str, Piece] = {}
        self._raises: dict[str, Piece] = {}

    def replan(self, plan: Plan) -> None:
        """Another plan: what it does not name speaks for nothing."""
        self._plan = plan
        self._speakers = _speakers(plan)
        for pieces in (self._pieces, self._raises):
            for judged in [judged for judged in pieces if plan.judged(judged) is None]:
                del pieces[judged]

    def put(self, piece: Piece) -> None:
        """An event that raised the point."""
        self._pieces[piece.judged] = self._raises[piece.judged] = piece

    def put_state(self, piece: Piece) -> None:
        """A state report that names the point."""
        self._pieces[piece.judged] = piece

    def drop(self, judged: str) -> None:
        """The point is normal again: what it said before speaks for nothing."""
        self._pieces.pop(judged, None)
        self._raises.pop(judged, None)

    def lower(self, judged: str, level: Level) -> None:
        """The point is at a lower Level: its raise still shows that much."""
        piece = self._pieces.get(judged)
        if piece is not None and level < piece.level:
            self._pieces[judged] = Piece(judged, piece.node, level, piece.at_ns, piece.data)

    def choose(self, policy: Policy, now_ns: int) -> tuple[bytes, ...]:
        """The reports that carry this policy, the newest first; () when they do not suffice."""
        plan, hazard, floor = self._plan, Hazard[policy.hazard.upper()], Level[policy.level.upper()]
        said = [self._pieces[each] for each in self._speakers.get(policy.zone, ()) if each in self._pieces]
        fit = [
            piece
            for piece in sorted(said, key=lambda p: (-p.at_ns, p.judged))
            if piece.level >= floor and now_ns - piece.at_ns <= AGE_MAX_NS and plan.hazard_of(piece.judged) is hazard
        ]
        alone = [piece for piece in fit if policy.zone in plan.zones_of(piece.judged) and _alone(plan, piece.judged)]
        for votes in self._votes(policy, fit):
            found = _enough([*votes, *alone], policy.k, len(votes))
            if found:
                return self._with_raises(found, now_ns)
        return self._with_raises(_enough(alone, policy.k, 0), now_ns)

    def _with_raises(self, chosen: list[Piece], now_ns: int) -> tuple[bytes, ...]:
        """The reports, and as many of their raises as there is room for."""
        raises = [self._raises[piece.judged] for piece in chosen if piece.judged in self._raises]
        young = [piece for piece in raises if now_ns - piece.at_ns <= AGE_MAX_NS]
        return tuple(dict.fromkeys(piece.data for piece in (*chosen, *young)))[:PIECES_MAX]

    def _votes(self, policy: Policy, fit: list[Piece]) -> list[list[Piece]]:
        """For each vote of the zone that is won: the members that win it."""
        won = []
        for group in self._plan.groups:
            members = [piece for piece in fit if piece.judged in group.points]
            if policy.zone in group.zones and group.k <= len(members) and group.k <= PIECES_MAX:
                won.append(_distinct_first(members)[: group.k])
        return won


def _speakers(plan: Plan) -> dict[str, set[str]]:
    """For each zone the points and votes that can speak for it: a storm asks for thousands of zones, each about its own few."""
    found: dict[str, set[str]] = {}
    items: tuple[Point | Group, ...] = (*plan.points, *plan.groups)
    for item in items:
        members = () if isinstance(item, Point) else item.points
        for zone in item.zones:
            found.setdefault(zone, set()).update((item.id, *members))
    return found


def _distinct_first(pieces: list[Piece]) -> list[Piece]:
    """One piece of each node before any second one of a node."""
    seen: set[str] = set()
    first: list[Piece] = []
    rest: list[Piece] = []
    for piece in pieces:
        (rest if piece.node in seen else first).append(piece)
        seen.add(piece.node)
    return [*first, *rest]


def _enough(pieces: list[Piece], k: int, keep: int) -> list[Piece]:
    """The first `keep` pieces and as many more as bring it to k nodes; none when that cannot be."""
    chosen = pieces[:keep]
    nodes = {piece.node for piece in chosen}
    for piece in pieces[keep:]:
        if len(nodes) >= k:
            break
        if piece.node not in nodes:
            nodes.add(piece.node)
            chosen.append(piece)
    if len(nodes) < k or len(chosen) > PIECES_MAX:
        return []
    return chosen


def _alone(plan: Plan, judged: str) -> bool:
    item = plan.judged(judged)
    return not isinstance(item, Point) or item.alone
