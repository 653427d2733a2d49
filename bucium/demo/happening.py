"""What the demo tells, one thing at a time: for the view, for plain lines, and as JSON (docs/demo.md has the schema)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from cython_ext import Clock

SCHEMA: Final = 1  # of the JSON lines; rises when a field changes its meaning


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was seen. `t_s`: seconds since the demo began. `text`: one line for people."""

    t_s: float
    event: str
    text: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """As one JSON object."""
        return {"event": self.event, "t_s": round(self.t_s, 4), "text": self.text, **self.facts}


class Teller:
    """Hands each happening to all who listen, stamped with the demo's own time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.begun_ns = clock.monotonic_ns()
        self.listeners: list[Callable[[Happening], None]] = []

    @property
    def t_s(self) -> float:
        """Seconds since the demo began."""
        return (self._clock.monotonic_ns() - self.begun_ns) / 1e9

    def tell(self, event: str, text: str, *, at_ns: int | None = None, **facts: Any) -> Happening:
        """Tell it; `at_ns` is when it happened, where that is known better than 'now'."""
        t_s = self.t_s if at_ns is None else (at_ns - self.begun_ns) / 1e9
        happening = Happening(t_s, event, text, facts)
        for listener in self.listeners:
            listener(happening)
        return happening
