"""Drive a panel by seconds, and read its transitions as short words."""

from collections.abc import Iterable

from cython_ext.model import (
    NS_PER_S,
    Cause,
    GroupConfig,
    LevelConfig,
    PanelConfig,
    PointConfig,
    Transition,
)
from cython_ext.panel import Panel, pack

THREE = (LevelConfig(1.0, 0.8), LevelConfig(2.0, 1.8), LevelConfig(3.0, 2.8))


def words(transitions: Iterable[Transition]) -> list[str]:
    """'0 RAISED NORMAL>DANGER THRESHOLD' or '0 TROUBLE_RAISED SPIKE QUALITY' for each."""
    said = []
    for each in transitions:
        if each.cause in (Cause.TROUBLE_RAISED, Cause.TROUBLE_CLEARED):
            what = each.trouble.name or "NONE"
        else:
            what = f"{each.was.name}>{each.level.name}"
        said.append(f"{each.point} {each.cause.name} {what} {each.reason.name}")
    return said


class Drive:
    """One panel; times in seconds from its start."""

    def __init__(self, *points: PointConfig, groups: tuple[GroupConfig, ...] = ()) -> None:
        self.panel = Panel(PanelConfig(points, groups))

    def see(
        self, at_s: float, value: float, *, point: int = 0, status: int = 0, now_s: float | None = None
    ) -> list[str]:
        at_ns = int(at_s * NS_PER_S)
        now_ns = at_ns if now_s is None else int(now_s * NS_PER_S)
        return words(self.panel.feed(pack([(point, at_ns, value, status)]), now_ns))

    def wait(self, until_s: float) -> list[tuple[float, str]]:
        """What happens by time alone, with its second."""
        told = self.panel.advance(int(until_s * NS_PER_S))
        return [(each.at_ns / NS_PER_S, word) for each, word in zip(told, words(told), strict=True)]
