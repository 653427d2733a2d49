"""One siren's life, as a total table: what it is doing, what can happen, what is told (design §2.4; issue 5).

    IDLE ── ORDER ──► ACCEPTED ── ARMED ──► ARMED ── HEARD ──► SOUNDING ── END ──► IDLE
                          │                   │                  │  ▲
                          │ BROKEN            │ BROKEN / SILENT   │  │ HEARD
                          ▼                   ▼                  ▼  │
                        FAILED              UNPROVEN ◄── SILENT ─┘──┘      UNPROVEN ── END ──► FAILED
    any of these ── STOP ──► HELD ── FREE ──► IDLE

A siren at rest (IDLE, FAILED, HELD) takes an order; one that is busy does not: who may take its place is decided before the
table is asked (`arbitrate`). HEARD means: it sounds, measured where it can be measured. SILENT means: proof was asked for and
none came. The pattern is played on all the same: a broken feedback contact must not silence a warning; but FAILED is told at
once, so that the controller can turn to another siren, and what proves itself later is told too. TESTING is a silent or growl
test. ROGUE: it sounds, and nobody here ordered it; it is told as a security alarm, and an order may still take the siren.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from cython_ext import Level
from lanes.identity import EventKey
from lanes.keys import Mode
from lanes.plan import Pattern
from lanes.reports import Stage


class Phase(Enum):
    """What a siren is doing."""

    IDLE = auto()
    ACCEPTED = auto()  # ordered; being armed
    ARMED = auto()  # its first sound is being given
    SOUNDING = auto()
    UNPROVEN = auto()  # the pattern is played, and nothing proves that it is heard
    FAILED = auto()  # at rest; the last activation failed
    HELD = auto()  # at rest; a stop holds automatic orders back
    TESTING = auto()
    ROGUE = auto()  # it sounds, unordered


class Cue(Enum):
    """What can happen to a siren."""

    ORDER = auto()
    TEST = auto()
    ARMED = auto()
    HEARD = auto()
    SILENT = auto()
    BROKEN = auto()  # its driver could not do it
    END = auto()  # the pattern, or a test, is over
    STOP = auto()
    FREE = auto()  # the hold has run out
    INTRUDER = auto()  # it was measured to sound at rest
    QUIET = auto()  # it was measured to be silent at rest


P, C = Phase, Cue
TABLE: Final[Mapping[tuple[Phase, Cue], tuple[Phase, Stage | None]]] = {
    (P.IDLE, C.ORDER): (P.ACCEPTED, Stage.ACCEPTED),
    (P.FAILED, C.ORDER): (P.ACCEPTED, Stage.ACCEPTED),
    (P.HELD, C.ORDER): (P.ACCEPTED, Stage.ACCEPTED),  # a higher Level, a new incident, or people
    (P.ROGUE, C.ORDER): (P.ACCEPTED, Stage.ACCEPTED),
    (P.IDLE, C.TEST): (P.TESTING, Stage.ACCEPTED),
    (P.FAILED, C.TEST): (P.TESTING, Stage.ACCEPTED),
    (P.HELD, C.TEST): (P.TESTING, Stage.ACCEPTED),
    (P.ACCEPTED, C.ARMED): (P.ARMED, Stage.ARMED),
    (P.ACCEPTED, C.BROKEN): (P.FAILED, Stage.FAILED),
    (P.ACCEPTED, C.STOP): (P.HELD, Stage.STOPPED),
    (P.ARMED, C.HEARD): (P.SOUNDING, Stage.SOUNDING),
    (P.ARMED, C.SILENT): (P.UNPROVEN, Stage.FAILED),
    (P.ARMED, C.BROKEN): (P.FAILED, Stage.FAILED),
    (P.ARMED, C.END): (P.FAILED, Stage.FAILED),  # over before it was ever heard
    (P.ARMED, C.STOP): (P.HELD, Stage.STOPPED),
    (P.SOUNDING, C.SILENT): (P.UNPROVEN, Stage.FAILED),
    (P.SOUNDING, C.BROKEN): (P.FAILED, Stage.FAILED),
    (P.SOUNDING, C.END): (P.IDLE, Stage.DONE),
    (P.SOUNDING, C.STOP): (P.HELD, Stage.STOPPED),
    (P.UNPROVEN, C.HEARD): (P.SOUNDING, Stage.SOUNDING),
    (P.UNPROVEN, C.BROKEN): (P.FAILED, None),  # FAILED was told
    (P.UNPROVEN, C.END): (P.FAILED, None),
    (P.UNPROVEN, C.STOP): (P.HELD, Stage.STOPPED),
    (P.TESTING, C.END): (P.IDLE, Stage.DONE),
    (P.TESTING, C.BROKEN): (P.FAILED, Stage.FAILED),
    (P.TESTING, C.STOP): (P.HELD, Stage.STOPPED),
    (P.IDLE, C.STOP): (P.HELD, None),
    (P.FAILED, C.STOP): (P.HELD, None),
    (P.ROGUE, C.STOP): (P.HELD, None),
    (P.HELD, C.FREE): (P.IDLE, None),
    (P.IDLE, C.INTRUDER): (P.ROGUE, Stage.UNORDERED),
    (P.FAILED, C.INTRUDER): (P.ROGUE, Stage.UNORDERED),
    (P.HELD, C.INTRUDER): (P.ROGUE, Stage.UNORDERED),
    (P.ROGUE, C.QUIET): (P.IDLE, Stage.DONE),
}
BUSY: Final = frozenset({P.ACCEPTED, P.ARMED, P.SOUNDING, P.UNPROVEN})
RESTING: Final = frozenset({P.IDLE, P.FAILED, P.HELD, P.ROGUE})
IGNORED: Final = frozenset(
    {
        # A busy siren: arbitration comes first, and supervision looks at rest only.
        *((phase, cue) for phase in (*BUSY, P.TESTING) for cue in (C.ORDER, C.TEST, C.FREE, C.INTRUDER, C.QUIET)),
        # A siren at rest: nothing plays, so nothing of a playing siren can happen; late echoes of one that was ended.
        *((phase, cue) for phase in RESTING for cue in (C.ARMED, C.HEARD, C.SILENT, C.BROKEN, C.END)),
        *((phase, C.ARMED) for phase in (P.ARMED, P.SOUNDING, P.UNPROVEN, P.TESTING)),
        *((P.TESTING, cue) for cue in (C.HEARD, C.SILENT)),
        *((P.ACCEPTED, cue) for cue in (C.HEARD, C.SILENT, C.END)),
        (P.SOUNDING, C.HEARD),
        (P.UNPROVEN, C.SILENT),
        (P.HELD, C.STOP),
        *((phase, C.FREE) for phase in (P.IDLE, P.FAILED, P.ROGUE)),
        *((phase, C.QUIET) for phase in (P.IDLE, P.FAILED, P.HELD)),
        (P.ROGUE, C.INTRUDER),
        (P.ROGUE, C.TEST),  # who tests a siren that sounds by itself learns nothing
    }
)
SHOWN: Final[Mapping[Phase, Stage]] = {  # in state reports; DONE: silent and ready
    P.IDLE: Stage.DONE,
    P.ACCEPTED: Stage.ACCEPTED,
    P.ARMED: Stage.ARMED,
    P.SOUNDING: Stage.SOUNDING,
    P.UNPROVEN: Stage.FAILED,
    P.FAILED: Stage.FAILED,
    P.HELD: Stage.STOPPED,
    P.TESTING: Stage.ARMED,
    P.ROGUE: Stage.UNORDERED,
}


def step(phase: Phase, cue: Cue) -> tuple[Phase, Stage | None]:
    """The next phase, and what is told."""
    return TABLE.get((phase, cue), (phase, None))


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """One sounding of one siren, from an order or by reflex. `limit_s` counts from its first sound."""

    siren: str
    reference: bytes  # of the order; zeros: reflex
    incident: bytes
    mode: Mode
    level: Level
    pattern: Pattern
    limit_s: float
    order_epoch: int
    people: bool = False
    reflex: bool = False
    events: tuple[EventKey, ...] = ()
    calendar: bool = False

    @property
    def ground(self) -> str:
        """What it rests on, as its receipt says."""
        if self.reflex:
            return "reflex"
        return "people" if self.people else "calendar" if self.calendar else "evidence"


class Choice(Enum):
    """What becomes of a start that meets a siren at work."""

    BEGIN = auto()
    REPLACE = auto()
    ALREADY = auto()
    BUSY = auto()


def arbitrate(now: Activation | None, new: Activation) -> Choice:
    """Two orders at once. Live goes before exercise and test; what people ask goes before all; a higher Level before a lower.

    Else the first keeps the siren: the same incident is answered ALREADY, another one BUSY.
    """
    if now is None:
        return Choice.BEGIN
    if now.mode is not new.mode:
        return Choice.REPLACE if new.mode < now.mode else Choice.BUSY
    if new.people:
        return Choice.REPLACE
    if now.incident == new.incident and new.level <= now.level:
        return Choice.ALREADY
    return Choice.REPLACE if new.level > now.level else Choice.BUSY
