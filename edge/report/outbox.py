"""What is on its way to the home controller: each unacked event with a timer of its own (design §2, §2.2).

Pure: no clock, no I/O; times are monotonic nanoseconds. Three kinds of event, in the order in which they go:

    urgent   a Level was raised: the newest first, and at once; older than this connection, all but the newest at the link's pace
    fresh    anything else of now, before the backlog
    backlog  what an earlier cut or boot left behind: from the ledger in pages, in order

Sent again 2 to 3 s after its PUBACK, ten times: so an event is in time (30 s) where a third of all messages is lost. Then, or at
once where the PUBACKs say that the link is full, after twice as long each time up to 30 s, with full jitter above the 2 s. While
the controller is silent only the first few probe for it; a valid message from it makes all due at once. The pace of what is not
at once follows the PUBACKs, measured against those of events that were alone in the air (a satellite is slow and not full), so
that on a thin link a new alarm finds the pipe empty but for one or two messages (issue 4: ≤ 1 s at 9.6 kbit/s).
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cython_ext import NS_PER_S
from lanes.orders import Ack

from .ledger import Kept

FIRST_RESEND_S: Final = 2.0
SOON_RESEND_S: Final = 3.0
SOON_ATTEMPTS: Final = 10  # 0.3¹⁰: one event in 170,000 is later than 30 s where 30 % of the messages are lost
LAST_RESEND_S: Final = 30.0
PAGE_EVENTS: Final = 64  # of the backlog in memory: 20 kB
HELD_MAX: Final = 1_024  # events in memory in all, 0.5 MB; beyond it the rest waits in the ledger as backlog
PROBES: Final = 4  # events that go on being sent while the controller is silent: 1 kB in 30 s
INFLIGHT_MAX: Final = 20  # publishes that wait for their PUBACK; the client library starves beyond (libraries.md §a)
CALM_INFLIGHT_MAX: Final = 16  # of these, what may wait may take: an alarm always finds a place
QUICK_NS: Final = 300_000_000  # a PUBACK within it, or within 5/4 of a lone one's: the link has room for one more
SLOW_NS: Final = 600_000_000  # beyond it, and beyond twice a lone one's: for half as many
LONE_KEPT: Final = 2  # the last PUBACKs of lone events: the quicker counts

Key = tuple[bytes, int]


@dataclass(slots=True)
class Flight:
    """One event that the controller has not acked."""

    kept: Kept
    fresh: bool
    since_ns: int  # since when it waits for its ack
    due_ns: int
    attempts: int = 0
    in_air: bool = False
    handed: bool = False  # once at least
    alone: bool = False  # nothing else was in the air with it

    @property
    def sent(self) -> bool:
        return self.in_air or self.attempts > 0

    @property
    def order(self) -> tuple[int, int]:
        """What goes first: urgent and newest, fresh, backlog from its oldest."""
        if self.kept.urgent:
            return 0, -self.kept.seq
        return (1 if self.fresh else 2), self.kept.seq

    @property
    def turn(self) -> tuple[int, int, int]:
        """As `order`, where all may go: what has been sent less often comes first."""
        first, then = self.order
        return first, self.attempts, then


class Outbox:
    """Flights and their timers. `jitter` gives numbers in [0, 1)."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._flights: dict[Key, Flight] = {}
        self._room = 1  # publishes that may be in the air before what may wait follows
        self._anew_ns = -1  # when all was last made due
        self._lone_ns: deque[int] = deque(maxlen=LONE_KEPT)  # PUBACKs of what was alone in the air

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def keys(self) -> frozenset[Key]:
        return frozenset(self._flights)

    @property
    def unsaid(self) -> bool:
        """Whether an alarm has not gone out, on this connection if there is one."""
        return any(f.attempts == 0 and f.kept.urgent for f in self._flights.values())

    @property
    def hungry(self) -> bool:
        """Whether a page of the backlog may be added."""
        return sum(not f.fresh for f in self._flights.values()) < PAGE_EVENTS // 2

    def add(self, kept: Kept, now_ns: int, *, fresh: bool) -> bool:
        """Take an event up. False: too many are here, so that this one (in the ledger) must come with the backlog."""
        if kept.key in self._flights:
            return True
        if fresh and len(self._flights) >= HELD_MAX:
            return False
        self._flights[kept.key] = Flight(kept, fresh, now_ns, now_ns)
        return True

    def take(self, now_ns: int, *, heard: bool) -> list[Flight]:
        """Those to publish now, in order; they count as in the air until `landed`. `heard`: the controller is not silent."""
        ordered = sorted(self._flights.values(), key=lambda f: f.turn if heard else f.order)
        air = [f for f in ordered if f.in_air]
        chosen: list[Flight] = []
        for place, flight in enumerate(ordered):
            if len(air) + len(chosen) >= INFLIGHT_MAX:
                break
            if flight.in_air or flight.due_ns > now_ns:
                continue
            new = flight.attempts == 0 and flight.order[0] < 2
            if not heard and not new and place >= PROBES:
                continue
            if len(air) + len(chosen) >= self._room and not self._at_once(place, flight):
                continue
            flight.in_air = flight.handed = True
            chosen.append(flight)
        if chosen:
            for flight in (*air, *chosen):
                flight.alone = len(air) + len(chosen) == 1
        return chosen

    def _at_once(self, place: int, flight: Flight) -> bool:
        """A new alarm waits for nothing; of those of a cut only the newest: the rest would stand before the next new one."""
        return flight.kept.urgent and (place == 0 or flight.since_ns > self._anew_ns)

    def landed(self, flight: Flight, now_ns: int, took_ns: int | None) -> None:
        """Its publish ended: PUBACKed after `took_ns`, or (None) not at all."""
        flight.in_air = False
        if took_ns is None:
            flight.due_ns = now_ns
            return
        flight.attempts += 1
        if flight.alone:
            self._lone_ns.append(took_ns)
        lone_ns = min(self._lone_ns, default=0)
        full = took_ns > max(SLOW_NS, 2 * lone_ns)
        longest = SOON_RESEND_S
        if full or flight.attempts > SOON_ATTEMPTS:
            rounds = flight.attempts if full else flight.attempts - SOON_ATTEMPTS
            longest = min(LAST_RESEND_S, FIRST_RESEND_S * 2.0 ** min(rounds, 8))
        wait_s = FIRST_RESEND_S + (longest - FIRST_RESEND_S) * self._jitter()
        flight.due_ns = now_ns + round(wait_s * NS_PER_S)
        if took_ns <= max(QUICK_NS, lone_ns * 5 // 4):
            self._room = min(CALM_INFLIGHT_MAX, self._room + 1)
        elif full:
            self._room = max(1, self._room // 2)

    def all_due(self, now_ns: int) -> None:
        """A new connection, or the controller is heard again: everything goes at once, as for the first time."""
        self._room, self._anew_ns = 1, now_ns
        for flight in self._flights.values():
            flight.due_ns = now_ns
            flight.attempts = 0

    def grounded(self) -> None:
        """The connection is gone: nothing is in the air."""
        self._lone_ns.clear()
        for flight in self._flights.values():
            flight.in_air = False

    def handed(self, ledger: bytes) -> frozenset[int]:
        """The seqs of a ledger's events that have been handed over: only those can the controller have."""
        return frozenset(seq for (of, seq), flight in self._flights.items() if of == ledger and flight.handed)

    def acked(self, ledger: bytes, ranges: Iterable[tuple[int, int]]) -> int:
        """Forget what the controller has, of what has been handed over; how many that were."""
        spans = [*ranges]
        gone = [(ledger, seq) for seq in self.handed(ledger) if any(first <= seq <= last for first, last in spans)]
        for key in gone:
            del self._flights[key]
        return len(gone)

    def proves(self, ack: Ack) -> bool:
        """Whether this ack is for an event that has gone out and never been acked: it was signed since."""
        flight = self._flights.get((ack.ledger, ack.through))
        if flight is not None and flight.sent:
            return sha256(flight.kept.data).digest() == ack.last
        spans = [key for key in self._flights if key[0] == ack.ledger and self._flights[key].sent]
        return any(first <= seq <= last for _, seq in spans for first, last in ack.ranges)

    def clear(self) -> None:
        """Forget all; what is unacked comes again from the ledger."""
        self._flights.clear()

    def next_due_ns(self, *, heard: bool) -> int | None:
        """When `take` may next give something, or None when only news can change that."""
        ordered = sorted(self._flights.values(), key=lambda f: f.order)
        counted = ordered if heard else ordered[:PROBES]
        return min((f.due_ns for f in counted if not f.in_air), default=None)

    def oldest_ns(self) -> int | None:
        """Since when the longest-waiting event of now has waited, or None."""
        return min((f.since_ns for f in self._flights.values() if f.order[0] < 2), default=None)
