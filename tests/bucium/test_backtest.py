"""`bucium backtest`: what a person types, what a program reads, and how it is refused."""

from pathlib import Path

import pytest

from bucium.verbs import backtest
from lanes import planfile
from tests.kit.face import Face
from tests.kit.plans import signed
from tests.kit.recordings import plan_text

ROWS = "time,stage_cm\n" + "".join(f"2018-06-03T04:26:{40 + n}Z,{cm}\n" for n, cm in enumerate([50, 120, 250, 90, 50]))
MAP = ("--map", "gauge=stage_cm*0.01")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(plan_text())
    (tmp_path / "other.toml").write_text(plan_text(danger=3.0))
    (tmp_path / "r.csv").write_text(ROWS)
    return tmp_path


def test_a_person_sees_transitions_counts_and_the_comparison(face: Face, here: Path) -> None:
    said = face(
        "backtest", here / "plan.toml", here / "r.csv", *MAP, "--against", here / "other.toml", "--plot", here / "p.svg"
    )
    assert said.code == 0, said.err
    assert "2018-06-03 07:26:42 +0300  gauge  attention → danger  at 2.5 m  (threshold)" in said.out
    assert "only under plan.toml" in said.out
    assert "gauge: 1 × attention" in said.out
    assert (here / "p.svg").read_text().startswith("<svg")
    brief = face("backtest", here / "plan.toml", here / "r.csv", *MAP, "--brief")
    assert "→ danger" not in brief.out
    assert "1 × danger" in brief.out


def test_a_program_reads_one_document(face: Face, here: Path) -> None:
    (here / "r.csv").write_text(ROWS + "never,1\n")
    found = face(
        "backtest", here / "plan.toml", here / "r.csv", *MAP, "--against", here / "other.toml", "--json"
    ).document
    assert found["ok"] is True
    assert found["recording"]["bad"] == 1
    assert found["recording"]["first_bad"][0]["line"] == 7
    gauge = found["this"]["judged"][0]
    assert (gauge["alarms"]["danger"], gauge["highest"], gauge["highest_at"]) == (1, 2.5, "2018-06-03T04:26:42Z")
    assert found["this"]["transitions"][0] == {
        "at": "2018-06-03T04:26:41Z",
        "id": "gauge",
        "cause": "raised",
        "was": "normal",
        "level": "attention",
        "value": 1.2,
        "reason": "threshold",
        "trouble": [],
        "evidence": [],
    }
    assert [row["seen"] for row in found["comparison"] if row["level"] == "danger"] == ["this"]


def test_a_pace_is_automatic_planned_or_given() -> None:
    assert [backtest._period(text) for text in ("auto", "plan", "60")] == [None, 0.0, 60.0]


def test_a_built_plan_serves_too(face: Face, here: Path) -> None:
    planfile.write(signed(), here / "plan.cbor")
    said = face("backtest", here / "plan.cbor", here / "r.csv", *MAP, "--period", "plan", "--timezone", "UTC", "--json")
    assert said.document["this"]["left_out"] == ["gauge2"]


def test_a_columns_file_and_a_part_of_the_recording(face: Face, here: Path) -> None:
    (here / "c.toml").write_text('[[column]]\npoint = "gauge"\ncolumn = "stage_cm"\nscale = 0.01\n')
    words = ("backtest", here / "plan.toml", here / "r.csv", "--columns", here / "c.toml", "--json")
    part = face(*words, "--from", "2018-06-03T04:26:42Z", "--to", "2018-06-03T04:26:44Z", "--point", "gauge")
    assert part.document["recording"]["samples"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--map gauge=COLUMN"),
        ((*MAP, "--map", "gauge=time"), "twice"),
        (("--map", "gauge"), "POINT=COLUMN"),
        ((*MAP, "--period", "soon"), "neither auto"),
        ((*MAP, "--timezone", "Europe/Atlantis"), "IANA"),
        ((*MAP, "--point", "weir"), "no plan has a point 'weir'"),
        ((*MAP, "--from", "soon"), "ISO-8601"),
        ((*MAP, "--from", "2019-01-01T00:00:00Z"), "no sample"),
        ((*MAP, "--from", "2019-01-01T00:00:00Z", "--to", "2018-01-01T00:00:00Z"), "earlier"),
        ((*MAP, "--plot", "p.pdf"), ".svg or .png"),
        ((*MAP, "--against", "nowhere.toml"), "cannot read this plan"),
    ],
)
def test_a_refusal_says_what_to_do(face: Face, here: Path, words: tuple[str, ...], says: str) -> None:
    said = face("backtest", here / "plan.toml", here / "r.csv", *words)
    assert said.code == 1
    assert says in said.err.replace("\n", " ")


def test_neither_a_file_nor_a_server_is_a_misuse(face: Face, here: Path) -> None:
    assert face("backtest", here / "plan.toml").code == 2
    assert face("backtest").code == 2
    assert "Example: bucium backtest" in face("backtest", "--help").out


def test_rows_that_are_all_bad_name_the_first(face: Face, here: Path) -> None:
    (here / "r.csv").write_text("time,gauge\n2018-06-03 04:26:40,1\n")
    said = face("backtest", here / "plan.toml", here / "r.csv", "--json")
    assert said.code == 1
    assert "has no time zone" in said.document["error"]
    assert face("backtest", here / "plan.toml", here / "r.csv", "--utc").code == 0
