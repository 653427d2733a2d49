"""The run: a recording through one or two trials in one pass, so that the largest file is read once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

from cython_ext import ConfigError
from lanes.plan import Plan

from .compare import Happening, compare
from .pace import paces
from .recording import CHUNK, Recording, Sample
from .tally import GAP, Coverage
from .trace import Trace
from .trial import Manner, Trial

LOOK_CHUNKS: Final = 16  # 131,000 samples (30 MB) are looked at first, for the points and their pace
DISORDER_MIN: Final = 16  # rows before disorder is a verdict on the file


@dataclass(slots=True)
class Outcome:
    """What came of it. Instants in UTC microseconds; `other` None: nothing was compared."""

    recording: Recording
    this: Trial
    other: Trial | None
    coverage: dict[str, Coverage]
    traces: dict[str, Trace]
    samples: int = 0
    from_us: int = 0
    to_us: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def trials(self) -> tuple[Trial, ...]:
        return (self.this, self.other) if self.other else (self.this,)

    def happenings(self) -> list[Happening]:
        return compare(self.this.verdicts, self.other.verdicts) if self.other else []


def run(recording: Recording, plans: Sequence[tuple[str, Plan]], manner: Manner, *, traced: bool = False) -> Outcome:
    """Judge the recording under one plan, or two. ConfigError when nothing of it can be judged, and why."""
    chunks = recording.chunks()
    begin = list(islice(chunks, LOOK_CHUNKS))
    if not begin:
        raise _empty(recording)
    ids = recording.points
    heard = frozenset(ids[sample[1]] for sample in chain.from_iterable(begin))
    paces_ns = paces(chain.from_iterable(begin), len(ids))
    trials = [Trial(name, plan, ids, heard, paces_ns, manner) for name, plan in plans]
    origin_us = min(min(chunk)[0] for chunk in begin)
    outcome = Outcome(recording, trials[0], trials[1] if len(trials) > 1 else None, {}, {})
    outcome.from_us = outcome.to_us = origin_us
    covers = [_coverage(trials, point) for point in ids]
    traces = [Trace(cover.gap_us * 2) if traced else None for cover in covers]
    for trial in trials:
        trial.begin(origin_us)
    for chunk in chain(_given_up(begin), chunks):
        for trial in trials:
            trial.feed(chunk)
        _note(chunk, covers, traces)
        outcome.samples += len(chunk)
        _in_order(outcome)
    outcome.to_us = max(cover.last_us for cover in covers)
    for trial in trials:
        trial.finish(outcome.to_us)
    outcome.coverage = {point: cover for point, cover in zip(ids, covers, strict=True) if cover.samples}
    outcome.traces = {point: trace for point, trace in zip(ids, traces, strict=True) if trace and point in heard}
    outcome.notes = _notes(outcome, heard)
    return outcome


def _given_up(chunks: list[list[Sample]]) -> Iterator[list[Sample]]:
    """Each once, no longer held."""
    chunks.reverse()
    while chunks:
        yield chunks.pop()


def _coverage(trials: Sequence[Trial], point: str) -> Coverage:
    """By the pace at which the first trial that has the point judges it."""
    for trial in trials:
        for paced in trial.paced:
            if paced.config.id == point:
                period_us = paced.config.period_ns // 1000
                return Coverage(round(period_us * GAP), period_us)
    return Coverage(0, 0)


def _note(chunk: list[Sample], covers: list[Coverage], traces: Sequence[Trace | None]) -> None:
    for at_us, place, value, _ in chunk:
        covers[place].note(at_us, value)
        trace = traces[place]
        if trace is not None and value - value == 0:  # finite
            trace.note(at_us, value)


def _in_order(outcome: Outcome) -> None:
    """A file that runs backwards would be judged as noise."""
    late = outcome.this.panel.counters["out_of_order"]
    if late > DISORDER_MIN and late * 2 > outcome.samples:
        raise ConfigError(
            f"{late} of the first {outcome.samples} samples are earlier than the one before: sort the file by time "
            f"first, oldest row first",
            source=outcome.recording.name,
        )


def _empty(recording: Recording) -> ConfigError:
    defects = recording.defects
    if not defects.count:
        return ConfigError("no sample of the plan's points in it (within --from and --to)", source=recording.name)
    line, why = defects.named[0]
    return ConfigError(
        f"none of its rows can be used ({defects.count} bad); the first: {why}", source=recording.name, line=line
    )


def _notes(outcome: Outcome, heard: frozenset[str]) -> list[str]:
    """What a person should know before trusting the result."""
    notes = [
        f"{point} begins after the first {LOOK_CHUNKS * CHUNK} samples, so it is not judged: use --point or --from"
        for point in outcome.coverage
        if point not in heard
    ]
    for trial in outcome.trials:
        if trial.left_out:
            notes.append(f"{trial.name}: not in the recording, so not judged: {', '.join(trial.left_out)}")
        for paced in trial.paced:
            config = paced.config
            if paced.adapted:
                planned_s = next(p.period_s for p in trial.plan.points if p.id == config.id)
                stale = f", stale after {config.stale_ns / 1e9:g} s" if config.stale_ns else ""
                notes.append(
                    f"{trial.name}: {config.id} is judged as if read each {config.period_ns / 1e9:g} s{stale}, not each "
                    f"{planned_s:g} s as planned; --period plan judges it as planned"
                )
            if paced.rate_unknown:
                notes.append(
                    f"{trial.name}: {config.id}: its rate of rise cannot be known from a value each "
                    f"{config.period_ns / 1e9:g} s within rate_window_s; no Level is raised by it here"
                )
        if trial.unkept:
            notes.append(
                f"{trial.name}: {trial.unkept} transitions beyond the first {len(trial.verdicts)} are only counted"
            )
    return notes
