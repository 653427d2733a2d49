"""Could this siren sound now? What is supervised, what was seen of it, and the one table from that to an answer.

    inputs (mains, battery, charger, amplifier, door, rotation, …) ─┐
    troubles of the siren (unreachable, last activation failed, …)  ├─► ready · degraded · cannot sound, with the reasons
    what the controller knows of its node (heard, silent, …)       ─┘

The answer is the worst of what each part gives; the table is total, so that no combination is left to chance. Power is judged
as a pair: a siren lives on its mains or on its battery. What cannot be seen is never taken for good: without mains a battery
that nobody can see is none. A siren with nothing supervised is ready as far as can be seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from .reports import SirenTrouble


class Input(IntEnum):
    """What is supervised. The number is its place on the wire."""

    MAINS = 0
    BATTERY = 1
    CHARGER = 2
    AMPLIFIER = 3
    DOOR = 4  # tamper
    ROTATION = 5  # of a mechanical siren, while it sounds
    TIME = 6  # the siren controller's own clock
    OTHER = 7


class Seen(IntEnum):
    """What was seen of an input. Numbers of the wire; a later one is worse."""

    ABSENT = 0  # not supervised
    GOOD = 1
    UNSEEN = 2  # supervised, and it cannot be read
    WEAK = 3  # of several of a kind, some are good
    BAD = 4


class Ready(IntEnum):
    """Whether it could sound. A later one is worse."""

    READY = 0
    DEGRADED = 1  # it could sound; something is not as it should be
    CANNOT_SOUND = 2

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", "-")


class Sight(Enum):
    """What the controller knows of the siren's node."""

    HEARD = "heard"
    SILENT = "node-silent"
    NEVER = "not-heard"
    OTHER_PLAN = "plan-differs"  # it refuses orders made under ours


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer. `reasons`: codes of docs/troubles.md, the worst first; empty when it is ready."""

    ready: Ready
    reasons: tuple[str, ...] = ()


Verdict = tuple[Ready, str]
Inputs = Mapping[Input, Seen]
BITS: Final = 3  # of one input on the wire
INPUTS_MAX: Final = (1 << BITS * len(Input)) - 1
OK: Final[Verdict] = (Ready.READY, "")
_LOST: Final[Verdict] = (Ready.CANNOT_SOUND, "no-power")
_MAINS: Final[Verdict] = (Ready.DEGRADED, "mains")
_MAINS_UNSEEN: Final[Verdict] = (Ready.DEGRADED, "mains-unseen")
_BATTERY: Final[Verdict] = (Ready.DEGRADED, "battery")
_BATTERY_UNSEEN: Final[Verdict] = (Ready.DEGRADED, "battery-unseen")
S = Seen
POWER: Final[Mapping[tuple[Seen, Seen], Verdict]] = {  # (mains, battery)
    (S.ABSENT, S.ABSENT): OK,
    (S.ABSENT, S.GOOD): OK,
    (S.ABSENT, S.UNSEEN): _BATTERY_UNSEEN,
    (S.ABSENT, S.WEAK): _BATTERY,
    (S.ABSENT, S.BAD): _LOST,  # it may live on its battery alone: solar
    (S.GOOD, S.ABSENT): OK,
    (S.GOOD, S.GOOD): OK,
    (S.GOOD, S.UNSEEN): _BATTERY_UNSEEN,
    (S.GOOD, S.WEAK): _BATTERY,
    (S.GOOD, S.BAD): _BATTERY,
    (S.UNSEEN, S.ABSENT): _MAINS_UNSEEN,
    (S.UNSEEN, S.GOOD): _MAINS_UNSEEN,
    (S.UNSEEN, S.UNSEEN): _MAINS_UNSEEN,
    (S.UNSEEN, S.WEAK): _BATTERY,
    (S.UNSEEN, S.BAD): _LOST,
    (S.WEAK, S.ABSENT): _MAINS,
    (S.WEAK, S.GOOD): _MAINS,
    (S.WEAK, S.UNSEEN): _MAINS,
    (S.WEAK, S.WEAK): _MAINS,
    (S.WEAK, S.BAD): _MAINS,
    (S.BAD, S.ABSENT): _LOST,
    (S.BAD, S.GOOD): _MAINS,
    (S.BAD, S.UNSEEN): _LOST,
    (S.BAD, S.WEAK): _MAINS,
    (S.BAD, S.BAD): _LOST,
}
VITAL: Final = frozenset({Input.AMPLIFIER, Input.ROTATION})  # without them there is no sound, whatever else is well
ALONE: Final = tuple(each for each in Input if each not in (Input.MAINS, Input.BATTERY))
TROUBLE: Final[Mapping[SirenTrouble, Verdict]] = {
    SirenTrouble.UNREACHABLE: (Ready.CANNOT_SOUND, "unreachable"),
    SirenTrouble.SUPERVISION: OK,  # the inputs say it
    SirenTrouble.NOT_SEEN: (Ready.DEGRADED, "not-seen"),
    SirenTrouble.NOT_OFF: (Ready.DEGRADED, "not-off"),
    SirenTrouble.FAILED: (Ready.CANNOT_SOUND, "failed"),  # nothing has shown since that it can
    SirenTrouble.UNORDERED: (Ready.DEGRADED, "unordered"),
    SirenTrouble.NO_FEEDBACK: (Ready.DEGRADED, "no-feedback"),
    SirenTrouble.DOUBT: OK,  # an order needs one round more, and gets it
    SirenTrouble.STORE: (Ready.CANNOT_SOUND, "store"),
    SirenTrouble.BEYOND: (Ready.CANNOT_SOUND, "beyond"),
}
SIGHT: Final[Mapping[Sight, Verdict]] = {
    Sight.HEARD: OK,
    Sight.SILENT: (Ready.CANNOT_SOUND, Sight.SILENT.value),
    Sight.NEVER: (Ready.CANNOT_SOUND, Sight.NEVER.value),
    Sight.OTHER_PLAN: (Ready.CANNOT_SOUND, Sight.OTHER_PLAN.value),
}


def of_input(each: Input, seen: Seen) -> Verdict:
    """What one input that is not power says."""
    name = each.name.lower()
    if seen in (Seen.ABSENT, Seen.GOOD):
        return OK
    if seen is Seen.UNSEEN:
        return (Ready.DEGRADED, f"{name}-unseen")
    return (Ready.CANNOT_SOUND if seen is Seen.BAD and each in VITAL else Ready.DEGRADED, name)


def judge(inputs: Inputs, trouble: SirenTrouble, sight: Sight = Sight.HEARD) -> Readiness:
    """The table, read: the worst of what each part gives, and every reason."""
    found = [SIGHT[sight], *(verdict for flag, verdict in TROUBLE.items() if flag & trouble)]
    found.append(POWER[inputs.get(Input.MAINS, Seen.ABSENT), inputs.get(Input.BATTERY, Seen.ABSENT)])
    found += [of_input(each, inputs.get(each, Seen.ABSENT)) for each in ALONE]
    hindered = sorted((each for each in found if each[0] is not Ready.READY), key=lambda each: -each[0])
    if not hindered:
        return Readiness(Ready.READY)
    return Readiness(hindered[0][0], tuple(dict.fromkeys(reason for _, reason in hindered)))


def reasons() -> tuple[str, ...]:
    """Every reason that there is."""
    parts = [*POWER.values(), *TROUBLE.values(), *SIGHT.values()]
    parts += [of_input(each, seen) for each in ALONE for seen in Seen]
    return tuple(dict.fromkeys(reason for _, reason in parts if reason))


def input_of(name: str) -> Input:
    """The input that a supervised point of this name belongs to: `mains`, `amplifier-2`; `charge` is the battery's."""
    first = name.split("-")[0].upper()
    if first == "CHARGE":
        return Input.BATTERY
    return Input[first] if first in Input.__members__ else Input.OTHER


def together(each: Input, several: Iterable[Seen]) -> Seen:
    """Several of one input as one. A battery's voltage and charge: the worse. Else some bad among good ones is weak."""
    seen = {one for one in several if one is not Seen.ABSENT}
    if each is Input.BATTERY or len(seen) < 2:
        return max(seen, default=Seen.ABSENT)
    if not seen & {Seen.BAD, Seen.WEAK}:
        return Seen.UNSEEN
    return Seen.WEAK if seen & {Seen.GOOD, Seen.WEAK} else Seen.BAD


def pack(inputs: Inputs) -> int:
    """All inputs as one number: three bits each."""
    return sum(int(seen) << BITS * int(each) for each, seen in inputs.items())


def unpack(number: int) -> dict[Input, Seen]:
    """What `pack` gave; a value that this program does not know is UNSEEN."""
    found = {}
    for each in Input:
        value = number >> BITS * int(each) & (1 << BITS) - 1
        if value:
            found[each] = Seen(value) if value <= max(Seen) else Seen.UNSEEN
    return found
