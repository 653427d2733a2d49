"""When a node is asked to say everything again: seldom enough that asking never becomes the storm it mends.

Each node at most once in 5 s, then 10, 20, 40, 60 while it keeps giving reasons; all nodes together at most 5 a second
(reference §1.7: several hosts or two publishers under one id cause fire storms of rebirths).
"""

import random
from dataclasses import dataclass
from typing import Final

from cython_ext import NS_PER_S

Key = tuple[str, str]
"""(group, node)"""

FIRST_GAP_NS: Final = 5 * NS_PER_S
LONGEST_GAP_NS: Final = 60 * NS_PER_S
RATE_PER_S: Final = 5  # all nodes together
BURST: Final = 5
JITTER_NS: Final = NS_PER_S // 2


@dataclass(slots=True)
class _Asked:
    last_ns: int
    gap_ns: int


class Rebirths:
    """Who is to be asked, and when. Bounded by the number of nodes that the host knows."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._due: dict[Key, int] = {}
        self._asked: dict[Key, _Asked] = {}
        self._tokens = float(BURST)
        self._filled_ns: int | None = None

    def want(self, key: Key, now_ns: int) -> bool:
        """This node should be asked, as soon as its turn comes. False: it was waiting for it already."""
        if key in self._due:
            return False
        due_ns = now_ns + self._rng.randrange(JITTER_NS)
        asked = self._asked.get(key)
        if asked is not None:
            if now_ns - asked.last_ns > 2 * LONGEST_GAP_NS:
                del self._asked[key]  # quiet for long: trust it again
            else:
                due_ns = max(due_ns, asked.last_ns + asked.gap_ns)
        self._due[key] = due_ns
        return True

    def born(self, key: Key) -> None:
        """It has said everything: no need to ask."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Our own connection is gone; what is needed will be seen anew."""
        self._due.clear()

    def next_ns(self) -> int | None:
        """When `take` will next give something."""
        if not self._due:
            return None
        due_ns = min(self._due.values())
        if self._tokens < 1 and self._filled_ns is not None:
            due_ns = max(due_ns, self._filled_ns + round((1 - self._tokens) * NS_PER_S / RATE_PER_S))
        return due_ns

    def take(self, now_ns: int) -> list[Key]:
        """The nodes to ask now."""
        if self._filled_ns is not None:
            gained = (now_ns - self._filled_ns) / NS_PER_S * RATE_PER_S
            self._tokens = min(float(BURST), self._tokens + gained)
        self._filled_ns = now_ns
        taken = []
        for key, due_ns in sorted(self._due.items(), key=lambda item: item[1]):
            if due_ns > now_ns or self._tokens < 1:
                break
            self._tokens -= 1
            del self._due[key]
            asked = self._asked.get(key)
            gap_ns = FIRST_GAP_NS if asked is None else min(2 * asked.gap_ns, LONGEST_GAP_NS)
            self._asked[key] = _Asked(now_ns, gap_ns)
            taken.append(key)
        return taken
