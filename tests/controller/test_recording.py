"""The Panel's input, recorded and replayed: the same bit for bit, within its bound, and whatever is changed is named."""

import zlib
from pathlib import Path
from random import Random

import pytest

import controller.record.recording as recording
from controller.record.recording import MAGIC, PART_NS, RECORD, Recorder
from controller.record.records import Record
from controller.replay.engine import Replay, Verdict
from controller.replay.panel import Apart, play
from controller.watchdog import Watchdog
from cython_ext import NS_PER_S
from cython_ext.panel import RECORD as RECORD_OF_PANEL
from cython_ext.panel import Panel, pack
from lanes.planfile import SignedPlan
from lanes.store import run_here
from tests.controller.test_watchdog import Telemetry
from tests.kit.control_room import ControlRoom
from tests.kit.plans import PLAN, signed, with_keys

VOTE = """
[[vote]]
id = "both"
points = ["gauge", "gauge2"]
k = 2
window_s = 600
zones = ["ungheni"]
"""


def voting_plan() -> SignedPlan:
    """A vote over two nodes: only the controller can judge it."""
    return signed(with_keys(PLAN + VOTE))


def recorder(control: ControlRoom, bytes_max: int = 1 << 30) -> Recorder:
    return Recorder(
        control.path.parent / "inputs",
        bytes_max=bytes_max,
        boot=control.room.boot,
        runner=run_here,
        seq=lambda: control.journal.seq,
        closed=lambda row: control.journal.append(Record.INPUT, row),
        trouble=control.room.trouble,
    )


async def flood(folder: Path, seed: int = 1, minutes: int = 4) -> ControlRoom:
    """A night on which both gauges rise and fall; everything of it is on disk."""
    control = ControlRoom(folder / "journal.db", voting_plan())
    kept = recorder(control)
    await kept.open()
    control.watchdog.record(kept)
    telemetry, rng = Telemetry(control), Random(seed)
    for minute in range(minutes):
        high = minute % 2 == 1
        for _ in range(12):
            telemetry.say("gauge", (3.5 if high else 1.0) + rng.random() / 10)
            telemetry.say("gauge2", (3.6 if high else 1.1) + rng.random() / 10)
            control.wait(5)
        await kept.flush(control.clock.monotonic_ns())
    await kept.flush(control.clock.monotonic_ns(), last=True)
    await control.commit()
    control.journal.drop()
    return control


def replayed(control: ControlRoom) -> Verdict:
    return Replay(control.path, {control.plan.digest: control.plan}).run()


async def test_a_night_of_the_controllers_own_verdicts_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        recording, "PART_NS", 70 * NS_PER_S
    )  # several files, each from a Panel in the middle of its life
    control = await flood(tmp_path)
    verdict = replayed(control)
    assert verdict.same, verdict.why
    assert verdict.inputs >= 3
    assert verdict.samples == 4 * 12 * 2
    assert verdict.kinds["watchdog"] >= 2
    names = sorted(path.name for path in (tmp_path / "inputs").iterdir())
    assert any(name.endswith("said.rec") for name in names)
    assert not any(name.endswith("part") for name in names)


async def test_another_core_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = await flood(tmp_path)
    real = Panel

    class Deaf:
        """It does not hear the second gauge."""

        def __init__(self, config: object, now_ns: int) -> None:
            self._panel = real(config, now_ns)  # type: ignore[arg-type]

        def restore(self, data: bytes, now_ns: int) -> object:
            return self._panel.restore(data, now_ns)

        def feed(self, batch: bytes, now_ns: int) -> object:
            return self._panel.feed(b"" if RECORD_OF_PANEL.unpack(batch)[2] == 1 else batch, now_ns)

        def advance(self, now_ns: int) -> object:
            return self._panel.advance(now_ns)

    monkeypatch.setattr("controller.replay.panel.Panel", Deaf)
    verdict = replayed(control)
    assert not verdict.same
    assert "rec: record" in verdict.why


async def test_a_changed_file_a_verdict_left_out_and_a_file_that_is_gone(tmp_path: Path) -> None:
    control = await flood(tmp_path)
    [path] = (tmp_path / "inputs").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "not the file that was recorded" in replayed(control).why
    path.unlink()
    verdict = replayed(control)
    assert verdict.same
    assert (verdict.inputs, verdict.dropped) == (0, 1)


async def test_a_verdict_that_was_never_journaled_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = ControlRoom(tmp_path / "journal.db", voting_plan())
    kept = recorder(control)
    await kept.open()
    control.watchdog.record(kept)
    monkeypatch.setattr(Watchdog, "_said", lambda _watchdog, _transition: None)
    telemetry = Telemetry(control)
    telemetry.hold(5, gauge=1.0, gauge2=1.0)
    telemetry.hold(5, gauge=3.5, gauge2=3.5)
    await kept.flush(control.clock.monotonic_ns(), last=True)
    await control.commit()
    control.journal.drop()
    assert "verdict on both is not in the journal" in replayed(control).why


async def test_what_a_crash_left_open_is_closed_and_readable(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "journal.db", voting_plan())
    kept = recorder(control)
    await kept.open()
    control.watchdog.record(kept)
    Telemetry(control).hold(5, gauge=3.5, gauge2=3.5)
    await kept.flush(control.clock.monotonic_ns())
    [part] = (tmp_path / "inputs").iterdir()
    part.write_bytes(part.read_bytes()[:-3])  # and the last bytes never reached the disk
    await control.restart()
    again = recorder(control)
    await again.open()
    control.watchdog.record(again)
    await again.flush(control.clock.monotonic_ns(), last=True)
    await control.commit()
    control.journal.drop()
    verdict = replayed(control)
    assert verdict.same, verdict.why
    assert verdict.inputs == 2


async def test_the_bound_holds_and_quiet_files_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = ControlRoom(tmp_path / "journal.db", voting_plan())
    kept = recorder(control, bytes_max=5_000)
    await kept.open()
    control.watchdog.record(kept)
    telemetry = Telemetry(control)
    for hour in range(12):
        telemetry.hold(5, gauge=3.5 if hour == 2 else 1.0, gauge2=3.5 if hour == 2 else 1.0)
        control.clock.advance(PART_NS / NS_PER_S)
        await kept.flush(control.clock.monotonic_ns())
    await kept.flush(control.clock.monotonic_ns(), last=True)
    found = sorted((tmp_path / "inputs").iterdir())
    assert sum(path.stat().st_size for path in found) <= 5_000
    assert len(found) < 12
    assert any(path.name.endswith("said.rec") and int(path.name[:6]) <= 4 for path in found)


async def test_a_disk_that_takes_nothing_is_trouble_and_stops_nobody(tmp_path: Path) -> None:
    control = ControlRoom(tmp_path / "journal.db", voting_plan())
    kept = recorder(control)
    await kept.open()
    control.watchdog.record(kept)
    (tmp_path / "inputs").write_text("in the way")
    Telemetry(control).hold(3, gauge=1.0)
    await kept.flush(control.clock.monotonic_ns())
    assert any(code == "recording-disk" for code, _ in control.codes())
    (tmp_path / "inputs").unlink()
    Telemetry(control).hold(3, gauge=1.0)
    await kept.flush(control.clock.monotonic_ns())
    assert not any(code == "recording-disk" for code, _ in control.codes())
    await kept.flush(control.clock.monotonic_ns(), last=True)
    await control.commit()
    control.journal.drop()
    verdict = replayed(control)
    assert verdict.same, verdict.why
    assert verdict.inputs == 1


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    plans = {bytes(32): voting_plan()}
    (tmp_path / "a.rec").write_bytes(b"shopping list")
    (tmp_path / "b.rec").write_bytes(MAGIC + b"not zlib")
    (tmp_path / "c.rec").write_bytes(MAGIC + zlib.compress(RECORD.pack(b"F", 1, 1, 24) + pack([(0, 1, 1.0, 0)])))
    for name, why in (("a", "no recording"), ("b", "damaged"), ("c", "does not begin")):
        with pytest.raises(Apart, match=why):
            play(tmp_path / f"{name}.rec", plans)
