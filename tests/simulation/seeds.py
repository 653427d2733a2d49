"""Running seeds: one after another in this process, or shared among several, with the figures of all of them."""

import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Final

from .checker import check
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

    def line(self, minutes: float) -> str:
        return (
            f"seed {self.seed} ({', '.join(self.drawn)}): {'; '.join(self.findings)[:2000]}\n"
            f"  repeat: PYTHONHASHSEED=0 python -m tests.simulation --seeds {self.seed}..{self.seed} --minutes {minutes:g}"
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
    )


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
        self.seen.update(result.seen)

    @property
    def late_mean_s(self) -> float:
        return self.late_sum_s / self.late_count if self.late_count else 0.0

    def summary(self) -> list[str]:
        hours = self.simulated_s / 3600
        speed = self.simulated_s / self.took_s if self.took_s else 0.0
        return [
            f"simulated {hours:.1f} h in {self.took_s:.0f} s of CPU: {speed:.0f} x real time; "
            f"{self.events} events, {self.raises} raises, late_mean_s {self.late_mean_s:.2f}",
            f"runs {self.runs}, lost {self.lost}, invented {self.invented}, late_max_s {self.late_max_s:.1f}",
        ]


def run_all(seeds: Iterable[int], minutes: float, jobs: int, until_s: float | None = None) -> Iterator[Result]:
    """Each seed's result as it comes. `until_s`: begin no further seed after so many seconds of real time."""
    wanted = list(seeds)
    if jobs <= 1:
        yield from _here(wanted, minutes, until_s)
        return
    children = [_child(wanted[place::jobs], minutes, until_s) for place in range(jobs)]
    for child in children:
        assert child.stdout is not None
        for line in child.stdout:
            yield Result(**json.loads(line))
        if child.wait():
            raise RuntimeError(f"a simulation ended with {child.returncode}")


def _here(seeds: Iterable[int], minutes: float, until_s: float | None) -> Iterator[Result]:
    gc.freeze()
    gc.disable()  # collected after each seed: a third faster
    began_s = time.monotonic()
    for seed in seeds:
        if until_s is not None and time.monotonic() - began_s > until_s:
            return
        yield run_seed(seed, minutes)
        gc.collect()


def _child(seeds: list[int], minutes: float, until_s: float | None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulation", "--json", "--minutes", str(minutes)]
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
