"""`bucium plan`: from TOML to a signed file, and what changes between two."""

import hashlib
from pathlib import Path

import pytest

from bucium.keyring import Keyring
from bucium.verbs.plan import differences
from cython_ext import SystemClock
from lanes import planfile
from lanes.planfile import Root
from lanes.settings import load
from tests.kit.face import Face

TOWN = Path("bucium/demo/town.toml")


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    ring = Keyring(tmp_path / "keys")
    now_us = SystemClock().wall_us()
    ring.init("DEMO", ("ana", "ion"), 2, now_us)
    ring.issue("quay", "node", now_us, tls=False)
    return ring


def build(face: Face, ring: Keyring, out: Path, source: Path = TOWN) -> None:
    assert face("plan", "build", source, "--roster", ring.roster_file, "-o", out).code == 0


def test_build_sign_show(face: Face, ring: Keyring, tmp_path: Path) -> None:
    out = tmp_path / "plan.cbor"
    build(face, ring, out)
    ana, ion = (ring.folder / "planners" / f"{name}.pem" for name in ("ana", "ion"))
    assert face("plan", "sign", out, "--key", ana, "--by", "ana", "--root", ring.root_file).code == 0
    one = face("plan", "show", out, "--root", ring.root_file)
    assert one.code == 1
    assert "asks for 2" in one.err
    assert face("plan", "sign", out, "--key", ana, "--by", "ana").code == 0  # again: replaces, does not count twice
    assert face("plan", "show", out, "--root", ring.root_file).code == 1
    signed = face("plan", "sign", out, "--key", ion, "--by", "ion", "--root", ring.root_file, "--json").document
    assert signed["people"] == ["ana", "ion"]
    shown = face("plan", "show", out, "--root", ring.root_file, "--json")
    assert shown.code == 0
    assert shown.document["plan"]["root"] == "DEMO"
    assert len(shown.document["plan"]["key"]) == 3
    planfile.load(out, load(ring.root_file, Root))


def test_a_key_that_is_not_the_planners_is_refused(face: Face, ring: Keyring, tmp_path: Path) -> None:
    out = tmp_path / "plan.cbor"
    build(face, ring, out)
    ana = ring.folder / "planners" / "ana.pem"
    said = face("plan", "sign", out, "--key", ana, "--by", "ion", "--root", ring.root_file)
    assert said.code == 1
    assert "not ion's" in said.err


def test_a_wrong_plan_is_refused_with_its_line(face: Face, ring: Keyring, tmp_path: Path) -> None:
    text = TOWN.read_text()
    wrong = tmp_path / "plan.toml"
    wrong.write_text(text.replace("raise = 3.00, clear = 2.80", "raise = 3.00, clear = 3.80"))
    said = face("plan", "build", wrong, "-o", tmp_path / "x.cbor")
    assert said.code == 1
    assert "would raise and clear at once" in said.err
    assert not (tmp_path / "x.cbor").exists()
    missing = face("plan", "build", tmp_path / "none.toml", "--roster", ring.roster_file)
    assert missing.code == 1
    assert "cannot read" in missing.err


def test_diff_names_what_changes(face: Face, ring: Keyring, tmp_path: Path) -> None:
    changed = tmp_path / "plan.toml"
    text = TOWN.read_text().replace("version = 1", "version = 2").replace("raise = 3.50", "raise = 3.60")
    changed.write_text(text)
    old, new = tmp_path / "old.cbor", tmp_path / "new.cbor"
    build(face, ring, old)
    build(face, ring, new, changed)
    changes = {c["path"]: (c["old"], c["new"]) for c in face("plan", "diff", old, new, "--json").document["changes"]}
    assert changes == {"version": (1, 2), "point.quay-level.alarm.raise": (3.5, 3.6)}
    assert "→" in face("plan", "diff", old, new).out
    assert "the same" in face("plan", "diff", old, old).out


def test_differences_match_tables_by_name_not_by_place() -> None:
    a, b = {"id": "a", "x": 1}, {"id": "b", "x": 2}
    assert differences({"point": [a, b]}, {"point": [b, a]}) == []
    assert differences({"point": [a]}, {"point": [a, b]}) == [("point.b", None, b)]
    assert differences({"v": [1, 2]}, {"v": [2, 1]}) == [("v", [1, 2], [2, 1])]


def test_a_file_that_is_no_plan_is_refused(face: Face, tmp_path: Path) -> None:
    junk = tmp_path / "junk.cbor"
    junk.write_bytes(b"\x00junk")
    said = face("plan", "show", junk)
    assert said.code == 1
    assert "bucium plan build" in said.err


def test_the_file_of_people_must_be_the_one_that_the_plan_names(face: Face, ring: Keyring, tmp_path: Path) -> None:
    text = TOWN.read_text()
    begin = text.index("people = ")
    line = text[begin : text.index("\n", begin)]
    grid = b"lat,lon,people\n47.2960,27.5480,900\n"
    source = tmp_path / "plan.toml"
    names = 'people_file = "grid.csv"\npeople_sha256 = "{}"'
    source.write_text(text.replace(line, names.format("0" * 64)))
    arguments = ("plan", "build", source, "--roster", ring.roster_file, "-o", tmp_path / "plan.cbor")
    said = face(*arguments)
    assert said.code == 1
    assert "cannot read" in said.err
    (tmp_path / "grid.csv").write_bytes(grid)
    digest = hashlib.sha256(grid).hexdigest()
    said = face(*arguments)
    assert said.code == 1
    assert digest in said.err, "it says what to write"
    source.write_text(text.replace(line, names.format(digest)))
    assert face(*arguments).code == 0
    (tmp_path / "grid.csv").write_bytes(grid.replace(b"900", b"many"))
    assert "grid.csv:2" in face(*arguments).err
