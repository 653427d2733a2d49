"""Who is out there: the nodes of the plan, their ledgers and boots, their sirens, and when each was last heard.

The plan is the inventory: a node that it names and nobody has heard is a Trouble, not an absence of rows.

A node's own age of an event (design §2.3, "Late truth"): each message carries the node's monotonic time. The largest difference
between that and ours, over the messages of one boot, belongs to the least delayed of them; measured from there, a message that
waited somewhere shows its age. No wall clock takes part. Before a boot has shown itself by a state report, an age is unknown.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Listed
from dataclasses import dataclass, field
from typing import Any, Final

from cython_ext import ClockQuality
from lanes import readiness
from lanes.envelope import BOOT_BYTES
from lanes.identity import STORE_ID_BYTES
from lanes.keys import Role
from lanes.planfile import SignedPlan
from lanes.readiness import Inputs
from lanes.reports import SirenState, Stage

from .sequence import Sequence

LEDGERS_MAX: Final = 16  # of one node: replaced cards; beyond it the one longest unheard of is forgotten, and said so
NO_BOOT: Final = bytes(BOOT_BYTES)


@dataclass(slots=True)
class SirenView:
    """A siren as its node last said. `heard_us` 0: never."""

    id: str
    node: str
    stage: Stage = Stage.DONE
    order_epoch: int = 0
    hold_s: int = 0
    trouble: int = 0
    heard_us: int = 0
    stated_us: int = 0  # when the row came; receipts tell less
    state: SirenState | None = None  # the row itself, with its inputs and its battery

    def held_s(self, now_us: int) -> int:
        """What is left of the stop's hold: the node says it once, and time goes on."""
        return min(self.hold_s, max(0, self.hold_s - (now_us - self.stated_us) // 1_000_000))

    @property
    def inputs(self) -> Inputs:
        """What is supervised of it, as its node last said."""
        return readiness.unpack(self.state.inputs) if self.state else {}


@dataclass(slots=True)
class Node:
    """One node. Monotonic times are ours, in nanoseconds; None: not in this process's life."""

    id: str
    boot: bytes = NO_BOOT
    ledger: bytes = bytes(STORE_ID_BYTES)  # the current one; zeros: none heard of
    head: int = 0  # of that ledger
    plan: bytes = b""
    heard_us: int = 0
    sequences: dict[bytes, Sequence] = field(default_factory=dict)
    heard_ns: int | None = None
    lead_ns: int | None = None  # the largest (node's monotonic − ours) of this boot
    stated: bool = False  # a state report of this boot has come
    clock: ClockQuality | None = None  # as it last said; None: not in this process's life
    plan_version: int = 0  # of `plan`; 0: not heard in this process's life
    software: str = ""  # as its last start said; empty: not heard

    @property
    def state_counter(self) -> int:
        """The highest counter of the present ledger's state reports; each ledger counts its own, from 1."""
        sequence = self.sequences.get(self.ledger)
        return sequence.stated if sequence else 0

    def hear(self, boot: bytes, monotonic_ns: int, now_ns: int) -> int | None:
        """Note a message of the node; its age in nanoseconds, or None while that cannot be known."""
        if boot != self.boot:
            return None
        lead_ns = monotonic_ns - now_ns
        if self.lead_ns is None or lead_ns > self.lead_ns:
            self.lead_ns = lead_ns
        return self.lead_ns - lead_ns if self.stated else None

    def rebooted(self, boot: bytes) -> None:
        """From now on this is its boot."""
        if boot != self.boot:
            self.boot, self.lead_ns, self.stated = boot, None, False

    def sequence(self, ledger: bytes) -> Sequence:
        """The node's ledger of this id, known or new."""
        found = self.sequences.pop(ledger, None) or Sequence(ledger)
        self.sequences[ledger] = found
        while len(self.sequences) > LEDGERS_MAX:
            del self.sequences[next(iter(self.sequences))]
        return found

    def has(self, ledger: bytes, seq: int) -> bool:
        """Whether we hold this event."""
        sequence = self.sequences.get(ledger)
        return sequence is not None and sequence.has(seq)

    def again(self, ledger: bytes, seq: int, digest: bytes) -> bool:
        """An event that we hold has come again. True: under its key comes another one."""
        return self.sequences[ledger].again(seq, digest)

    def pack(self) -> list[Any]:
        heads = [self.id, self.boot, self.ledger, self.head, self.state_counter, self.plan, self.heard_us]
        return [*heads, [sequence.pack() for sequence in self.sequences.values()], self.software]


class Registry:
    """The nodes and sirens of the plan, by id."""

    def __init__(self, signed: SignedPlan) -> None:
        self.nodes: dict[str, Node] = {}
        self.sirens: dict[str, SirenView] = {}
        self.replan(signed)

    def replan(self, signed: SignedPlan) -> None:
        """Another plan: what is known of those that it names too is kept."""
        plan = signed.plan
        names = {point.node for point in plan.points} | {siren.node for siren in plan.sirens}
        names |= {signer.id for signer in plan.roster if signer.role is Role.NODE}
        self.nodes = {name: self.nodes.get(name) or Node(name) for name in sorted(names)}
        known = {view.id: view for view in self.sirens.values()}
        self.sirens = {
            siren.id: known[siren.id]
            if siren.id in known and known[siren.id].node == siren.node
            else SirenView(siren.id, siren.node)
            for siren in plan.sirens
        }
        self._at: dict[str, list[SirenView]] = {}
        for view in self.sirens.values():
            self._at.setdefault(view.node, []).append(view)

    def sirens_at(self, node: str) -> Listed[SirenView]:
        """The sirens that this node drives."""
        return self._at.get(node, ())

    def siren_rows(self, node: str, rows: Iterable[SirenState], now_us: int, ids: tuple[str, ...]) -> None:
        """What a state report says of the node's sirens, counted in `ids`; rows that are not this node's are passed over."""
        for row in rows:
            view = self.sirens.get(ids[row.siren]) if row.siren < len(ids) else None
            if view is not None and view.node == node:
                view.stage, view.order_epoch, view.hold_s = row.stage, row.order_epoch, row.hold_s
                view.trouble, view.heard_us, view.state = row.trouble, now_us, row
                view.stated_us = now_us

    def pack(self) -> list[Any]:
        sirens = [
            [s.id, int(s.stage), s.order_epoch, s.hold_s, s.trouble, s.heard_us, s.state.pack() if s.state else []]
            for s in self.sirens.values()
        ]
        return [[node.pack() for node in self.nodes.values()], sirens]

    def restore(self, value: list[Any]) -> None:
        """What `pack` gave; nodes and sirens that the plan no longer names are left out."""
        nodes, sirens = value
        for node_id, boot, ledger, head, counter, plan, heard_us, sequences, *more in nodes:
            node = self.nodes.get(node_id)
            if node is None:
                continue
            node.boot, node.ledger, node.head = boot, ledger, head
            node.plan, node.heard_us, node.software = plan, heard_us, more[0] if more else ""
            node.sequences = {each[0]: Sequence.restore(each) for each in sequences}
            if ledger in node.sequences:
                node.sequences[ledger].stated = counter
        for siren_id, stage, order_epoch, hold_s, trouble, heard_us, *rest in sirens:
            view = self.sirens.get(siren_id)
            if view is not None:
                view.stage, view.order_epoch, view.hold_s = Stage(stage), order_epoch, hold_s
                view.trouble, view.heard_us = trouble, heard_us
                view.stated_us = heard_us  # or a little before
                view.state = SirenState.unpack(rest[0]) if rest and rest[0] else None
