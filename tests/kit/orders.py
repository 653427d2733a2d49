"""Orders for sirens, valid and hostile: a plan with every kind of policy, and a maker of signed messages."""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from cython_ext import Cause, Clock, ClockQuality, ClockSource, Level, Reason, Trouble
from lanes.acts import StopSiren, VetoSiren, sign_act
from lanes.envelope import NOT_AFTER_MAX_US, Envelope, Kind, seal
from lanes.identity import EventKey
from lanes.keys import Mode, Role
from lanes.orders import Action, Approval, Order, OrderCore
from lanes.planfile import SignedPlan
from lanes.reports import Event, PointState, State, TransitionData
from tests.kit.passkeys import Authenticator, authenticator, passkey_entry
from tests.kit.plans import key, key_entry, signed

NODE = "n1"
CONTROLLER = "iasi"
BOOT = b"bootn1n1"
OTHER_BOOT = b"bootn2n2"
LEDGER = b"ledger-1"
ALL = bytes(8)

PLAN = """
version = 7
root = "DEMO"
group = "prut"
controller = "iasi"
stop_hold_s = 600

[[zone]]
id = "ungheni"

[[zone]]
id = "valea"

[[point]]
id = "gauge"
node = "n1"
zones = ["ungheni"]
hazard = "flood"
unit = "m"
alarm = { raise = 3.0, clear = 2.8 }
danger = { raise = 4.0, clear = 3.7 }

[[point]]
id = "gauge2"
node = "n2"
zones = ["ungheni", "valea"]
hazard = "flood"
unit = "m"
attention = { raise = 2.0, clear = 1.9 }
alarm = { raise = 3.0, clear = 2.8 }
danger = { raise = 4.0, clear = 3.7 }

[[point]]
id = "gauge3"
node = "n3"
zones = ["ungheni"]
hazard = "flood"
unit = "m"
alarm = { raise = 3.0, clear = 2.8 }
danger = { raise = 4.0, clear = 3.7 }

[[point]]
id = "smoke"
node = "n1"
zones = ["ungheni"]
hazard = "fire"
unit = "%/m"
alarm = { raise = 3.0, clear = 2.0 }

[[point]]
id = "vote-a"
node = "n2"
zones = ["valea"]
hazard = "fire"
unit = "%/m"
alone = false
alarm = { raise = 3.0, clear = 2.0 }

[[point]]
id = "vote-b"
node = "n3"
zones = ["valea"]
hazard = "fire"
unit = "%/m"
alone = false
alarm = { raise = 3.0, clear = 2.0 }

[[point]]
id = "gauge-v"
node = "n1"
zones = ["valea"]
hazard = "flood"
unit = "m"
alarm = { raise = 3.0, clear = 2.8 }

[[point]]
id = "smoke-v"
node = "n1"
zones = ["valea"]
hazard = "fire"
unit = "%/m"
alarm = { raise = 3.0, clear = 2.0 }

[[vote]]
id = "smoke-vote"
points = ["vote-a", "vote-b"]
k = 2
window_s = 60
zones = ["valea"]

[[siren]]
id = "s1"
node = "n1"
zones = ["ungheni"]
proof = true

[[siren]]
id = "s2"
node = "n1"
zones = ["valea"]
family = "compressed-air"

[[siren]]
id = "s3"
node = "n2"
zones = ["ungheni"]

[[pattern]]
id = "dezastre"
source = "OMAI 1259/2006 art. 25"
verified = true
family = "electric"
signal = "alarma-la-dezastre"
segments = [{ mode = "steady", on_s = 16, off_s = 10, repeat = 5 }]

[[pattern]]
id = "dezastre-aer"
source = "OMAI 1259/2006 art. 25"
verified = true
family = "compressed-air"
signal = "alarma-la-dezastre"
segments = [{ mode = "steady", on_s = 8, off_s = 5, repeat = 5 }]

[[pattern]]
id = "danger"
source = "test"
verified = false
segments = [{ mode = "steady", on_s = 60, off_s = 30, repeat = 3 }]

[[pattern]]
id = "fire"
source = "test"
verified = false
segments = [{ mode = "steady", on_s = 5, off_s = 5, repeat = 6 }]

[[pattern]]
id = "incetare"
source = "test"
verified = false
family = "electric"
segments = [{ mode = "steady", on_s = 120 }]

[[policy]]
zone = "ungheni"
hazard = "flood"
level = "alarm"
mode = "automatic"
pattern = "dezastre"
reflex = true

[[policy]]
zone = "ungheni"
hazard = "flood"
level = "danger"
mode = "automatic"
pattern = "danger"
k = 2
reflex = true

[[policy]]
zone = "ungheni"
hazard = "fire"
level = "alarm"
mode = "unless-vetoed"
veto_s = 60
pattern = "fire"
max_s = 30
reflex = true

[[policy]]
zone = "valea"
hazard = "flood"
level = "alarm"
mode = "by-hand"
pattern = "dezastre"
approvals = 2
centres = 2

[[policy]]
zone = "valea"
hazard = "fire"
level = "alarm"
mode = "automatic"
pattern = "fire"
"""
ZONES = ("ungheni", "valea")
PEOPLE = {"ana": "iasi", "ion": "chisinau", "dan": "iasi"}  # person → centre


ROTATED = "iasi-2"  # whose keys the controller has after its first were stolen


@cache
def siren_plan(*, rotated: bool = False) -> SignedPlan:
    """The plan above with keys and passkeys in all modes; `eva` may act for valea only. `rotated`: the controller's are new."""
    text = PLAN
    for mode in Mode:
        for node in ("n1", "n2", "n3"):
            text += key_entry(node, Role.NODE, mode)
        for controller in ("iasi", "chisinau"):
            text += key_entry(controller, Role.CONTROLLER, mode)
        for person, centre in PEOPLE.items():
            text += key_entry(person, Role.OPERATOR, mode, ZONES) + f'centre = "{centre}"\n'
        text += key_entry("eva", Role.OPERATOR, mode, ("valea",)) + 'centre = "chisinau"\n'
        for person in ("ana", "ion"):
            text += passkey_entry(person, mode, ZONES, PEOPLE[person])
        text += passkey_entry("eva", mode, ("valea",), "chisinau")
    for mode in Mode if rotated else ():
        text = text.replace(key(CONTROLLER, mode).public.hex(), key(ROTATED, mode).public.hex())
    return signed(text)


@dataclass(frozen=True)
class Say:
    """What an order says. Each test changes the one thing that it is about."""

    action: Action = Action.START
    siren: str = "s1"
    zones: tuple[str, ...] = ("ungheni",)
    pattern: str = "dezastre"
    mode: Mode = Mode.LIVE
    max_s: int = 120
    incident: bytes = b"incident"
    plan: bytes = b""
    order_epoch: int = 0
    nonce: bytes = b""  # "": the boot id of the maker's node
    evidence: tuple[bytes, ...] = ()
    approvals: tuple[bytes, ...] = ()
    life_us: int = NOT_AFTER_MAX_US
    # The envelope.
    issuer: str = CONTROLLER
    signer: str = ""  # "": the issuer
    signed_mode: Mode | None = None  # None: the order's
    addressee: str = NODE
    epoch: int = 0
    counter: int = 0  # 0: the maker's next
    kind: Kind = Kind.ORDER
    issued_us: int = 0  # 0: now
    core_not_after_us: int = 0  # 0: the order's


@dataclass
class Maker:
    """Signs orders, approvals and evidence as of the clock's now."""

    clock: Clock
    plan: SignedPlan = field(default_factory=siren_plan)
    boot: bytes = BOOT  # the node's nonce, as the sender last heard it
    counter: int = 1000
    seq: int = 0
    once: int = 0
    passkeys: dict[tuple[str, Mode], Authenticator] = field(default_factory=dict)

    def order(self, say: Say | None = None, **changes: Any) -> bytes:
        """A signed order that says `say` with `changes`; by default a valid automatic start of s1."""
        if say is None and "evidence" not in changes and "approvals" not in changes:
            changes["evidence"] = (self.event(),)
        return self.seal(replace(say or Say(), **changes))

    def core(self, say: Say) -> OrderCore:
        stop = say.action is Action.STOP
        end_us = say.core_not_after_us or (0 if stop else self.issued_us(say) + say.life_us)
        plan = say.plan or self.plan.digest
        return OrderCore(say.incident, say.zones, say.pattern, say.mode, say.max_s, end_us, plan)

    def issued_us(self, say: Say) -> int:
        return say.issued_us or self.clock.wall_us()

    def seal(self, say: Say) -> bytes:
        """The order's signed bytes."""
        self.counter += 1
        end_us = 0 if say.action is Action.STOP else self.issued_us(say) + say.life_us
        body = Order(
            say.action, say.siren, self.core(say), say.order_epoch, say.nonce or self.boot, say.evidence, say.approvals
        ).pack()
        envelope = Envelope(
            say.kind,
            say.issuer,
            say.addressee,
            b"bootiasi",
            say.counter or self.counter,
            self.issued_us(say),
            self.plan.plan.version,
            say.epoch,
            body,
            end_us,
        )
        return seal(envelope, key(say.signer or say.issuer, say.signed_mode or say.mode))

    def stop(self, **changes: Any) -> bytes:
        """A stop of everything on s1, unless changed."""
        base = Say(Action.STOP, pattern="", max_s=0, incident=ALL, zones=())
        return self.seal(replace(base, **changes))

    def by_people(self, *people: str, **changes: Any) -> bytes:
        """A start of s2 by hand, approved by these people, unless changed."""
        say = replace(Say(siren="s2", zones=("valea",), pattern="dezastre", incident=b"by-hand."), **changes)
        say = replace(say, issued_us=self.issued_us(say))
        digest = self.core(say).digest()
        return self.seal(replace(say, approvals=tuple(self.approval(digest, p, say.mode) for p in people)))

    def by_passkeys(self, *people: str, **changes: Any) -> bytes:
        """As `by_people`, with their passkeys."""
        say = replace(Say(siren="s2", zones=("valea",), pattern="dezastre", incident=b"by-hand."), **changes)
        say = replace(say, issued_us=self.issued_us(say))
        digest = self.core(say).digest()
        return self.seal(replace(say, approvals=tuple(self.assertion(digest, p, say.mode) for p in people)))

    def assertion(self, digest: bytes, person: str, mode: Mode = Mode.LIVE, **changes: Any) -> bytes:
        """A person's approval by passkey. `changes`: nonces, and those of `Authenticator.get`."""
        own = self.passkeys.setdefault((person, mode), authenticator(person, mode))
        return own.approve(digest, changes.pop("nonces", (self.boot,)), **changes)

    def approval(self, digest: bytes, person: str, mode: Mode = Mode.LIVE, **changes: Any) -> bytes:
        """A person's approval. `changes`: signer, nonces, issued_us, life_us, addressee, kind."""
        self.once += 1
        issued_us = changes.get("issued_us", self.clock.wall_us())
        body = Approval(digest, changes.get("nonces", (self.boot,))).pack()
        envelope = Envelope(
            changes.get("kind", Kind.APPROVAL),
            person,
            changes.get("addressee", CONTROLLER),
            self.once.to_bytes(8, "big"),
            0,
            issued_us,
            self.plan.plan.version,
            0,
            body,
            issued_us + changes.get("life_us", NOT_AFTER_MAX_US),
        )
        return seal(envelope, key(changes.get("signer", person), mode))

    def event(
        self,
        node: str = "n2",
        point: str = "gauge2",
        level: Level = Level.ALARM,
        mode: Mode = Mode.LIVE,
        *,
        cause: Cause = Cause.RAISED,
        **changes: Any,
    ) -> bytes:
        """A signed raise. `changes`: signer, boot, seq, ledger, issued_us, monotonic_ns, clock, addressee."""
        data = TransitionData(point, cause, Level.NORMAL, level, 3.2, Reason.THRESHOLD, Trouble.NONE)
        return self.report(node, data, mode, **changes)

    def report(self, node: str, data: Any, mode: Mode = Mode.LIVE, **changes: Any) -> bytes:
        """Any signed event."""
        self.seq += 1
        event = Event(
            changes.get("ledger", LEDGER),
            changes.get("seq", self.seq),
            changes.get("monotonic_ns", self.clock.monotonic_ns()),
            changes.get("clock", ClockQuality(ClockSource.NTP, 5)),
            self.plan.digest,
            data,
        )
        return self._seal_report(Kind.EVENT, node, event.pack(), mode, changes)

    def state(self, node: str, rows: dict[str, Level], mode: Mode = Mode.LIVE, **changes: Any) -> bytes:
        """A signed state report: point → Level."""
        ids = self.plan.plan.judged_ids
        points = tuple(PointState(ids.index(p), level, Trouble.NONE, 9, 1000) for p, level in rows.items())
        state = State(
            LEDGER,
            9,
            changes.get("monotonic_ns", self.clock.monotonic_ns()),
            ClockQuality(ClockSource.NTP, 5),
            changes.get("plan", self.plan.digest),
            0,
            1,
            points,
        )
        return self._seal_report(Kind.STATE, node, state.pack(), mode, changes)

    def _seal_report(self, kind: Kind, node: str, body: Any, mode: Mode, changes: dict[str, Any]) -> bytes:
        envelope = Envelope(
            kind,
            node,
            changes.get("addressee", CONTROLLER),
            changes.get("boot", OTHER_BOOT),
            self.seq,
            changes.get("issued_us", self.clock.wall_us()),
            self.plan.plan.version,
            0,
            body,
        )
        return seal(envelope, key(changes.get("signer", node), mode))

    def veto(self, incident: bytes, person: str = "ana", **changes: Any) -> bytes:
        """A signed veto."""
        self.once += 1
        return sign_act(
            VetoSiren(incident, "false alarm"),
            person=person,
            service=changes.get("service", NODE),
            key=key(person, changes.get("mode", Mode.LIVE)),
            now_us=self.clock.wall_us(),
            once=self.once.to_bytes(8, "big"),
        )

    def stop_act(self, person: str = "ana", act: StopSiren | None = None, service: str = NODE) -> bytes:
        """A person's stop at the node's own control socket."""
        self.once += 1
        once = self.once.to_bytes(8, "big")
        now_us = self.clock.wall_us()
        return sign_act(act or StopSiren(), person=person, service=service, key=key(person), now_us=now_us, once=once)


def key_of(seq: int, node: str = NODE) -> EventKey:
    """The key of an event of the test ledger."""
    return EventKey(node, LEDGER, seq)
