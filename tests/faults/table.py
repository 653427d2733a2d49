"""A campaign as a table: fault, runs, lost, late, recovery, and the command that repeats it. For docs/faults.md."""

from pathlib import Path
from typing import Final

from .breaking import KINDS
from .campaign import Outcome

BEGIN: Final = "<!-- made by make faults-long -->"
END: Final = "<!-- end -->"
HEADS: Final = (
    "| fault | runs | lost | late mean, s | late max, s | serving again mean, s | max, s | promised, s | repeat it |"
)


def rows(outcome: Outcome) -> list[str]:
    """The table's lines."""
    lines = [HEADS, "|---|--:|--:|--:|--:|--:|--:|--:|---|"]
    for kind, runs in outcome.by_kind():
        late = [danger.late_s for run in runs for danger in run.dangers if danger.told_ns]
        served = [run.serving_s for run in runs if run.serving_s is not None]
        limit_s = KINDS[kind].limit_s
        lost = sum(1 for run in runs for danger in run.dangers if not danger.told_ns)
        cells = [
            kind,
            f"{len(runs)}",
            f"{lost}",
            _mean(late),
            _max(late),
            _mean(served),
            _max(served),
            f"{limit_s:g}" if limit_s is not None else "",
            f"`python -m tests.faults --seed {outcome.seed} --only '{kind}' --runs {len(runs)}`",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write(path: Path, outcome: Outcome, took_s: float) -> None:
    """Put the table, and the line under it, between the marks."""
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    peaks = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in sorted(outcome.peaks_mib.items()))
    duplicates = sum(verdict.duplicates for verdict in outcome.verdicts.values())
    events = sum(verdict.events for verdict in outcome.verdicts.values())
    told = sum(1 for run in outcome.runs for danger in run.dangers if danger.told_ns)
    words = (
        f"`{outcome.line}`: {told} dangers told, {events} events, {duplicates} messages told twice; most memory: {peaks}; "
        f"{took_s / 60:.0f} minutes."
    )
    path.write_text(f"{before}{BEGIN}\n" + "\n".join([*rows(outcome), "", words]) + f"\n{END}{after}")


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.1f}" if values else ""


def _max(values: list[float]) -> str:
    return f"{max(values):.1f}" if values else ""
