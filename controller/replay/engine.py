"""The control room replayed: reports, acts, approvals and ticks of the journal through the code that decides.

    taken as they are     what nodes and people signed (verified once more under the plan of that time); the verdicts of the
                          controller's own Panel, which recording.py replays from its samples; the asides
    computed anew         every alarm's life, every decision with its reason, every order and its core, requests and their ends,
                          outcomes, fall-backs and notices

Each start of the program begins from the state that the rows before it left, as the program itself did.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from cython_ext import BuciumError, ClockQuality, ClockSource, WireError
from lanes import pieces, planfile
from lanes.acts import open_act
from lanes.envelope import Envelope, Kind, Refusal, open_envelope
from lanes.identity import INCIDENT_BYTES
from lanes.keys import Mode, SigningKey
from lanes.planfile import SignedPlan
from lanes.store import StoreError

from ..acting import Acting
from ..approvals import unpack_request
from ..deciding import Deciding
from ..falling import Falling
from ..hearing import Hearing
from ..inbound.reading import Told
from ..lane import Lane
from ..ordering import Ordering
from ..record.aside import Remains
from ..record.journal import Journal
from ..record.records import Record, Row
from ..refusals import Refusals
from ..replan import Replan, settle
from ..room import Room
from ..spread import Spread
from ..upkeep import Upkeep
from ..watchdog import Watchdog, conclude
from .panel import Apart, play
from .tape import Cut, Difference, Tape

_KEYS: Final = {mode: SigningKey.from_seed(bytes([mode]) * 32) for mode in Mode}  # they sign nothing: Tape.order


@dataclass(slots=True)
class Verdict:
    """What replay found. `rows` of the journal were gone through, `compared` of them computed anew; `why` "" : all the same."""

    rows: int = 0
    compared: int = 0
    inputs: int = 0  # files of the Panel's input that were replayed, and their samples
    samples: int = 0
    dropped: int = 0  # files that are not kept any more
    starts: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    bad_row: int = 0
    why: str = ""

    @property
    def same(self) -> bool:
        return not self.why


class _Then:
    """The clock of the tape."""

    now_ns = wall_us_ = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_us(self) -> int:
        return self.wall_us_

    def quality(self) -> ClockQuality:
        return ClockQuality(ClockSource.NONE)


class _Room(Room):
    """A room that signs nothing and hears of troubles only from the record: most of them have causes that are not in it."""

    tape: Tape

    def seal(self, kind: Kind, addressee: str, body: Any, *, mode: Mode = Mode.LIVE, not_after_us: int = 0) -> bytes:
        plan, now_us = self.plan, self.clock.wall_us()
        return self.tape.order(
            Envelope(kind, plan.controller, addressee, self.boot, 0, now_us, plan.version, 0, body, not_after_us)
        )

    def trouble(self, code: str, subject: str, on: bool, source: str = "") -> None:
        """See `Replay._passed`."""

    def maybe_snapshot(self) -> None:
        """Nothing is kept."""


class _Watchdog:
    """Gives the recorded verdicts in their turn."""

    def __init__(self, room: _Room, deciding: Deciding) -> None:
        self._room, self._deciding = room, deciding

    def tick(self, now_ns: int) -> None:
        """Also what it says of a change of plan."""
        del now_ns
        tape = self._room.tape
        behind = tape.beyond()
        if tape.cause is not None and behind is not None and behind.kind is Record.WATCHDOG:
            tape.mark()  # nothing before it had anything to say in this tick
        while (row := self._room.tape.next()) is not None and row.kind is Record.WATCHDOG:
            conclude(self._room, self._deciding, row.value)

    leave = replan = tick


class _Idle:
    """What has no part in decisions."""

    crowded = False

    def tick(self, _now_ns: int) -> None:
        """Nothing is due."""

    def replan(self) -> None:
        """Nothing goes out."""


class Replay:
    """One journal, under the plans that it ran under (SHA-256 → plan)."""

    def __init__(self, path: Path, plans: Mapping[bytes, SignedPlan], inputs: Path | None = None) -> None:
        """`inputs`: the folder of the recorded input, when it is not beside the journal."""
        self._plans = dict(plans)
        self._remains = Remains(path)
        self._clock = _Then()
        self.verdict = Verdict()
        self._tape = Tape(self._remains.id, self._rows(), self._passed)
        self._room: _Room | None = None
        self._state: dict[str, Any] | None = None
        self._folder = inputs or path.parent / "inputs"
        self._inputs: list[Row] = []
        self._verdicts: dict[str, list[tuple[int, tuple[int, int, int, int]]]] = {}

    def _rows(self) -> Any:
        for row in self._remains.rows():
            self.verdict.rows += 1
            if row.kind is Record.WATCHDOG:
                judged, cause, was, level, _, reason, _, own = row.value
                if own:
                    self._verdicts.setdefault(judged, []).append((row.seq, (cause, was, level, reason)))
            yield row

    def run(self) -> Verdict:
        """To the end, or to the first difference. StoreError when there is nothing to replay."""
        verdict = self.verdict
        if not self._remains.seq:
            raise StoreError("no journal can be read here; run: bucium journal verify", self._remains.path)
        try:
            for moment in self._tape.moments():
                self._clock.now_ns, self._clock.wall_us_ = moment[0].monotonic_ns, moment[0].wall_us
                try:
                    self._play(moment)
                except Cut:
                    continue
            self._whole()
            for row in self._inputs:
                self._input(row)
        except Difference as difference:
            verdict.bad_row, verdict.why = difference.seq, difference.why
        finally:
            self._remains.close()
        verdict.compared = self._tape.compared
        return verdict

    def _input(self, row: Row) -> None:
        """One file of the Panel's input: whole, the same verdicts, and each of them in the journal."""
        number, _, digest, _, _ = row.value
        found = sorted(self._folder.glob(f"{number:06}-*.rec"))
        if not found:
            self.verdict.dropped += 1
            return
        if hashlib.sha256(found[0].read_bytes()).digest() != digest:
            raise Difference(row.seq, f"{found[0].name} is not the file that was recorded")
        try:
            played = play(found[0], self._plans)
        except Apart as apart:
            raise Difference(row.seq, str(apart)) from None
        except KeyError as missing:
            plan = bytes(missing.args[0]).hex()[:16]
            raise Difference(row.seq, f"{found[0].name} needs the plan {plan}…; give it with --plan") from None
        self.verdict.inputs += 1
        self.verdict.samples += played.samples
        for own in played.own:
            rows = self._verdicts.get(own.judged, [])
            if not any(seq > own.seq and said == own.said for seq, said in rows):
                raise Difference(own.seq, f"the Panel's verdict on {own.judged} is not in the journal behind this row")

    def _whole(self) -> None:
        """The record must not have ended early for damage."""
        if self._remains.damage:
            raise Difference(self._remains.seq + 1, self._remains.damage)

    def _play(self, moment: list[Row]) -> None:
        first = self._tape.next()
        if first is None:
            return
        kind, value = first.kind, first.value
        self.verdict.kinds.update(row.kind.name.lower() for row in moment)
        if kind is Record.BORN:
            self._born(value)
            self._tape.append(kind, value)
        elif kind is Record.START:
            self._start(first)
        elif kind is Record.TICK:
            self._upkeep.step(slow=bool(value[0]))
        elif kind in (Record.EVENT, Record.STATE, Record.UNUSABLE):
            self._hear(first, value[0])
        elif kind is Record.WATCHDOG:
            self._watchdog.tick(0)
        elif kind is Record.HEARD:
            self._upkeep.heeding.conclude(Told.unpack(value[0]), value[2])
        elif kind is Record.PLAN:
            self._plan(first)
        elif kind is Record.APPROVAL:
            self._acting.approve(value[0])
        else:
            self._act(first, moment)
        if self._room is not None:
            self._room.outgoing.clear()

    def _born(self, value: list[Any]) -> None:
        """A journal that goes on from a damaged one begins with its state, which only a snapshot has."""
        if len(value) < 3:
            return
        snapshot = self._remains.first_snapshot()
        if snapshot is None:
            name = value[2][3]
            raise Difference(self._remains.seq, f"it goes on from {name}, and the snapshot of that state is gone")
        self._state = snapshot

    def _start(self, row: Row) -> None:
        """The program starts anew, on what the rows before left."""
        _, boot, digest, version, _ = row.value
        plan = self._plans.get(digest)
        if plan is None:
            raise Difference(
                row.seq, f"from here plan version {version} ran ({digest.hex()[:16]}…); give it with --plan"
            )
        state = self._room.pack() if self._room is not None else self._state
        room = _Room(
            signed=plan, journal=cast(Journal, self._tape), keys=_KEYS, clock=self._clock, entropy=self._entropy
        )
        room.tape = self._tape
        if state is not None:
            room.restore(state)
        room.boot = boot
        self._room = room
        self.verdict.starts += 1
        with room.clock.hold():
            self._build(room)

    def _build(self, room: _Room) -> None:
        """As app.py does."""
        former = room.ran
        room.begin()
        ordering = Ordering(room, lambda: 0.0)
        deciding = Deciding(room, ordering)
        falling = Falling(room, ordering, deciding)
        falling.resume()
        self._acting = Acting(room, ordering, deciding)
        self._hearing = Hearing(room, ordering, deciding)
        self._watchdog = _Watchdog(room, deciding)
        self._upkeep = Upkeep(
            room,
            ordering=ordering,
            deciding=deciding,
            falling=falling,
            acting=self._acting,
            watchdog=cast(Watchdog, self._watchdog),
            lane=cast(Lane, _Idle()),
            refusals=cast(Refusals, _Idle()),
        )
        self._replan = Replan(room, deciding, cast(Watchdog, self._watchdog), cast(Spread, _Idle()))
        if former in self._plans and former != room.signed.digest:
            room.fold.remember(self._plans[former])
            room.fold.remember(room.signed)
        if room.ran not in (b"", room.signed.digest):
            settle(room, deciding)

    def _plan(self, row: Row) -> None:
        """A plan that a person applied: from here on it runs, and what follows from that is computed."""
        _, once, until_us, outcome, digest, packed = row.value
        room = self._room
        assert room is not None
        room.used[once] = until_us
        self._tape.append(Record.PLAN, row.value)
        if outcome == "done":
            signed = planfile.parse(pieces.unpack(packed))
            if signed.digest != digest:
                raise Difference(row.seq, "the plan in it is not the one that it names")
            self._plans[digest] = signed
            self._replan(signed)

    def _entropy(self, count: int) -> bytes:
        """Chance is recorded: an incident of a request that names none."""
        row = self._tape.next()
        if count == INCIDENT_BYTES and row is not None and row.kind is Record.REQUEST:
            return unpack_request(row.value).core.incident
        return bytes(count)

    def _hear(self, row: Row, data: bytes) -> None:
        room = self._room
        assert room is not None
        opened = open_envelope(data, room.plan.roster)
        if isinstance(opened, Refusal):
            raise Difference(row.seq, f"the signature does not count under the plan of that time: {opened.why}")
        self._hearing.take(opened, opened.envelope.issuer)
        self._hearing.owed.clear()

    def _act(self, first: Row, moment: list[Row]) -> None:
        """An act stands behind what came of it."""
        room = self._room
        row = next((row for row in reversed(moment) if row.kind is Record.ACT), None)
        if room is None or row is None:
            if self._tape.cut:
                self._tape.forget()
                return
            raise Difference(first.seq, f"recorded: {first.kind.name}, and nothing that caused it")
        data: bytes = row.value[0]
        now_us = self._clock.wall_us_
        for once in [once for once, until_us in room.used.items() if until_us < now_us]:
            del room.used[once]
        try:
            signed = open_act(data, room.plan.roster, service=room.plan.controller, now_us=now_us)
            self._acting.act(data, signed.act.VERB)
        except (BuciumError, WireError) as error:
            if isinstance(error, Difference):
                raise
            # a refusal: its row has been compared

    def _passed(self, row: Row) -> None:
        """An aside: what it says is so."""
        room = self._room
        if row.kind is Record.INPUT:
            self._inputs.append(row)
        if room is None:
            return
        if row.kind is Record.TROUBLE:
            code, subject, source, on = row.value
            room.troubles.put(code, subject, source, on, row.wall_us)
        elif row.kind is Record.TOLD:
            room.untold.pop(row.value[0], None)
