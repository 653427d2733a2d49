"""The node's control socket: what the technician and this machine's tools may see; a person's veto or stop (design §5)."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cython_ext import Clock, WireError
from lanes.control import ControlError, Handler
from lanes.envelope import peek
from lanes.planfile import SignedPlan
from lanes.reports import Event, EventKind

from .report.lane import Lane
from .report.ledgers import Ledgers
from .report.reporter import Reporter
from .sense.judge import Judge
from .siren.readiness import shown
from .siren.sirens import Sirens
from .troubles import Troubles

EVENTS_MAX: Final = 500  # of one answer: 200 kB


@dataclass(frozen=True)
class Desk:
    """Answers the verbs. Nothing here sounds a siren or changes a threshold; a person may silence one."""

    node: str
    boot: bytes
    signed: Callable[[], SignedPlan]
    clock: Clock
    started_ns: int
    reporter: Reporter
    ledgers: Ledgers
    judge: Judge
    lane: Lane
    sirens: Sirens
    troubles: Troubles
    samples: Callable[[], int]
    telemetry: Callable[[], tuple[str, dict[str, int]]]  # "" while it sends, else why not; and what is kept
    veto: Callable[[bytes], str]
    refused: Callable[[], str]  # why the controller's plan does not run here; "" when none was refused
    alarms: Callable[[], list[dict[str, Any]]]  # this node's own, with the incident that a veto names

    @property
    def verbs(self) -> dict[str, Handler]:
        return {
            "node.status": self._status,
            "node.points": self._points,
            "node.events": self._events,
            "plan.signer": self._signer,
            "siren.veto": self._veto,
            "siren.stop": self._stop,
        }

    async def _status(self, _args: dict[str, Any]) -> dict[str, Any]:
        signed, quality = self.signed(), self.clock.quality()
        plan = signed.plan
        cut_ns = self.lane.cut_off_since_ns
        now_ns = self.clock.monotonic_ns()
        why, backlog = self.telemetry()
        return {
            "node": self.node,
            "boot": self.boot.hex(),
            "up_s": (now_ns - self.started_ns) / 1e9,
            "plan": {
                "version": plan.version,
                "root": plan.root,
                "sha256": signed.digest.hex(),
                "refused": self.refused(),
            },
            "clock": {
                "wall_us": self.clock.wall_us(),
                "source": quality.source.name.lower(),
                "error_ms": quality.error_ms,
            },
            "ledger": {
                "id": self.reporter.ledger.hex(),
                "head": self.reporter.head,
                "through": self.ledgers.current.through,
                "unacked": await self.reporter.unacked(),
                "durable": self.ledgers.current.durable,
            },
            "lane": {
                "connected": self.lane.connected,
                "cut_off_s": None if cut_ns is None else (now_ns - cut_ns) / 1e9,
                **self.lane.counts,
                "refused": self.lane.refused,
            },
            "telemetry": why or "up",
            "backlog": backlog,
            "samples": self.samples(),
            "panel": self.judge.counters,
            "sirens": [
                {
                    "id": plan.sirens[state.siren].id,
                    "stage": state.stage.name.lower(),
                    "order_epoch": state.order_epoch,
                    "hold_s": state.hold_s,
                    "trouble": int(state.trouble),
                    **shown(state),
                }
                for state in self.sirens.states()
            ],
            "alarms": self.alarms(),
            "troubles": [{"code": code, "subject": subject} for code, subject in self.troubles.standing()],
        }

    async def _points(self, _args: dict[str, Any]) -> list[dict[str, Any]]:
        units = {point.id: point.unit for point in self.signed().plan.points}
        return [row | {"unit": units.get(row["id"], "")} for row in self.judge.explain()]

    async def _events(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        limit = args.get("limit", 20)
        if not isinstance(limit, int) or not 1 <= limit <= EVENTS_MAX:
            raise ControlError("malformed", f"limit is a number from 1 to {EVENTS_MAX}")
        return [_row(kept.seq, kept.data) for kept in await self.reporter.latest(limit)]

    async def _signer(self, args: dict[str, Any]) -> dict[str, Any]:
        """Whose key this is: for tools that sign."""
        try:
            signer = self.signed().plan.roster.find(bytes.fromhex(str(args.get("kid", ""))))
        except ValueError:
            raise ControlError("malformed", "kid is 8 bytes in hex") from None
        if signer is None:
            raise ControlError("unknown-key", "the plan's roster has no such key")
        return signer.shown()

    async def _veto(self, args: dict[str, Any]) -> dict[str, Any]:
        if why := self.veto(_act(args)):
            raise ControlError(why, f"the veto does not count: {why}")
        return {"vetoed": True, "node": self.node}

    async def _stop(self, args: dict[str, Any]) -> dict[str, Any]:
        """A person's stop, signed for this node: for when no controller can be reached."""
        if why := self.sirens.stop_by_person(_act(args)):
            raise ControlError(why, f"the stop does not count: {why}")
        return {"stopped": True, "node": self.node}


def _act(args: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(str(args.get("act", "")), validate=True)
    except binascii.Error:
        raise ControlError("malformed", "act is the base64 of a signed act") from None


def _row(seq: int, data: bytes) -> dict[str, Any]:
    envelope = peek(data)
    if envelope is None:
        return {"seq": seq, "error": "not readable"}
    try:
        event = Event.unpack(envelope.body)
    except WireError as error:
        return {"seq": seq, "error": str(error)}
    row: dict[str, Any] = {"seq": seq, "issued_us": envelope.issued_us, "kind": event.kind.name.lower()}
    if event.kind is EventKind.TRANSITION:
        row["point"], row["level"] = event.data.point, event.data.level.name.lower()  # type: ignore[union-attr]
    fields = [value.hex() if isinstance(value, bytes) else value for value in event.data.pack()]
    return row | {"data": fields}
