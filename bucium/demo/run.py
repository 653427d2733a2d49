"""The whole demo: build the town, play the story, look whether it came true, tear everything down."""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console

from bucium import DONE, FAILED, version
from bucium.demo import lines, stage, verdict
from bucium.demo.happening import SCHEMA, Happening, Teller
from bucium.demo.live import LiveView
from bucium.demo.scene import Scene
from bucium.demo.site import TOWN
from bucium.demo.stage import Stage
from bucium.demo.story import ROUND_S, Story
from bucium.demo.verdict import Check
from cython_ext import BuciumError, Clock, Hazard, Level, SystemClock
from lanes.plan import Plan, Policy
from lanes.settings import load

SPEED_MAX: Final = 4.0  # faster, the river jumps over a mark between two polls
BROKER_S: Final = 10.0  # for a broker of yours that is just starting
QUIET_S: Final = 2.0  # nothing sounds for so long: the round is over
QUIET_MAX_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Options:
    """What `bucium demo` was asked."""

    seconds: float = 0.0  # 0: one round
    speed: float = 1.0
    json: bool = False
    out: Path | None = None
    headless: bool = False
    broker: str = ""
    record: Path | None = None

    @property
    def rounds(self) -> int:
        """How often the story is played."""
        return max(1, round(self.seconds / (ROUND_S / self.speed))) if self.seconds else 1

    @property
    def pace(self) -> float:
        """The speed that fits the whole of the rounds into the seconds."""
        if not self.seconds:
            return self.speed
        return min(SPEED_MAX, ROUND_S * self.rounds / self.seconds)


class Interrupted(Exception):
    """Ctrl-C, or SIGTERM."""


def main(options: Options) -> int:
    """Play; the exit code."""
    return asyncio.run(_main(options))


async def _main(options: Options) -> int:
    clock = SystemClock()
    teller = Teller(clock)
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    checks: list[Check] = []
    try:
        async with AsyncExitStack() as stack:
            await _listen(stack, options, teller)
            await _play(options, clock, teller, checks)
    except asyncio.CancelledError:
        teller.tell(
            "verdict",
            "interrupted; every program has ended and nothing is left behind",
            ok=False,
            failed=["interrupted"],
        )
        sys.stderr.write("bucium: interrupted\n")
        return FAILED
    _summary(options, checks)
    return FAILED if verdict.failed(checks) or not checks else DONE


async def _listen(stack: AsyncExitStack, options: Options, teller: Teller) -> None:
    """Who hears of what happens: JSON, plain lines, or the picture."""
    shown = not (options.json or options.headless) and sys.stdout.isatty()
    if options.json:
        teller.listeners.append(lines.as_json)
    elif options.headless:
        teller.listeners.append(lines.headless)
    elif not shown:
        teller.listeners.append(lines.as_text)
    if shown or options.record:
        scene = Scene(load(TOWN, Plan))
        teller.listeners.append(scene.take)
        await stack.enter_async_context(LiveView(scene, Console(), options.record, shown=shown))


async def _play(options: Options, clock: Clock, teller: Teller, checks: list[Check]) -> None:
    teller.tell(
        "begin",
        f"bucium {version()}: {options.rounds} × the flood and the fire, at speed {options.pace:g}",
        schema=SCHEMA,
        version=version(),
        rounds=options.rounds,
        speed=options.pace,
    )
    async with stage.build(clock=clock, teller=teller, out=options.out, broker=options.broker) as town:
        if options.out:
            log = (town.site.logs / "demo.jsonl").open("w", buffering=1)
            teller.listeners.append(lambda happening: _write(log, happening))
        watchers = [
            asyncio.create_task(coroutine, name=name)
            for name, coroutine in (
                ("world", town.world.run()),
                ("devices", town.world.watch()),
                ("lane", town.lane.run()),
                ("journal", town.journal.run()),
                ("cap", town.caps.run()),
            )
        ]
        try:
            await _guarded(_reached(town), watchers)
            await stage.start(town)
            watchers.append(asyncio.create_task(town.supervise(), name="programs"))
            await _guarded(town.ready(), watchers)
            teller.tell("ready", "every node's start is on the controller's disk", part="all")
            watchers.append(asyncio.create_task(town.person.run(), name="dispatcher"))
            for number in range(1, options.rounds + 1):
                await _guarded(_round(town, clock, options.pace, number, options.rounds, checks), watchers)
        finally:
            for task in watchers:
                task.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
        await town.stop()
        last = (
            verdict.all_off(town.world.sounds),
            verdict.clean(town.lane.wrong),
            verdict.journal(town.site.journal, town.plan),
        )
        for check in last:
            _judge(town.teller, checks, check)
        _tell_verdict(teller, checks)


async def _reached(town: Stage) -> None:
    """Until the demo itself is connected to the broker."""
    try:
        async with asyncio.timeout(BROKER_S):
            await town.lane.connected.wait()
    except TimeoutError:
        raise BuciumError(
            f"no MQTT broker takes us in {BROKER_S:g} s: {town.lane.why or 'it does not answer'}"
        ) from None


async def _guarded(work: Awaitable[object], watchers: list[asyncio.Task[None]]) -> None:
    """Do `work`; a watcher that ends before it ends the demo, with the watcher's reason."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task, *watchers}, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
        assert task in done
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _round(town: Stage, clock: Clock, pace: float, number: int, rounds: int, checks: list[Check]) -> None:
    from_ns = clock.monotonic_ns()
    caps, posts = len(town.caps.files), len(town.caps.posts)
    story = Story(town.plan, town.world.set_point, clock=clock, teller=town.teller, chains=town.chains, speed=pace)
    if rounds > 1:
        town.teller.tell("round", f"round {number} of {rounds}", number=number, of=rounds)
    await story.play()
    await _quiet(town, clock)
    found = [
        *_sirens(town, story, from_ns, clock.monotonic_ns()),
        *(verdict.cap(town.caps, hazard, caps) for hazard in (Hazard.FLOOD, Hazard.FIRE)),
        verdict.webhook(town.caps, caps, posts),
    ]
    for check in found:
        _judge(town.teller, checks, check)
    town.chains.close()


async def _quiet(town: Stage, clock: Clock) -> None:
    """Until nothing sounds and the alarms have been dealt with, or too long (then the verdict says so)."""
    end_ns = clock.monotonic_ns() + round(QUIET_MAX_S * 1e9)
    quiet_ns = clock.monotonic_ns()
    while clock.monotonic_ns() < end_ns:
        if town.world.sounds.sounding or town.person.open:
            quiet_ns = clock.monotonic_ns()
        elif clock.monotonic_ns() - quiet_ns >= QUIET_S * 1e9:
            return
        await asyncio.sleep(0.1)


def _sirens(town: Stage, story: Story, from_ns: int, to_ns: int) -> list[Check]:
    """Each siren sounded once after the mark of its zone's hazard, and at no other time."""
    found = []
    marks = {hazard: _mark(town.plan, story, hazard) for hazard in ("flood", "fire")}
    for siren in town.plan.sirens:
        policy = next(p for p in town.plan.policies if p.zone in siren.zones)
        pattern = town.plan.pattern(policy.pattern)
        assert pattern is not None
        blasts = town.world.sounds.since(siren.id, from_ns)
        found.append(verdict.sounded(siren.id, blasts, pattern, marks[policy.hazard]))
        mark = marks[policy.hazard]
        over_ns = mark + round((verdict.LATE_S + pattern.length_s + verdict.SPARE_S) * 1e9)
        found += [
            verdict.silent(town.world.sounds, siren.id, from_ns, mark or to_ns, "before its mark"),
            verdict.silent(town.world.sounds, siren.id, min(over_ns, to_ns), to_ns, "afterwards"),
        ]
    return found


def _mark(plan: Plan, story: Story, hazard: str) -> int:
    """When as many of the hazard's registers as the policy asks for were beyond the Level's mark; 0: never."""
    policy: Policy = next(p for p in plan.policies if p.hazard == hazard)
    level = Level[policy.level.upper()]
    crossed = sorted(
        at_ns
        for (point, at), at_ns in story.crossings.items()
        if at is level and plan.hazard_of(point).name.lower() == hazard
    )
    return crossed[policy.k - 1] if len(crossed) >= policy.k else 0


def _judge(teller: Teller, checks: list[Check], check: Check) -> None:
    checks.append(check)
    word = "yes" if check.ok else "NO"
    teller.tell("check", f"{word}: {check.name}: {check.detail}", name=check.name, ok=check.ok, detail=check.detail)


def _tell_verdict(teller: Teller, checks: list[Check]) -> None:
    bad = verdict.failed(checks)
    text = f"all {len(checks)} checks came true" if not bad else f"{len(bad)} of {len(checks)} checks failed"
    teller.tell("verdict", text, ok=not bad, checks=len(checks), failed=[check.name for check in bad])


def _write(log: TextIO, happening: Happening) -> None:
    log.write(json.dumps(happening.document, ensure_ascii=False) + "\n")


def _summary(options: Options, checks: list[Check]) -> None:
    """After the picture has gone: what was looked at, and how it was."""
    if options.json or not sys.stdout.isatty() or options.headless:
        return
    console = Console(highlight=False)
    for check in checks:
        mark, style = ("✓", "green") if check.ok else ("✗", "bold red")
        console.print(f" {mark} {check.name}: {check.detail}", style=style, markup=False)
    bad = verdict.failed(checks)
    text = f"All {len(checks)} checks came true." if not bad else f"{len(bad)} of {len(checks)} checks FAILED."
    console.print(text, style="bold green" if not bad else "bold red")
    if options.out:
        console.print(f"CAP files, journal, ledgers, logs and configurations: {options.out}", markup=False)
