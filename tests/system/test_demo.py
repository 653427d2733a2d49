"""The demo, whole: real processes, real sockets, and a verdict that can fail."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import brokers
from tests.kit.demo import DemoRun
from tests.kit.face import Face

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]
ALWAYS = {"event", "t_s", "text"}
MUTE = """
from bucium.demo import stage
start = stage.start
async def muted(town):
    await town.world.ask("fail", device="mill-informer", how="mute")
    await start(town)
stage.start = muted
"""


@pytest.fixture
def face(capsys: pytest.CaptureFixture[str]) -> Face:
    return Face(capsys)


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path: sockets stand in it."""
    return tmp_path_factory.mktemp("d")


@pytest.fixture(params=brokers.KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[object]]:
    """A demo's options: its own embedded broker, or a Mosquitto."""
    if why := brokers.missing(request.param):
        pytest.skip(why)
    if request.param == "embedded":
        yield []
        return
    own = brokers.RealBroker(request.param, tmp_path / "broker").start()
    yield ["--broker", f"127.0.0.1:{own.port}"]
    own.stop()


def documented() -> dict[str, set[str]]:
    """Event → fields, as docs/demo.md promises them."""
    text = Path("docs/demo.md").read_text().split("| event | more fields |")[1]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", text, re.MULTILINE)
    return {event: set(re.findall(r"`([a-z_]+)`", fields)) for event, fields in rows}


def test_the_story_comes_true(where: list[object], temporary: Path, tmp_path: Path, face: Face) -> None:
    out = tmp_path / "out"
    with DemoRun("--speed", 4, "--out", out, *where, temporary=temporary) as run:
        code = run.finish()
    assert code == 0, (run.of("check"), run.error)
    assert run.told[-1]["event"] == "verdict"
    assert run.told[-1]["ok"]
    assert len(run.of("check")) == 15
    assert {(s["siren"], s["on"]) for s in run.of("sound")} == {
        (s, on) for s in ("bridge", "quay", "mill") for on in (0, 1)
    }
    steps = {one["name"]: one["took_ms"] for one in run.of("steps")}
    for hazard in ("flood", "fire"):
        assert {
            "transition",
            "committed",
            "acked",
            "alarm",
            "order",
            "accepted",
            "sounding",
            "cap",
            "webhook",
            "all",
        } == set(steps[hazard])
        assert min(steps[hazard].values()) >= 0
    assert {one["verb"] for one in run.of("act")} == {"alarm.ack", "alarm.reset"}
    promised = documented()
    for one in run.told:
        assert set(one) - ALWAYS <= promised[one["event"]] | {"sockets", "keys"}, one
    kept(out, face)
    assert run.left == []


def kept(out: Path, face: Face) -> None:
    """What --out keeps is whole, and holds no secret."""
    assert face("journal", "verify", out / "controller" / "journal.db", "--plan", out / "plan.cbor").code == 0
    assert face("plan", "show", out / "plan.cbor", "--root", out / "root.toml").code == 0
    assert len(list((out / "cap").glob("*.xml"))) == 6
    for name in ("bridge", "quay", "mill"):
        assert (out / name / "ledger.db").stat().st_size
        assert (out / "logs" / f"{name}.log").stat().st_size
        assert face("config", "check", out / f"{name}.toml").code == 1  # its keys are gone
    assert not [path for path in out.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]


def test_a_siren_that_stays_mute_is_a_failure_that_is_named(where: list[object], temporary: Path, face: Face) -> None:
    # At this speed the flood lasts while people act on it.
    with DemoRun("--speed", 2, *where, temporary=temporary, script=MUTE) as run:
        started = run.until("ready", part="programs")
        run.until("alarm", hazard="flood", kind="raised")
        alarms_by_hand(face, started)
        code = run.finish()
    assert code == 1
    assert "siren mill sounded and stopped" in run.told[-1]["failed"]
    assert "siren quay sounded and stopped" not in run.told[-1]["failed"]
    (failed,) = [one for one in run.of("check") if one["name"] == "siren mill sounded and stopped"]
    assert "no sound" in failed["detail"]
    assert run.left == []


def alarms_by_hand(face: Face, started: dict[str, Any]) -> None:
    """The alarm verbs, while a flood is on."""
    at = ("--socket", started["sockets"]["controller"], "--json")
    key = ("--key", started["keys"]["victor"])
    shown = face("alarm", "show", "riverside/flood", *at).document
    # On a slow machine the water is at the quay too by now.
    assert "bridge-level" in {point["point"] for point in shown["points"]}
    assert shown["instructions"]["ro"]
    assert any(point["sight"]["samples"] for point in shown["points"])
    assert face("alarm", "list", *at).document["alarms"][0]["alarm"] == shown["alarm"]
    assert face("alarm", "ack", "riverside/flood", *key, *at).document["unseen"] == 0
    for words, says in (
        (("reset", "riverside/flood", *key), "the danger lasts"),
        (("ack", "mill/fire", *key), "no open alarm"),
        (("show", "nonsense"), "not an alarm id"),
        (("ack", "riverside/flood", "--key", "/nonexistent.pem"), "cannot read"),
    ):
        refused = face("alarm", *words, *at)
        assert refused.code == 1
        assert says in refused.document["error"]
    waits = face("alarm", "shelve", "riverside/flood", "--reason", "test", *key, *at).document
    assert "second person" in waits.get("waits_for", ""), waits
    nothing = face("siren", "veto", "0011223344556677", "--reason", "test", *key, *at)
    assert (nothing.code, nothing.document["code"]) == (1, "no-incident")


def test_people_sound_and_stop_sirens_while_it_runs(where: list[object], temporary: Path, face: Face) -> None:
    """Two people approve, the sirens sound, one person stops them; then Ctrl-C leaves nothing behind."""
    with DemoRun("--speed", 0.1, *where, temporary=temporary) as run:
        started = run.until("ready", part="programs")
        run.until("ready", part="all")
        at = ("--socket", started["sockets"]["controller"], "--json")
        maria, victor = (("--key", started["keys"][person]) for person in ("maria", "victor"))
        assert {one["siren"] for one in face("siren", "list", *at).document["sirens"]} == {"bridge", "quay", "mill"}
        assert face("alarm", "list", *at).document["alarms"] == []
        what = ("--zone", "riverside", "--pattern", "demo-disaster", "--reason", "the dyke has broken")
        asked = face("siren", "request", *what, *maria, *at).document
        assert asked["missing"] == "2 more of 2 people"
        one = face("siren", "approve", asked["request"], *maria, *at).document
        assert one["missing"] == "1 more of 2 people"
        again = face("siren", "approve", asked["request"], *maria, *at)
        assert again.document.get("missing", "1 more of 2 people") == "1 more of 2 people"  # one person counts once
        two = face("siren", "approve", asked["request"], *victor, *at).document
        assert two["missing"] == ""
        for _ in range(2):
            assert run.until("sound", on=True)["siren"] in ("bridge", "quay")
        assert face("siren", "stop", "--zone", "riverside", *victor, *at).document["sirens"] == ["bridge", "quay"]
        for _ in range(2):
            run.until("sound", on=False)
        late = face("siren", "approve", asked["request"], *victor, *at)
        assert (late.code, late.document["ok"]) == (1, False)
        assert (
            face("node", "status", "--socket", started["sockets"]["quay"], "--json").document["status"]["node"]
            == "quay"
        )
        assert face("siren", "status", "--socket", started["sockets"]["controller"]).code == 0
        run.process.send_signal(signal.SIGINT)
        assert run.finish() == 1
    assert run.told[-1]["failed"] == ["interrupted"]
    assert not [one for one in run.of("sound") if one["siren"] == "mill"]
    assert run.left == []


def test_a_broker_that_is_not_there_is_told(temporary: Path) -> None:
    with DemoRun("--broker", "nowhere", temporary=temporary) as run:
        assert run.finish() == 1
    assert "HOST:PORT" in run.told[-1]["error"]
    assert run.left == []
    port = brokers.free_port()
    hurry = "from bucium.demo import run; run.BROKER_S = 1.0"
    with DemoRun("--broker", f"127.0.0.1:{port}", temporary=temporary, script=hurry) as run:
        assert run.finish() == 1
    assert f"no connection to 127.0.0.1:{port}" in run.told[-1]["error"]
    assert run.left == []
