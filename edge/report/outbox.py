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
TRICKLE_NS: Final = 2_000_000_000  # one more at least so often, however slow the PUBACKs: 0.35 s of a 9.6 kbit/s line
AGAIN_NS: Final = 1_000_000_000  # after an alarm's PUBACK: the controller's ack is at most so far behind it
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
    in_air: int = 0  # copies that wait for their PUBACK
    handed: bool = False  # once at least
    alone: bool = False  # when it went out the link had emptied of all that went before

    @property
    def tries(self) -> int:
        return self.attempts + self.in_air

    @property
    def sent(self) -> bool:
        return self.tries > 0

    @property
    def order(self) -> tuple[int, int]:
        """What goes first: urgent and newest, fresh, backlog from its oldest."""
        if self.kept.urgent:
            return 0, -self.kept.seq
        return (1 if self.fresh else 2), self.kept.seq

    @property
    def turn(self) -> tuple[int, int, int]:
        """As `order`, where all may go: what has been due for longer comes first, so that none waits behind those after it."""
        first, then = self.order
        return first, (self.attempts if self.kept.urgent else self.due_ns), then


class Outbox:
    """Flights and their timers. `jitter` gives numbers in [0, 1)."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._flights: dict[Key, Flight] = {}
        self._room = 1  # publishes that may be in the air before what may wait follows
        self._anew_ns = -1  # when all was last made due
        self._went_ns = 0  # when anything last went out
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
        air = sum(f.in_air for f in ordered)
        chosen: list[Flight] = []
        for place, flight in enumerate(ordered):
            if air + len(chosen) >= INFLIGHT_MAX:
                break
            if flight.due_ns > now_ns:
                continue
            new = flight.tries == 0 and flight.order[0] < 2
            if not heard and not new and place >= PROBES:
                continue
            if not self._at_once(place, flight) and not self._has_room(air + len(chosen), now_ns):
                continue
            flight.in_air += 1
            flight.handed = True
            flight.alone = not air + len(chosen) or now_ns - self._went_ns >= TRICKLE_NS
            flight.due_ns = now_ns + self._wait_ns(SOON_RESEND_S)
            self._went_ns = now_ns
            chosen.append(flight)
        return chosen

    def _at_once(self, place: int, flight: Flight) -> bool:
        """A new alarm waits for nothing; of those of a cut only the newest: the rest would stand before the next new one."""
        return flight.kept.urgent and not flight.in_air and (place == 0 or flight.since_ns > self._anew_ns)

    def _has_room(self, air: int, now_ns: int) -> bool:
        """Whether what may wait may go: the window is open, or has been shut for so long that a link of any kind has emptied."""
        return air < self._room or (air < CALM_INFLIGHT_MAX and now_ns - self._went_ns >= TRICKLE_NS)

    def landed(self, flight: Flight, now_ns: int, took_ns: int | None) -> None:
        """Its publish ended: PUBACKed after `took_ns`, or (None) not at all."""
        flight.in_air = max(0, flight.in_air - 1)
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
            if full:  # a few events fill no link: it is others who do, or the way is long and uneven
                longest = min(longest, max(SOON_RESEND_S, FIRST_RESEND_S * self._waiting(flight)))
        if longest > SOON_RESEND_S:
            flight.due_ns = now_ns + self._wait_ns(longest)
        else:
            flight.due_ns = max(now_ns + AGAIN_NS, flight.due_ns)
        if took_ns <= max(QUICK_NS, lone_ns * 5 // 4):
            self._room = min(CALM_INFLIGHT_MAX, self._room + 1)
        elif full:
            self._room = max(1, self._room // 2)

    def _wait_ns(self, longest_s: float) -> int:
        return round((FIRST_RESEND_S + (longest_s - FIRST_RESEND_S) * self._jitter()) * NS_PER_S)

    def _waiting(self, flight: Flight) -> int:
        """How many events of its kind wait for their ack."""
        return sum(f.kept.urgent is flight.kept.urgent for f in self._flights.values())

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
            flight.in_air = 0

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

    def next_ns(self, now_ns: int, *, heard: bool) -> int | None:
        """When after now `take` may give something again, or None when only news can change that."""
        ordered = sorted(self._flights.values(), key=lambda f: f.order)
        counted = [f.due_ns for f in (ordered if heard else ordered[:PROBES])]
        times = [due_ns if due_ns > now_ns else self._went_ns + TRICKLE_NS for due_ns in counted]
        return min((at_ns for at_ns in times if at_ns > now_ns), default=None)

    def oldest_ns(self) -> int | None:
        """Since when the longest-waiting event of now has waited, or None."""
        return min((f.since_ns for f in self._flights.values() if f.order[0] < 2), default=None)
