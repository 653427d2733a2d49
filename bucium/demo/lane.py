"""The demo's own eyes on the broker: it reads both lanes like any stranger could, verifies, and tells. It sends nothing."""

import asyncio
from typing import Any, Final

from bucium.demo.chains import Chains
from bucium.demo.happening import Teller
from cython_ext import Clock, Level, WireError
from lanes.envelope import Envelope, Kind, Opened, open_envelope
from lanes.identity import EventKey
from lanes.link import Connector, LinkDown, Message
from lanes.orders import Ack, Order
from lanes.plan import Plan
from lanes.reports import Event, ReceiptData, Stage, TransitionData, TroubleData

AGAIN_S: Final = 0.5  # how soon a lost connection is tried again


class LaneWatch:
    """Subscribes to everything of the group. `counts` are of the whole run."""

    def __init__(self, plan: Plan, connector: Connector, clock: Clock, teller: Teller, chains: Chains) -> None:
        self._plan = plan
        self._connector = connector
        self._clock = clock
        self._teller = teller
        self._chains = chains
        self._seen: set[EventKey] = set()
        self.connected = asyncio.Event()
        self.why = ""  # there is no connection
        self.wrong: list[str] = []  # refused messages, and receipts of what should not have been
        self.counts = {"reports": 0, "orders": 0, "beats": 0, "telemetry": 0}
        self.born: set[str] = set()  # nodes whose birth was seen on the telemetry lane
        self.known: set[str] = set()  # nodes of whom the controller has acknowledged an event

    async def run(self) -> None:
        """Until cancelled."""
        group = self._plan.group
        while True:
            try:
                async with self._connector.connect("demo-watch") as link:
                    await link.subscribe((f"bucium/1/{group}/#", 1), (f"spBv1.0/{group}/#", 0))
                    self.connected.set()
                    async for message in link.messages():
                        link.ack(message)
                        self._take(message, self._clock.monotonic_ns())
            except LinkDown as error:
                self.why = str(error)
                self._teller.tell("trouble", f"the demo's own connection: {error}")
                await asyncio.sleep(AGAIN_S)

    def _take(self, message: Message, at_ns: int) -> None:
        if message.topic.startswith("spBv1.0/"):
            self.counts["telemetry"] += 1
            parts = message.topic.split("/")
            if len(parts) > 3 and parts[2] == "NBIRTH":
                self.born.add(parts[3])
            return
        opened = open_envelope(message.payload, self._plan.roster)
        if not isinstance(opened, Opened):
            self._refused(f"a message on {message.topic} that is not ours: {opened.why}", str(opened.why))
            return
        try:
            self._read(opened.envelope, message.payload, at_ns)
        except WireError as error:
            self._refused(f"a signed message that cannot be read: {error}", error.code)

    def _refused(self, text: str, why: str) -> None:
        self.wrong.append(text)
        self._teller.tell("refused", text, why=why)

    def _read(self, envelope: Envelope, data: bytes, at_ns: int) -> None:
        match envelope.kind:
            case Kind.BEAT:
                self.counts["beats"] += 1
            case Kind.EVENT:
                self.counts["reports"] += 1
                self._event(envelope, Event.unpack(envelope.body), at_ns)
            case Kind.STATE:
                self.counts["reports"] += 1
            case Kind.ACK:
                self.counts["orders"] += 1
                ack = Ack.unpack(envelope.body)
                self.known.add(envelope.addressee)
                self._chains.acked(envelope.addressee, ack.ledger, ack.through, ack.ranges, at_ns)
            case Kind.ORDER:
                self.counts["orders"] += 1
                self._order(envelope, Order.unpack(envelope.body), data, at_ns)
            case _:
                self.counts["orders"] += 1

    def _event(self, envelope: Envelope, event: Event, at_ns: int) -> None:
        key = EventKey(envelope.issuer, event.ledger, event.seq)
        if key in self._seen:
            return  # sent again: nothing new
        self._seen.add(key)
        self._chains.seen(key, at_ns)
        node = envelope.issuer
        match event.data:
            case TransitionData() as change:
                self._transition(node, change, event.monotonic_ns)
            case ReceiptData() as receipt:
                self._chains.receipt(receipt, event.monotonic_ns)
                self._receipt(node, receipt, event.monotonic_ns)
            case TroubleData() as trouble:
                state = "begins" if trouble.on else "ends"
                text = f"{node}: {trouble.code} {trouble.subject} {state}".replace("  ", " ")
                self._tell("trouble", text, event.monotonic_ns, node=node, code=trouble.code, on=trouble.on)
            case _:
                self._tell("boot", f"{node} has started", event.monotonic_ns, node=node)

    def _transition(self, node: str, change: TransitionData, at_ns: int) -> None:
        was, level = Level(change.was).name.lower(), Level(change.level).name.lower()
        cause = change.cause.name.lower().replace("_", "-")
        text = f"{node}: {change.point} {was} → {level} at {change.value:.2f}"
        if cause.startswith("trouble"):
            text = f"{node}: {change.point} {cause}: {change.trouble!r}"
        self._tell(
            "transition",
            text,
            at_ns,
            node=node,
            point=change.point,
            cause=cause,
            was=int(change.was),
            level=int(change.level),
            value=change.value if change.value == change.value else None,
            reason=change.reason.name.lower(),
        )

    def _receipt(self, node: str, receipt: ReceiptData, at_ns: int) -> None:
        stage = receipt.stage.name.lower()
        proof = ", measured" if receipt.measured and receipt.stage is Stage.SOUNDING else ""
        why = f" ({receipt.reason})" if receipt.reason not in ("", "measured", "end") else ""  # these the stage says
        if receipt.stage in (Stage.REFUSED, Stage.FAILED, Stage.UNORDERED):
            self.wrong.append(f"{node} says of siren {receipt.siren}: {stage}{why}")
        self._tell(
            "receipt",
            f"{node}: siren {receipt.siren} {stage}{proof}{why}",
            at_ns,
            node=node,
            siren=receipt.siren,
            stage=stage,
            reason=receipt.reason,
            measured=receipt.measured,
            incident=receipt.incident.hex(),
        )

    def _order(self, envelope: Envelope, order: Order, data: bytes, at_ns: int) -> None:
        action = order.action.name.lower()
        proofs = f"{len(order.evidence)} evidence, {len(order.approvals)} approvals"
        self._tell(
            "order",
            f"{envelope.issuer} → {envelope.addressee}: {action} {order.siren or 'all'} {order.core.pattern}, "
            f"{proofs}, {len(data)} bytes",
            at_ns,
            node=envelope.addressee,
            siren=order.siren,
            action=action,
            pattern=order.core.pattern,
            mode=order.core.mode.name.lower(),
            incident=order.core.incident.hex(),
            evidence=len(order.evidence),
            approvals=len(order.approvals),
            bytes=len(data),
        )

    def _tell(self, event: str, text: str, at_ns: int, **facts: Any) -> None:
        self._teller.tell(event, text, at_ns=at_ns, **facts)
