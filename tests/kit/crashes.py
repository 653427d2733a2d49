"""A siren sounds, and everything else breaks: the relay must open at the latest one second after the order's maximum.

python -m tests.kit.crashes --seeds 1000        the last line is: seeds N, late 0

Each seed orders a sound of a random length on real drivers in virtual time, and breaks a few things at random moments: the
ledger's disk, the order store's disk, the relay's writes, the feedback, the task that plays, the task that guards, the wall
clock; a flood of garbage; the node itself, stopped or dead without a last word (then the kernel lets a GPIO line go, a relay
board's own timer runs out, or a siren controller's programmed length). The relay monitor judges; a control shows that each seed
did sound.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cython_ext import ClockQuality, ClockSource
from edge.siren.sounder import Sounder
from lanes.reports import Stage
from tests.kit.clock import run_virtual
from tests.kit.line_rig import LineRig, line_rig
from tests.kit.siren_rig import Rig, rig

AFTER_S = 3.0  # how long each life goes on after the maximum


@dataclass
class Outcome:
    """What a campaign has seen. `late`: relays found closed after their maximum and a second."""

    seeds: int = 0
    sounded: int = 0
    late: list[str] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)


# What can break, on a board of its own.


def ledger_hangs(r: Rig) -> None:
    r.recording.clear()


def store_fails(r: Rig) -> None:
    r.disk.fails = True


def store_hangs(r: Rig) -> None:
    r.disk.takes_s = 10_000.0


def relay_cannot_close(r: Rig) -> None:
    r.chip.dead.add(True)


def relay_hangs(r: Rig) -> None:
    r.chip.hangs = True


def feedback_is_lost(r: Rig) -> None:
    r.deaf.add("R1")


def player_dies(r: Rig) -> None:
    _kill(r.sirens.sounders["s1"], "play")


def guard_dies(r: Rig) -> None:
    _kill(r.sirens.sounders["s1"], "guard")


def proof_dies(r: Rig) -> None:
    _kill(r.sirens.sounders["s1"], "prove")


def clock_jumps(r: Rig) -> None:
    r.clock.trust(ClockQuality(ClockSource.NONE, 60_000))


def board_is_let_go(r: Rig) -> None:
    """The process is killed: the kernel lets its lines go."""
    r.board.release(r.chip)


def _kill(sounder: Sounder, what: str) -> None:
    """End one of the siren's tasks, as a bug in it would."""
    for task in asyncio.all_tasks():
        if task.get_name() == f"siren {sounder.siren.id}: {what}":
            task.cancel()


BREAKS: tuple[Callable[[Rig], None], ...] = (
    ledger_hangs,
    store_fails,
    store_hangs,
    relay_cannot_close,
    relay_hangs,
    feedback_is_lost,
    player_dies,
    guard_dies,
    proof_dies,
    clock_jumps,
    board_is_let_go,
)
FATAL = frozenset({board_is_let_go})


async def on_a_board(folder: Path, random: Random, outcome: Outcome) -> None:
    """One life with a GPIO relay. Player and guard never both die: then only the driver's dead man would be left."""
    max_s = random.choice([2, 5, 10, 20, 40, 120])
    chosen = random.sample(BREAKS, random.randint(1, 4))
    if player_dies in chosen and guard_dies in chosen:
        chosen.remove(random.choice([player_dies, guard_dies]))
    moments = sorted((random.uniform(0, max_s), each) for each in chosen)
    async with rig(folder) as r:
        began_ns = r.clock.monotonic_ns()
        await r.give(r.make.order(max_s=max_s), "R1", max_s)
        await asyncio.sleep(0.2)
        outcome.sounded += r.on("R1")
        for at_s, each in moments:
            await asyncio.sleep(max(0.0, at_s - (r.clock.monotonic_ns() - began_ns) / 1e9))
            each(r)
            outcome.broken[each.__name__] += 1
            for _ in range(random.choice([0, 0, 30])):
                await r.sirens.order(random.randbytes(random.randrange(400)))
        await asyncio.sleep(max(0.0, max_s + AFTER_S - (r.clock.monotonic_ns() - began_ns) / 1e9))
        r.monitor.check(r.clock.monotonic_ns())
        outcome.late += r.monitor.findings
        if r.on("R1"):
            outcome.late.append("still closed")
        r.monitor.findings.clear()
        r.recording.set()
        r.disk.fails, r.disk.takes_s, r.chip.hangs = False, 0.0, False
        r.chip.dead.clear()


async def on_a_line(folder: Path, random: Random, outcome: Outcome) -> None:
    """One life on Modbus, whose line dies: only the relay board's own timer is left, or the Informer's programmed length."""
    kind, most_s = random.choice([("coil-timed", [2, 5, 10, 20, 40, 120]), ("informer", [5, 16, 42, 68, 120])])
    max_s = random.choice(most_s)
    async with line_rig(folder, kind) as r:
        await r.give(r.make.order(max_s=max_s), max_s)
        await asyncio.sleep(0.5)
        outcome.sounded += r.sounds
        await asyncio.sleep(random.uniform(0, max_s - 0.5))
        _cut(r, random)
        outcome.broken[f"line_dies_{kind}"] += 1
        await asyncio.sleep(max_s + AFTER_S)
        r.monitor.check(r.clock.monotonic_ns())
        outcome.late += r.monitor.findings
        if r.sounds:
            outcome.late.append("still sounding")
        assert not any(receipt.stage is Stage.REFUSED for receipt in r.receipts)
        r.monitor.findings.clear()
        r.line.refuses = False


def _cut(r: LineRig, random: Random) -> None:
    """The cable, or the node itself: nothing reaches the board any more."""
    r.line.refuses = True
    r.line.cut()
    if random.random() < 0.5:
        for task in asyncio.all_tasks():
            if task.get_name().startswith("siren "):
                task.cancel()


def campaign(seeds: Sequence[int], show: Callable[[str], None] = lambda _: None) -> Outcome:
    """A life for each seed."""
    outcome = Outcome()
    for seed in seeds:
        random = Random(seed)
        life = on_a_line if seed % 5 == 0 else on_a_board
        before = len(outcome.late)
        with tempfile.TemporaryDirectory() as folder:
            run_virtual(life(Path(folder), random, outcome))
        outcome.seeds += 1
        outcome.late[before:] = [f"seed {seed}: {each}" for each in outcome.late[before:]]
        if outcome.seeds % 100 == 0:
            show(f"{outcome.seeds} seeds, late {len(outcome.late)}")
    return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when no relay was late and every life sounded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args(arguments)
    outcome = campaign(range(options.first, options.first + options.seeds), lambda line: print(line, flush=True))
    print(", ".join(f"{name} {count}" for name, count in outcome.broken.most_common()))
    for each in outcome.late:
        print(each)
    print(f"seeds {outcome.seeds}, late {len(outcome.late)}")
    return 0 if not outcome.late and outcome.sounded == outcome.seeds else 1


if __name__ == "__main__":
    sys.exit(main())
