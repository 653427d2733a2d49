"""A night at the control room after a seed's fancy: reports, late ones, receipts, people, waiting, restarts."""

import contextlib
from pathlib import Path
from random import Random

from cython_ext import BuciumError, Level, WireError
from lanes import acts
from lanes.keys import Mode
from lanes.planfile import SignedPlan
from lanes.reports import SirenState, Stage, TransitionData
from tests.kit.control_room import ControlRoom, FakeNode
from tests.kit.plans import PLAN, signed, with_keys

PEOPLE = ("ana", "ion")


def plan_with(mode: str) -> SignedPlan:
    veto = "\nveto_s = 5" if mode == "unless-vetoed" else ""
    text = PLAN.replace('mode = "automatic"', f'mode = "{mode}"{veto}')
    return signed(with_keys(text.replace("reflex = true", "") if mode == "by-hand" else text))


class Night:
    """A night at the control room, after the seed's fancy."""

    def __init__(self, path: Path, seed: int, mode: str = "automatic") -> None:
        self.rng = Random(seed)
        self.plan = plan_with(mode)
        self.control = ControlRoom(path, self.plan)
        self.nodes = [self.control.node("n1"), self.control.node("n2")]
        self.levels = dict.fromkeys(("gauge", "gauge2"), Level.NORMAL)
        self.orders: list[bytes] = []

    def point(self, node: FakeNode) -> str:
        return "gauge" if node.id == "n1" else "gauge2"

    async def live(self, steps: int) -> None:
        control, rng = self.control, self.rng
        kinds = [self.state, self.level, self.level, self.wait, self.wait, self.receipt, self.act, self.again, self.odd]
        for _ in range(steps):
            rng.choice(kinds)()
            self.orders += [data for _, data in control.orders()]
            if rng.random() < 0.04:
                await control.restart(clean=rng.random() < 0.5)
        await control.commit()
        control.journal.drop()

    def state(self) -> None:
        node = self.rng.choice(self.nodes)
        node.counter = max(node.counter, self.control.room.fold.registry.nodes[node.id].state_counter)
        level = self.levels[self.point(node)]
        points = ((self.point(node), level, node.seq),) if level else ()
        sirens = (SirenState(0, self.rng.choice(list(Stage)), 0, 0),) if self.rng.random() < 0.3 else ()
        self.control.hear(node, node.state(*points, sirens=sirens if node.id == "n1" else ()))

    def level(self) -> None:
        node = self.rng.choice(self.nodes)
        point = self.point(node)
        was, level = self.levels[point], Level(self.rng.randrange(4))
        self.levels[point] = level
        if was is not level:
            self.control.hear(node, node.level(point, was, level, self.rng.random() * 5))

    def wait(self) -> None:
        self.control.wait(self.rng.choice((0.25, 1, 6, 40)))

    def receipt(self) -> None:
        if self.orders:
            stage = self.rng.choice(list(Stage))
            node = self.nodes[0]
            self.control.hear(node, node.receipt(self.rng.choice(self.orders), stage, self.rng.choice(("", "driver"))))

    def again(self) -> None:
        node = self.rng.choice(self.nodes)
        if node.events:
            self.control.hear(node, self.rng.choice(node.events))

    def odd(self) -> None:
        node = self.rng.choice(self.nodes)
        unknown = TransitionData.unpack(["nowhere", 1, 0, 2, 3.5, 1, 0, []])
        said = node.event(unknown) if self.rng.random() < 0.5 else node.trouble("disk", self.rng.random() < 0.5)
        self.control.hear(node, said)

    def act(self) -> None:
        control, rng = self.control, self.rng
        alarms = list(control.room.book)
        person = rng.choice(PEOPLE)
        wishes: list[acts.Act] = [
            acts.RequestSiren(("ungheni",), "dezastre", Mode.LIVE, 0, "dam"),
            acts.StopSiren(),
        ]
        if alarms:
            alarm = rng.choice(alarms)
            until_us = control.clock.wall_us() + 3_600_000_000
            wishes += [
                acts.AckAlarm(alarm.id, tuple(each.key for each in alarm.evidence[: rng.randint(1, 8)])),
                acts.ResetAlarm(alarm.id),
                acts.ShelveAlarm(alarm.id, until_us, "test"),
                acts.UnshelveAlarm(alarm.id),
                acts.VetoSiren(alarm.incident, ""),
            ]
        with contextlib.suppress(BuciumError, WireError):
            control.act(rng.choice(wishes), person)
        for request in list(control.room.requests):
            with contextlib.suppress(BuciumError, WireError):
                control.approve(control.acting.describe(request), rng.choice(PEOPLE))
