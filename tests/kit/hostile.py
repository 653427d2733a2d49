"""A campaign of hostile siren orders against a node at work; the relay monitor counts what they close.

python -m tests.kit.hostile --orders 100000 --seed 1        the last line is: orders N, activations 0

The attacker has recorded every message, holds the broker, and for most of the campaign the controller's live key too; what it
has not are the keys of two people and of the sensor nodes. Single bits of valid orders are flipped, one after the other, all
of them; bits within their evidence and approvals are flipped and the order signed again; every field is given other values;
orders are replayed after their time, after reboots, cut, spliced and made up. At the end, valid orders show that the node
would have sounded.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from cython_ext import Level
from firmware_bridge.gpio.simulated import Board
from lanes.keys import Mode
from lanes.orders import Action
from tests.kit.clock import run_virtual
from tests.kit.hostile_orders import HOSTILE, NONCE_ONLY
from tests.kit.orders import Maker, Say
from tests.kit.passkeys import Authenticator
from tests.kit.siren_rig import Rig, clock_of, rig

REMAKE_S = 20.0  # valid orders are made anew after this time, so that a flipped bit is all that is wrong with them
STEP_S = 0.02  # between two handfuls of orders
HANDFUL = 16  # a node's queue holds four times as many
LISTED = [make for why, make in HOSTILE.values() if why not in NONCE_ONLY]
TARGETS = 4
PHASES = 8  # reboots of the node


@dataclass
class Outcome:
    """What a campaign has seen. `controls`: valid orders that sounded, to show that a hostile one could have."""

    orders: int = 0
    activations: int = 0
    controls: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Attacker:
    """Makes hostile orders without end. `records`: what was on the wire while the node obeyed."""

    def __init__(self, make: Maker, random: Random, records: Sequence[bytes]) -> None:
        self._make = make
        self._random = random
        self._records = records
        self._made_ns = -1
        self._targets: list[bytes] = []
        self._incidents = 0
        self._bit = [0] * TARGETS  # of each target
        self._inner = 0
        self._proved: tuple[Say, tuple[bytes, ...]] | None = None
        self._proved_ns = 0

    def sweep(self) -> Iterator[bytes]:
        """Each bit of each target flipped, once."""
        for target in range(TARGETS):
            self._bit[target] = 0
            while self._bit[target] < len(self.targets()[target]) * 8:
                yield self._flip(target)

    def inner_sweep(self) -> Iterator[bytes]:
        """Each bit of the evidence and of the approvals flipped, once, and the order signed again by the controller."""
        self._inner = 0
        while (found := self._flip_within()) is not None:
            yield found

    def endless(self) -> Iterator[bytes]:
        """A mixture, for as long as is asked."""
        families: tuple[Callable[[], bytes], ...] = (
            self._any_flip,
            self._any_flip_within,
            self._listed,
            self._replayed,
            self._stolen_key,
            self._cut,
            self._spliced,
            self._noise,
        )
        while True:
            made = self._random.choice(families)()
            if made not in self.targets():  # spliced where both are the same, it is a valid order
                yield made

    def targets(self) -> list[bytes]:
        """Orders that would sound, made a moment ago: by evidence, by people, of the highest Level, by passkeys."""
        now_ns = self._make.clock.monotonic_ns()
        if self._made_ns < 0 or now_ns - self._made_ns > REMAKE_S * 1e9:
            self._made_ns = now_ns
            make = self._make
            high = tuple(make.event(n, p, Level.DANGER) for n, p in (("n2", "gauge2"), ("n3", "gauge3")))
            self._targets = [
                make.order(incident=self._incident()),
                make.by_people("ana", "ion", incident=self._incident()),
                make.order(pattern="danger", max_s=240, evidence=high, incident=self._incident()),
                make.by_passkeys("ana", "ion", incident=self._incident()),
            ]
        return self._targets

    def _incident(self) -> bytes:
        self._incidents += 1
        return b"H" + self._incidents.to_bytes(7, "big")

    def _flip(self, target: int) -> bytes:
        data = self.targets()[target]
        at = self._bit[target] % (len(data) * 8)
        self._bit[target] += 1
        return flipped(data, at)

    def _any_flip(self) -> bytes:
        return self._flip(self._random.randrange(TARGETS))

    def _flip_within(self) -> bytes | None:
        """The next inner bit; None after the last: in the evidence, in two approvals, in two assertions."""
        make = self._make
        say, proofs = self._proofs()
        at, self._inner = self._inner, self._inner + 1
        for number, proof in enumerate(proofs):
            if at >= len(proof) * 8:
                at -= len(proof) * 8
                continue
            bent = flipped(proof, at)
            if not number:
                return make.order(evidence=(bent,), incident=self._incident())
            pair = number - 1 - (number - 1) % 2  # approvals stand by twos
            approvals = [bent if n == number else proofs[n] for n in (pair + 1, pair + 2)]
            return make.seal(replace(say, approvals=tuple(approvals)))
        return None

    def _proofs(self) -> tuple[Say, tuple[bytes, ...]]:
        """Fresh evidence; two fresh approvals by key of what the order says, and two by passkey."""
        make, now_ns = self._make, self._make.clock.monotonic_ns()
        if self._proved is None or now_ns - self._proved_ns > REMAKE_S * 1e9:
            self._proved_ns = now_ns
            say = Say(siren="s2", zones=("valea",), incident=self._incident(), issued_us=make.clock.wall_us())
            digest = make.core(say).digest()
            keys = tuple(make.approval(digest, person) for person in ("ana", "ion"))
            self._proved = say, (make.event(), *keys, *(make.assertion(digest, person) for person in ("ana", "ion")))
        return self._proved

    def _any_flip_within(self) -> bytes:
        found = self._flip_within()
        if found is None:
            self._inner = 0
            found = self._flip_within()
        assert found is not None
        return found

    def _listed(self) -> bytes:
        """One of the orders that are wrong in one thing."""
        return self._random.choice(LISTED)(self._make)

    def _replayed(self) -> bytes:
        return self._random.choice(self._records)

    def _stolen_key(self) -> bytes:
        """Whatever the controller's key can sign, with what an attacker can have: no evidence, or such as does not count."""
        random, make = self._random, self._make
        say = Say(
            action=Action.START,
            siren=random.choice(["s1", "s2", ""]),
            zones=tuple(random.sample(["ungheni", "valea", "nowhere"], random.randint(1, 2))),
            pattern=random.choice(["dezastre", "dezastre-aer", "danger", "fire", "incetare", "none"]),
            mode=random.choice(list(Mode)),
            max_s=random.choice([1, 30, 55, 60, 120, 240, 900, 901]),
            incident=self._incident(),
            order_epoch=random.randint(0, 2),
            epoch=random.randint(0, 2),
            counter=random.choice([0, 1, 1 << 40, (1 << 63) - 1]),
            issued_us=make.clock.wall_us() + random.randint(-90, 90) * 1_000_000,
        )
        own = make.core(say).digest()
        person = random.choice(["ana", "ion", "dan", "eva"])
        wrong = make.approval(bytes(32), "ion", say.mode)
        one = make.approval(own, person, say.mode)
        touch = make.assertion(own, random.choice(["ana", "ion", "eva"]), say.mode)
        elsewhere = make.assertion(own, "ion", say.mode, origin="https://evil.example")
        found: list[tuple[bytes, ...]] = [
            (),
            (one,),
            (one, one),
            (one, wrong),
            (wrong, wrong),
            (touch,),
            (touch, touch),
        ]
        approvals = random.choice([*found, (touch, elsewhere), (wrong, elsewhere), (touch, wrong)])
        old_us = make.clock.wall_us() - 301_000_000
        evidence = random.choice(
            [(), (make.event(issued_us=old_us),), (make.event("n1", "gauge2"),), (make.event(level=Level.ATTENTION),)]
        )
        return make.seal(replace(say, approvals=approvals, evidence=evidence))

    def _cut(self) -> bytes:
        data = self._random.choice(self.targets())
        return data[: self._random.randrange(len(data))] + b"\0" * self._random.choice([0, 0, 1, 9])

    def _spliced(self) -> bytes:
        one, other = self._random.sample(self.targets(), 2)
        at = self._random.randrange(min(len(one), len(other)))
        return one[:at] + other[at:]

    def _noise(self) -> bytes:
        return self._random.choice([b"", b"\xd2\x84"]) + self._random.randbytes(self._random.randrange(2500))


def flipped(data: bytes, bit: int) -> bytes:
    """`data` with one bit turned."""
    found = bytearray(data)
    found[bit // 8] ^= 1 << (bit % 8)
    return bytes(found)


async def attack(node: Rig, orders: Iterator[bytes], count: int, outcome: Outcome) -> None:
    """Give `count` orders (all, when there are fewer), and see that no relay closes."""
    before = node.monitor.activations
    for _, order in zip(range(count), orders, strict=False):
        await node.sirens.order(order)
        outcome.orders += 1
        if outcome.orders % HANDFUL == 0:
            await asyncio.sleep(STEP_S)
    await asyncio.sleep(1.0)
    outcome.activations += node.monitor.activations - before
    outcome.findings += node.monitor.findings
    outcome.refused.update(node.reasons())


async def obey(node: Rig, outcome: Outcome) -> list[bytes]:
    """Valid orders, obeyed to their end: the controls. What was on the wire meanwhile."""
    number = outcome.controls + 1
    orders = [
        node.make.order(incident=b"C" + number.to_bytes(7, "big"), max_s=10),
        (node.make.by_passkeys if outcome.controls % 4 else node.make.by_people)(
            "ana", "ion", incident=b"D" + number.to_bytes(7, "big"), max_s=10
        ),
    ]
    before = node.monitor.activations
    for order, relay in zip(orders, ("R1", "R2"), strict=True):
        await node.give(order, relay, 10)
    stop = node.make.stop(siren="", mode=Mode.TEST)
    await node.sirens.order(stop)
    await asyncio.sleep(15)
    outcome.controls += node.monitor.activations - before
    node.lawful()
    return [*orders, stop]


async def campaign(folder: Path, orders: int, seed: int, show: Callable[[str], None] = lambda _: None) -> Outcome:
    """`orders` hostile orders in several lives of one node."""
    outcome, random = Outcome(), Random(seed)
    board = Board(clock_of())
    records: list[bytes] = []
    passkeys: dict[tuple[str, Mode], Authenticator] = {}  # people keep theirs, and its counter, through all lives
    for phase in range(PHASES):
        boot = bytes([65 + phase]) * 8
        async with rig(folder, boot=boot, board=board) as node:
            node.make.counter = node.make.seq = (
                phase * 10_000_000 + 1000
            )  # one controller, one sensor node in all lives
            node.make.passkeys = passkeys
            if phase == 0:
                records += await obey(node, outcome)
            attacker = Attacker(node.make, random, records)
            await attack(node, attacker.endless(), orders // PHASES, outcome)
            records += await obey(node, outcome)
            show(f"life {phase + 1} of {PHASES}: orders {outcome.orders}, activations {outcome.activations}")
    return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when no relay closed and every control sounded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_virtual(
            campaign(Path(folder), options.orders, options.seed, lambda line: print(line, flush=True))
        )
    took_s = time.perf_counter() - began
    print(f"{outcome.controls} controls sounded; {took_s:.0f} s, {took_s / outcome.orders * 1e6:.0f} µs an order")
    for finding in outcome.findings:
        print(finding)
    print(f"orders {outcome.orders}, activations {outcome.activations}")
    return 0 if not outcome.activations and outcome.controls == 2 * (PHASES + 1) else 1


if __name__ == "__main__":
    sys.exit(main())
