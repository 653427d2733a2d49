"""A siren begins only what it would end though node and bus were dead; the rest is refused, and said before (issue 5, item 4)."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cython_ext import Level
from edge.siren.readiness import readiness_of
from firmware_bridge.sirens.mode import Mode as Tone
from lanes.keys import Mode
from lanes.orders import Action
from lanes.readiness import Ready
from lanes.reports import SirenTrouble, Stage
from tests.kit.clock import run_virtual
from tests.kit.face import Face
from tests.kit.line_rig import LineRig, line_rig
from tests.kit.modbus import SOUNDS
from tests.kit.nodes import NODE
from tests.kit.orders import ALL, Say, siren_plan
from tests.kit.site import TOML, lay_out

SIXTEEN = SOUNDS[:1]


def run(folder: Path, test: Callable[[LineRig], Awaitable[None]], kind: str = "informer", **changes: Any) -> None:
    async def main() -> None:
        async with line_rig(folder, kind, **changes) as r:
            await test(r)

    run_virtual(main())


@pytest.mark.parametrize(
    ("sounds", "max_s", "told"),
    [
        (SIXTEEN, 120, Stage.ACCEPTED),
        (SIXTEEN, 94, Stage.ACCEPTED),  # four whole blasts
        (SIXTEEN, 93, Stage.ACCEPTED),  # the fourth may end by itself one second late
        (SIXTEEN, 92, Stage.REFUSED),  # two would be too late
        ([], 120, Stage.REFUSED),
        (SOUNDS[1:], 120, Stage.REFUSED),  # 60, 5, 120 and 1 s of that tone, 16 s of another
        ([SOUNDS[0] | {"own_end_s": 17.0}], 120, Stage.ACCEPTED),
        ([SOUNDS[0] | {"own_end_s": 17.1}], 120, Stage.REFUSED),
        ([SOUNDS[0] | {"own_end_s": 15.9}], 120, Stage.REFUSED),  # the law says 16 s
    ],
)
def test_an_order_that_nothing_would_end_is_refused(
    tmp_path: Path, sounds: list[dict[str, Any]], max_s: int, told: Stage
) -> None:
    async def test(r: LineRig) -> None:
        await r.give(r.make.order(max_s=max_s), max_s)
        await asyncio.sleep(1)
        assert r.receipts[0].stage is told
        assert r.sounds is (told is Stage.ACCEPTED)
        if told is Stage.REFUSED:
            assert r.told() == [(Stage.REFUSED, "unsupported")]
        await r.sirens.order(r.make.stop())
        await asyncio.sleep(1)

    run(tmp_path, test, sound=sounds)


def test_the_reflex_begins_nothing_that_nothing_would_end(tmp_path: Path) -> None:
    async def test(r: LineRig) -> None:
        pattern = siren_plan().plan.pattern("dezastre")
        assert pattern is not None
        assert r.sirens.reflex("s1", pattern, 0, b"incident", Level.ALARM, ()) == "unsupported"
        assert not r.sounds

    run(tmp_path, test, sound=[])


@pytest.mark.parametrize("sounds", [SOUNDS, []])
def test_what_cannot_be_ordered_is_not_counted_on(tmp_path: Path, sounds: list[dict[str, Any]]) -> None:
    async def test(r: LineRig) -> None:
        await asyncio.sleep(15)
        state = r.sirens.states()[0]
        beyond = bool(state.trouble & SirenTrouble.BEYOND)
        assert beyond is not bool(sounds)
        found = readiness_of(state)
        assert (found.ready is Ready.CANNOT_SOUND) is beyond
        assert ("beyond" in found.reasons) is beyond
        r.sirens.replan(siren_plan())
        assert bool(r.sirens.states()[0].trouble & SirenTrouble.BEYOND) is beyond

    run(tmp_path, test, sound=sounds)


# The programmed end is measured by the growl test, where a contact follows the sound.


@pytest.mark.parametrize(
    ("how", "kind", "last"),
    [
        ("", "informer-heard", (Stage.DONE, "growl-test")),
        ("endless", "informer-heard", (Stage.FAILED, "own-end")),
        ("", "informer", (Stage.DONE, "growl-test")),
        ("endless", "informer", (Stage.DONE, "growl-test")),  # its register says only that it has sounded
    ],
)
def test_a_growl_measures_that_the_siren_ends_it(tmp_path: Path, how: str, kind: str, last: tuple[Stage, str]) -> None:
    async def test(r: LineRig) -> None:
        behaviour = r.line.units[1].behaviour
        assert behaviour is not None
        behaviour.fail(how)
        await r.give(r.make.seal(Say(Action.GROWL_TEST, pattern="", max_s=0, incident=ALL, mode=Mode.TEST)), 2.0)
        await asyncio.sleep(5)
        assert r.told() == [(Stage.ACCEPTED, "growl-test"), last]
        on, off = [at for at, _, _ in r.monitor.edges]
        assert (off - on) / 1e9 < 2.5, "the node ends it all the same"

    run(tmp_path, test, kind)


def test_a_growl_that_nothing_would_end_is_refused(tmp_path: Path) -> None:
    async def test(r: LineRig) -> None:
        await r.give(r.make.seal(Say(Action.GROWL_TEST, pattern="", max_s=0, incident=ALL, mode=Mode.TEST)), 2.0)
        await asyncio.sleep(1)
        assert r.told() == [(Stage.REFUSED, "unsupported")]
        assert not r.monitor.edges

    run(tmp_path, test, sound=SIXTEEN)


def test_every_tone_is_begun_by_its_function(tmp_path: Path) -> None:
    async def test(r: LineRig) -> None:
        driver = r.bridge.sirens["s1"]
        assert driver.own_end_s(Tone.STEADY, 16.0) == 16.0
        await r.give(r.make.order())
        await asyncio.sleep(1)
        assert [(e.name, e.value) for e in r.line.record if e.name in ("run", "tone")] == [("run", 1)]
        await r.sirens.order(r.make.stop())
        await asyncio.sleep(1)

    run(tmp_path, test)


# Before the start.


def test_config_check_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face = Face(capsys)
    patterns = [
        {"id": "flood", "source": "test", "verified": True, "segments": [{"mode": "steady", "on_s": 16, "off_s": 10}]}
    ]
    text = TOML[: TOML.index("[[siren]]")].replace(
        'profile = "waveshare-relay8"\nunit = 2', 'profile = "federal-informer"'
    )
    bare = text + '[[siren]]\nid = "school"\ndevice = "relays"\n'
    sirens = [{"id": "school", "node": NODE, "zones": ["town"]}]
    found = face(
        "config", "check", lay_out(tmp_path / "bare", text=bare, siren=sirens, pattern=patterns), "--json"
    ).document
    assert found["ok"]
    assert found["doubts"] == [
        "siren 'school' will refuse 'flood' (policy town/flood/alarm): it has no steady; "
        "see docs/devices.md, What ends a sound"
    ]
    long = bare + 'sound = [{{ mode = "steady", function = 1, own_end_s = 180.0 }}]\n'
    found = face(
        "config", "check", lay_out(tmp_path / "long", text=long, siren=sirens, pattern=patterns), "--json"
    ).document
    assert "nothing would end its steady of 16 s if this node died" in found["doubts"][0]
    good = bare + 'sound = [{{ mode = "steady", function = 1, own_end_s = 16.0 }}]\n'
    found = face(
        "config", "check", lay_out(tmp_path / "good", text=good, siren=sirens, pattern=patterns), "--json"
    ).document
    assert found["doubts"] == []
