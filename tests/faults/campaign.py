"""The campaign: which faults, how often, in which worlds; run side by side, summed up in one line and one table."""

import asyncio
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.kit import brokers

from .breaking import KINDS
from .checker import LATE_MAX_S, Verdict, check
from .disks import Disk, LoopDisk, PowerDisk
from .episode import MOMENTS, Run, play
from .seen import NS, now_ns
from .world import World, WorldError

LATE_MEAN_S: Final = 10.0
MEMORY_MIB: Final = {"node": 64.0, "controller": 256.0}  # reliability.md I6: the most a process ever held
CI: Final = {
    "kill controller": 10,
    "kill node": 10,
    "kill broker": 5,
    "power cut node": 6,
    "power cut controller": 4,
}
LONG: Final = {
    "kill controller": 100,
    "kill node": 100,
    "kill broker": 50,
    "power cut node": 40,
    "power cut controller": 20,
}
ONCE_LONG: Final = 5  # of every other fault
DISK_OF: Final = {"power": PowerDisk, "loop": LoopDisk, "plain": Disk}
NEEDS: Final = {"power cut": "power", "fsync": "power", "disk full": "loop"}


@dataclass
class Lane:
    """One world and the runs that it will see."""

    name: str
    disk: str
    broker: str
    runs: list[tuple[int, str]]  # which of its kind, kind


@dataclass
class Outcome:
    """What came of a campaign."""

    seed: int
    runs: list[Run] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    promised: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    peaks_mib: dict[str, float] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        return sum(verdict.lost for verdict in self.verdicts.values())

    @property
    def invented(self) -> int:
        return sum(verdict.invented for verdict in self.verdicts.values())

    @property
    def late_s(self) -> list[float]:
        return [danger.late_s for run in self.runs for danger in run.dangers if danger.told_ns]

    @property
    def line(self) -> str:
        """The line with which a campaign ends."""
        return f"runs {len(self.runs)}, lost {self.lost}, invented {self.invented}, late_max_s {max(self.late_s, default=0):.1f}"

    def judge(self) -> list[str]:
        """Every reason why this campaign is not good."""
        found = [*self.findings]
        for name, verdict in self.verdicts.items():
            found += [f"{name}: {finding}" for finding in verdict.findings]
        for run in self.runs:
            if run.failure:
                found.append(f"{run.world}: {run.kind} ({run.moment}): {run.failure}")
        happened = Counter(run.kind for run in self.runs if run.happened)
        for kind, count in self.promised.items():
            if happened[kind] < count:
                found.append(f"promised {count} × {kind}, and only {happened[kind]} really happened")
        late_s = [
            max(0.0, danger.late_s - run.queued_s) for run in self.runs for danger in run.dangers if danger.told_ns
        ]
        if late_s and max(late_s) > LATE_MAX_S:
            found.append(f"I4 an alarm was {max(late_s):.1f} s late, at most {LATE_MAX_S:g} s")
        if late_s and sum(late_s) / len(late_s) > LATE_MEAN_S:
            found.append(f"I4 alarms were {sum(late_s) / len(late_s):.1f} s late on average, at most {LATE_MEAN_S:g} s")
        for kind, runs in self.by_kind():
            limit_s = KINDS[kind].limit_s
            served = [run.serving_s - run.queued_s for run in runs if run.serving_s is not None]
            if limit_s is not None and served and sum(served) / len(served) > limit_s:
                found.append(
                    f"after {kind}: serving again after {sum(served) / len(served):.1f} s, at most {limit_s:g} s"
                )
        for kind, most in MEMORY_MIB.items():
            if (peak := self.peaks_mib.get(kind, 0.0)) > most:
                found.append(f"I6 a {kind} held {peak:.0f} MiB, at most {most:g} MiB")
        return found + self._unseen()

    def _unseen(self) -> list[str]:
        """What the whole of a full campaign must have seen at least once."""
        if set(self.promised) != set(KINDS) or self.skipped:
            return []
        wanted = [f"moment {moment}" for moment in MOMENTS]
        wanted += ["siren by reflex", "power cut: writes lost"]
        return [f"it never came to: {what}" for what in wanted if not self.counts[what]]

    def by_kind(self) -> Iterator[tuple[str, list[Run]]]:
        """The runs of each kind, in the order of the table."""
        for kind in KINDS:
            runs = [run for run in self.runs if run.kind == kind]
            if runs:
                yield kind, runs


def plan(counts: dict[str, int], seed: int) -> tuple[list[Lane], list[str]]:
    """Which world sees which runs; and what cannot be had here, with how to get it."""
    wanted = [(number, kind) for kind, most in counts.items() for number in range(most)]
    skipped, by_disk = [], defaultdict(list)
    for number, kind in wanted:
        disk = next((need for start, need in NEEDS.items() if kind.startswith(start)), "plain")
        by_disk[disk].append((number, kind))
    for disk, missing in (("power", PowerDisk.missing()), ("loop", LoopDisk.missing())):
        if missing and by_disk[disk]:
            kinds = ", ".join(sorted({kind for _, kind in by_disk.pop(disk)}))
            skipped.append(f"left out: {kinds}: {missing}")
    second = "mosquitto" if not brokers.missing("mosquitto") else "embedded"
    lanes = [
        Lane("plain", "plain", "embedded", by_disk["plain"]),
        Lane("power", "power", second, by_disk.get("power", [])),
        Lane("loop", "loop", second, by_disk.get("loop", [])),
    ]
    lanes = [lane for lane in lanes if lane.runs]
    _share(lanes)
    for lane in lanes:
        Random(f"{seed}/{lane.name}").shuffle(lane.runs)
    return lanes, skipped


def _share(lanes: list[Lane]) -> None:
    """Runs that need no disk of their own go where there is least to do."""
    plain = next((lane for lane in lanes if lane.disk == "plain"), None)
    while plain is not None:
        least = min(lanes, key=lambda lane: len(lane.runs))
        if len(plain.runs) - len(least.runs) < 2:
            return
        least.runs.append(plain.runs.pop())


async def run(
    counts: dict[str, int],
    seed: int,
    *,
    folder: Path | None = None,
    preambles: dict[str, str] | None = None,
    moment: str = "",
    tell: Callable[[str], None] = print,
) -> Outcome:
    """Run a campaign. `folder` keeps everything; `preambles` plant bugs; `moment`: always that one."""
    lanes, skipped = plan(counts, seed)
    outcome = Outcome(seed, skipped=skipped)
    for line in skipped:
        tell(line)
    for lane in lanes:
        outcome.promised.update(kind for _, kind in lane.runs)
    base = Path(tempfile.mkdtemp(prefix="bf-"))  # short: sockets stand in it
    try:
        async with asyncio.TaskGroup() as group:
            how = _Manner(seed, folder, preambles, moment, tell)
            for lane in lanes:
                group.create_task(_lane(lane, how, base, outcome))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return outcome


@dataclass(frozen=True)
class _Manner:
    """How a campaign runs."""

    seed: int
    keep: Path | None
    preambles: dict[str, str] | None
    moment: str
    tell: Callable[[str], None]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # worlds start one after another


async def _lane(lane: Lane, how: _Manner, base: Path, outcome: Outcome) -> None:
    sockets = base / lane.name
    sockets.mkdir()
    folder = (how.keep or sockets) / lane.name
    world = World(lane.name, folder, sockets, broker=lane.broker, disk=DISK_OF[lane.disk], preambles=how.preambles)
    try:
        try:
            async with how.turn:
                await world.start()
            for number, kind in lane.runs:
                began_ns = now_ns()
                played = await play(world, kind, Random(f"{how.seed}/{number}/{kind}"), how.moment)
                outcome.runs.append(played)
                how.tell(_told(played, number, (now_ns() - began_ns) / NS))
                if played.failure:
                    break
            else:
                await world.calm()
        except WorldError as error:
            outcome.findings.append(str(error))
        await world.stop()
        outcome.verdicts[lane.name] = check(world)
        outcome.counts.update(world.seen.counts)
        for name, program in world.programs.items():
            kind = "controller" if name not in world.seen.water else "node"
            outcome.peaks_mib[kind] = max(outcome.peaks_mib.get(kind, 0.0), program.peak_kib / 1024)
    finally:
        await world.stop()
        if how.keep is not None and lane.disk != "plain":
            shutil.copytree(folder / "data", folder / "kept", ignore=shutil.ignore_patterns("*.img", "lost+found"))
        await world.unmount()


def _told(run: Run, number: int, took_s: float) -> str:
    late = ", ".join(f"{danger.late_s:.1f}" for danger in run.dangers if danger.told_ns)
    served = f", serving again after {run.serving_s:.1f} s" if run.serving_s is not None else ""
    met = "" if run.met else " (did not come)"
    end = f"FAILED: {run.failure}" if run.failure else f"told after {late} s{served}"
    return f"{run.world:5} {run.kind} {number}: {run.victim}, {run.moment}{met}, Level {run.level}: {end}  [{took_s:.0f} s]"
