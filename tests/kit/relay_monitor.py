"""The relay's own witness: it sees edges of the siren relays and the list of valid orders, and nothing else.

It knows none of the node's code. A relay that closes without a valid order behind it, stays closed longer than the order's
maximum and a second, sounds longer than 300 s without a pause, or is closed 2 s after a stop, is a finding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

NS = 1_000_000_000
CONTINUOUS_NS = 300 * NS
SPARE_NS = 1 * NS  # reliability.md I3: off ≤ max + 1 s
STOP_NS = 2 * NS  # off ≤ 2 s after a stop


@dataclass
class Permit:
    """A valid order for one relay. `begin_by_ns`: when its first sound must have begun at the latest."""

    line: str
    given_ns: int
    begin_by_ns: int
    max_ns: int
    began_ns: int | None = None
    ended_ns: int | None = None  # by a stop

    def covers(self, at_ns: int) -> bool:
        """Whether a relay may close now on this order."""
        if self.ended_ns is not None or at_ns < self.given_ns:
            return False
        if self.began_ns is None:
            return at_ns <= self.begin_by_ns
        return at_ns <= self.began_ns + self.max_ns


@dataclass
class RelayMonitor:
    """`lines`: relay → siren, for words only. Feed it every edge; ask `findings`."""

    lines: Mapping[str, str]
    permits: list[Permit] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    edges: list[tuple[int, str, bool]] = field(default_factory=list)
    activations: int = 0  # closings, lawful or not
    _on: dict[str, int] = field(default_factory=dict)
    _stopped: dict[str, int] = field(default_factory=dict)

    def permit(self, line: str, now_ns: int, max_s: float, within_s: float = 60.0) -> Permit:
        """A valid order has just been given."""
        given = Permit(line, now_ns, now_ns + int(within_s * NS), int(max_s * NS))
        if line in self._on:  # it takes the siren over without an edge
            given.began_ns = now_ns
        self.permits.append(given)
        return given

    def stop(self, line: str, now_ns: int) -> None:
        """A valid stop has just been given."""
        for permit in self.permits:
            if permit.line == line and permit.ended_ns is None:
                permit.ended_ns = now_ns
        self._stopped[line] = now_ns

    def edge(self, line: str, on: bool, at_ns: int) -> None:
        """The relay moved."""
        if line not in self.lines:
            return
        self.edges.append((at_ns, line, on))
        if on:
            self._closed(line, at_ns)
        else:
            self._opened(line, at_ns)

    def check(self, now_ns: int) -> None:
        """Whatever is closed too long is found without an edge, too."""
        for line in list(self._on):
            self._length(line, now_ns)

    def _closed(self, line: str, at_ns: int) -> None:
        self.activations += 1
        self._on[line] = at_ns
        permit = next((p for p in reversed(self.permits) if p.line == line and p.covers(at_ns)), None)
        if permit is None:
            self._find(line, at_ns, "closed without a valid order")
        elif permit.began_ns is None:
            permit.began_ns = at_ns

    def _opened(self, line: str, at_ns: int) -> None:
        self._length(line, at_ns)
        self._on.pop(line, None)

    def _length(self, line: str, at_ns: int) -> None:
        on_ns = self._on.get(line)
        if on_ns is None:
            return
        if at_ns - on_ns > CONTINUOUS_NS + SPARE_NS:
            self._find(line, at_ns, f"closed for {(at_ns - on_ns) / NS:.2f} s without a pause")
        begun = [p for p in self.permits if p.line == line and p.began_ns is not None]
        own = [p for p in begun if p.began_ns is not None and p.began_ns + p.max_ns >= on_ns]
        limit_ns = max((p.began_ns + p.max_ns for p in own if p.began_ns is not None), default=on_ns)
        if own and at_ns > limit_ns + SPARE_NS:
            self._find(line, at_ns, f"closed {(at_ns - limit_ns) / NS:.2f} s after its maximum")
        stopped_ns = self._stopped.get(line)
        ended = own and all(p.ended_ns is not None for p in own)
        if ended and stopped_ns is not None and on_ns <= stopped_ns and at_ns > stopped_ns + STOP_NS:
            self._find(line, at_ns, f"closed {(at_ns - stopped_ns) / NS:.2f} s after a stop")

    def _find(self, line: str, at_ns: int, what: str) -> None:
        self.findings.append(f"{self.lines[line]} ({line}) at {at_ns / NS:.3f} s: {what}")
