"""Each change is told once, and every code is explained to people."""

import re
from pathlib import Path

from edge.troubles import SUBJECT_MAX, Troubles
from lanes.reports import TroubleData

ROOT = Path(__file__).parents[2]


def test_only_changes_are_told():
    told = []
    troubles = Troubles(told.append)
    for on in (False, True, True, False, False):
        troubles.set("overrun", on, "river")
    troubles.set("overrun", True, "s" * 100)
    troubles.set("overrun", True, "s" * 100)
    assert told == [
        TroubleData("overrun", True, "river"),
        TroubleData("overrun", False, "river"),
        TroubleData("overrun", True, "s" * SUBJECT_MAX),
    ]
    assert troubles.standing() == [("overrun", "s" * SUBJECT_MAX)]


def test_every_code_stands_in_the_docs_and_nothing_else():
    source = "".join(path.read_text() for path in (ROOT / "edge").rglob("*.py"))
    used = set(re.findall(r'(?:roubles\.set|Finding)\(\s*"([a-z-]+)"', source))
    page = (ROOT / "docs" / "troubles.md").read_text().split("## Of a node\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    assert used == documented
