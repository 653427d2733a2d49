"""`python -m tests.simulation.rollout --seeds 1..20`: plans applied in a network that floods and fails, by a person at the desk.

Each later plan counts points and sirens in another order, has other keys, and takes several pieces; the thresholds are the same,
so that the water still says what must happen. Whatever fails meanwhile: no alarm is lost or invented, no program runs a plan that
was not applied, none goes back to an older one, and in the end every one runs the last.
"""

import argparse
import asyncio
import base64
import hashlib
import os
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from controller import app as controller_app
from cython_ext import BuciumError, ConfigError, WireError
from edge import app as edge_app
from lanes import acts, pieces, planfile, plankept
from lanes.keys import SigningKey
from lanes.plan import Plan
from lanes.planfile import SignedPlan
from tests.kit.clock import START_WALL_US
from tests.kit.plans import key, root

from . import site
from .machine import DiskRunner, Life
from .seeds import Campaign, Result, run_seed
from .world import World

FIRST: Final = 3  # the version that every machine starts with
STRANGERS: Final = 40  # other nodes' keys in a later plan: some six pieces
CHECK_S: Final = 1.0
ROOT: Final = "root.toml"


@cache
def version(number: int) -> SignedPlan:
    """The plan of this version: the site's, told otherwise."""
    if number == FIRST:
        return site.plan()
    document = site.plan().plan.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    rng = Random(number)
    document["version"] = number
    for what in ("point", "siren", "key"):
        rng.shuffle(document[what])
    document["key"] += [
        {"public": _stranger(number, n), "signer": f"far-{n}", "role": "node", "mode": "live"} for n in range(STRANGERS)
    ]
    signed = planfile.build(Plan.model_validate(document))
    for person in site.PEOPLE:
        signed = planfile.sign(signed, person, key(f"planner-{person}"), START_WALL_US)
    return signed


def _stranger(number: int, n: int) -> str:
    return SigningKey.from_seed(hashlib.sha256(f"{number}/{n}".encode()).digest()).public.hex()


class Rollout(World):
    """A world in which plans are applied."""

    def __init__(self, *facts: Any, **more: Any) -> None:
        super().__init__(*facts, **more)
        self.applied = FIRST
        self.ran: dict[str, int] = dict.fromkeys(self.machines, FIRST)
        for machine in self.machines.values():
            (machine.base / "data").mkdir(exist_ok=True)
            planfile.write(version(FIRST), machine.base / "plan.cbor")
            people = "".join(f'[[planner]]\nid = "{p.id}"\npublic = "{p.public}"\n' for p in root().planners)
            (machine.base / ROOT).write_text(f'name = "DEMO"\nthreshold = 2\n{people}')
        rng = Random(f"rollout {self.seed}")
        for number in range(FIRST + 1, FIRST + 1 + rng.randint(1, 3)):
            self.plans.append((rng.uniform(10, self.seconds * 0.9), lambda n=number: self.apply(n)))
        self.plans.append((CHECK_S, self._look))

    # The programs, which choose their plan as the services do.

    async def _node(self, life: Life) -> None:
        machine, wires = life.machine, self.wires[life.machine.name]
        life.at_death.append(wires.cut)
        ready = site.node_ready(machine.name, life.base)
        chosen = self._choose(life.base)
        ready = replace(ready, signed=chosen.signed, plan_refused=chosen.refused)
        await edge_app.run(
            ready,
            clock=machine.clock,
            connector=self.network.connector(life),
            runner=DiskRunner(life),
            entropy=machine.entropy,
            stop=life.stop,
            bridge=wires.bridge(ready, machine.clock),
        )

    async def _controller(self, life: Life) -> None:
        machine = life.machine
        ready = site.controller_ready(life.base, self.told)
        chosen = self._choose(life.base)
        await controller_app.run(
            replace(ready, signed=chosen.signed, plan_refused=chosen.refused),
            clock=machine.clock,
            connector=self.network.connector(life),
            runner=DiskRunner(life),
            entropy=machine.entropy,
            stop=life.stop,
            others=lambda _name: DiskRunner(life),
        )

    def _choose(self, base: Path) -> plankept.Chosen:
        chosen = plankept.choose(base / "plan.cbor", base / "data", root())
        if chosen.refused:
            self.findings.append(f"plan: {base.name} says of its delivered file: {chosen.refused}")
        return chosen

    # The person.

    def apply(self, number: int) -> None:
        """At the desk; a controller that is down, or falls meanwhile, is asked again a little later."""
        asyncio.get_running_loop().create_task(self._apply(number))

    async def _apply(self, number: int) -> None:
        while not self.ending and self.applied < number:
            desk = self.desks.get(site.CENTRE, {})
            machine = self.machines[site.CENTRE]
            if "plan.apply" in desk and not machine.frozen:
                signed = version(number)
                now_us = machine.clock.wall_us()
                act = acts.sign_act(
                    acts.ApplyPlan(number, signed.digest, "a test"),
                    person=site.PEOPLE[0],
                    service=site.CENTRE,
                    key=key(site.PEOPLE[0]),
                    now_us=now_us,
                    once=hashlib.sha256(f"{number} {self.now_ns}".encode()).digest()[:8],
                )
                packed = pieces.pack(signed.digest, planfile.file_of(signed)).data
                args = {"act": base64.b64encode(act).decode(), "plan": base64.b64encode(packed).decode()}
                asked = asyncio.ensure_future(desk["plan.apply"](args))
                done, _ = await asyncio.wait({asked}, timeout=30)
                if not done:
                    asked.cancel()
                elif not asked.cancelled() and not isinstance(asked.exception(), Exception):
                    self.seen["plan applied"] += 1
                    self.mark("plan", number)
                    self.applied = max(self.applied, number)
                    return
                elif not isinstance(asked.exception(), (BuciumError, WireError)):
                    self.findings.append(f"plan: applying version {number} ended in {asked.exception()!r}")
                    return
                elif getattr(asked.exception(), "code", "") == "older":  # it was taken, and the answer lost
                    self.applied = max(self.applied, number)
                    return
            await asyncio.sleep(2)

    # What is watched.

    def _look(self) -> None:
        """Each second: who runs what, by what stands on its disk."""
        for name, machine in self.machines.items():
            number = self._kept(machine.base / "data" / plankept.NAME)
            if number is None:
                continue
            if number < self.ran[name]:
                self.findings.append(f"plan: {name} went back from version {self.ran[name]} to {number}")
            if number > self.ran[name]:
                self.seen["node took a plan over" if name != site.CENTRE else "controller took a plan over"] += 1
            self.ran[name] = number
        for name in site.NODES:
            if self.ran[name] > self.ran[site.CENTRE]:
                self.findings.append(f"plan: {name} runs {self.ran[name]}, which its controller does not")
        if not self.ending:
            self.later(CHECK_S, self._look)

    @staticmethod
    def _kept(path: Path) -> int | None:
        try:
            signed = planfile.read(path)
        except ConfigError:
            return None
        return signed.plan.version if signed == version(signed.plan.version) else -1

    def heal(self) -> None:
        super().heal()
        last = max([FIRST + 1, self.applied, *self.ran.values()])
        if self.applied < last:
            self.apply(last)

    def unsettled(self) -> list[str]:
        found = super().unsettled()
        self._look_now()
        last = max(self.applied, *self.ran.values())
        late = [f"{name} runs version {number}, not {last}" for name, number in self.ran.items() if number < last]
        return found + late + ([] if self.applied > FIRST else ["no plan has been applied"])

    def _look_now(self) -> None:
        ending, self.ending = self.ending, True
        self._look()
        self.ending = ending


def run(seed: int, minutes: float, **more: Any) -> Result:
    """One world with its roll-outs."""
    return run_seed(seed, minutes, kind=Rollout, **more)


def main() -> int:
    """Run seeds; exit code 1 when anything was found."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        words = [sys.executable, "-W", "ignore", "-m", "tests.simulation.rollout", *sys.argv[1:]]
        os.execve(sys.executable, words, os.environ | {"PYTHONHASHSEED": "0"})
    parser = argparse.ArgumentParser("python -m tests.simulation.rollout", description=__doc__)
    parser.add_argument("--seeds", default="1..20", help="A..B")
    parser.add_argument("--minutes", type=float, default=3.0, help="of floods and faults; healing comes on top")
    options = parser.parse_args()
    first, last = options.seeds.split("..")
    campaign = Campaign()
    for seed in range(int(first), int(last) + 1):
        result = run(seed, options.minutes)
        campaign.add(result)
        if result.findings:
            print(
                result.line(f"--minutes {options.minutes:g}").replace("tests.simulation ", "tests.simulation.rollout "),
                flush=True,
            )
    for what in ("plan applied", "controller took a plan over", "node took a plan over"):
        print(f"{campaign.seen[what]:8} {what}")
    print("\n".join(campaign.summary()))
    return 1 if campaign.failed else 0


if __name__ == "__main__":
    sys.exit(main())
