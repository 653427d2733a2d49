"""Could the sirens sound now, and how many people would hear them? Each with its Trouble (issue 5, item 7).

A siren counts only on the signed word of its node, given since this program began and not longer ago than the limit of
supervision. What its node says of its parts goes through the one table of lanes/readiness.py.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from cython_ext import NS_PER_S, Level
from lanes import battery, readiness
from lanes.battery import Left
from lanes.keys import Mode
from lanes.plan import Siren
from lanes.readiness import Readiness, Ready, Sight
from lanes.reports import SirenTrouble

from ..activation import Activation
from ..coverage import Covered, ZoneCover, covers
from ..registry import SirenView
from ..room import Room

UNHEARD_NS: Final = 18 * NS_PER_S  # with the next look still within the 20 s of reliability.md I5
GRACE_NS: Final = 20 * NS_PER_S  # after our start: nodes need a moment to be heard
TOLD_ELSEWHERE: Final = frozenset({*(each.value for each in Sight), "failed", "unordered"})  # troubles of their own
SHORT: Final = "siren-battery-short"
LOW: Final = "coverage-low"
NO_KEY: Final = "key-missing"


def code_of(reason: str) -> str:
    """The Trouble that a reason raises; empty: another one stands for it."""
    if reason in TOLD_ELSEWHERE:
        return ""
    return "siren-unseen" if reason == "not-seen" or reason.endswith("-unseen") else f"siren-{reason}"


CODES: Final = tuple(dict.fromkeys(code for reason in readiness.reasons() if (code := code_of(reason))))


class Watching:
    """Called each second; asked by the desk."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._began_ns = room.clock.monotonic_ns()
        self._said: dict[str, frozenset[str]] = {}
        self._digest = b""
        self._covers: dict[str, ZoneCover] = {}

    def tick(self, now_ns: int, _: int) -> None:
        """Bring the troubles up to date."""
        if now_ns - self._began_ns < GRACE_NS:
            return
        room = self._room
        for view in room.fold.registry.sirens.values():
            codes = {code for reason in readiness_of(room, view).reasons if (code := code_of(reason))}
            siren = room.plan.siren(view.id)
            least = siren.battery.least if siren and siren.battery else 0
            rest = left_of(view, siren) if siren else None
            if rest is not None and heard(room, view) and rest.short(least):
                codes.add(SHORT)
            self._say(view.id, frozenset(codes))
        for zone, cover in self.covers().items():
            low = self.now(cover).percent < cover.zone.coverage_percent
            room.trouble(LOW, zone, low)

    def _say(self, siren: str, codes: frozenset[str]) -> None:
        before = self._said.get(siren)
        if before == codes:
            return
        for code in (*CODES, SHORT) if before is None else before | codes:
            self._room.trouble(code, siren, code in codes)
        self._said[siren] = codes

    def covers(self) -> Mapping[str, ZoneCover]:
        """Each zone whose people are known; until their files are read (people.py) those whose people stand in the plan."""
        room = self._room
        digest, found = room.covers
        if digest == room.signed.digest:
            return found
        if room.signed.digest != self._digest:
            self._digest, self._covers = room.signed.digest, covers(room.plan, {})
        return self._covers

    def now(self, cover: ZoneCover) -> Covered:
        """Within earshot of the sirens that could sound now."""
        views = self._room.fold.registry.sirens.values()
        return cover.covered([view.id for view in views if readiness_of(self._room, view).ready < Ready.CANNOT_SOUND])

    def reached(self, activation: Activation) -> dict[str, Covered]:
        """By zone: within earshot of sirens that were measured to sound in this activation."""
        proven = [errand.siren for errand in activation.errands.values() if errand.measured]
        found = self.covers()
        return {zone: found[zone].covered(proven) for zone in activation.core.zones if zone in found}


def sight_of(room: Room, view: SirenView) -> Sight:
    """What we know of the siren's node."""
    node = room.fold.registry.nodes[view.node]
    if node.heard_ns is None or not node.stated or view.state is None:
        return Sight.NEVER
    if room.clock.monotonic_ns() - node.heard_ns > UNHEARD_NS:
        return Sight.SILENT
    return Sight.HEARD if node.plan == room.signed.digest else Sight.OTHER_PLAN


def heard(room: Room, view: SirenView) -> bool:
    return sight_of(room, view) is Sight.HEARD


def orderable(room: Room, view: SirenView) -> bool:
    """Whether an order may be tried: from the record alone, so that a replay finds the same. Telemetry is not in it."""
    node, troubles = room.fold.registry.nodes[view.node], room.troubles
    lost = troubles.on("node-silent", node.id) or troubles.on("node-never-seen", node.id)
    return node.stated and not lost and node.plan == room.signed.digest


def may_sign(room: Room, mode: Mode, *, wanted: bool) -> bool:
    """Whether the controller has the key of this mode; Trouble where the plan's calendars need it and it has not.

    The Trouble is asked first, then brought up to date: it is in the record, which a replay without keys goes by.
    """
    may = not room.troubles.on(NO_KEY, mode.name.lower()) and mode in room.keys
    room.trouble(NO_KEY, mode.name.lower(), wanted and mode not in room.keys)
    return may


def readiness_of(room: Room, view: SirenView) -> Readiness:
    """Could it sound now?"""
    return _judged(view.state.inputs if view.state else 0, view.trouble, sight_of(room, view))


@lru_cache(maxsize=4096)  # each siren is asked after every second, and few stand differently
def _judged(inputs: int, trouble: int, sight: Sight) -> Readiness:
    return readiness.judge(readiness.unpack(inputs), SirenTrouble(trouble), sight)


def left_of(view: SirenView, siren: Siren) -> Left | None:
    """Full activations left in its battery; None: the plan describes none, or nothing has been heard of it."""
    if siren.battery is None or view.state is None:
        return None
    return battery.left(siren.battery, view.state, view.inputs)


def endangered(room: Room, zones: Iterable[str]) -> bool:
    """Whether a live alarm is active in one of these zones."""
    wanted = set(zones)
    return any(a.id.zone in wanted and a.mode is Mode.LIVE and a.level > Level.NORMAL for a in room.book)
