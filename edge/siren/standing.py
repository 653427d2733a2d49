"""What a node judges an order by: its plan, its name, its boot nonce, and what its order store remembers."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final, Protocol

from cython_ext import Level
from lanes.identity import INCIDENT_BYTES, EventKey
from lanes.keys import Mode, Role
from lanes.orders import Action
from lanes.plan import Plan, Siren
from lanes.planfile import SignedPlan

ALL: Final = bytes(INCIDENT_BYTES)  # a stop of every incident


class Line(IntEnum):
    """Orders count in three lines, so that a start cannot make a stop look old (design §2.4: a stop has its own counter)."""

    START = 1
    STOP = 2
    CHECK = 3  # arm, tests, status


LINES: Mapping[Action, Line] = {
    Action.START: Line.START,
    Action.STOP: Line.STOP,
    Action.ARM: Line.CHECK,
    Action.SILENT_TEST: Line.CHECK,
    Action.GROWL_TEST: Line.CHECK,
    Action.STATUS: Line.CHECK,
}


@dataclass(frozen=True, slots=True)
class Counter:
    """The last counter stored. `doubtful`: the store may have forgotten later ones, so the boot nonce must be quoted."""

    value: int
    doubtful: bool


@dataclass(slots=True)
class Hold:
    """After a stop: automatic orders and reflex of this incident wait, up to `level`. NORMAL: not known yet."""

    level: Level
    until_ns: int
    stopped_us: int  # the node's wall time of the stop


@dataclass(frozen=True, slots=True)
class Spent:
    """A siren has sounded on this event. `reflex`: by itself."""

    level: Level
    reflex: bool


class View(Protocol):
    """What the order store remembers, as a decision sees it."""

    def lease(self, kids: Iterable[bytes]) -> int:
        """The highest lease seen in orders signed by these keys."""

    @property
    def order_epoch(self) -> int:
        """How many stops this node has obeyed."""

    def counter(self, kid: bytes, line: Line, siren: str) -> Counter:
        """Of the signing key `kid`: with a new key counting begins anew, whatever a thief has done with the old one."""

    def stopped(self, siren: str, mode: Mode) -> int:
        """The order epoch that the last stop of this siren and mode made."""

    def used(self, siren: str, kid: bytes, digest: bytes) -> bool:
        """Whether this signer's approval of this order core has sounded this siren."""

    def asserted(self, kid: bytes) -> tuple[int, bytes] | None:
        """The signature counter that this passkey last showed here, and the order core that it approved."""

    def hold(
        self, siren: str, incident: bytes, mode: Mode, now_ns: int, events: Iterable[EventKey] = ()
    ) -> Hold | None:
        """What a stop holds of this incident; or of those for which this siren has begun to sound on all of these events."""

    def sounded(self, siren: str, incident: bytes, mode: Mode) -> Level | None:
        """The Level at which this siren has sounded (or sounds) for this incident."""

    def endangered(self, zones: Collection[str]) -> bool:
        """Whether an alarm of this node's own points is open in one of them."""

    def spent(self, siren: str, event: EventKey) -> Spent | None: ...

    def floor_us(self, now_ns: int) -> int:
        """A time that has surely passed: for when the wall clock cannot be trusted. 0: nothing is known."""


@dataclass(frozen=True)
class Standing:
    """Fixed while a plan runs."""

    signed: SignedPlan
    node: str
    boot: bytes
    view: View

    @property
    def plan(self) -> Plan:
        return self.signed.plan

    @cached_property
    def controllers(self) -> tuple[bytes, ...]:
        """The key ids of our controller, of every mode: one lease holds for all of them."""
        return tuple(s.kid for s in self.plan.roster if s.role is Role.CONTROLLER and s.id == self.plan.controller)

    @cached_property
    def sirens(self) -> Mapping[str, Siren]:
        """This node's sirens, in the order of the plan."""
        return {siren.id: siren for siren in self.plan.sirens if siren.node == self.node}
