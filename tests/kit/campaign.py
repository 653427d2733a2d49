"""Random panels and streams, the compiled core against the oracle, until the asked number of cases is done.

python -m tests.kit.campaign --cases 10000000 --seed 1
"""

import argparse
import struct
import sys
import time
from collections.abc import Sequence
from random import Random

from cython_ext.model import NS_PER_S, PanelConfig, Transition
from cython_ext.panel import Panel, pack
from tests.kit import streams
from tests.kit.oracle import Oracle
from tests.kit.oracle_swap import reconfigured

PIECES = (1, 2, 5, 1024)  # transitions handed over at once: whatever they are, nothing else changes


def plain(transition: Transition) -> tuple[object, ...]:
    """Comparable bit for bit: a nan equals itself, 0.0 differs from -0.0."""
    bits = struct.pack("<d", transition.value)
    if transition.value != transition.value:
        bits = b"nan"
    return (
        transition.point,
        transition.cause,
        transition.was,
        transition.level,
        transition.at_ns,
        bits,
        transition.reason,
        transition.trouble,
        transition.evidence,
    )


def same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def readings_differ(panel: Panel, oracle: Oracle, counted: bool = True) -> str:
    """What a reading of the panel says differently, or nothing. Counters are not in a snapshot."""
    if panel.next_deadline_ns() != oracle.next_deadline_ns():
        return f"next deadline {panel.next_deadline_ns()} instead of {oracle.next_deadline_ns()}"
    for point in oracle.points:
        seen = (panel.level(point.index), panel.trouble(point.index), panel.qc(point.index))
        if seen != (point.level, point.trouble, point.qc):
            return f"point {point.index} is {seen} instead of {(point.level, point.trouble, point.qc)}"
        if not same(panel.value(point.index), point.value):
            return f"point {point.index} shows {panel.value(point.index)} instead of {point.value}"
        rate = point.rate(point.last_ns or 0, point.value) * point.sign
        if not same(panel.rate_per_s(point.index), rate):
            return f"point {point.index} rises {panel.rate_per_s(point.index)} instead of {rate}"
    for group in oracle.groups:
        if panel.level(group.index) != group.level or panel.trouble(group.index) != group.trouble:
            return f"group {group.index} differs"
    if not counted:
        return ""
    counters = panel.counters
    for name in (
        "samples",
        "unknown_point",
        "duplicate",
        "out_of_order",
        "clock",
        "suspect",
        "blind",
        "spikes",
        "stale",
        "chatter",
    ):
        if counters[name] != oracle.counters[name]:
            return f"{name} is {counters[name]} instead of {oracle.counters[name]}"
    return ""


class Difference(AssertionError):
    """The core and the oracle do not agree."""


class Case:
    """One panel, one stream, everything that can be done with them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.config: PanelConfig = streams.panel(self.random)
        self.now_ns = self.random.choice((0, 0, NS_PER_S, 10**18))
        self.pieces = PIECES[seed % len(PIECES)]
        self.panel = Panel(self.config, self.now_ns, self.pieces)
        self.oracle = Oracle(self.config, self.now_ns)
        self.restored = False
        self.samples = 0

    def run(self) -> None:
        long = self.random.random() < 0.02  # some things take their time: drift, robust rates
        for _ in range(self.random.choice((1, 1, 2))):
            count = 200 if long else self.random.choice((0, 1, 4, 6, 9, 14))
            batch = streams.samples(self.random, len(self.config.points), count, self.now_ns)
            self.samples += len(batch)
            self.now_ns = max([self.now_ns] + [at_ns for _, at_ns, _, _ in batch if 0 <= at_ns < 2 * 10**18])
            self.now_ns = min(self.now_ns, 1 << 60)
            self.compare(self.feed(batch), self.oracle.feed(batch, self.now_ns))
            self.between()
        difference = readings_differ(self.panel, self.oracle, counted=not self.restored)
        if difference:
            raise Difference(f"seed {self.seed}: {difference}")

    def feed(self, batch: Sequence[streams.Sample]) -> list[Transition]:
        """In any split of batches."""
        told: list[Transition] = []
        parts = self.random.choice((1, 1, 2, 3))
        cuts = sorted(self.random.randint(0, len(batch)) for _ in range(parts - 1))
        for start, end in zip([0, *cuts], [*cuts, len(batch)], strict=True):
            told += self.panel.feed(pack(batch[start:end]), self.now_ns)
        return told

    def between(self) -> None:
        kind = self.random.randrange(6)
        if kind <= 1:
            self.now_ns += self.random.choice((0, 1, NS_PER_S, 10 * NS_PER_S, 70 * NS_PER_S, 3600 * NS_PER_S))
            self.compare(self.panel.advance(self.now_ns), self.oracle.advance(self.now_ns))
        elif kind == 2:
            index = self.random.randrange(len(self.config.points))
            self.compare(self.panel.reset(index, self.now_ns), self.oracle.reset(index, self.now_ns))
        elif kind == 3:
            self.compare(self.panel.advance(self.now_ns), self.oracle.advance(self.now_ns))
            self.restart()
        elif kind == 4:
            self.reconfigure(self.config if self.random.random() < 0.5 else streams.panel(self.random))

    def reconfigure(self, config: PanelConfig) -> None:
        """The same configuration changes nothing; another one keeps what it can."""
        before = self.panel.digest
        told = self.panel.reconfigure(config, self.now_ns)
        if self.panel.digest != before:
            self.config = config
            self.oracle = reconfigured(self.oracle, config, self.now_ns)
        self.compare(told, self.oracle.advance(self.now_ns))

    def restart(self) -> None:
        """A new process: same state, the same bytes again, and every held Level restated."""
        kept = self.panel.snapshot(self.now_ns)
        self.panel = Panel(self.config, self.now_ns, self.pieces)
        held = [(i, level) for i, level in enumerate(self.levels()) if level]
        restated = self.panel.restore(kept, self.now_ns)
        if [(each.point, each.level) for each in restated] != held:
            raise Difference(f"seed {self.seed}: restated {restated} instead of {held}")
        if self.panel.snapshot(self.now_ns) != kept:
            raise Difference(f"seed {self.seed}: a snapshot of what was restored differs")
        self.restored = True

    def levels(self) -> list[int]:
        return [int(each.level) for each in (*self.oracle.points, *self.oracle.groups)]

    def compare(self, ours: list[Transition], theirs: list[Transition]) -> None:
        if [plain(each) for each in ours] == [plain(each) for each in theirs]:
            return
        for k in range(max(len(ours), len(theirs))):
            a = ours[k] if k < len(ours) else None
            b = theirs[k] if k < len(theirs) else None
            if a is None or b is None or plain(a) != plain(b):
                raise Difference(f"seed {self.seed}: transition {k}\n  core   {a}\n  oracle {b}")


def campaign(cases: int, seed: int, seconds: float = float("inf")) -> tuple[int, int, list[str]]:
    """How many cases were run, with how many samples, and what differed."""
    differences: list[str] = []
    samples = 0
    begun = time.process_time()
    done = 0
    while done < cases and time.process_time() - begun < seconds:
        case = Case(seed + done)
        try:
            case.run()
        except Difference as difference:
            differences.append(str(difference))
            if len(differences) >= 10:
                break
        done += 1
        samples += case.samples
    return done, samples, differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    done, samples, differences = campaign(options.cases, options.seed)
    for difference in differences:
        print(difference)
    print(f"oracle: {done} cases, {samples} samples, {len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
