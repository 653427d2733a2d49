"""A fleet that exists only as messages: a signed plan of so many nodes, and what each of them says on both lanes."""

import hashlib
from pathlib import Path
from typing import Any, Final

from cython_ext import Cause, ClockQuality, ClockSource, Level, Reason, SystemClock, Trouble
from cython_ext.payload import DataType, Metric, Payload
from cython_ext.wire import encode
from lanes import planfile
from lanes.envelope import Envelope, Kind, seal
from lanes.keys import SigningKey, write_key
from lanes.orders import Order
from lanes.plan import Plan
from lanes.planfile import SignedPlan
from lanes.reports import Event, PointState, ReceiptData, Stage, State, TransitionData
from lanes.sparkplug import BDSEQ, REBIRTH

GROUP: Final = "fleet"
CONTROLLER: Final = "centre"
ROOT: Final = "DEMO"  # its keys stand in this file: real sirens refuse it
PEOPLE: Final = ("ana", "ion")
ZONE_NODES: Final = 50
CLOCK: Final = ClockQuality(ClockSource.NTP, 5)
FACTS: Final = 8  # node metrics in a birth, beside bdSeq and the rebirth switch


def key_of(name: str) -> SigningKey:
    return SigningKey.from_seed(hashlib.sha256(f"bench/{name}".encode()).digest())


def plan_of(nodes: int, *, zone_nodes: int = ZONE_NODES, siren_every: int = 0) -> SignedPlan:
    """A gauge at each node, so many nodes a zone, orders by hand; with `siren_every` a siren at each n-th, automatic there."""
    zones = range(-(-nodes // zone_nodes))
    sirens = range(0, nodes, siren_every) if siren_every else ()
    document: dict[str, Any] = {
        "version": 1,
        "root": ROOT,
        "group": GROUP,
        "controller": CONTROLLER,
        "stop_hold_s": 60,
        "zone": [_zone(n) for n in zones],
        "point": [_point(n, n // zone_nodes) for n in range(nodes)],
        "siren": [{"id": f"s{n}", "node": f"n{n}", "zones": (f"z{n // zone_nodes}",)} for n in sirens],
        "pattern": [{"id": "wail", "source": "bench", "verified": False, "segments": [{"mode": "wail", "on_s": 60}]}]
        if sirens
        else [],
        "policy": [_policy(n // zone_nodes) for n in sirens],
        "key": [_key("node", f"n{n}") for n in range(nodes)] + [_key("controller", CONTROLLER)],
    }
    signed = planfile.build(Plan.model_validate(document))
    now_us = SystemClock().wall_us()
    for person in PEOPLE:
        signed = planfile.sign(signed, person, key_of(person), now_us)
    return signed


def _zone(number: int) -> dict[str, Any]:
    return {
        "id": f"z{number}",
        "name": {"en": f"Zone {number}"},
        "timezone": "Europe/Chisinau",
        "circle": (47.0, 28.0, 5.0),
    }


def _policy(zone: int) -> dict[str, Any]:
    at = {"zone": f"z{zone}", "hazard": "flood", "level": "alarm"}
    return at | {"mode": "automatic", "pattern": "wail"}


def _point(number: int, zone: int) -> dict[str, Any]:
    return {
        "id": f"p{number}",
        "node": f"n{number}",
        "zones": (f"z{zone}",),
        "hazard": "flood",
        "unit": "m",
        "period_s": 10.0,
        "attention": {"raise": 2.0, "clear": 1.8},
        "alarm": {"raise": 3.0, "clear": 2.8},
        "danger": {"raise": 4.0, "clear": 3.8},
    }


def _key(role: str, name: str) -> dict[str, Any]:
    return {"public": key_of(name).public.hex(), "signer": name, "role": role, "mode": "live"}


def write_centre(folder: Path, signed: SignedPlan, port: int) -> Path:
    """The controller's files; its controller.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    planfile.write(signed, folder / "plan.cbor")
    planners = "".join(f'[[planner]]\nid = "{p}"\npublic = "{key_of(p).public.hex()}"\n' for p in PEOPLE)
    (folder / "root.toml").write_text(f'name = "{ROOT}"\nthreshold = 2\n{planners}')
    if not (folder / "live.pem").exists():
        write_key(key_of(CONTROLLER), folder / "live.pem")
    config = folder / "controller.toml"
    config.write_text(
        f'[controller]\nid = "{CONTROLLER}"\n[keys]\nlive = "live.pem"\n[broker]\nhost = "127.0.0.1"\nport = {port}\n'
    )
    return config


class Speaker:
    """One node's words. Its ledger is a counter."""

    def __init__(self, number: int, plan: SignedPlan) -> None:
        self.id = f"n{number}"
        self._point = f"p{number}"
        self._plan = plan
        self._key = key_of(self.id)
        self._ledger = self._boot = hashlib.sha256(self.id.encode()).digest()[:8]
        self._clock = SystemClock()
        self.seq = 0
        self._counter = 0
        self._sparkplug_seq = 0

    def _seal(self, kind: Kind, counter: int, body: Any) -> bytes:
        plan, now_us = self._plan.plan, self._clock.wall_us()
        envelope = Envelope(kind, self.id, plan.controller, self._boot, counter, now_us, plan.version, 0, body)
        return seal(envelope, self._key)

    def event(self) -> bytes:
        """Its gauge rises, or falls again."""
        self.seq += 1
        was, level = (Level.NORMAL, Level.ALARM) if self.seq % 2 else (Level.ALARM, Level.NORMAL)
        cause, value = (Cause.RAISED, 3.5) if self.seq % 2 else (Cause.LOWERED, 1.5)
        data = TransitionData(self._point, cause, was, level, value, Reason.THRESHOLD, Trouble.NONE)
        now_ns = self._clock.monotonic_ns()
        return self._seal(
            Kind.EVENT, self.seq, Event(self._ledger, self.seq, now_ns, CLOCK, self._plan.digest, data).pack()
        )

    def receipt(self, order: bytes, said: Order, stage: Stage) -> bytes:
        """Its siren's answer to an order."""
        self.seq += 1
        reference = hashlib.sha256(order).digest()[:8]
        data = ReceiptData(said.siren, reference, stage, "", said.core.incident, 0, measured=True)
        now_ns = self._clock.monotonic_ns()
        return self._seal(
            Kind.EVENT, self.seq, Event(self._ledger, self.seq, now_ns, CLOCK, self._plan.digest, data).pack()
        )

    def state(self, *, raised: bool = False) -> bytes:
        """All is well; or, `raised`, its gauge is where its first event said."""
        self._counter += 1
        now_ns = self._clock.monotonic_ns()
        place = int(self.id.removeprefix("n"))
        points = (PointState(place, Level.ALARM, Trouble.NONE, 1, 0),) if raised else ()
        body = State(self._ledger, self.seq, now_ns, CLOCK, self._plan.digest, 0, 1, points).pack()
        return self._seal(Kind.STATE, self._counter, body)

    def birth(self) -> bytes:
        """NBIRTH with its own facts and its gauge."""
        at = self._clock.wall_us() // 1000
        facts = (
            Metric(name=f"fact/{n}", alias=10 + n, timestamp=at, datatype=DataType.STRING, value="bench")
            for n in range(FACTS)
        )
        metrics = (
            Metric(name=BDSEQ, timestamp=at, datatype=DataType.INT64, value=0),
            Metric(name=REBIRTH, timestamp=at, datatype=DataType.BOOLEAN, value=False),
            *facts,
            Metric(name=self._point, alias=1, timestamp=at, datatype=DataType.DOUBLE, value=1.0),
        )
        self._sparkplug_seq = 0
        return encode(Payload(at, metrics, 0))

    def data(self) -> bytes:
        """NDATA with its gauge."""
        at = self._clock.wall_us() // 1000
        self._sparkplug_seq = (self._sparkplug_seq + 1) % 256
        metric = Metric(alias=1, timestamp=at, datatype=DataType.DOUBLE, value=1.0 + self._sparkplug_seq / 1000)
        return encode(Payload(at, (metric,), self._sparkplug_seq), datatypes=False)
