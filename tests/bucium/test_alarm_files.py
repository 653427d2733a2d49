"""`bucium alarm report` and `bucium alarm mutes`, from a journal's file."""

import asyncio
from pathlib import Path

import pytest

from bucium.verbs.alarm_report import report
from lanes import planfile
from tests.kit.face import Face
from tests.kit.incident import flood, plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of a flood, and its plan."""
    folder = tmp_path_factory.mktemp("flood")
    planfile.write(plan(), folder / "plan.cbor")

    async def night() -> None:
        control = await flood(folder / "journal.db")
        await control.journal.close()

    asyncio.run(night())
    return folder


def test_a_report_in_each_form_by_the_name_of_its_file(face: Face, folder: Path) -> None:
    assert report.__doc__
    for name, begin in (("r.html", b"<!DOCTYPE html>"), ("r.pdf", b"%PDF-"), ("r.json", b"{")):
        heads = ("alarm", "report", "ungheni/flood", "--journal", folder / "journal.db", "--plan", folder / "plan.cbor")
        said = face(*heads, "--language", "uk", "-o", folder / name)
        assert said.code == 0
        assert "the chain is whole" in said.out
        assert (folder / name).read_bytes().startswith(begin)


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("ungheni/fire", "-o", "r.html"), 1, "has nothing of"),
        (("ungheni/flood", "-o", "r.doc"), 1, "no format"),
        (("ungheni/flood", "-o", "r.html", "--language", "de"), 1, "no language"),
        (("ungheni/flood", "-o", "missing/r.html"), 1, "cannot write"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_line(
    face: Face, folder: Path, words: tuple[str, ...], code: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    said = face("alarm", "report", *words, "--journal", folder / "journal.db")
    assert (said.code, len(said.err.strip().splitlines())) == (code, 1)
    assert why in said.err


def test_the_permanent_list_of_mutes(face: Face, folder: Path) -> None:
    found = face("alarm", "mutes", "--journal", folder / "journal.db", "--json").document["mutes"]
    assert [(m["state"], m["people"], m["end"], m["permit"]) for m in found] == [
        ("out-of-service", ["ana", "ion"], "person", "W-7"),
        ("shelved", ["ana", "ion"], "person", ""),
    ]
    assert "W-7" in face("alarm", "mutes", "--journal", folder / "journal.db").out
    assert face("alarm", "mutes", "--journal", folder / "nothing.db").code == 1
