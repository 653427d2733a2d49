"""The outcome as a JSON document, and as lines for people. Programs get UTC, people the zone's local time."""

from math import isfinite
from typing import Any, Final
from zoneinfo import ZoneInfo

from cython_ext import Level, Trouble
from lanes.plan import Point

from .compare import Episode, Happening
from .instants import local, span, utc
from .run import Outcome
from .tally import Coverage, Tally
from .trial import Trial
from .verdict import Verdict

COUNTED: Final = ("duplicate", "out_of_order", "suspect", "blind", "spikes")


def troubles(bits: Trouble) -> list[str]:
    """The names of the bits."""
    return [one.name.lower() for one in Trouble if one in bits and one.name]


def word(name: str) -> str:
    return name.lower().replace("_", " ")


# For programs.


def document(outcome: Outcome) -> dict[str, Any]:
    """Everything, finite numbers only (None: there is none)."""
    recording = outcome.recording
    found: dict[str, Any] = {
        "recording": {
            "name": recording.name,
            "rows": recording.rows,
            "samples": outcome.samples,
            "from": utc(outcome.from_us),
            "to": utc(outcome.to_us),
            "bad": recording.defects.count,
            "first_bad": [{"line": line, "why": why} for line, why in recording.defects.named],
        },
        "notes": outcome.notes,
        "this": _trial(outcome, outcome.this),
    }
    if outcome.other:
        found["other"] = _trial(outcome, outcome.other)
        found["comparison"] = [_happening(happening) for happening in outcome.happenings()]
    return found


def _trial(outcome: Outcome, trial: Trial) -> dict[str, Any]:
    return {
        "plan": trial.name,
        "version": trial.plan.version,
        "left_out": list(trial.left_out),
        "counters": trial.panel.counters,
        "judged": [
            _judged(judged, trial.tallies[judged], outcome.coverage.get(judged), trial) for judged in trial.tallies
        ],
        "transitions": [_verdict(verdict) for verdict in trial.verdicts],
        "transitions_not_kept": trial.unkept,
    }


def _judged(judged: str, tally: Tally, cover: Coverage | None, trial: Trial) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": judged,
        "alarms": {level.name.lower(): count for level, count in tally.alarms.items()},
        "at_level_s": {level.name.lower(): us / 1e6 for level, us in tally.at_level_us.items()},
        "chatter": tally.troubles.get(Trouble.CHATTER, 0),
        "flapping": tally.troubles.get(Trouble.FLAPPING, 0),
        "troubles": {(bit.name or "").lower(): count for bit, count in tally.troubles.items()},
        "blind_s": tally.blind_us / 1e6,
        "end": {
            "level": tally.level.name.lower(),
            "trouble": troubles(tally.trouble),
            "why": list(trial.words(judged)),
        },
    }
    if cover:
        found["samples"] = cover.samples
        found["missing"] = cover.missing
        found["period_s"] = cover.period_us / 1e6
        found["gaps"] = {
            "count": cover.gaps,
            "total_s": cover.gaps_us / 1e6,
            "longest_s": cover.longest_us / 1e6,
            "longest_from": utc(cover.longest_from_us) if cover.gaps else None,
        }
        found["highest"] = _number(cover.highest)
        found["highest_at"] = utc(cover.highest_us) if isfinite(cover.highest) else None
        found["lowest"] = _number(cover.lowest)
    return found


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "at": utc(verdict.at_us),
        "id": verdict.judged,
        "cause": verdict.cause.name.lower(),
        "was": verdict.was.name.lower(),
        "level": verdict.level.name.lower(),
        "value": _number(verdict.value),
        "reason": verdict.reason.name.lower(),
        "trouble": troubles(verdict.trouble),
        "evidence": list(verdict.evidence),
    }


def _happening(happening: Happening) -> dict[str, Any]:
    return {
        "id": happening.judged,
        "level": happening.level.name.lower(),
        "seen": happening.seen,
        "this": [_episode(episode) for episode in happening.this],
        "other": [_episode(episode) for episode in happening.other],
        "lead_s": happening.lead_us / 1e6 if happening.seen == "both" else None,
    }


def _episode(episode: Episode) -> dict[str, Any]:
    return {"from": utc(episode.from_us), "to": None if episode.to_us is None else utc(episode.to_us)}


def _number(value: float) -> float | None:
    return value if isfinite(value) else None


# For people.


def line(verdict: Verdict, unit: str, zone: ZoneInfo) -> str:
    """One transition."""
    if verdict.of_level:
        change = word(verdict.was.name)
        change += f" → {word(verdict.level.name)}" if verdict.level is not verdict.was else " said again"
    else:
        begun, ended = verdict.trouble & ~verdict.trouble_was, verdict.trouble_was & ~verdict.trouble
        parts = [f"trouble {', '.join(map(word, troubles(begun)))}"] if begun else []
        parts += [f"{', '.join(map(word, troubles(ended)))} over"] if ended else []
        change = "; ".join(parts)
    value = f"at {amount(verdict.value, unit)}" if isfinite(verdict.value) else "without a value"
    voters = f", by {', '.join(verdict.evidence)}" if verdict.evidence else ""
    return f"{local(verdict.at_us, zone)}  {verdict.judged}  {change}  {value}  ({word(verdict.reason.name)}{voters})"


def amount(value: float, unit: str) -> str:
    """To the millimetre where the unit is a metre; a small one to three digits. More is the arithmetic's, not the sensor's."""
    digits = f"{value:.3f}".rstrip("0").rstrip(".") if 0.1 <= abs(value) < 1e6 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def unit_of(trial: Trial, judged: str) -> str:
    """The unit of its values; a vote's are its voters."""
    item = trial.plan.judged(judged)
    return item.unit if isinstance(item, Point) else "votes"


def summary(trial: Trial, judged: str, cover: Coverage | None, zone: ZoneInfo) -> list[str]:
    """What came of one point, in a few lines."""
    tally = trial.tallies[judged]
    raised = [
        f"{count} × {word(level.name)} ({span(tally.at_level_us[level] / 1e6)})"
        for level, count in tally.alarms.items()
        if count
    ]
    lines = [f"{judged}: " + (", ".join(raised) or "no alarm")]
    if tally.level is not Level.NORMAL:
        lines.append(f"  still at {word(tally.level.name)} at the end: {'; '.join(trial.words(judged))}")
    if cover:
        unit = unit_of(trial, judged)
        peak = (
            f"highest {amount(cover.highest, unit)} at {local(cover.highest_us, zone)}, lowest {amount(cover.lowest, unit)}"
            if isfinite(cover.highest)
            else "never a value"
        )
        lines.append(f"  {cover.samples} samples, {peak}")
        lines.append(f"  {_absent(cover)}; blind for {span(tally.blind_us / 1e6)}")
    count = tally.troubles.get(Trouble.CHATTER, 0), tally.troubles.get(Trouble.FLAPPING, 0)
    others = [
        f"{count} × {word(bit.name or '')}"
        for bit, count in tally.troubles.items()
        if bit not in (Trouble.CHATTER, Trouble.FLAPPING)
    ]
    lines.append(f"  chatter {count[0]}, flapping {count[1]}" + (f"; troubles: {', '.join(others)}" if others else ""))
    return lines


def _absent(cover: Coverage) -> str:
    missing = f"{cover.missing} missing value{_s(cover.missing)}"
    if not cover.gaps:
        return f"{missing}, no gap"
    whole, longest = span(cover.gaps_us / 1e6), span(cover.longest_us / 1e6)
    return f"{missing}, {cover.gaps} gap{_s(cover.gaps)} ({whole} in all, the longest {longest})"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def happening_line(happening: Happening, this: str, other: str, zone: ZoneInfo) -> str:
    """One line of the comparison."""
    what = f"{local(happening.from_us, zone)}  {happening.judged}  {word(happening.level.name)}"
    if happening.seen != "both":
        name, side = (this, happening.this) if happening.seen == "this" else (other, happening.other)
        return f"{what}  only under {name}, {_lasting(side)}"
    lead_s = happening.lead_us / 1e6
    when = "at the same time" if not lead_s else f"{this if lead_s > 0 else other} {span(abs(lead_s))} earlier"
    counts = len(happening.this), len(happening.other)
    times = f"; {counts[0]} × and {counts[1]} ×" if counts != (1, 1) else ""
    return f"{what}  both, {when}{times} ({_lasting(happening.this)} and {_lasting(happening.other)})"


def _lasting(side: tuple[Episode, ...]) -> str:
    if any(episode.to_us is None for episode in side):
        return "to the end"
    return f"for {span(sum((episode.to_us or 0) - episode.from_us for episode in side) / 1e6)}"
