"""`bucium journal`: verified, read out and replayed, from the command line."""

import asyncio
import json
from pathlib import Path

import apsw
import pytest

from controller.record.emergency import Emergency
from controller.record.journal import Spare
from controller.record.records import Record, Row, hash_row
from cython_ext import Level
from lanes import cbor, planfile
from tests.kit.control_room import ControlRoom
from tests.kit.face import Face
from tests.kit.nights import Night, plan_with


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of a night with an alarm, and its plan."""
    folder = tmp_path_factory.mktemp("night")
    planfile.write(plan_with("automatic"), folder / "plan.cbor")
    planfile.write(plan_with("by-hand"), folder / "other.cbor")
    asyncio.run(_night(folder / "journal.db"))
    return folder


async def _night(path: Path) -> None:
    night = Night(path, 7)
    night.control.hear(night.nodes[0], night.nodes[0].state())
    night.levels["gauge"] = Level.ALARM
    night.control.hear(night.nodes[0], night.nodes[0].level("gauge", Level.NORMAL, Level.ALARM, float("nan")))
    await night.live(40)


def test_a_whole_journal_is_verified_and_replayed(face: Face, folder: Path) -> None:
    journal, plan = folder / "journal.db", folder / "plan.cbor"
    assert face("journal", "verify", journal, "--plan", plan).code == 0
    said = face("journal", "replay", journal, "--plan", plan)
    assert said.code == 0
    assert "the same" in said.out
    document = face("journal", "replay", journal, "--plan", folder / "other.cbor", "--plan", plan, "--json").document
    assert document["ok"] is True
    assert document["kinds"]["order"] >= 1
    assert document["compared"] > 20


def test_replay_under_another_plan_says_which_one_it_needs(face: Face, folder: Path) -> None:
    said = face("journal", "replay", folder / "journal.db", "--plan", folder / "other.cbor")
    assert said.code == 1
    assert "give it with --plan" in said.err


def test_the_rows_come_out_as_json_lines(face: Face, folder: Path) -> None:
    lines = [json.loads(line) for line in face("journal", "export", folder / "journal.db").out.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    order = next(line for line in lines if line["kind"] == "order")
    assert order["siren"] == "s1"
    assert order["body"]["action"] == "start"
    assert bytes.fromhex(order["signed"])[0] == 0xD2
    decision = next(line for line in lines if line["kind"] == "decision")
    assert decision["decision"]["reason"] == "policy"
    event = next(line for line in lines if line["kind"] == "event")
    assert event["envelope"]["from"] == "n1"
    assert event["body"]["data"]["value"] == "nan"
    assert event["body"]["clock"]["source"] == "ntp"
    assert event["time"].startswith("2026-01-02T03:00:")


def test_by_time_and_kind(face: Face, folder: Path) -> None:
    every = face("journal", "export", folder / "journal.db").out.splitlines()
    some = face("journal", "export", folder / "journal.db", "--kind", "order", "--kind", "start").out.splitlines()
    assert {json.loads(line)["kind"] for line in some} == {"order", "start"}
    times = [json.loads(line)["time"] for line in every]
    early = face("journal", "export", folder / "journal.db", "--until", times[len(times) // 2])
    late = face("journal", "export", folder / "journal.db", "--since", times[len(times) // 2])
    assert early.out.splitlines() + late.out.splitlines() == every
    for wrong in (("--kind", "ordre"), ("--since", "yesterday")):
        refused = face("journal", "export", folder / "journal.db", *wrong)
        assert refused.code == 1
        assert wrong[0] in refused.err
    assert face("journal", "export", folder / "nowhere.db").code == 1


def test_a_damaged_row_ends_the_export_with_its_name(face: Face, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "journal.db"
    copy.write_bytes((folder / "journal.db").read_bytes())
    store = apsw.Connection(str(copy))
    store.execute("DROP TRIGGER entry_stays")
    store.execute("UPDATE entry SET kind = 50 WHERE seq = 6")
    store.close()
    said = face("journal", "export", copy)
    assert said.code == 1
    assert len(said.out.splitlines()) == 5
    assert "row 6" in said.err
    assert "row 6" in face("journal", "replay", copy, "--plan", folder / "plan.cbor").err


async def test_rows_in_the_emergency_journal_are_verified_too(face: Face, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    control = ControlRoom(path, spare=Spare(tmp_path / "journal.emergency", 1 << 16))
    await control.commit()
    control.journal.drop()
    last = list(control.journal.id), control.journal.seq
    before = apsw.Connection(str(path)).execute("SELECT hash FROM entry ORDER BY seq DESC LIMIT 1").get
    emergency = Emergency(tmp_path / "journal.emergency", bytes(last[0]), last[1])
    payload, seq = cbor.encode(["test", "", "", True]), last[1] + 1
    digest = hash_row(bytes(last[0]), seq, Record.TROUBLE, 5, 6, payload, before)
    emergency.write([Row(seq, Record.TROUBLE, 5, 6, payload, before, digest)])
    emergency.close()
    verdict = face("journal", "verify", path, "--json").document
    assert verdict["ok"] is True
    assert (verdict["rows"], verdict["in_emergency"]) == (seq, 1)
    octets = bytearray((tmp_path / "journal.emergency").read_bytes())
    octets[512 + 112 + 3] ^= 1
    (tmp_path / "journal.emergency").write_bytes(octets)
    assert face("journal", "verify", path, "--json").document["bad_row"] == seq
