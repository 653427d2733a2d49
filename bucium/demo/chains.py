"""Puts instants together: which event tipped which order, and what became of it (timing.py says what is measured).

Facts arrive in any order (the lane is heard at once, the journal is looked into now and then), so each is kept, and the
chains are filled in again after each.
"""

from dataclasses import dataclass, field

from bucium.demo.happening import Teller
from bucium.demo.timing import Chain
from cython_ext import Hazard, Level
from lanes.envelope import Opened, open_envelope
from lanes.identity import EventKey
from lanes.orders import Order
from lanes.plan import Plan
from lanes.reports import Event, ReceiptData, Stage, TransitionData


@dataclass(slots=True)
class _Facts:
    """What is known of one hazard in this round, all in monotonic nanoseconds."""

    order_ns: int = 0
    tipped: EventKey | None = None  # the newest evidence of the first start order
    point: str = ""
    level: Level = Level.NORMAL
    judged_ns: int = 0
    raised_ns: int = 0  # the alarm first stood at a Level that policies act on
    incident: bytes = b""
    told: dict[str, dict[str, int]] = field(default_factory=lambda: {"cap": {}, "webhook": {}})  # identifier → when
    chain: Chain = field(default_factory=lambda: Chain(""))


class Chains:
    """One chain for each hazard and round of the story; `close` ends a round."""

    def __init__(self, plan: Plan, teller: Teller) -> None:
        self._plan = plan
        self._teller = teller
        self._crossed: dict[tuple[str, Level], int] = {}
        self._seen: dict[EventKey, int] = {}
        self._acked: dict[EventKey, int] = {}
        self._taken: dict[EventKey, int] = {}
        self._sounds: dict[str, int] = {}
        self._accepted: dict[bytes, tuple[str, int]] = {}  # incident → the first siren that accepted, and when
        self._facts: dict[str, _Facts] = {}
        self.done: list[dict[str, float]] = []

    def close(self) -> dict[str, dict[str, float]]:
        """The round's steps by hazard; what comes next belongs to the next round."""
        ended = {name: facts.chain.took_ms for name, facts in self._facts.items()}
        self._facts.clear()
        self._crossed.clear()
        self._sounds.clear()
        return ended

    def crossed(self, point: str, level: Level, at_ns: int) -> None:
        """The register of this point first held a value beyond the Level's mark."""
        self._crossed.setdefault((point, level), at_ns)

    def seen(self, key: EventKey, at_ns: int) -> None:
        """A node's event was seen on the lane."""
        self._seen.setdefault(key, at_ns)
        self._fill()

    def acked(self, node: str, ledger: bytes, through: int, ranges: tuple[tuple[int, int], ...], at_ns: int) -> None:
        """An ack was seen."""
        for key in self._seen:
            if (key.node, key.ledger) == (node, ledger) and (
                key.seq <= through or any(first <= key.seq <= last for first, last in ranges)
            ):
                self._acked.setdefault(key, at_ns)
        self._fill()

    def ordered(self, order: Order, at_ns: int) -> None:
        """A start order was signed: its evidence says which event tipped the scale. By hand, nothing was crossed."""
        evidence = [found for data in order.evidence if (found := self._open(data))]
        if not evidence:
            return
        key, event, change = max(evidence, key=lambda each: each[1].monotonic_ns)
        hazard = self._plan.hazard_of(change.point)
        facts = self._of(hazard)
        if facts.tipped is None:
            facts.tipped, facts.point, facts.level = key, change.point, change.level
            facts.judged_ns, facts.order_ns = event.monotonic_ns, at_ns
            facts.incident = order.core.incident
        self._fill()

    def _open(self, data: bytes) -> tuple[EventKey, Event, TransitionData] | None:
        opened = open_envelope(data, self._plan.roster)
        if not isinstance(opened, Opened):
            return None
        event = Event.unpack(opened.envelope.body)
        if not isinstance(event.data, TransitionData):
            return None
        return EventKey(opened.envelope.issuer, event.ledger, event.seq), event, event.data

    def receipt(self, receipt: ReceiptData, at_ns: int) -> None:
        """A siren's receipt, at the node's own instant."""
        if receipt.stage is Stage.ACCEPTED:
            self._accepted.setdefault(receipt.incident, (receipt.siren, at_ns))
        self._fill()

    def sounded(self, siren: str, at_ns: int) -> None:
        """A siren's own device switched on."""
        self._sounds.setdefault(siren, at_ns)
        self._fill()

    def taken(self, key: EventKey, at_ns: int) -> None:
        """The controller's journal has the event, and its alarm book with it."""
        self._taken.setdefault(key, at_ns)
        self._fill()

    def alarm(self, hazard: Hazard, level: Level, at_ns: int) -> None:
        """The controller's journal has a change of the alarm."""
        facts = self._of(hazard)
        if level >= Level.ALARM and not facts.raised_ns:
            facts.raised_ns = at_ns
        self._fill()

    def told(self, hazard: Hazard, step: str, identifier: str, at_ns: int) -> None:
        """`cap`: a message is in its file; `webhook`: it is at the dispatch centre."""
        self._of(hazard).told[step].setdefault(identifier, at_ns)
        self._fill()

    def _of(self, hazard: Hazard) -> _Facts:
        name = hazard.name.lower()
        return self._facts.setdefault(name, _Facts(chain=Chain(name)))

    def _fill(self) -> None:
        for facts in self._facts.values():
            before = len(facts.chain.instants)
            for step, at_ns in self._instants(facts):
                if at_ns:
                    facts.chain.note(step, at_ns)
            if len(facts.chain.instants) > before:
                self._tell(facts.chain)

    def _instants(self, facts: _Facts) -> list[tuple[str, int]]:
        found = [("raised", facts.raised_ns), *self._outside(facts)]
        key = facts.tipped
        if key is None:
            return found
        seen, taken = self._seen.get(key, 0), self._taken.get(key, 0)
        found += [
            ("crossed", self._crossed.get((facts.point, facts.level), 0)),
            ("transition", facts.judged_ns),
            ("acked", self._acked.get(key, 0)),
            ("alarm", taken),
            ("order", facts.order_ns),
        ]
        if seen and taken:
            found.append(("committed", min(seen, taken)))  # a durable event is first seen by one of the two
        if facts.incident in self._accepted:
            siren, at_ns = self._accepted[facts.incident]
            found += [("accepted", at_ns), ("sounding", self._sounds.get(siren, 0))]
        return found

    def _outside(self, facts: _Facts) -> list[tuple[str, int]]:
        """The first message after the alarm, and that same message at the dispatch centre."""
        after = {name: at_ns for name, at_ns in facts.told["cap"].items() if at_ns >= facts.raised_ns > 0}
        if not after:
            return []
        first = min(after, key=lambda name: after[name])
        return [("cap", after[first]), ("webhook", facts.told["webhook"].get(first, 0))]

    def _tell(self, chain: Chain) -> None:
        took_ms = {step: round(took, 3) for step, took in chain.took_ms.items()}
        words = ", ".join(f"{step} {took:.1f} ms" for step, took in took_ms.items())
        self._teller.tell("steps", f"{chain.name}: {words}", name=chain.name, took_ms=took_ms)
