"""A small plan, its keys, and the far end of a node's alarm lane: for the tests of the edge."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from random import Random
from typing import Any

from cython_ext import topics
from lanes import planfile
from lanes.envelope import Envelope, Kind, Opened, open_envelope, seal
from lanes.keys import SigningKey
from lanes.link import LinkDown
from lanes.orders import Ack, Beat
from lanes.pieces import Packed, Want, pack
from lanes.plan import Plan
from lanes.planfile import SignedPlan, file_of
from lanes.reports import Event, State
from tests.kit.broker import MemoryBroker, MemoryLink
from tests.kit.clock import START_WALL_US

NODE, CONTROLLER, GROUP = "quay", "centre-1", "prut"
KEYS = {
    (signer, mode): SigningKey.from_seed(hashlib.sha256(f"{signer}/{mode}".encode()).digest())
    for signer in (NODE, CONTROLLER, "mill")
    for mode in ("live", "exercise", "test")
}


def entropy(seed: int = 1) -> Callable[[int], bytes]:
    """Repeatable randomness, as the simulator's."""
    return Random(seed).randbytes


def document(**changes: Any) -> dict[str, Any]:
    """The plan as TOML would give it: one gauge and one smoke detector at `quay`, one gauge at `mill`."""
    level = {
        "node": NODE,
        "zones": ["town"],
        "hazard": "flood",
        "unit": "m",
        "period_s": 1.0,
        "attention": {"raise": 2.0, "clear": 1.8},
        "alarm": {"raise": 3.0, "clear": 2.8},
        "danger": {"raise": 4.0, "clear": 3.8},
        "sensor_span": [-1.0, 20.0],
        "stale_s": 10.0,
    }
    smoke = {
        "id": "smoke",
        "node": NODE,
        "zones": ["town"],
        "hazard": "fire",
        "unit": "",
        "period_s": 0.5,
        "alarm": {"raise": 1.0, "clear": 0.5},
        "stale_s": 5.0,
    }
    plan: dict[str, Any] = {
        "version": 7,
        "root": "SITE-1",
        "group": GROUP,
        "controller": CONTROLLER,
        "zone": [{"id": "town"}],
        "point": [{"id": "mill-level"} | level | {"node": "mill"}, {"id": "level"} | level, smoke],
        "siren": [{"id": "school", "node": NODE, "zones": ["town"]}],
        "pattern": [
            {"id": "flood", "source": "test", "verified": False, "segments": [{"mode": "steady", "on_s": 10}]},
        ],
        "policy": [
            {
                "zone": "town",
                "hazard": "flood",
                "level": "alarm",
                "mode": "automatic",
                "pattern": "flood",
                "reflex": True,
            }
        ],
        "key": [
            {
                "public": key.public.hex(),
                "signer": signer,
                "role": "controller" if signer == CONTROLLER else "node",
                "mode": mode,
            }
            for (signer, mode), key in KEYS.items()
        ],
    }
    return plan | changes


def signed(**changes: Any) -> SignedPlan:
    return planfile.build(Plan.model_validate(document(**changes)))


def event_of(data: bytes, plan: SignedPlan) -> Event:
    """The event of these bytes, its signature checked."""
    opened = open_envelope(data, plan.plan.roster)
    assert isinstance(opened, Opened), opened
    assert opened.envelope.kind is Kind.EVENT
    return Event.unpack(opened.envelope.body)


class FarEnd:
    """A home controller that takes every event into a dict and acks when it is told to."""

    def __init__(self, broker: MemoryBroker, plan: SignedPlan, node: str = NODE) -> None:
        self._broker = broker
        self._plan = plan
        self._node = node
        self.boot = b"far-end1"
        self.journal = b"journal1"
        self.key = KEYS[CONTROLLER, "live"]
        self.counter = 0
        self.held: dict[tuple[bytes, int], bytes] = {}
        self.events: list[Event] = []  # as they came, without repeats
        self.copies = 0  # events that came again
        self.states: list[State] = []
        self.wants: list[Want] = []
        self.offered: tuple[Packed, int] | None = None  # the plan that is being sent, and its version
        self.acking = True
        self.forgiving = False  # another event under a key that it has: as the real one, it keeps the first and says so
        self.forked: dict[bytes, int] = {}
        self.deaf = False
        self.link: MemoryLink | None = None

    async def run(self) -> None:
        """Listen for ever, whatever becomes of the broker."""
        while True:
            with contextlib.suppress(LinkDown):
                await self._listen()
            self.link = None
            await asyncio.sleep(1)

    async def _listen(self) -> None:
        async with self._broker.connector().connect("far-end") as link:
            self.link = link
            await link.subscribe((topics.report(GROUP, self._node), 1))
            async for message in link.messages():
                if self.deaf:
                    continue
                link.ack(message)
                wanted = len(self.wants)
                ledger = self._take(message.payload)
                if len(self.wants) > wanted:
                    await self._feed(self.wants[-1])
                if ledger and self.acking:
                    await self.ack(ledger)

    def _take(self, data: bytes) -> bytes:
        opened = open_envelope(data, self._plan.plan.roster)
        assert isinstance(opened, Opened), opened
        if opened.envelope.kind is Kind.STATE:
            self.states.append(State.unpack(opened.envelope.body))
            return b""
        if opened.envelope.kind is Kind.WANT:
            self.wants.append(Want.unpack(opened.envelope.body))
            return b""
        event = Event.unpack(opened.envelope.body)
        key = event.ledger, event.seq
        if key in self.held:
            self.copies += 1
            if self.held[key] != data:
                assert self.forgiving, "one key, two events"
                self.forked[event.ledger] = min(event.seq, self.forked.get(event.ledger, event.seq))
        else:
            self.held[key] = data
            self.events.append(event)
        return event.ledger

    def ack_body(self, ledger: bytes) -> Ack:
        have = sorted(seq for found, seq in self.held if found == ledger)
        through = 0
        while through + 1 in have:
            through += 1
        rest = [seq for seq in have if seq > through][:8]
        if ledger in self.forked:
            through, rest = self.forked[ledger], []
        last = hashlib.sha256(self.held[ledger, through]).digest() if through else bytes(32)
        return Ack(self.journal, ledger, through, tuple((s, s) for s in rest), last)

    async def ack(self, ledger: bytes) -> None:
        await self.say(Kind.ACK, self.ack_body(ledger).pack())

    async def offer(self, signed: SignedPlan) -> None:
        """Send this plan, a piece for each time that the node asks."""
        self.offered = pack(signed.digest, file_of(signed)), signed.plan.version
        await self._feed(Want(self.offered[0].digest, 0))  # the offer is its first piece

    async def _feed(self, want: Want) -> None:
        if self.offered is None:
            return
        packed, version = self.offered
        if want.packed == packed.digest and want.have < len(packed.data) and not want.why:
            await self.say(Kind.CHUNK, packed.piece(want.have).pack(), version=version)

    async def beat(self) -> None:
        await self.say(Kind.BEAT, Beat(self.journal).pack())

    async def say(
        self, kind: Kind, body: Any, *, key: SigningKey | None = None, epoch: int = 0, version: int | None = None
    ) -> None:
        assert self.link is not None
        data = self.sealed(kind, body, key=key, epoch=epoch, version=version)
        topic = topics.beat(GROUP) if kind is Kind.BEAT else topics.order(GROUP, self._node)
        await self.link.publish(topic, data, qos=1)

    def sealed(
        self, kind: Kind, body: Any, *, key: SigningKey | None = None, epoch: int = 0, version: int | None = None
    ) -> bytes:
        self.counter += 1
        to = "" if kind is Kind.BEAT else self._node
        version = self._plan.plan.version if version is None else version
        envelope = Envelope(kind, CONTROLLER, to, self.boot, self.counter, START_WALL_US, version, epoch, body)
        return seal(envelope, key or self.key)
