"""What the campaign sees of a world with its own eyes: the wire, the water, the relays, the dispatch receiver.

It reads messages with `tests.simulation.reading`, which shares no line with the product, and knows the plan only as `site.py`
states it.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from firmware_bridge.simulators.record import Entry
from tests.kit.relay_monitor import RelayMonitor
from tests.kit.tap import Packet
from tests.simulation.reading import (
    ACK,
    BEAT,
    EVENT,
    ORDER,
    RAISED,
    RECEIPT,
    RESTATED,
    TRANSITION,
    TROUBLE,
    Happening,
    Key,
    Keys,
    Signed,
    happening,
)

from . import site

NS: Final = 1_000_000_000
START, STOP = 1, 2
CUT_OFF_NS: Final = 10 * NS
SLACK_NS: Final = 1 * NS  # between the line and the node's own ear
SAMPLE_NS: Final = 25 * NS  # what a raise may rest on: a sample, read late
MODBUS_S: Final = 2.0  # a relay's edge after the order's end, at most: three tries of a poll
NODE_OF: Final = {f"s-{node}": node for node in site.NODES}


@dataclass(frozen=True)
class Told:
    """An event as it first came onto the wire."""

    event: Happening
    at_ns: int


@dataclass(frozen=True)
class Acked:
    """An ack as it reached its node."""

    at_ns: int
    ledger: bytes
    spans: tuple[tuple[int, int], ...]

    def covers(self, key: Key) -> bool:
        return key.ledger == self.ledger and any(first <= key.seq <= last for first, last in self.spans)


class Seen:
    """Feed it packets, edges and water; ask what came of them."""

    def __init__(self) -> None:
        self.keys = Keys({name: site.public_key(name) for name in (*site.NODES, site.CENTRE)})
        self.water: dict[str, list[tuple[int, float]]] = {node: [(now_ns(), site.LOW_M)] for node in site.NODES}
        self.told: dict[Key, Told] = {}
        self.acked: dict[str, list[Acked]] = {node: [] for node in site.NODES}
        self.acked_keys: set[Key] = set()
        self.boots: dict[str, dict[bytes, int]] = {name: {} for name in (*site.NODES, site.CENTRE)}
        self.heard_ns: dict[str, int] = dict.fromkeys(site.NODES, now_ns())  # a controller's word reached this node
        self.edges: list[tuple[int, str, bool]] = []
        self.monitor = RelayMonitor({siren: siren for siren in NODE_OF})
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []
        self.missing: list[str] = []  # what an autopsy found wanting
        self._orders: set[bytes] = set()
        self._last: dict[str, tuple[int, int, int]] = dict.fromkeys(site.NODES, (0, 0, 0))
        self._hooks: dict[str, list[Callable[[], None]]] = {}
        self._owed: dict[str, set[Key]] = {node: set() for node in site.NODES}

    # What may be waited for.

    def once(self, moment: str, action: Callable[[], None]) -> None:
        """Do it, synchronously, when `moment` next comes: "event:NODE", "acked:NODE", "order:NODE", "sound:NODE", "post:NODE"."""
        self._hooks.setdefault(moment, []).append(action)

    def forget(self, moment: str) -> None:
        self._hooks.pop(moment, None)

    def _now(self, moment: str) -> None:
        for action in self._hooks.pop(moment, []):
            action()

    # What it sees.

    def set_water(self, node: str, metres: float) -> None:
        self.water[node].append((now_ns(), metres))

    def packet(self, program: str, packet: Packet) -> None:
        """A packet on the line of a program."""
        if packet.kind != "PUBLISH" or not packet.topic.startswith("bucium/1/"):
            return
        message = self.keys.open(packet.payload)
        if message is None:
            return
        if packet.up and message.issuer == program:
            self.boots[program].setdefault(message.boot, now_ns())
            if message.kind == EVENT:
                self._event(message)
        elif not packet.up and program in self.heard_ns and message.issuer == site.CENTRE:
            self._to_node(program, message)

    def _event(self, message: Signed) -> None:
        event = happening(message)
        known = self.told.setdefault(event.key, Told(event, now_ns()))
        if known.event.digest != event.digest:
            self.findings.append(f"I1 two events of {event.key.node} have one key: seq {event.key.seq}")
        if not any(ack.covers(event.key) for ack in self.acked[event.key.node]):
            self._owed[event.key.node].add(event.key)
        if event.kind == TRANSITION:
            last = event.monotonic_ns, event.key.seq, event.data[3]
            self._last[event.key.node] = max(self._last[event.key.node], last)
            if event.data[1] in (RAISED, RESTATED) and event.data[3]:
                self._now(f"event:{event.key.node}")

    def _to_node(self, node: str, message: Signed) -> None:
        if message.addressee not in (node, "") or message.kind not in (ACK, BEAT, ORDER):
            return
        self.heard_ns[node] = now_ns()
        if message.kind == ACK:
            _, ledger, through, ranges, _ = message.body
            ack = Acked(now_ns(), ledger, ((0, through), *((first, last) for first, last in ranges)))
            self.acked[node].append(ack)
            covered = {key for key in self._owed[node] if ack.covers(key)}
            self._owed[node] -= covered
            self.acked_keys |= covered
            self._now(f"acked:{node}")
        elif message.kind == ORDER:
            self._order(node, message)

    def _order(self, node: str, message: Signed) -> None:
        action, siren, core = message.body[0], message.body[1], message.body[2]
        if message.data in self._orders or NODE_OF.get(siren) != node:
            return
        self._orders.add(message.data)
        if action == START:
            left_s = (min(message.not_after_us, core[5]) - time.time_ns() // 1000) / 1e6
            self.monitor.permit(siren, now_ns(), core[4], min(left_s, 60.0) + MODBUS_S)
        elif action == STOP:
            self.monitor.stop(siren, now_ns())
        self._now(f"order:{node}")

    def entry(self, entry: Entry) -> None:
        """The simulated devices' own record."""
        if entry.what != "coil" or entry.name != "relay-1":
            return
        node, on = entry.device.removesuffix("-relays"), bool(entry.value)
        siren = f"s-{node}"
        if on and self._reflex(node, siren, entry.at_ns):
            self.monitor.permit(siren, entry.at_ns, site.MAX_S)
            self.counts["siren by reflex"] += 1
        self.edges.append((entry.at_ns, node, on))
        self.monitor.edge(siren, on, entry.at_ns)
        if on:
            self._now(f"sound:{node}")

    def _reflex(self, node: str, siren: str, at_ns: int) -> bool:
        """Whether the node may close this relay without an order: cut off, and its own water high."""
        if any(permit.line == siren and permit.covers(at_ns) for permit in self.monitor.permits):
            return False
        silent = at_ns - self.heard_ns[node] >= CUT_OFF_NS - SLACK_NS
        # From when it was minted: while the broker was away it could not be seen on the wire.
        minted_ns = (self.told[key].event.monotonic_ns for key in self._owed[node])
        owed = any(at_ns - since_ns >= CUT_OFF_NS - SLACK_NS for since_ns in minted_ns)
        return (silent or owed) and self.highest(node, at_ns - SAMPLE_NS, at_ns) >= site.RAISE[site.SIREN_LEVEL]

    def posted(self, node: str) -> None:
        """A message about this node's zone has reached the dispatch receiver."""
        self._now(f"post:{node}")

    # What it knows.

    def highest(self, node: str, first_ns: int, last_ns: int) -> float:
        """The highest water between the two."""
        best = site.LOW_M
        for place, (since_ns, metres) in enumerate(self.water[node]):
            until_ns = self.water[node][place + 1][0] if place + 1 < len(self.water[node]) else 1 << 62
            if since_ns <= last_ns and until_ns > first_ns:
                best = max(best, metres)
        return best

    def level(self, node: str) -> int:
        """The node's last word about its point, by its own clock (which is this machine's)."""
        return self._last[node][2]

    def owed(self, node: str) -> int:
        """Events on the wire that no ack has covered."""
        return len(self._owed[node])

    def refused(self, node: str, after_ns: int) -> bool:
        """Whether the node has said, since then, that its order store takes nothing."""
        return any(
            told.event.kind == RECEIPT and told.event.monotonic_ns > after_ns and "store" in told.event.data
            for key, told in self.told.items()
            if key.node == node
        )

    def in_memory(self, node: str) -> bool:
        """Whether the node's last word about it is that its ledger stands in memory: what the next power cut would take."""
        said = [
            (told.event.monotonic_ns, key.seq, told.event.data[1])
            for key, told in self.told.items()
            if key.node == node and told.event.kind == TROUBLE and told.event.data[0] == "ledger-in-memory"
        ]
        return bool(said) and max(said)[2]

    def forgive(self, node: str) -> None:
        """Its ledger is gone: what was sent and not acked cannot be sent again. Whether it arrived is asked at the end."""
        self._owed[node].clear()

    def sounding(self) -> bool:
        last: dict[str, bool] = {}
        for _, node, on in self.edges:
            last[node] = on
        return any(last.values())

    def spoke_ns(self, program: str, after_ns: int) -> int | None:
        """When a new life of the program first spoke after this instant."""
        return min((at_ns for at_ns in self.boots[program].values() if at_ns > after_ns), default=None)


def now_ns() -> int:
    """This machine's monotonic clock: that of all its processes."""
    return time.monotonic_ns()


def raise_of(event: Happening) -> Any:
    """(was, level) of a raise; None: it is none."""
    rises = event.kind == TRANSITION and event.data[1] == RAISED and event.data[3] > event.data[2]
    return (event.data[2], event.data[3]) if rises else None
