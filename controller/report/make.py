"""A report in one of its three forms, from a case."""

import json
from dataclasses import asdict
from typing import Any, Final

from .. import texts
from ..replay.export import time_of
from ..texts import Language
from .case import Case, Entry
from .document import write
from .html import page
from .pdf import render

FORMATS: Final = ("html", "pdf", "json")
VERSION: Final = 1  # of the JSON; a field may be added within a version, none changes its meaning


def make(case: Case, form: str, language: Language) -> bytes:
    """The file. BuciumError when a PDF cannot be made here."""
    if form == "json":
        return (json.dumps(facts(case), ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    instructions = texts.text(language, "report.section.instructions")
    document = write(case, language)
    return page(document, instructions).encode() if form == "html" else render(document, instructions)


def facts(case: Case) -> dict[str, Any]:
    """The case in codes, for programs; docs/reports.md has the fields."""
    verdict, start = case.verdict, case.first
    zone = next((z for z in case.plan.plan.zones if z.id == case.zone), None) if case.plan else None
    return {
        "version": VERSION,
        "alarm": case.subject,
        "alarms": list(case.alarms),
        "incidents": list(case.incidents),
        "zone": case.zone,
        "hazard": case.hazard.name.lower() if case.hazard else None,
        "mode": case.mode.name.lower(),
        "worst": int(case.worst),
        "state": case.state,
        "controller": case.controller,
        "software": case.software,
        "plan": {"version": case.plan_version, "sha256": case.plan_sha256, "at_hand": case.plan is not None},
        "journal": {
            "id": case.journal,
            "whole": verdict.whole,
            "rows": verdict.rows,
            "bad_row": verdict.bad_row,
            "why": verdict.why,
            "last_hash": verdict.last_hash,
            "heads": verdict.heads,
            "heads_checked": verdict.checked,
        },
        "signatures": {str(proof): count for proof, count in case.proofs().items()},
        "steps": [asdict(step) for step in case.steps],
        "points": [
            {
                "point": each.point,
                "marks": [list(mark) for mark in each.marks],
                "samples": [list(s) for s in each.samples],
            }
            for each in case.series
        ],
        "sights": [{"point": sight.point, "at_us": sight.at_us} | sight.shown() for sight in case.sights],
        "instructions": dict(zone.instructions) if zone else {},
        "entries": [_entry(entry, start) for entry in case.entries],
        "left_out": case.left_out,
    }


def _entry(entry: Entry, start: Entry | None) -> dict[str, Any]:
    return {
        "row": entry.seq,
        "time": time_of(entry.wall_us),
        "wall_us": entry.wall_us,
        "after_ms": round(entry.after_ms(start), 3) if start else None,
        "kind": str(entry.kind),
        "code": entry.code,
        "who": entry.who,
        "signature": str(entry.proof),
        **entry.values,
    }
