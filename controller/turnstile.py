"""Who comes in, and when: no node's messages wait behind another's, and one that floods is quarantined (F22).

    at once      within the node's own small burst: nobody waits for anybody
    in turn      beyond it, in a queue of its own; the queues are emptied one message each, at the node's own rate
    not at all   when that queue is full: the node sends again what it has no ack for
    quarantine   so many were turned away, or a day's ration is used up. A trickle still comes in, so that a node that is wronged
                 can raise an alarm (its newest go first). It ends by itself after a quiet time, which doubles with each relapse

Only the topic has been looked at here: a message that is turned away costs microseconds, one that is opened a millisecond.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from cython_ext import NS_PER_S

T = TypeVar("T")

QUIET_NS: Final = 10 * NS_PER_S  # nothing turned away for so long: it has calmed down
RELAPSE_NS: Final = 3600 * NS_PER_S
LONGEST_NS: Final = 640 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Ration:
    """What one node may bring. Rates are messages a second."""

    rate: float  # for long
    burst: float  # at once, before its messages take turns
    queue: int  # waiting, of one node
    waiting: int  # waiting, of all nodes together
    turned_away: int  # so many within 10 s, and it is quarantined
    day: float  # messages that a day may bring, beyond which only `trickle` comes in
    trickle: float = 2.0  # a second, in quarantine; and how fast the day's ration grows again


REPORTS: Final = Ration(
    rate=100.0,  # ten minutes' backlog of a busy node in seconds, 72 h of an event a minute in 45 s
    burst=50.0,  # more than a node's window of publishes
    queue=500,  # of up to 300 bytes
    waiting=20_000,  # 10 MB
    turned_away=200,
    day=200_000.0,  # a full ledger, twice
)


class Entry(Enum):
    """What becomes of a message."""

    NOW = auto()
    LATER = auto()
    TURNED_AWAY = auto()


class Bucket:
    """Tokens at a rate, up to a burst."""

    def __init__(self, rate: float, burst: float, now_ns: int) -> None:
        self.rate, self.burst = rate, burst
        self._tokens, self._at_ns = burst, now_ns

    def spend(self, now_ns: int) -> bool:
        self._tokens = min(self.burst, self._tokens + (now_ns - self._at_ns) * self.rate / NS_PER_S)
        self._at_ns = now_ns
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def next_ns(self, now_ns: int) -> int:
        """How long until there is a token."""
        missing = 1.0 - min(self.burst, self._tokens + (now_ns - self._at_ns) * self.rate / NS_PER_S)
        return 0 if missing <= 0 else round(missing * NS_PER_S / self.rate) + 1


@dataclass(slots=True)
class _Node(Generic[T]):
    bucket: Bucket
    day: Bucket
    queue: deque[T] = field(default_factory=deque)
    away: int = 0  # turned away since `since_ns`
    since_ns: int = 0
    last_away_ns: int = -QUIET_NS
    quarantined: Bucket | None = None
    until_ns: int = 0
    term_ns: int = QUIET_NS
    released_ns: int = -RELAPSE_NS


class Turnstile(Generic[T]):
    """`told` is called (name, on) when a quarantine begins and ends."""

    def __init__(self, ration: Ration, told: Callable[[str, bool], None]) -> None:
        self._ration = ration
        self._told = told
        self._nodes: dict[str, _Node[T]] = {}
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._watched: set[str] = set()
        self.waiting = 0
        self.turned_away = 0

    def enter(self, name: str, message: T, now_ns: int) -> Entry:
        """A message of this node has come; LATER: `next` will give it."""
        node = self._nodes.get(name)
        if node is None:
            ration = self._ration
            bucket = Bucket(ration.rate, ration.burst, now_ns)
            node = self._nodes[name] = _Node(bucket, Bucket(ration.trickle, ration.day, now_ns))
        if node.quarantined is not None:
            return Entry.NOW if node.quarantined.spend(now_ns) else self._away(name, node, now_ns)
        if not node.day.spend(now_ns):
            self._quarantine(name, node, now_ns)
            return self._away(name, node, now_ns)
        if not node.queue and node.bucket.spend(now_ns):
            return Entry.NOW
        if len(node.queue) >= self._ration.queue or self.waiting >= self._ration.waiting:
            return self._away(name, node, now_ns)
        node.queue.append(message)
        self._turns[name] = None
        self.waiting += 1
        return Entry.LATER

    def _away(self, name: str, node: _Node[T], now_ns: int) -> Entry:
        self.turned_away += 1
        if now_ns - node.since_ns > QUIET_NS:
            node.since_ns, node.away = now_ns, 0
        node.away += 1
        node.last_away_ns = now_ns
        if node.away >= self._ration.turned_away and node.quarantined is None:
            self._quarantine(name, node, now_ns)
        return Entry.TURNED_AWAY

    def _quarantine(self, name: str, node: _Node[T], now_ns: int) -> None:
        relapsed = now_ns - node.released_ns < RELAPSE_NS
        node.term_ns = min(LONGEST_NS, 2 * node.term_ns) if relapsed else QUIET_NS
        node.until_ns = now_ns + node.term_ns
        trickle = self._ration.trickle
        node.quarantined = Bucket(trickle, 2 * trickle, now_ns)
        self.waiting -= len(node.queue)
        node.queue.clear()
        self._turns.pop(name, None)
        self._watched.add(name)
        self._told(name, True)

    def next(self, now_ns: int) -> tuple[str, T] | None:
        """The message whose turn it is; None: none may come in now."""
        for name in list(self._turns):
            node = self._nodes[name]
            if not node.bucket.spend(now_ns):
                continue
            message = node.queue.popleft()
            self.waiting -= 1
            if node.queue:
                self._turns.move_to_end(name)
            else:
                del self._turns[name]
            return name, message
        return None

    def wait_ns(self, now_ns: int) -> int | None:
        """How long until `next` gives something; None: nothing waits."""
        return min((self._nodes[name].bucket.next_ns(now_ns) for name in self._turns), default=None)

    def tick(self, now_ns: int) -> None:
        """End the quarantines of those that have calmed down."""
        for name in sorted(self._watched):
            node = self._nodes[name]
            if now_ns < node.until_ns or now_ns - node.last_away_ns < QUIET_NS:
                continue
            node.quarantined, node.released_ns, node.away = None, now_ns, 0
            self._watched.discard(name)
            self._told(name, False)

    def clear(self) -> None:
        """Our connection is gone: what waits comes again."""
        for name in self._turns:
            self._nodes[name].queue.clear()
        self._turns.clear()
        self.waiting = 0
