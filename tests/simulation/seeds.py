"""Running seeds: one after another in this process, or shared among several, with the figures of all of them."""

import gc
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Final

from .checker import check
from .crashes import ROUND_S, Crashes
from .disks import shim
from .surroundings import folder
from .world import World

MEAN_LATE_MAX_S: Final = 10.0  # reliability.md I4, over a whole campaign


@dataclass
class Result:
    """What is left of one seed."""

    seed: int
    drawn: list[str]
    findings: list[str]
    digest: str
    simulated_s: float
    took_s: float
    events: int
    raises: int
    lost: int
    invented: int
    late_s: list[float]
    seen: dict[str, int]
    single: bool = False
    crashes: int = 0
    off_late_s: float = 0.0

    def line(self, options: str) -> str:
        """What was found, and how to repeat it."""
        return (
            f"seed {self.seed} ({', '.join(self.drawn)}): {'; '.join(self.findings)[:2000]}\n"
            f"  repeat: python -m tests.simulation --seeds {self.seed} {options}"
        )


def run_seed(
    seed: int,
    minutes: float,
    *,
    script: Callable[[World], None] | None = None,
    keep: list[str] | None = None,
    kind: type[World] = World,
) -> Result:
    """One world from its start to its verdict. `script` plans the faults instead of the seed; `keep` takes the trace's lines."""
    logging.disable(logging.CRITICAL)
    began_s = time.process_time()
    with folder() as base, shim() as disks:
        world = kind(seed, minutes, base, disks, calm=script is not None, keep_trace=keep is not None)
        if script is not None:
            script(world)
        world.run()
        verdict = check(world)
    if keep is not None and world.trace.lines is not None:
        keep.extend(world.trace.lines)
    logging.disable(logging.NOTSET)
    return Result(
        seed,
        world.drawn,
        verdict.findings,
        world.trace.digest(),
        (world.now_ns - world.began_ns) / 1e9,
        time.process_time() - began_s,
        verdict.events,
        verdict.raises,
        verdict.lost,
        verdict.invented,
        [round(late, 3) for late in verdict.late_s],
        dict(world.seen),
        world.single,
    )


def minutes_of(seed: int, most: float) -> float:
    """How long a seed lasts in a campaign: one to `most` minutes, most of them short."""
    return 1 + (most - 1) * Random(f"minutes {seed}").random() ** 3 if most > 1 else most


def run_up_to(seed: int, minutes: float) -> Result:
    return run_seed(seed, minutes_of(seed, minutes))


def run_crashes(seed: int, minutes: float) -> Result:
    """A world of rounds in which everything else dies while the sirens sound."""
    made: list[Crashes] = []

    def script(world: World) -> None:
        made.append(Crashes(world, Random(f"crashes {seed}"), max(1, round(minutes * 60 / ROUND_S))))
        made[0].plan()

    result = run_seed(seed, minutes + ROUND_S / 60, script=script)
    [crashes] = made
    result.drawn = ["crashes"]
    result.crashes, result.off_late_s = crashes.strikes, crashes.world.witness.over_ns / 1e9
    return result


KINDS: Final[dict[str, Callable[[int, float], Result]]] = {
    "faults": run_up_to,
    "exact": run_seed,
    "crashes": run_crashes,
}


@dataclass
class Campaign:
    """Many seeds together."""

    runs: int = 0
    failed: list[int] = field(default_factory=list)
    lost: int = 0
    invented: int = 0
    events: int = 0
    raises: int = 0
    simulated_s: float = 0.0
    took_s: float = 0.0
    late_sum_s: float = 0.0
    late_max_s: float = 0.0
    late_count: int = 0
    single_max_s: float = 0.0
    crashes: int = 0
    off_late_s: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        self.runs += 1
        if result.findings:
            self.failed.append(result.seed)
        self.lost += result.lost
        self.invented += result.invented
        self.events += result.events
        self.raises += result.raises
        self.simulated_s += result.simulated_s
        self.took_s += result.took_s
        self.late_sum_s += sum(result.late_s)
        self.late_count += len(result.late_s)
        self.late_max_s = max([self.late_max_s, *result.late_s])
        if result.single:
            self.single_max_s = max([self.single_max_s, *result.late_s])
        self.crashes += result.crashes
        self.off_late_s = max(self.off_late_s, result.off_late_s)
        self.seen.update(result.seen)

    @property
    def late_mean_s(self) -> float:
        return self.late_sum_s / self.late_count if self.late_count else 0.0

    def summary(self) -> list[str]:
        hours = self.simulated_s / 3600
        speed = self.simulated_s / self.took_s if self.took_s else 0.0
        return [
            f"simulated {hours:.1f} h in {self.took_s:.0f} s of CPU: {speed:.0f} x real time; "
            f"{self.events} events, {self.raises} raises, late_mean_s {self.late_mean_s:.2f}, "
            f"late_max_s of a single fault {self.single_max_s:.1f}",
            *([f"crashes {self.crashes}, off_late_max_s {self.off_late_s:.2f}"] if self.crashes else []),
            f"runs {self.runs}, lost {self.lost}, invented {self.invented}, late_max_s {self.late_max_s:.1f}",
        ]


def run_all(
    seeds: Iterable[int], minutes: float, jobs: int, until_s: float | None = None, kind: str = "faults"
) -> Iterator[Result]:
    """Each seed's result as it comes. `until_s`: begin no further seed after so many seconds of real time."""
    wanted = list(seeds)
    if jobs <= 1:
        yield from _here(wanted, minutes, until_s, kind)
        return
    children = [_child(wanted[place::jobs], minutes, until_s, kind) for place in range(jobs)]
    results: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
    for child in children:
        threading.Thread(target=_listen, args=(child, results)).start()
    for _ in children:
        yield from iter(results.get, None)
    for child in children:
        if child.wait():
            raise RuntimeError(f"a simulation ended with {child.returncode}")


def _listen(child: "subprocess.Popen[str]", results: "queue.SimpleQueue[Result | None]") -> None:
    """In a thread for each child: one that waits for its pipe simulates nothing."""
    assert child.stdout is not None
    for line in child.stdout:
        results.put(Result(**json.loads(line)))
    results.put(None)


def _here(seeds: Iterable[int], minutes: float, until_s: float | None, kind: str) -> Iterator[Result]:
    gc.freeze()
    gc.disable()  # collected after each seed: a third faster
    began_s = time.monotonic()
    for seed in seeds:
        if until_s is not None and time.monotonic() - began_s > until_s:
            return
        yield KINDS[kind](seed, minutes)
        gc.collect()


def _child(seeds: list[int], minutes: float, until_s: float | None, kind: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulation", "--json", "--minutes", str(minutes)]
    command += ["--kind", kind]
    command += ["--seeds", ",".join(map(str, seeds))] + (["--until", str(until_s)] if until_s is not None else [])
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONHASHSEED": "0"})


def as_json(result: Result) -> str:
    return json.dumps(asdict(result))


def twice(seed: int, minutes: float, run: Callable[..., Result] = run_seed) -> str:
    """ "" when two runs of a seed are the same, else the first line in which they differ."""
    first: list[str] = []
    second: list[str] = []
    run(seed, minutes, keep=first)
    run(seed, minutes, keep=second)
    for one, other in zip(first, second, strict=False):
        if one != other:
            return f"seed {seed}: {one} | {other}"
    return "" if len(first) == len(second) else f"seed {seed}: {len(first)} lines and {len(second)}"
