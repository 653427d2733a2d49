"""Activations: the orders of one decision (or of one act of a person), siren by siren, and what became of each (design §2.4).

    pending ──► pass     sounding, measured where the siren must be measured; or already sounding for the incident
            └─► fail     refused, failed, unproved, silent, stopped, or no answer before its not-after

Starts are resent until their not-after, then reported failed; stops until they are answered. The bytes are the same each time:
the node's durable counter makes the repeat harmless. A refusal that only says that we quoted an old order epoch or nonce is
answered by a new order with what the node now says, at most three times.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from cython_ext import NS_PER_S, Level, WireError
from lanes.envelope import peek
from lanes.orders import Action, Order, OrderCore, reference_of
from lanes.reports import ReceiptData, Stage

from .fallback import Step

FIRST_WAIT_NS: Final = 2 * NS_PER_S
WAIT_MAX_NS: Final = 30 * NS_PER_S
SILENT_NS: Final = 30 * NS_PER_S  # accepted, and nothing measured or said for so long
RENEWALS_MAX: Final = 3
KEPT_MAX: Final = 256  # ended activations that are still shown; the journal has all
MISQUOTED: Final = frozenset({"order-epoch", "nonce"})  # refusals that a new order can answer (edge/siren/refusals.py)
REPEATED: Final = "counter"  # the node has seen this very order: our resend crossed its answer
NO_ANSWER: Final = "no-answer"


class Result(StrEnum):
    """How an order stands. Words of the journal: never rename."""

    PENDING = "pending"
    PASS = "pass"  # noqa: S105 - a result
    FAIL = "fail"


@dataclass(slots=True)
class Errand:
    """One siren's order. Monotonic times are ours."""

    siren: str
    node: str
    order: Order
    data: bytes
    not_after_us: int  # 0: none
    proof: bool  # SOUNDING must be measured
    stage: Stage | None = None
    result: Result = Result.PENDING
    why: str = ""
    measured: bool = False
    due_ns: int = 0
    wait_ns: int = FIRST_WAIT_NS
    answered_ns: int = 0
    renewals: int = 0
    sent_ns: int = 0
    sounded_us: int = 0  # the node's wall time of its SOUNDING; 0: not said

    @property
    def reference(self) -> bytes:
        return reference_of(self.data)

    @property
    def unanswered(self) -> bool:
        return self.stage is None and self.result is Result.PENDING


@dataclass(slots=True)
class Fall:
    """What was done about one siren's failure (fallback.py). `stood`: neighbours were looked for."""

    failure: str
    why: str
    retries: int = 0
    stood: bool = False
    stand_ins: tuple[str, ...] = ()
    told: bool = False


@dataclass(slots=True)
class Activation:
    """`number`: the journal row that decided it. `alarm`: the alarm's id, or empty; `by`: a person, or "policy"."""

    number: int
    core: OrderCore
    action: Action
    level: Level
    alarm: str
    by: str
    errands: dict[str, Errand] = field(default_factory=dict)
    falls: dict[str, Fall] = field(default_factory=dict)

    def stands_in_for(self, siren: str) -> str:
        """The siren in whose place this one was ordered, or empty."""
        return next((failed for failed, fall in self.falls.items() if siren in fall.stand_ins), "")

    def count(self, result: Result) -> int:
        return sum(errand.result is result for errand in self.errands.values())

    @property
    def open(self) -> bool:
        return any(errand.result is Result.PENDING for errand in self.errands.values())


class Activations:
    """All activations that are open, and the last that ended."""

    def __init__(self) -> None:
        self._by_number: dict[int, Activation] = {}
        self._by_reference: dict[bytes, tuple[Activation, Errand]] = {}

    def __iter__(self) -> Iterator[Activation]:
        return iter(self._by_number.values())

    def get(self, number: int) -> Activation | None:
        return self._by_number.get(number)

    def add(
        self, number: int, siren: str, node: str, data: bytes, proof: bool, heads: tuple[str, Level, str]
    ) -> Errand:
        """An order that stands in the journal; a second one for the same siren replaces the first."""
        envelope = peek(data)
        if envelope is None:
            raise WireError("malformed", "an order of our own that is none")
        order = Order.unpack(envelope.body)
        alarm, level, by = heads
        activation = self._by_number.get(number)
        if activation is None:
            activation = Activation(number, order.core, order.action, level, alarm, by)
            self._by_number[number] = activation
            self._forget()
        errand = Errand(siren, node, order, data, envelope.not_after_us, proof)
        before = activation.errands.get(siren)
        if before is not None:
            errand.renewals = before.renewals + 1
        activation.errands[siren] = errand
        self._by_reference[errand.reference] = activation, errand
        return errand

    def _forget(self) -> None:
        if len(self._by_number) <= 2 * KEPT_MAX:
            return
        ended = [activation for activation in self if not activation.open and activation.errands]
        for activation in ended[: max(0, len(ended) - KEPT_MAX)]:
            del self._by_number[activation.number]
            for errand in activation.errands.values():
                self._by_reference.pop(errand.reference, None)

    def find(self, node: str, receipt: ReceiptData) -> tuple[Activation, Errand] | None:
        """The order that this receipt answers, if it is one of ours to that node."""
        found = self._by_reference.get(receipt.order)
        if found is None or found[1].node != node:
            return None
        activation, errand = found
        return found if activation.errands.get(errand.siren) is errand else None

    def receipt(self, errand: Errand, receipt: ReceiptData, now_ns: int, at_us: int) -> Result:
        """What the siren's node says of its order, at its wall time `at_us`; the result after it."""
        if receipt.stage is Stage.REFUSED and receipt.reason == REPEATED:
            return errand.result
        errand.answered_ns = now_ns
        errand.measured = errand.measured or receipt.measured
        if receipt.stage is Stage.SOUNDING:
            errand.sounded_us = at_us
        result, why = _judge(errand, receipt)
        if errand.result is Result.PASS and receipt.stage is not Stage.FAILED:
            result, why = Result.PASS, errand.why
        errand.stage, errand.result, errand.why = receipt.stage, result, why
        return result

    def knows(self, reference: bytes) -> bool:
        """Whether this was an order of ours, though another may have taken its place."""
        return reference in self._by_reference

    def pending(self) -> Iterator[tuple[Activation, Errand]]:
        for activation in list(self):
            for errand in activation.errands.values():
                if errand.result is Result.PENDING:
                    yield activation, errand

    def due(self, now_ns: int, now_us: int, jitter: float) -> list[tuple[Activation, Errand]]:
        """Unanswered orders whose time to be sent (again) has come. `jitter` in [0, 1)."""
        found = []
        for activation, errand in self.pending():
            if not errand.unanswered or (errand.not_after_us and now_us > errand.not_after_us):
                continue
            if errand.due_ns <= now_ns:
                errand.due_ns = now_ns + round(errand.wait_ns * (0.5 + jitter / 2))
                errand.wait_ns = min(errand.wait_ns * 2, WAIT_MAX_NS)
                found.append((activation, errand))
        return found

    def all_due(self) -> None:
        """We are connected again: whatever is unanswered is sent now."""
        for _, errand in self.pending():
            errand.due_ns, errand.wait_ns = 0, FIRST_WAIT_NS

    def overdue(self, now_ns: int, now_us: int) -> list[tuple[Activation, Errand, str]]:
        """Orders that have failed by time, and why."""
        found = []
        for activation, errand in self.pending():
            if errand.stage is None:
                if errand.not_after_us and now_us > errand.not_after_us:
                    found.append((activation, errand, NO_ANSWER))
            elif now_ns - errand.answered_ns > SILENT_NS:
                found.append((activation, errand, "unproved" if errand.stage is Stage.SOUNDING else "silent"))
        return found

    def end(self, errand: Errand, result: Result, why: str) -> None:
        errand.result, errand.why = result, why

    def fell(self, number: int, siren: str, failure: str, why: str, step: Step, sirens: tuple[str, ...]) -> None:
        """One step of a fall-back, as the journal has it."""
        activation = self._by_number.get(number)
        if activation is None:
            return
        fall = activation.falls.setdefault(siren, Fall(failure, why))
        fall.failure, fall.why = failure, why
        match step:
            case Step.RETRY:
                fall.retries += 1
            case Step.STAND_IN:
                fall.stood, fall.stand_ins = True, (*fall.stand_ins, *sirens)
            case Step.TELL:
                fall.told = True
            case Step.SOUNDED:
                fall.told = False

    def pack(self) -> list[Any]:
        return [
            [
                activation.number,
                activation.alarm,
                int(activation.level),
                activation.by,
                [_pack_errand(errand) for errand in activation.errands.values()],
                [_pack_fall(siren, fall) for siren, fall in activation.falls.items()],
            ]
            for activation in self
        ]

    def restore(self, value: list[Any]) -> None:
        for number, alarm, level, by, errands, *falls in value:  # a snapshot of an earlier version has no falls
            for siren, node, data, proof, stage, result, why, measured, renewals, *sounded_us in errands:
                errand = self.add(number, siren, node, data, proof, (alarm, Level(level), by))
                errand.stage = None if stage is None else Stage(stage)
                errand.result, errand.why, errand.measured, errand.renewals = Result(result), why, measured, renewals
                errand.sounded_us = sounded_us[0] if sounded_us else 0
            for siren, failure, why, retries, stood, stand_ins, told in falls[0] if falls else ():
                fall = Fall(failure, why, retries, stood, tuple(stand_ins), told)
                self._by_number[number].falls[siren] = fall


def _pack_errand(e: Errand) -> list[Any]:
    stage = None if e.stage is None else int(e.stage)
    return [e.siren, e.node, e.data, e.proof, stage, str(e.result), e.why, e.measured, e.renewals, e.sounded_us]


def _pack_fall(siren: str, f: Fall) -> list[Any]:
    return [siren, f.failure, f.why, f.retries, f.stood, list(f.stand_ins), f.told]


def _judge(errand: Errand, receipt: ReceiptData) -> tuple[Result, str]:
    stage = receipt.stage
    if stage in (Stage.REFUSED, Stage.FAILED):
        return Result.FAIL, receipt.reason or stage.name.lower()
    if errand.order.action is not Action.START:
        waits = errand.order.action is not Action.STOP and stage in (Stage.ACCEPTED, Stage.ARMED, Stage.SOUNDING)
        return (Result.PENDING, "") if waits else (Result.PASS, receipt.reason)
    if stage is Stage.ALREADY:
        return Result.PASS, receipt.reason or "already"
    if stage is Stage.STOPPED:
        return Result.FAIL, "stopped"
    if stage is Stage.SOUNDING:
        return (Result.PENDING, "") if errand.proof and not errand.measured else (Result.PASS, "")
    if stage is Stage.DONE:
        return (Result.FAIL, "unproved") if errand.proof and not errand.measured else (Result.PASS, "")
    return Result.PENDING, ""
