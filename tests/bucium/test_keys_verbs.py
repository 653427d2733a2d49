"""`bucium keys` as people and playbooks use it: what it prints, its exit codes; a plan must know keys before a host has them."""

import io
from pathlib import Path

import pytest

from bucium.keyring import Keyring
from lanes import planfile
from lanes.keys import read_key
from lanes.settings import load
from tests.kit.face import Face


def said_ok(face: Face, *words: object) -> dict[str, object]:
    said = face("keys", *words, "--json")
    assert said.code == 0, said.err + said.out
    document: dict[str, object] = said.document
    assert document["ok"] is True
    return document


def enrolled(face: Face, monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, role: str = "node") -> Path:
    """A host's identity folder, by the four verbs."""
    token = said_ok(face, "token", name, "--role", role, "--dir", folder)["token"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
    own = folder.parent / name / "identity"
    made = said_ok(face, "request", "--id", name, "--role", role, "--token", "-", "--dir", own)
    admitted = said_ok(face, "admit", made["file"], "--id", name, "--dir", folder)
    assert admitted["changed"] is True
    assert sorted(admitted["kids"]) == sorted(made["kids"].values())
    tls = folder / "tls"
    assert said_ok(face, "adopt", tls / f"{name}.crt", "--ca", tls / "ca.crt", "--dir", own)["changed"] is True
    assert said_ok(face, "adopt", tls / f"{name}.crt", "--ca", tls / "ca.crt", "--dir", own)["changed"] is False
    return own


@pytest.fixture
def folder(face: Face, tmp_path: Path) -> Path:
    said_ok(face, "init", "--root", "TEST", "--planner", "ana", "--threshold", 1, "--dir", tmp_path / "keys")
    return tmp_path / "keys"


def test_the_verbs_of_a_life(face: Face, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = enrolled(face, monkeypatch, folder, "quay")
    rotated = said_ok(face, "request", "--rotate", "--dir", own)
    said_ok(face, "admit", rotated["file"], "--id", "quay", "--dir", folder)
    listed = said_ok(face, "list", "--dir", folder)
    assert len(listed["keys"]) == 6
    assert len([each for each in listed["leaving"] if each["kid"]]) == 3
    early = face("keys", "retire", "quay", "--dir", folder)
    assert (early.code, early.err.count("\n")) == (1, 1)
    assert "--early" in early.err
    assert len(said_ok(face, "retire", "quay", "--early", "--dir", folder)["kids"]) == 3
    said_ok(face, "adopt", folder / "tls" / "quay.crt", "--ca", folder / "tls" / "ca.crt", "--dir", own)
    assert said_ok(face, "adopt", "--back", "--dir", own)["generation"] == "1"
    said_ok(face, "token", "mill", "--role", "node", "--dir", folder)
    revoked = said_ok(face, "revoke", "quay", "--reason", "stolen", "--dir", folder)
    assert len(revoked["kids"]) == 3
    listed = said_ok(face, "list", "--dir", folder)
    assert [each["id"] for each in listed["tokens"]] == ["mill"]
    assert [(each["id"], each["again"]) for each in listed["revoked"]] == [("quay", False), ("quay", False)]
    text = face("keys", "list", "--dir", folder).out
    assert "open tokens" in text
    assert "stolen" in text


def test_a_host_takes_in_what_was_brought_by_hand(face: Face, folder: Path, tmp_path: Path) -> None:
    Keyring(folder).issue("quay", "node", 1_800_000_000_000_000)
    keys = tmp_path / "keys-of-quay"
    keys.mkdir()
    for mode in ("live", "exercise", "test"):
        (folder / "signing" / f"quay.{mode}.pem").rename(keys / f"{mode}.pem")
    words = (
        "hold",
        "--id",
        "quay",
        "--role",
        "node",
        "--keys",
        keys,
        "--tls",
        folder / "tls",
        "--dir",
        tmp_path / "own",
    )
    assert said_ok(face, *words)["changed"] is True
    assert said_ok(face, *words)["changed"] is False
    assert read_key(tmp_path / "own" / "current" / "live.pem").kid == read_key(keys / "live.pem").kid


NODE = """
[node]
id = "pump"
root = "{folder}/root.toml"
plan = "{plan}"
[keys]
live = "identity/current/live.pem"
"""


def test_a_host_changes_over_when_the_plan_that_it_runs_knows_its_keys(
    face: Face, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = enrolled(face, monkeypatch, folder, "pump")
    ring, plan, config = Keyring(folder), tmp_path / "plan.cbor", tmp_path / "node.toml"
    ring.issue("centre-1", "controller", 1_800_000_000_000_000)
    source = tmp_path / "town.toml"
    text = Path("bucium/demo/town.toml").read_text()
    source.write_text(text.replace('root = "DEMO"', 'root = "TEST"'))
    config.write_text(NODE.format(folder=folder, plan=plan))

    def signed(version: int) -> None:
        source.write_text(source.read_text().replace(f"version = {version - 1}", f"version = {version}"))
        built = face("plan", "build", source, "--roster", ring.roster_file, "-o", plan)
        assert built.code == 0, built.err
        key = folder / "planners" / "ana.pem"
        assert face("plan", "sign", plan, "--key", key, "--by", "ana", "--root", ring.root_file).code == 0

    signed(1)
    said_ok(face, "request", "--rotate", "--dir", own)
    said_ok(face, "admit", own / "next" / "request.bin", "--id", "pump", "--dir", folder)
    words = ("adopt", folder / "tls" / "pump.crt", "--ca", folder / "tls" / "ca.crt", "--dir", own, "--config", config)
    early = face("keys", *words)
    assert early.code == 1
    assert "plan version 1 does not know the new live key" in early.err
    signed(2)
    assert said_ok(face, *words)["changed"] is True
    found = planfile.load(plan, load(ring.root_file, planfile.Root)).plan.roster.find(
        read_key(own / "current" / "live.pem").kid
    )
    assert found is not None
    assert found.id == "pump"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("request", "--dir", "own"), "--id and --token"),
        (("request", "--id", "quay", "--token", "absent", "--rotate", "--dir", "own"), "--id and --token"),
        (("request", "--id", "quay", "--token", "absent", "--dir", "own"), "cannot read"),
        (("request", "--id", "quay", "--role", "king", "--token", "-", "--dir", "own"), "king"),
        (("request", "--rotate", "--dir", "own"), "no identity yet"),
        (("adopt", "x.crt", "--dir", "own"), "--ca"),
        (("adopt", "x.crt", "--ca", "x", "--dir", "own"), "nothing was asked for"),
        (("adopt", "--back", "--dir", "own"), "no generation before"),
        (("token", "quay", "--role", "king", "--dir", "keys"), "king"),
        (("token", "quay", "--role", "node", "--dir", "own"), "no root here"),
        (("token", "broker", "--role", "broker", "--dir", "keys"), "--host"),
        (("token", "maria", "--role", "operator", "--dir", "keys"), "--zones"),
        (("token", "quay", "--role", "node", "--hours", "0", "--dir", "keys"), "1 to 744 hours"),
        (("token", "Quay", "--role", "node", "--dir", "keys"), "Quay"),
        (("rotate", "quay", "--dir", "keys"), "no secret of quay"),
        (("revoke", "quay", "--reason", "x", "--dir", "keys"), "nothing here is quay's"),
        (("admit", "keys/root.toml", "--dir", "keys"), "not a request"),
        (("take", "keys/root.toml", "--dir", "keys"), "not a PEM"),
    ],
)
def test_bad_input_is_one_clear_line(
    face: Face, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], match: str
) -> None:
    monkeypatch.chdir(folder.parent)
    said = face("keys", *words)
    assert said.code == 1
    assert said.err.strip().count("\n") == 0
    assert match in said.err
