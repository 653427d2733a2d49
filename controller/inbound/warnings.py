"""The warnings of others that stand, and every message that we have had: dedupe, references, expiry. No clock, no I/O.

Theory. A message is called by (sender, identifier, sent). An Update or a Cancel names all earlier ones of its chain, so a name
that was ever referenced is void, also when its message comes later (a feed lists the newest first, posts overtake each other).
What stands is what was not replaced, not cancelled, and has not expired; a place's Level is the highest of what stands there.
Replaying the same messages in any order ends in the same state (tests/controller/test_warnings.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cython_ext import Hazard, Level
from lanes.keys import Mode

from .reading import VALID_MAX_US, Told, Triple

KNOWN_MAX: Final = 20_000  # names that are remembered: F31's storm of another centre, twice over; about 4 MiB
STANDING_MAX: Final = 5_000  # warnings that stand at once

Place = tuple[str, Hazard, Mode]


class Verdict(StrEnum):
    """What became of a message. Words of the journal: never rename."""

    RAISED = "raised"
    UPDATED = "updated"
    CANCELLED = "cancelled"
    VOID = "void"  # a later one had replaced or cancelled it already
    NOTHING = "nothing"  # it concerns no zone or hazard of ours, or is an Ack or Error


@dataclass(frozen=True, slots=True)
class Standing:
    """A warning that stands. `seq`: its row in our journal."""

    told: Told
    seq: int


class Warnings:
    """The state."""

    def __init__(self) -> None:
        self._standing: dict[Triple, Standing] = {}
        self._known: dict[Triple, int] = {}  # → when it may be forgotten, UTC microseconds
        self._void: dict[Triple, int] = {}

    def __iter__(self) -> Iterator[Standing]:
        return iter(self._standing.values())

    def __len__(self) -> int:
        return len(self._standing)

    def known(self, triple: Triple) -> bool:
        return triple in self._known

    def full(self, told: Told) -> bool:
        """Whether there is no room for another warning."""
        return bool(told.claims) and len(self._standing) >= STANDING_MAX

    def loose(self, told: Told) -> tuple[Triple, ...]:
        """References to messages that we never had, when none of the chain is known: people are told."""
        unknown = tuple(each for each in told.references if each not in self._known)
        return unknown if len(unknown) == len(told.references) else ()

    def judge(self, told: Told) -> Verdict:
        """What will become of a message that is not `known`."""
        if told.type in ("Ack", "Error"):
            return Verdict.NOTHING
        if told.triple in self._void:
            return Verdict.VOID
        ends = any(triple in self._standing for triple in self._ended(told))
        if told.type == "Cancel":
            return Verdict.CANCELLED if ends else Verdict.NOTHING
        if ends:
            return Verdict.UPDATED
        return Verdict.RAISED if told.claims else Verdict.NOTHING

    def put(self, told: Told, seq: int) -> frozenset[Place]:
        """Take a message that is not `known`; the places where something may have changed."""
        verdict = self.judge(told)
        touched: set[Place] = set()
        until_us = told.sent_us + 2 * VALID_MAX_US
        self._known[told.triple] = until_us
        for triple in self._ended(told):
            self._void[triple] = until_us
            gone = self._standing.pop(triple, None)
            touched |= _places(gone.told) if gone else set()
        if verdict in (Verdict.RAISED, Verdict.UPDATED) and told.claims:
            self._standing[told.triple] = Standing(told, seq)
            touched |= _places(told)
        self._forget()
        return frozenset(touched)

    def _ended(self, told: Told) -> tuple[Triple, ...]:
        """The messages that it replaces or cancels: its sender's own. Nobody ends the warning of somebody else."""
        if told.type not in ("Update", "Cancel"):
            return ()
        return tuple(triple for triple in told.references if triple[0] == told.sender)

    def expire(self, now_us: int) -> frozenset[Place]:
        """End what has expired; the places."""
        over = [triple for triple, each in self._standing.items() if each.told.expires_us <= now_us]
        places = [_places(self._standing.pop(triple).told) for triple in over]
        return frozenset(place for each in places for place in each)

    def at(self, place: Place) -> dict[str, Standing]:
        """For each source the worst of its warnings that stand there; the newest of equals."""
        worst: dict[str, Standing] = {}
        for each in self._standing.values():
            level = level_at(each.told, place)
            if level:
                held = worst.get(each.told.source)
                if held is None or (level, each.told.sent_us) > (level_at(held.told, place), held.told.sent_us):
                    worst[each.told.source] = each
        return worst

    def asking(self, place: Place) -> Level:
        """How bad it is there by the centres whose warnings may be put before our people with a siren's pattern."""
        return max((level_at(each.told, place) for each in self if each.told.by_hand), default=Level.NORMAL)

    def places(self) -> frozenset[Place]:
        return frozenset(place for each in self for place in _places(each.told))

    def _forget(self) -> None:
        for kept in (self._known, self._void):
            while len(kept) > KNOWN_MAX:
                del kept[min(kept, key=kept.__getitem__)]

    def pack(self) -> list[Any]:
        standing = [[each.told.pack(), each.seq] for each in self]
        return [standing, _packed(self._known), _packed(self._void)]

    def restore(self, value: list[Any]) -> None:
        standing, known, void = value
        self._standing = {(told := Told.unpack(each)).triple: Standing(told, seq) for each, seq in standing}
        self._known, self._void = _unpacked(known), _unpacked(void)


def level_at(told: Told, place: Place) -> Level:
    """How bad it is at a place by this message."""
    zone, hazard, mode = place
    here = (claim.level for claim in told.claims if (claim.zone, claim.hazard) == (zone, hazard))
    return max(here, default=Level.NORMAL) if told.mode is mode else Level.NORMAL


def _places(told: Told) -> set[Place]:
    return {(claim.zone, claim.hazard, told.mode) for claim in told.claims}


def _packed(names: dict[Triple, int]) -> list[Any]:
    return [[*triple, until_us] for triple, until_us in names.items()]


def _unpacked(rows: Iterable[Any]) -> dict[Triple, int]:
    return {(sender, identifier, sent_us): until_us for sender, identifier, sent_us, until_us in rows}
