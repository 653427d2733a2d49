"""Planted bugs: one for each promise, each with the faults that show it, and the finding that must come of it.

A checker that has never been red proves nothing. Each bug is a patch of the product, put in for one run of one seed; the same
seed with the same faults and without the bug must be clean.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

import cbor2

import controller.record.journal
import controller.record.records
import edge.report.ledger
import edge.report.outbox
import edge.siren.sequencer
import lanes.cbor
import lanes.envelope
import lanes.store
from controller.dispatch.dispatcher import Dispatcher
from controller.record.journal import Journal
from controller.registry import Node
from controller.upkeep import Upkeep
from edge.report.lane import Lane
from edge.report.outbox import Outbox
from edge.sense.judge import Judge
from edge.siren.orderstore import OrderStore
from edge.siren.reflex import Reflex
from firmware_bridge.simulators.faults import Fault, Misbehaviour

from . import site
from .machine import Machine
from .truth import GAUGE_UNIT, NS
from .weather import Weather
from .world import World

Script = Callable[[World], None]


@dataclass(frozen=True)
class Bug:
    """`invariant`: what it breaks; `finding`: how the finding begins that must come."""

    name: str
    invariant: str
    finding: str
    patches: tuple[tuple[Any, str, Any], ...]
    script: Script
    seed: int = 3

    @contextmanager
    def planted(self) -> Iterator[None]:
        with ExitStack() as stack:
            for target, attribute, value in self.patches:
                stack.enter_context(patch.object(target, attribute, value))
            yield


# The faults.


def _weather(world: World, weather: Weather) -> None:
    world.judges_silence = False  # in it nobody can say what had to arrive
    world.plans.append((1.0, lambda: setattr(world.network, "weather", weather)))


def _delay(world: World) -> None:
    _weather(world, Weather(delay_s=0.5))


def _nothing(_world: World) -> None:
    return


def _loss(world: World) -> None:
    _weather(world, Weather(loss=0.5, repeat=0.3))


def _spoil(world: World) -> None:
    _weather(world, Weather(spoil=0.3))


def _controller_crashes(world: World) -> None:
    """A slow disk, and a crash before a commit, again and again."""
    machine = world.machines[site.CENTRE]

    def slow() -> None:
        machine.slow_s = 3.0

    def trap() -> None:
        machine.trap = ("disk.before", 1)

    world.plans.append((1.0, slow))
    world.plans += [(5.0 + 12 * turn, trap) for turn in range(14)]


def _power_cuts(world: World) -> None:
    for turn in range(6):
        for name in site.NODES:
            world.plans.append((20.0 + 25 * turn, lambda name=name: _cut(world, name)))


def _cut(world: World, name: str) -> None:
    life = world.machines[name].life
    if life is not None and life.alive:
        world.kill(name, power=True, copied=lambda there: world.disks[name].power_cut(life.base, there))


def _replayed(world: World) -> None:
    """The node dies a second after its relay has closed; when it is back, a stranger repeats the order."""

    def look() -> None:
        closings = [at_ns for at_ns, siren, on in world.edges if siren == "s-quay" and on]
        quay = world.machines["quay"]
        if (
            quay.lives == 1 and closings and closings[-1] > closings[0] + 45 * NS
        ):  # a second order, and the first is on disk
            world.kill("quay", down_s=1.0)
            world.later(4.0, replay)

    def replay() -> None:
        for topic, data in world.witness.recorded[-3:]:
            world.network.broker.inject(topic, data)

    world.plans += [(float(second), look) for second in range(5, 170)]


def _wall_steps(world: World) -> None:
    """A slow network, and wall clocks that jump ahead."""
    _delay(world)
    for name in site.NODES:
        clock = world.machines[name].clock
        world.plans.append((3.0, lambda clock=clock: setattr(clock, "wall_off_us", 3_600_000_000)))


def _blind_restart(world: World) -> None:
    """The gauges die while the water is high, then the nodes; both are well when it is low."""

    def look(name: str) -> None:
        wires = world.wires[name]
        if wires.water.metres[-1] >= site.RAISE[2] and world.machines[name].lives == 1:
            wires.line.misbehaviour[GAUGE_UNIT] = Misbehaviour(Fault.DEAD)
            world.outages.begin((f"{name}/gauge",))
            world.kill(name)

    for name in site.NODES:
        world.plans += [(float(second), lambda name=name: look(name)) for second in range(12, 170, 10)]


def _dies_sounding(world: World) -> None:
    """The node of the siren whose relay has a timer dies while it sounds, and stays away."""

    def look() -> None:
        on = [is_on for _, siren, is_on in world.edges if siren == "s-mill"]
        if on and on[-1] and world.machines["mill"].lives == 1:
            world.kill("mill", down_s=70.0)

    world.plans += [(float(second), look) for second in range(5, 170)]


def _node_away(world: World) -> None:
    world.plans.append((40.0, lambda: world.kill("quay", down_s=60.0)))


def _controller_away(world: World) -> None:
    world.plans.append((25.0, lambda: world.kill(site.CENTRE, down_s=150.0)))


# The bugs.


async def _no_wait(_journal: Journal, _seq: int | None = None) -> None:
    return


async def _late_commit(store: OrderStore) -> None:
    asyncio.get_running_loop().call_later(20.0, lambda: asyncio.ensure_future(_commit(store)))


def _limit_by_the_wall(lane: Lane) -> int:
    ahead_ns = lane._clock.wall_us() * 1000 - lane._clock.monotonic_ns()
    first_ns: int = lane.__dict__.setdefault("ahead_at_start_ns", ahead_ns)
    return _limit_ns(lane) - (ahead_ns - first_ns)


def _normal(*args: Any, **settings: Any) -> Any:
    db = _open_store(*args, **settings)
    db.pragma("synchronous", "normal")
    return db


_commit = OrderStore.commit
_open_store = lanes.store.open_store
_hash_row = controller.record.records.hash_row
_act = Reflex._act
_publish = Lane._publish
_limit_ns = Lane._limit_ns
_landed = Outbox.landed
_take = Lane._take


async def _forget_at_puback(lane: Lane, link: Any, flight: Any) -> None:
    await _publish(lane, link, flight)
    ledger = lane._reporter._ledgers.current
    with ledger._db:
        ledger._db.execute("DELETE FROM outbox WHERE seq = ?", (flight.kept.seq,))
    lane._outbox.acked(flight.kept.ledger, [(flight.kept.seq, flight.kept.seq)])


def _never_again(outbox: Outbox, flight: Any, now_ns: int, took_ns: int | None) -> None:
    _landed(outbox, flight, now_ns, took_ns)
    flight.due_ns = now_ns + 10**14


def _unchained(
    journal: bytes, seq: int, kind: int, wall_us: int, monotonic_ns: int, payload: bytes, _before: bytes
) -> bytes:
    return _hash_row(journal, seq, kind, wall_us, monotonic_ns, payload, bytes(32))


def _always_cut_off(reflex: Reflex) -> int | None:
    reflex._cut_off = True
    return _act(reflex)


def _blind(_upkeep: Upkeep, _now_ns: int, _now_us: int) -> None:
    return


def _never_alone(_reflex: Reflex) -> int | None:
    return None


def _believing(data: bytes, _depth: int, _keys: Any) -> Any:
    return cbor2.loads(data)


async def _leaking(lane: Lane, message: Any) -> None:
    lane.__dict__.setdefault("leaked", []).extend(asyncio.create_task(asyncio.sleep(1e6)) for _ in range(3))
    await _take(lane, message)


async def _untold(_dispatcher: Dispatcher, _change: Any) -> None:
    return


async def _unrestored(_judge: Judge) -> bool:
    return False


BUGS: Final = (
    Bug("ack before commit", "I1", "I1 acked and not kept", ((Journal, "durable", _no_wait),), _controller_crashes),
    Bug(
        "counter saved after the relay", "I2", "I2 s-quay closed", ((OrderStore, "commit", _late_commit),), _replayed, 7
    ),
    Bug("wall clock in a timer", "I2", "I2 s-", ((Lane, "_limit_ns", _limit_by_the_wall),), _wall_steps, 4),
    Bug("no dedup", "I1", "I1 duplicate", ((Node, "has", lambda *_: False),), _loss),
    Bug("synchronous=NORMAL", "I1", "I1 ", ((edge.report.ledger, "open_store", _normal),), _power_cuts),
    Bug("forgotten at the PUBACK", "I1", "I1 lost", ((Lane, "_publish", _forget_at_puback),), _loss),
    Bug("never sent again", "I1", "liveness", ((Outbox, "landed", _never_again),), _loss),
    Bug("sent again after minutes", "I4", "I4 late", ((edge.report.outbox, "FIRST_RESEND_S", 100.0),), _loss),
    Bug("signatures not verified", "I2", "I2 journal row", ((lanes.envelope, "verify", lambda *_: True),), _spoil),
    Bug("journal not chained", "I8", "I8 row", ((controller.record.journal, "hash_row", _unchained),), _nothing),
    Bug("reflex though connected", "I2", "I2 s-", ((Reflex, "_act", _always_cut_off),), _delay, 4),
    Bug("dispatch forgets", "I1", "liveness: the controller has not told", ((Dispatcher, "tell", _untold),), _nothing),
    Bug("dead man set too long", "I3", "I3 s-mill", ((edge.siren.sequencer, "DEAD_MAN_S", 40.0),), _dies_sounding),
    Bug("silence is not seen", "I5", "I5 quay was silent", ((Upkeep, "_silence", _blind),), _node_away),
    Bug("a task for each message", "I6", "I6 ", ((Lane, "_take", _leaking),), _nothing),
    Bug("bytes are believed", "I7", "bug ", ((lanes.cbor, "_decode", _believing),), _spoil),
    Bug("no reflex", "I10", "I4 s-", ((Reflex, "_act", _never_alone),), _controller_away),
    Bug("held Level forgotten", "I1", "I1 ", ((Judge, "restore", _unrestored),), _blind_restart, 4),
)
UNREPEATABLE: Final = Bug(
    "real randomness", "I9", "", ((Machine, "entropy", lambda _machine, count: os.urandom(count)),), _loss
)
