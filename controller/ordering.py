"""Making orders: each journaled before it is sent, resent until it is answered, its end noted (design §2.2, §2.4)."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from cython_ext import BuciumError, Level
from lanes.acts import ALL
from lanes.envelope import NOT_AFTER_MAX_US, Kind
from lanes.keys import Mode
from lanes.orders import ZONES_MAX, Action, Order, OrderCore
from lanes.plan import Siren
from lanes.reports import ReceiptData, SirenTrouble, Stage

from .activation import MISQUOTED, RENEWALS_MAX, Activation, Errand, Result
from .notices import NoticeKind, SirenNotice
from .record.records import Record
from .registry import Node, SirenView
from .room import Outgoing, Room
from .strays import Strays, Told

OTHER_PLAN: Final = "plan"  # refused by a node that has changed to another plan since we last heard of it
SECURITY: Final = "siren-unordered"
FAILED: Final = "siren-failed"
REFUSED: Final = "orders-refused"
FOREIGN: Final = "order-foreign"


class Ordering:
    """Orders out, receipts in. `jitter` gives numbers in [0, 1)."""

    def __init__(self, room: Room, jitter: Callable[[], float]) -> None:
        self._room = room
        self._jitter = jitter
        self.strays = Strays(room.fold.activations)
        self.outcome: Callable[[Activation, Errand], None] = lambda _activation, _errand: None
        """Called when a start has sounded or failed, as far as is known now."""

    def core(
        self,
        incident: bytes,
        zones: tuple[str, ...],
        pattern: str,
        mode: Mode,
        max_s: int,
        life_us: int = NOT_AFTER_MAX_US,
    ) -> OrderCore:
        """An order core that begins now. Checks of a siren and stops have no pattern and no duration."""
        end_us = self._room.clock.wall_us() + life_us if life_us else 0
        return OrderCore(incident, zones, pattern, mode, max_s, end_us, self._room.signed.digest)

    def plan_of(self, sirens: Iterable[Siren]) -> bytes:
        """The plan that most of these sirens' nodes run: what people sign must name it. Ours, where it is as many's."""
        room = self._room
        nodes = {siren.node for siren in sirens}
        run = Counter(room.fold.registry.nodes[node].plan or room.signed.digest for node in nodes)
        ours = room.signed.digest
        return max(run, key=lambda plan: (run[plan], plan == ours), default=ours)

    def send(
        self,
        number: int,
        action: Action,
        siren: str,
        core: OrderCore,
        *,
        heads: tuple[str, Level, str],
        evidence: tuple[bytes, ...] = (),
        approvals: tuple[bytes, ...] = (),
        not_after_us: int | None = None,
    ) -> None:
        """One siren's order: in the journal, and on its way once it is durable there. `heads`: alarm, Level, by whom."""
        room = self._room
        view = room.fold.registry.sirens[siren]
        node = room.fold.registry.nodes[view.node]
        if (
            node.plan and not approvals
        ):  # a node judges by the plan that it runs; what people have signed stays as it is
            core = replace(core, plan=node.plan)
        order = Order(action, siren, core, view.order_epoch, node.boot, evidence, approvals)
        end_us = core.not_after_us if not_after_us is None else not_after_us
        data = room.seal(Kind.ORDER, view.node, order.pack(), mode=core.mode, not_after_us=end_us)
        alarm, level, by = heads
        row = room.journal.append(Record.ORDER, [number, siren, data, alarm, int(level), by])
        room.take_order(number, siren, view.node, data, heads)
        room.outgoing.append(Outgoing(row.seq, view.node, data))
        activation = room.fold.activations.get(number)
        assert activation is not None
        errand = activation.errands[siren]
        errand.sent_ns = room.clock.monotonic_ns()
        errand.due_ns = errand.sent_ns + errand.wait_ns
        room.notify()

    # What comes back.

    def receipt(self, node: Node, receipt: ReceiptData, now_ns: int, at_us: int, *, live: bool) -> None:
        """A node's receipt, already journaled as its event. `at_us`: by the node's wall clock; `live`: it is no old news."""
        room = self._room
        self._security(node, receipt)
        found = room.fold.answer(node.id, receipt, now_ns, at_us)
        if found is None:
            if live:
                self._stray(node, receipt)
            return
        activation, errand = found
        misquoted = receipt.reason in MISQUOTED or (receipt.reason == OTHER_PLAN and not errand.order.approvals)
        if receipt.stage is Stage.REFUSED and misquoted and errand.renewals < RENEWALS_MAX:
            self._renew(activation, errand)
        elif errand.order.action is Action.START and errand.result is not Result.PENDING:
            room.trouble(FAILED, errand.siren, errand.result is Result.FAIL and errand.why != "stopped")
            self.outcome(activation, errand)

    def _security(self, node: Node, receipt: ReceiptData) -> None:
        """A siren that sounds though nobody ordered it is a security alarm: trouble, and dispatch hears of it."""
        room, siren = self._room, receipt.siren or node.id
        sounds = receipt.stage is Stage.UNORDERED
        over = bool(receipt.siren) and receipt.stage is Stage.DONE
        if sounds == room.troubles.on(SECURITY, siren) or not (sounds or over):
            return
        room.trouble(SECURITY, siren, sounds)
        self._alert(NoticeKind.UNORDERED if sounds else NoticeKind.QUIET, receipt.siren, node.id, receipt.reason)

    def stated(self, view: SirenView) -> None:
        """A siren's row in its node's state report says the same: silence after a person's stop, too, ends the alarm."""
        sounds = view.stage is Stage.UNORDERED or bool(view.trouble & SirenTrouble.UNORDERED)
        if sounds != self._room.troubles.on(SECURITY, view.id):
            self._room.trouble(SECURITY, view.id, sounds)
            self._alert(NoticeKind.UNORDERED if sounds else NoticeKind.QUIET, view.id, view.node, "")

    def _stray(self, node: Node, receipt: ReceiptData) -> None:
        """A receipt that answers no order of ours. One that was obeyed is a security alarm too."""
        room = self._room
        told = self.strays.take(node.id, receipt, room.clock.wall_us())
        if told is Told.REFUSED:
            room.trouble(REFUSED, node.id, True)
        elif told is Told.FOREIGN:
            if not room.troubles.on(FOREIGN, receipt.siren):
                self._alert(NoticeKind.UNORDERED, receipt.siren, node.id, FOREIGN, receipt.incident)
            room.trouble(FOREIGN, receipt.siren, True)

    def _alert(self, kind: NoticeKind, siren: str, node: str, reason: str, incident: bytes = ALL) -> None:
        """Dispatch hears of it."""
        room = self._room
        described = room.plan.siren(siren)
        zones = described.zones[:ZONES_MAX] if described else ()
        heads = (kind, siren, node, reason, "", Mode.LIVE, Level.NORMAL)
        room.notice(SirenNotice(*heads, zones, incident, "", 0, (), room.clock.wall_us()))

    def _renew(self, activation: Activation, errand: Errand) -> None:
        """The same order, quoting what the node now says. Its life does not begin anew."""
        order = errand.order
        self.send(
            activation.number,
            order.action,
            errand.siren,
            order.core,
            heads=(activation.alarm, activation.level, activation.by),
            evidence=order.evidence,
            approvals=order.approvals,
            not_after_us=errand.not_after_us,
        )

    # What time brings.

    def tick(self, now_ns: int, now_us: int) -> None:
        """Resend what is unanswered, and fail what is overdue."""
        room = self._room
        for activation, errand, why in room.fold.activations.overdue(now_ns, now_us):
            self.end(activation, errand, Result.FAIL, why)
            if errand.order.action is Action.START:
                room.trouble(FAILED, errand.siren, True)
                self.outcome(activation, errand)
        for _, errand in room.fold.activations.due(now_ns, now_us, self._jitter()):
            room.outgoing.append(Outgoing(0, errand.node, errand.data))
            room.notify()

    def end(self, activation: Activation, errand: Errand, result: Result, why: str) -> None:
        """The order's end, without the node's word."""
        self._room.journal.append(Record.OUTCOME, [activation.number, errand.siren, str(result), why])
        self._room.fold.activations.end(errand, result, why)

    def withdraw(self, sirens: frozenset[str], incident: bytes | None) -> None:
        """A stop is on its way: no start of these sirens (None: of any incident) is sent again."""
        for activation, errand in self._room.fold.activations.pending():
            same = incident is None or errand.order.core.incident == incident
            if errand.siren in sirens and same and errand.order.action is Action.START:
                self.end(activation, errand, Result.FAIL, "stopped")

    def check_mode(self, mode: Mode) -> None:
        """BuciumError when orders of this mode cannot be signed here."""
        if mode not in self._room.keys:
            raise BuciumError(f"this controller has no {mode.name.lower()} key; see [keys] in controller.toml")
