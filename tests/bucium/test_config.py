"""`bucium config`, and that every example is what it says."""

import json
from pathlib import Path

import pytest

from bucium import documents
from tests.kit.face import Face

EXAMPLES = sorted(Path("examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_good(face: Face, path: Path) -> None:
    said = face("config", "check", path, "--json")
    assert said.code == 0, said.out
    assert said.document["kind"] == path.stem


def test_a_mistyped_key_names_its_line_and_the_nearest_key(face: Face, tmp_path: Path) -> None:
    wrong = tmp_path / "root.toml"
    wrong.write_text('name = "TEST"\ntreshold = 1\n[[planner]]\nid = "ana"\npublic = "' + "00" * 32 + '"\n')
    said = face("config", "check", wrong, "--json")
    assert said.code == 1
    assert said.document["line"] == 2
    assert "did you mean 'threshold'" in said.document["error"]


def test_good_and_bad_files_together_are_refused_together(face: Face, tmp_path: Path) -> None:
    bad = tmp_path / "plan.toml"
    bad.write_text("version = ")
    said = face("config", "check", "examples/root.toml", bad, tmp_path / "root.toml")
    assert said.code == 1
    assert "good" in said.out
    assert said.err.count("bucium:") == 2


def test_kinds_are_known_by_name_or_by_content(tmp_path: Path) -> None:
    assert documents.recognise(Path("examples/plan.toml")).kind == "plan"
    other = tmp_path / "town.toml"
    other.write_text(Path("examples/plan.toml").read_text())
    assert documents.recognise(other).kind == "plan"


def test_an_unknown_file_asks_for_its_kind(face: Face, tmp_path: Path) -> None:
    other = tmp_path / "something.toml"
    other.write_text("x = 1")
    said = face("config", "check", other)
    assert said.code == 1
    assert "--kind" in said.err


def test_show_fills_in_the_defaults(face: Face) -> None:
    values = face("config", "show", "examples/root.toml", "--json").document["values"]
    assert values["threshold"] == 2
    assert 'planner[0].id = "ana"' in face("config", "show", "examples/root.toml").out


@pytest.mark.parametrize("kind", ["plan", "root"])
def test_the_schema_is_json_schema(face: Face, kind: str, tmp_path: Path) -> None:
    out = tmp_path / "schema.json"
    assert face("config", "schema", kind, "-o", out).code == 0
    schema = json.loads(out.read_text())
    assert schema["additionalProperties"] is False
    assert schema["properties"]
