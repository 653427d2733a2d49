"""docs/receipts.md is held to its word: every code is there, and the table of phases is the one that runs."""

import re
from pathlib import Path
from typing import Final

from edge.siren.activation import TABLE, Cue, Phase
from edge.siren.refusals import Why
from lanes.readiness import Input
from lanes.reports import Stage

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs" / "receipts.md").read_text("utf-8")
SOURCES: Final = "\n".join(
    (ROOT / "edge" / "siren" / f"{name}.py").read_text("utf-8")
    for name in ("sirens", "sounder", "proof", "orders", "reflex", "activation")
)
CODE_BYTES_MAX: Final = 24  # of a receipt's reason, on the wire


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    part = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([a-z-]+)`", cell)


def test_every_refusal_is_explained_once() -> None:
    found = [code for row in rows("Refusals") for code in codes(row[0])]
    assert sorted(found) == sorted(why.value for why in Why)
    assert all(len(code) <= CODE_BYTES_MAX for code in found)


def test_every_step_is_one_that_the_node_tells() -> None:
    for stage, cell, _ in rows("Steps"):
        assert stage in Stage.__members__
        for code in codes(cell):
            parts = {each.name.lower() for each in Input}
            known = f'"{code}"' in SOURCES or code in parts | {"arm", "growl-test", "silent-test", "status"}
            assert known, f"the node never tells {code}"
            assert len(code) <= CODE_BYTES_MAX


def test_every_step_that_the_node_tells_is_there() -> None:
    there = {code for row in rows("Steps") for code in codes(row[1])}
    told = re.findall(r"(?:_tell|_end|_cue|Finding|_end_test)\([^()]*\"([a-z][a-z-]+)\"", SOURCES)
    told += re.findall(r"return \(?(?:Cue\.\w+), \"([a-z-]+)\"", SOURCES)
    assert len(told) > 15, "the pattern above no longer finds them"
    assert set(told) <= there


def test_the_table_of_phases_is_the_one_that_runs() -> None:
    found = rows("The siren's phases")
    assert [row[0] for row in found] == [phase.name for phase in Phase]
    for row in found:
        for cue, cell in zip(Cue, row[1:], strict=True):
            decided = TABLE.get((Phase[row[0]], cue))
            if decided is None:
                assert cell == "·", (row[0], cue)
            else:
                after, told = decided
                assert cell == after.name + (f" ({told.name})" if told is not None else "")
