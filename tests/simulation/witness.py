"""The relays' own witness: every closing must rest on a valid order that has reached the node, or on a permitted reflex.

It sees the relays' edges and what the broker hands over, and nothing else. It shares no code with the product: it reads orders
with its own eyes (`reading.py`), and knows the plan only as `site.py` states it.

    order    signed by the controller, for this node and siren, not expired, that has closed this relay for one sequence
             only: after a crash it needs another order (the counter is durable before the relay moves)
    reflex   the node was cut off, for 10 s no valid message reached it or one of its events waited so long for its ack; and its
             own point stood at the policy's Level. Judged at the end, from the ledger (`reflexes`), which is checked against the
             water (`checker.py`)
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from . import site
from .reading import ACK, BEAT, EVENT, ORDER, TRANSITION, Happening, Keys
from .truth import NS

START, STOP = 1, 2
CUT_OFF_NS: Final = 10 * NS
SPARE_NS: Final = 1 * NS  # I3: off ≤ max + 1 s
SLACK_NS: Final = 1 * NS  # between the broker's hand and the node's ear
RECORDED_MAX: Final = 400
NODE_OF: Final = {siren: node for node, siren in site.SIREN_OF.items()}


@dataclass
class _Permit:
    """An order that may close a relay."""

    until_ns: int  # begin by
    max_ns: int
    began: bool = False


@dataclass(frozen=True)
class Reflex:
    """A closing that no order explains."""

    siren: str
    at_ns: int
    silent: bool  # no valid message had reached the node for 10 s


@dataclass(frozen=True)
class _Acked:
    at_ns: int
    ledger: bytes
    spans: tuple[tuple[int, int], ...]

    def covers(self, ledger: bytes, seq: int) -> bool:
        return ledger == self.ledger and any(first <= seq <= last for first, last in self.spans)


class Witness:
    """Feed it arrivals, edges and starts; ask `findings`, and at the end `reflexes`."""

    def __init__(self, keys: Keys, seen: Counter[str]) -> None:
        self._keys = keys
        self._seen = seen
        self.findings: list[str] = []
        self.slow_ns = SLACK_NS  # from the broker's hand to the node's ledger
        self.recorded: list[tuple[str, bytes]] = []  # orders on the wire, for who wants to replay them
        self.told: dict[Any, bytes] = {}  # every event that the broker handed on: its key, its digest
        self.acked: dict[str, list[_Acked]] = {node: [] for node in site.NODES}
        self._permits: dict[str, list[_Permit]] = {siren: [] for siren in NODE_OF}
        self._reflexes: list[Reflex] = []
        self._known: set[bytes] = set()
        self._on_ns: dict[str, int] = {}
        self._may_ns: dict[str, int] = {}  # until when it may sound in one go of its pattern
        self._limit_ns: dict[str, int] = {}  # the same, of the blast that is on
        self._heard_ns: dict[str, int] = dict.fromkeys(site.NODES, 0)
        self._before_ns: dict[str, int] = dict.fromkeys(site.NODES, 0)  # the last but those of this moment
        self.over_ns = 0  # the longest that a siren sounded after its maximum
        self._counters: dict[tuple[str, int], int] = {}

    # What it sees.

    def started(self, node: str, now_ns: int) -> None:
        """A new life of a node: nothing of the old one may sound on."""
        if node in self._heard_ns:
            self._heard_ns[node] = self._before_ns[node] = now_ns
            self._counters = {key: value for key, value in self._counters.items() if key[0] != node}
            self._may_ns.pop(site.SIREN_OF.get(node, ""), None)

    def thawed(self, node: str, since_ns: int) -> None:
        """A node that was stopped goes on: it heard nothing meanwhile."""
        if node in self._heard_ns:
            self._heard_ns[node] = self._before_ns[node] = min(self._heard_ns[node], since_ns)

    def forgive(self, siren: str, until_ns: int) -> None:
        """Nobody can end this blast before then."""
        if siren in self._on_ns:
            self._limit_ns[siren] = max(self._limit_ns[siren], until_ns)

    def arrived(self, client: str, payload: bytes, now_ns: int, wall_us: int) -> None:
        """The broker hands `payload` to `client`'s machine."""
        message = self._keys.open(payload)
        if message is None:
            return
        if message.kind == EVENT:
            self._event(message)
        elif (
            client in self._heard_ns
            and message.issuer == site.CENTRE
            and message.addressee in (client, "")
            and message.kind in (ACK, BEAT, ORDER)
        ):
            self._to_node(client, message, now_ns, wall_us)

    def _event(self, message: Any) -> None:
        key = message.issuer, message.body[0], message.body[1]
        before = self.told.setdefault(key, message.data)
        if before != message.data:
            self.findings.append(f"I1 two events of {key[0]} have one key: seq {key[2]}")

    def _to_node(self, node: str, message: Any, now_ns: int, wall_us: int) -> None:
        place = node, message.kind
        if message.counter > self._counters.get(place, -1):
            self._counters[place] = message.counter
            if now_ns > self._heard_ns[node] + SLACK_NS:
                self._before_ns[node] = self._heard_ns[node]
            self._heard_ns[node] = now_ns
        if message.kind == ACK:
            _, ledger, through, ranges, _ = message.body
            self.acked[node].append(_Acked(now_ns, ledger, ((0, through), *map(tuple, ranges))))
        elif message.kind == ORDER:
            self._order(node, message, now_ns, wall_us)

    def _order(self, node: str, message: Any, now_ns: int, wall_us: int) -> None:
        action, siren, core = message.body[0], message.body[1], message.body[2]
        if len(self.recorded) < RECORDED_MAX:
            self.recorded.append((f"bucium/1/{site.GROUP}/{node}/order", message.data))
        if message.data in self._known or site.SIREN_OF.get(node) != siren or action != START:
            return
        self._known.add(message.data)
        left_ns = (min(message.not_after_us, core[5]) - wall_us) * 1000
        permit = _Permit(now_ns + min(left_ns, 61 * NS), core[4] * NS)
        self._permits[siren].append(permit)

    def edge(self, siren: str, on: bool, now_ns: int) -> None:
        if on:
            self._on_ns[siren] = now_ns
            self._closed(NODE_OF[siren], siren, now_ns)
            self._limit_ns[siren] = self._may_ns.get(siren, now_ns)
        elif siren in self._on_ns:
            self._length(siren, now_ns)
            del self._on_ns[siren]

    def finish(self, now_ns: int) -> None:
        """What is still closed is too long, too."""
        for siren in list(self._on_ns):
            self._length(siren, now_ns)

    # What it thinks of it.

    def _closed(self, node: str, siren: str, now_ns: int) -> None:
        if now_ns < self._may_ns.get(siren, 0):
            return  # a further blast of what sounds lawfully
        for permit in reversed(self._permits[siren]):
            if not permit.began and now_ns <= permit.until_ns:
                permit.began = True
                self._may_ns[siren] = now_ns + permit.max_ns
                self._seen["siren sounded by order"] += 1
                return
        heard_ns = self._heard_ns[node] if self._heard_ns[node] < now_ns - SLACK_NS else self._before_ns[node]
        self._reflexes.append(Reflex(siren, now_ns, now_ns - heard_ns >= CUT_OFF_NS - SLACK_NS))
        self._may_ns[siren] = now_ns + round(site.PATTERN_S * NS)

    def _length(self, siren: str, now_ns: int) -> None:
        over_ns = now_ns - self._limit_ns[siren]
        self.over_ns = max(self.over_ns, over_ns)
        if over_ns > SPARE_NS:
            self.findings.append(
                f"I3 {siren} was closed {over_ns / NS:.1f} s after its maximum, at {now_ns / NS:.1f} s"
            )

    def reflexes(self, events: dict[str, list[tuple[int, Happening]]], unwritten: Callable[[str, int], bool]) -> None:
        """Judge the closings without an order. `events`: each node's, with the world's time, in order; `unwritten`: whether the
        node may have known of danger without a ledger to write it into.
        """
        for reflex in self._reflexes:
            node = NODE_OF[reflex.siren]
            mine = [(at_ns, event) for at_ns, event in events[node] if at_ns <= reflex.at_ns + SLACK_NS]
            why = ""
            if max(_levels(mine, reflex.at_ns - SLACK_NS)) < site.REFLEX_LEVEL and not unwritten(node, reflex.at_ns):
                why = "its own point was not in alarm"
            elif not reflex.silent and not self._owed(node, mine, reflex.at_ns):
                why = "the node was not cut off"
            if why:
                self.findings.append(
                    f"I2 {reflex.siren} closed at {reflex.at_ns / NS:.1f} s without an order, and {why}"
                )
            else:
                self._seen["siren sounded by reflex"] += 1

    def was_acked(self, key: tuple[str, bytes, int]) -> bool:
        """Whether a node has been told that the controller has this event."""
        return any(ack.covers(key[1], key[2]) for ack in self.acked[key[0]])

    def _owed(self, node: str, events: Iterable[tuple[int, Happening]], at_ns: int) -> bool:
        acked = [ack for ack in self.acked[node] if ack.at_ns < at_ns - self.slow_ns]
        return any(
            not any(ack.covers(event.key.ledger, event.key.seq) for ack in acked)
            for since_ns, event in events
            if since_ns <= at_ns - CUT_OFF_NS + SLACK_NS
        )


def _levels(events: Iterable[tuple[int, Happening]], since_ns: int) -> list[int]:
    """Where the node's point stood at this time, and each Level after it."""
    levels = [0]
    for at_ns, event in events:
        if event.kind == TRANSITION:
            levels = [*levels, event.data[3]] if at_ns >= since_ns else [event.data[3]]
    return levels
