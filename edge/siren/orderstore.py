"""What a node must remember of orders, across reboots and against restored disks (design §2.4, reliability.md I2, F25).

    counter   the last counter of each signing key, line and siren. One that was never stored, or may be too low, is doubtful:
              the next order must quote our boot nonce, and so sets it right
    lease     the highest controller's lease that each key has signed
    stopped   the order epoch that the last stop of a siren (and mode) made
    hold      what a stop holds back, as the time that is left and, where the clock is trusted, its wall end
    used      approvals that have sounded a siren, until their not-after has passed
    passkey   the signature counter that each passkey last showed, and the order core that it approved
    active    what sounds now: found at start-up, it was cut short
    sounded   incidents that have sounded; spent: events that they rested on
    behind    the incident for which a siren began to sound on an event: what is stopped does not go on under another name
    opened    alarms that this node itself has opened, with their opening event; vetoed: incidents that a person vetoed

All of it stands in memory, where decisions read it; each change is queued and made durable by `commit`, one transaction.
A start commits before its relay moves. A stop acts first and commits after: silence needs no proof.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from cython_ext import NS_PER_S, Clock, Hazard, Level
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode
from lanes.orders import Action
from lanes.store import Runner, StoreError

from .activation import Activation
from .moment import Moment
from .orderdisk import Change, OrderDisk
from .orders import Accepted
from .standing import ALL, Counter, Hold, Line, Spent

KEPT_MAX: Final = 1024  # incidents and events that have sounded: years of alarms, 100 kB
VETOED_MAX: Final = 64
HELD_MAX: Final = 64  # incidents that one stop of all can hold: the newest
QUEUED_MAX: Final = 10_000  # changes that wait for a disk that fails; 1 MB
FLOOR_EVERY_US: Final = 600_000_000  # the time is persisted every 10 minutes (design §2.6)
USED_GRACE_US: Final = 60_000_000  # approvals are remembered this much longer than they are valid

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Opened:
    """An alarm that this node opened: the event that did, and the Level it is at now (NORMAL: since start unknown)."""

    key: EventKey
    level: Level = Level.NORMAL


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A siren that was sounding, or about to, when the node went down."""

    siren: str
    reference: bytes
    incident: bytes


class OrderStore:
    """Open from construction (blocking: at start-up). `forgetful` says why counters are in doubt, "" when they are not."""

    def __init__(
        self, path: Path, *, anchor: Path, clock: Clock, runner: Runner, entropy: Callable[[int], bytes]
    ) -> None:
        self._clock = clock
        self._runner = runner
        self._one_commit = asyncio.Lock()
        self._changes: list[Change] = []
        self.failed = ""  # why the last commit failed; "" when it did not
        self._disk = OrderDisk(path, anchor, entropy)
        self.forgetful = ""
        try:
            self._load()
        except (
            ValueError,
            KeyError,
            OverflowError,
            apsw.Error,
        ):  # whatever a changed bit has made of it: the node starts
            self._disk.renew()
            self._load()
        if self._disk.forgetful:
            self.doubt(self._disk.forgetful)

    def _load(self) -> None:
        rows, moment, meta = self._disk.rows, Moment.of(self._clock), self._disk.meta
        self._order_epoch: int = meta["order_epoch"]
        self._floor_us: int = meta["floor_us"]
        self._noted_us = self._floor_us
        self._floor_ns = moment.monotonic_ns
        counters = rows("counter", "typeof(issuer) = 'blob'")  # an earlier version counted by names
        self._counters = {(k, Line(n), s): Counter(v, bool(d)) for k, n, s, v, d in counters}
        self._leases: dict[bytes, int] = dict(rows("lease"))
        self._stopped: dict[tuple[str, Mode], int] = {(s, Mode(m)): e for s, m, e in rows("stopped")}
        self._used = {(s, k, d): until for s, k, d, until in rows("used")}
        self._passkeys: dict[bytes, tuple[int, bytes]] = {k: (c, d) for k, c, d in rows("passkey")}
        self._sounded = {(s, i, Mode(m)): Level(v) for s, i, m, v in rows("sounded")}
        spent = rows("spent")
        self._spent = {(s, EventKey(n, g, q)): Spent(Level(v), bool(r)) for s, n, g, q, v, r in spent}
        behind = rows("behind")
        self._behind: dict[tuple[str, EventKey], bytes] = {(s, EventKey(n, g, q)): i for s, n, g, q, i in behind}
        self._holds: dict[tuple[str, bytes, Mode], Hold] = {}
        for s, i, m, v, left_s, until_us, stopped_us in rows("hold"):
            dated = until_us and moment.trusted  # else how long we were away is not known
            rest_s = min(left_s, max(0.0, (until_us - moment.wall_us) / 1e6)) if dated else left_s
            self._holds[s, i, Mode(m)] = Hold(Level(v), moment.monotonic_ns + int(rest_s * NS_PER_S), stopped_us)
        self._active: dict[str, Activation] = {}
        self.interrupted = [Interrupted(s, r, i) for s, r, i, _mode, _level in rows("active")]
        opened = rows("opened")
        self.opened = {(z, Hazard(h)): Opened(EventKey(n, g, q)) for z, h, n, g, q in opened}
        self._vetoed = {i: Level(v) for i, v in rows("vetoed")}

    def doubt(self, why: str) -> None:
        """From now on no counter is sure, until its next order has quoted our nonce (also: somebody saw an old disk)."""
        self.forgetful = why
        self._counters = {key: Counter(counter.value, True) for key, counter in self._counters.items()}
        self._queue("UPDATE counter SET doubtful = 1")

    def close(self) -> None:
        self._disk.close()

    # What decisions read (contract: standing.View).

    def lease(self, kids: Iterable[bytes]) -> int:
        return max((self._leases.get(kid, 0) for kid in kids), default=0)

    @property
    def order_epoch(self) -> int:
        return self._order_epoch

    def counter(self, kid: bytes, line: Line, siren: str) -> Counter:
        return self._counters.get((kid, line, siren), Counter(0, True))

    def stopped(self, siren: str, mode: Mode) -> int:
        return self._stopped.get((siren, mode), 0)

    def used(self, siren: str, kid: bytes, digest: bytes) -> bool:
        return (siren, kid, digest) in self._used

    def asserted(self, kid: bytes) -> tuple[int, bytes] | None:
        return self._passkeys.get(kid)

    def hold(
        self, siren: str, incident: bytes, mode: Mode, now_ns: int, events: Iterable[EventKey] = ()
    ) -> Hold | None:
        for of in (Mode.LIVE, mode):
            hold = self._holds.get((siren, incident, of))
            if hold is not None and now_ns < hold.until_ns:
                return hold
        found = [self._hold_behind(siren, event, mode, now_ns) for event in events]
        held = [hold for hold in found if hold is not None]
        return max(held, key=lambda hold: hold.level) if found and len(held) == len(found) else None

    def _hold_behind(self, siren: str, event: EventKey, mode: Mode, now_ns: int) -> Hold | None:
        incident = self._behind.get((siren, event))
        return None if incident is None else self.hold(siren, incident, mode, now_ns)

    def hold_left_s(self, siren: str, now_ns: int) -> float:
        """The longest hold of this siren that still runs."""
        return max((h.until_ns - now_ns for (s, _, _), h in self._holds.items() if s == siren), default=0) / NS_PER_S

    def sounded(self, siren: str, incident: bytes, mode: Mode) -> Level | None:
        active = self._active.get(siren)
        if active is not None and (active.incident, active.mode) == (incident, mode):
            return active.level
        return self._sounded.get((siren, incident, mode))

    def spent(self, siren: str, event: EventKey) -> Spent | None:
        active = self._active.get(siren)
        if active is not None and event in active.events:
            return Spent(active.level, active.reflex)
        return self._spent.get((siren, event))

    def endangered(self, zones: Collection[str]) -> bool:
        return any(zone in zones for zone, _ in self.opened)

    def vetoed(self, incident: bytes) -> Level | None:
        """The Level up to which people have vetoed this incident."""
        return self._vetoed.get(incident)

    def floor_us(self, now_ns: int) -> int:
        return self._floor_us + (now_ns - self._floor_ns) // 1000 if self._floor_us else 0

    # Changes. Memory at once, the disk with the next commit.

    def heard(self, issued_us: int, now_ns: int) -> None:
        """A signed message of the controller said this time: it has passed. Kept in memory only; its clock may err."""
        if issued_us > self.floor_us(now_ns):
            self._floor_us, self._floor_ns = issued_us, now_ns

    def accept(self, accepted: Iterable[Accepted], moment: Moment) -> None:
        """Counters, the lease and used approvals of obeyed orders. Commit before acting."""
        for one in accepted:
            envelope, siren, kid = one.opened.envelope, one.siren.id, one.opened.signer.kid
            self._counters[kid, one.line, siren] = Counter(envelope.counter, False)
            row = (kid, int(one.line), siren, envelope.counter)
            self._queue("INSERT OR REPLACE INTO counter VALUES (?, ?, ?, ?, 0)", *row)
            if envelope.epoch > self.lease([kid]) and one.opened.order.action is not Action.STOP:
                self._leases[kid] = envelope.epoch
                self._queue("INSERT OR REPLACE INTO lease VALUES (?, ?)", kid, envelope.epoch)
            digest = one.opened.order.core.digest() if one.people else b""
            for yes in one.people:
                self.use(siren, yes.signer.kid, digest, yes.not_after_us)
                if yes.count:
                    self._passkeys[yes.signer.kid] = yes.count, digest
                    self._queue("INSERT OR REPLACE INTO passkey VALUES (?, ?, ?)", yes.signer.kid, yes.count, digest)
        if self.forgetful and not any(counter.doubtful for counter in self._counters.values()):
            self.forgetful = ""
        self._note_time(moment)

    def begin(self, activation: Activation) -> None:
        """This siren is about to sound. Commit before the relay moves (a reflex need not wait for that)."""
        self._active[activation.siren] = activation
        a = activation
        row = (a.siren, a.reference, a.incident, int(a.mode), int(a.level))
        self._queue("INSERT OR REPLACE INTO active VALUES (?, ?, ?, ?, ?)", *row)
        for event in a.events:
            _newest(self._behind, (a.siren, event), a.incident)
            self._queue("INSERT OR REPLACE INTO behind VALUES (?, ?, ?, ?, ?)", a.siren, *event.pack(), a.incident)

    def finish(self, activation: Activation, *, sounded: bool) -> None:
        """It is over. `sounded`: to its end, so that the same incident does not sound here again at this Level."""
        a = activation
        if self._active.get(a.siren) is a:
            del self._active[a.siren]
            self._queue("DELETE FROM active WHERE siren = ?", a.siren)
        if not sounded:
            return
        _newest(self._sounded, (a.siren, a.incident, a.mode), a.level)
        row = (a.siren, a.incident, int(a.mode), int(a.level))
        self._queue("INSERT OR REPLACE INTO sounded VALUES (?, ?, ?, ?)", *row)
        for event in a.events:
            _newest(self._spent, (a.siren, event), Spent(a.level, a.reflex))
            keys = (a.siren, *event.pack(), int(a.level), int(a.reflex))
            self._queue("INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?, ?)", *keys)

    def forget_interrupted(self) -> None:
        """They have been reported."""
        self.interrupted = []
        self._queue("DELETE FROM active")

    def stop(self, sirens: Iterable[str], incident: bytes, mode: Mode, moment: Moment, hold_s: float) -> None:
        """A new order epoch, and the holds. Before the sirens' activations are ended: what sounds is what is held."""
        self._order_epoch += 1
        self._meta("order_epoch", self._order_epoch)
        for siren in sirens:
            for each in Mode if mode is Mode.LIVE else (mode,):
                self._stopped[siren, each] = self._order_epoch
                row = (siren, int(each), self._order_epoch)
                self._queue("INSERT OR REPLACE INTO stopped VALUES (?, ?, ?)", *row)
            for held, level in self._to_hold(siren, incident, mode).items():
                until_ns = moment.monotonic_ns + int(hold_s * NS_PER_S)
                self._hold(siren, held, mode, Hold(level, until_ns, moment.wall_us), moment)

    def use(self, siren: str, kid: bytes, what: bytes, not_after_us: int) -> None:
        """This signer's approval (or, of no siren, act) has been used."""
        self._used[siren, kid, what] = not_after_us
        self._queue("INSERT OR REPLACE INTO used VALUES (?, ?, ?, ?)", siren, kid, what, not_after_us)

    def _to_hold(self, siren: str, incident: bytes, mode: Mode) -> dict[bytes, Level]:
        """The incidents that a stop holds, and the Level of each: the one it names, or all that this node knows."""
        known: dict[bytes, Level] = {}
        for (s, i, m), level in self._sounded.items():
            if s == siren and m is mode:
                known[i] = level
        if mode is Mode.LIVE:
            for (zone, hazard), alarm in self.opened.items():
                known[AlarmId(zone, hazard, alarm.key).incident] = alarm.level
        active = self._active.get(siren)
        if active is not None and (mode is Mode.LIVE or active.mode is mode):
            known[active.incident] = max(active.level, known.get(active.incident, Level.NORMAL))
        if incident != ALL:
            return {incident: known.get(incident, Level.NORMAL)}
        return dict(list(known.items())[-HELD_MAX:])

    def learn(self, siren: str, incident: bytes, mode: Mode, level: Level) -> None:
        """A hold whose Level was not known met its first order: it holds up to that order's Level."""
        moment = Moment.of(self._clock)
        hold = self.hold(siren, incident, mode, moment.monotonic_ns)
        if hold is not None and hold.level is Level.NORMAL:
            hold.level = level
            of = Mode.LIVE if self._holds.get((siren, incident, Mode.LIVE)) is hold else mode
            self._hold(siren, incident, of, hold, moment)

    def _hold(self, siren: str, incident: bytes, mode: Mode, hold: Hold, moment: Moment) -> None:
        self._holds[siren, incident, mode] = hold
        left_s = max(0, hold.until_ns - moment.monotonic_ns) / NS_PER_S
        until_us = moment.wall_us + int(left_s * 1e6) if moment.trusted else 0
        row = (siren, incident, int(mode), int(hold.level), left_s, until_us, hold.stopped_us)
        self._queue("INSERT OR REPLACE INTO hold VALUES (?, ?, ?, ?, ?, ?, ?)", *row)

    def open_alarm(self, zone: str, hazard: Hazard, key: EventKey) -> Opened:
        """This node's own alarm began with this event."""
        self.opened[zone, hazard] = opened = Opened(key)
        self._queue("INSERT OR REPLACE INTO opened VALUES (?, ?, ?, ?, ?)", zone, int(hazard), *key.pack())
        return opened

    def close_alarm(self, zone: str, hazard: Hazard) -> None:
        if self.opened.pop((zone, hazard), None) is not None:
            self._queue("DELETE FROM opened WHERE zone = ? AND hazard = ?", zone, int(hazard))

    def veto(self, incident: bytes, level: Level) -> None:
        """People want no automatic sound for this incident, up to this Level."""
        _newest(self._vetoed, incident, max(level, self._vetoed.get(incident, Level.NORMAL)))
        self._queue("INSERT OR REPLACE INTO vetoed VALUES (?, ?)", incident, int(self._vetoed[incident]))

    def _note_time(self, moment: Moment) -> None:
        if moment.trusted and moment.wall_us > self.floor_us(moment.monotonic_ns):
            self._floor_us, self._floor_ns = moment.wall_us, moment.monotonic_ns
            self._noted_us = moment.wall_us
            self._meta("floor_us", moment.wall_us)

    # The disk.

    def _meta(self, name: str, value: int) -> None:
        self._queue("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, value)

    def _queue(self, statement: str, *values: Any) -> None:
        self._changes.append((statement, values))

    async def commit(self) -> None:
        """Make all queued changes durable. StoreError when the disk fails; they stay queued, and are tried again."""
        async with self._one_commit:
            changes, self._changes = self._changes, []
            if not changes:
                return
            try:
                await self._runner(self._disk.write, changes)
            except (apsw.Error, OSError) as error:
                self._changes = (changes + self._changes)[-QUEUED_MAX:]
                self.failed = str(error)[:80] or type(error).__name__
                raise StoreError(f"cannot write: {error}", self._disk.path) from None
            self.failed = ""

    async def keep_anchor(self) -> None:
        """Bring the anchor up to the last commit. After the relay has moved: nothing waits for it."""
        try:
            await self._runner(self._disk.keep_anchor)
        except OSError as error:
            self.failed = f"anchor: {error.strerror}"

    async def tend(self) -> None:
        """Every minute: what holds have left, the time, and what need not be remembered any longer. StoreError."""
        moment = Moment.of(self._clock)
        for (siren, incident, mode), hold in list(self._holds.items()):
            if hold.until_ns <= moment.monotonic_ns:
                del self._holds[siren, incident, mode]
                row = (siren, incident, int(mode))
                self._queue("DELETE FROM hold WHERE siren = ? AND incident = ? AND mode = ?", *row)
            else:
                self._hold(siren, incident, mode, hold, moment)
        if moment.trusted:
            for key in [k for k, until in self._used.items() if until + USED_GRACE_US < moment.wall_us]:
                del self._used[key]
                self._queue("DELETE FROM used WHERE siren = ? AND kid = ? AND digest = ?", *key)
        for siren, incident, mode in _surplus(self._sounded, KEPT_MAX):
            row = (siren, incident, int(mode))
            self._queue("DELETE FROM sounded WHERE siren = ? AND incident = ? AND mode = ?", *row)
        for siren, event in _surplus(self._spent, KEPT_MAX):
            row = (siren, *event.pack())
            self._queue("DELETE FROM spent WHERE siren = ? AND node = ? AND ledger = ? AND seq = ?", *row)
        for siren, event in _surplus(self._behind, KEPT_MAX):
            row = (siren, *event.pack())
            self._queue("DELETE FROM behind WHERE siren = ? AND node = ? AND ledger = ? AND seq = ?", *row)
        for incident in _surplus(self._vetoed, VETOED_MAX):
            self._queue("DELETE FROM vetoed WHERE incident = ?", incident)
        if moment.wall_us - self._noted_us > FLOOR_EVERY_US:
            self._note_time(moment)
        await self.commit()


def _newest(table: dict[K, V], key: K, value: V) -> None:
    """Set it and make it the newest: what is kept only so many times goes from the oldest on."""
    table.pop(key, None)
    table[key] = value


def _surplus(table: dict[K, Any], most: int) -> list[K]:
    """Take the oldest out until `most` are left; what was taken."""
    gone = list(table)[: max(0, len(table) - most)]
    for key in gone:
        del table[key]
    return gone
