"""The history checker: compares what the world did with what each part wrote down, and believes none of them.

    device truth   the water at each gauge, and when its node could see it
    ledgers        each node's files, read with our own SQL
    the wire       each event that the broker handed on
    journal        the controller's file, read with our own SQL, its chain computed anew
    dispatch       the files in the receiver's folder

Findings begin with the invariant that they break (reliability.md §9).
"""

import hashlib
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import cbor2

from controller.replay.engine import Replay
from cython_ext import BuciumError

from . import site
from .reading import EVENT, RAISED, RESTATED, TRANSITION, Happening, Key, Record, happening
from .silence import Silences
from .truth import NS

if TYPE_CHECKING:
    from .world import World

REPLAYED: Final = 4  # of the seeds that draw faults, each fourth journal is replayed: it costs a tenth of the seed
SEE_NS: Final = 20 * NS  # a node that can see has said so within: sampling, three lost polls, a commit
SLOW_SEE_NS: Final = (
    45 * NS
)  # the same where each call of the disk takes up to 6 s, one after another: an event is stamped
# when the Panel's snapshot is kept, just before its own commit
BACK_NS: Final = 25 * NS  # what a raise may rest on: a sample, read late
LATE_SINGLE_S: Final = 30.0  # after the last outage on its way (issue 4)
LATE_MAX_S: Final = 60.0  # two faults at once (reliability.md F05), and here up to a dozen
ROW_EVENT, ROW_UNUSABLE, ROW_ALARM, ROW_KEPT, ROW_SNAPSHOT = 10, 11, 20, 23, 61


@dataclass
class Verdict:
    """What is left of a seed."""

    findings: list[str] = field(default_factory=list)
    events: int = 0
    raises: int = 0
    lost: int = 0
    invented: int = 0
    duplicates: int = 0
    late_s: list[float] = field(default_factory=list)

    def find(self, what: str) -> None:
        self.findings.append(what)


def check(world: "World") -> Verdict:
    """Everything that can be said of a world that has ended."""
    verdict = Verdict()
    verdict.findings += [f"bug {bug}" for bug in world.bugs]
    if not world.quiet_ns:
        verdict.find(f"liveness: {'; '.join(world.unsettled_at_end)}")
    world.collect_all()
    events = {node: _events(world, node) for node in site.NODES}
    verdict.events = len(world.kept)
    for node in site.NODES:
        _Water(world, node, events[node], verdict).check()
    _Journal(world, verdict).check()
    _replay(world, verdict)
    world.witness.finish(world.end_ns)
    world.witness.reflexes(events, lambda node, at_ns: _was_high(world, node, at_ns))
    verdict.findings += world.witness.findings + world.findings
    verdict.findings += Silences(world, events, world.journal()).check()
    return verdict


def _replay(world: "World", verdict: Verdict) -> None:
    """I9: whatever happened, the controller's record comes again as it was."""
    path = world.machines[site.CENTRE].base / "data" / "journal.db"
    if not path.exists() or (world.drawn and world.seed % REPLAYED):
        return
    try:
        found = Replay(path, {site.plan().digest: site.plan()}).run()
    except (BuciumError, AssertionError) as error:  # a bug crashes in the replay, too
        verdict.find(f"I9 {error}")
        return
    if not found.same:
        verdict.find(f"I9 row {found.bad_row}: {found.why}")


def _was_high(world: "World", node: str, at_ns: int) -> bool:
    """Whether a node whose disk had failed may have seen danger that only its memory knew."""
    highest = world.wires[node].water.highest(at_ns - BACK_NS, at_ns)
    return world.disks[node].failed and highest >= site.RAISE[site.REFLEX_LEVEL]


def _events(world: "World", node: str) -> list[tuple[int, Happening]]:
    """A node's events from its ledgers and from the wire (a ledger of last resort stood in memory only), in the world's time."""
    told = (world.keys.open(data) for key, data in world.witness.told.items() if key[0] == node)
    found = {one.key: one for one in map(happening, filter(None, told))}
    found |= {key: one for key, one in world.kept.items() if key.node == node}
    clock = world.machines[node].clock
    stamped = ((clock.world_ns(one.monotonic_ns), one) for one in found.values())
    return sorted(stamped, key=lambda pair: (pair[0], pair[1].key.seq))


@dataclass
class _Water:
    """A node's events against its water."""

    world: "World"
    node: str
    events: list[tuple[int, Happening]]
    verdict: Verdict

    def __post_init__(self) -> None:
        found = [(at_ns, *one.data[1:4]) for at_ns, one in self.events if one.kind == TRANSITION]
        self.turns = list(dict.fromkeys(found))  # one whose commit failed stands in the next ledger again
        self.at_ns = [turn[0] for turn in self.turns]
        self.see_ns = SLOW_SEE_NS if "slow" in self.world.drawn else SEE_NS

    def check(self) -> None:
        self._invented()
        self._forgotten()
        self._missed()
        # Of two ledgers at one instant (a node that goes on after SIGSTOP) nobody can say which spoke last.
        last = [turn[3] for turn in self.turns if turn[0] == self.turns[-1][0]]
        if last and min(last) != 0 and self.world.quiet_ns:
            self.verdict.find(f"I1 {self.node}: the water is low, its point stands at {self.turns[-1][3]} for ever")

    def _invented(self) -> None:
        """Every raise rests on water that stood so high, not long before."""
        water, world = self.world.wires[self.node].water, self.world
        since_ns = 0
        for at_ns, cause, was, level in self.turns:
            if cause == RAISED and level > was:
                self.verdict.raises += 1
                first_ns = at_ns - BACK_NS - world.outages.within(self.node, at_ns - 120 * NS, at_ns)
                if water.highest(first_ns, at_ns) < site.RAISE[level]:
                    self._invent(at_ns, level, "raised")
            elif cause == RESTATED and water.highest(since_ns, at_ns) < site.RAISE[max(level, 1)]:
                self._invent(at_ns, level, "restated")
            if level == 0:
                since_ns = at_ns - BACK_NS

    def _forgotten(self) -> None:
        """A Level goes down only by an event that says so, whatever crashed meanwhile."""
        level = 0
        for at_ns, _, was, now in self.turns:
            if was < level and not self.world.disks[self.node].failed:  # a ledger in memory may have known more
                self.verdict.lost += 1
                self.verdict.find(
                    f"I1 forgotten: {self.node} stood at Level {level}, and at {at_ns / NS:.1f} s it never had"
                )
            level = now

    def _invent(self, at_ns: int, level: int, how: str) -> None:
        self.verdict.invented += 1
        self.verdict.find(f"I1 invented: {self.node} {how} Level {level} at {at_ns / NS:.1f} s, the water was lower")

    def _missed(self) -> None:
        """Water that stood high while the node could see it has been said."""
        world = self.world
        for level in site.RAISE:
            for begin_ns, end_ns in world.wires[self.node].water.spans(level, world.end_ns):
                for first_ns, last_ns in world.outages.clear(self.node, begin_ns, end_ns):
                    if last_ns - first_ns < self.see_ns:
                        continue
                    if self._level_at(first_ns + self.see_ns) < level:
                        self.verdict.lost += 1
                        self.verdict.find(
                            f"I1 missed: {self.node} saw Level {level} from {first_ns / NS:.1f} s to {last_ns / NS:.1f} s "
                            f"and stood at {self._level_at(first_ns + self.see_ns)}"
                        )

    def _level_at(self, at_ns: int) -> int:
        place = bisect_right(self.at_ns, at_ns)
        return self.turns[place - 1][3] if place else 0


@dataclass
class _Journal:
    """The ledgers and the wire against the journal, and the journal against dispatch."""

    world: "World"
    verdict: Verdict

    def check(self) -> None:
        record = self.world.journal()
        if record is None:
            self.verdict.find("I8 there is no journal that can be read")
            return
        if record.broken:
            self.verdict.find(f"I8 {record.broken}")
        heard = self._heard(record)
        self._lost(heard)
        self._alarms(record)

    def _heard(self, record: Record) -> dict[Key, Happening]:
        """The journal's events: each once, each a node's own, each in time."""
        world, heard = self.world, dict[Key, Happening]()
        for line in record.lines:
            if line.kind not in (ROW_EVENT, ROW_UNUSABLE):
                continue
            message = world.keys.open(bytes(line.value[0]))
            if message is None or message.kind != EVENT:
                self.verdict.invented += 1
                self.verdict.find(f"I2 journal row {line.seq} holds an event that nobody signed")
                continue
            one = happening(message)
            if one.key in heard:
                self.verdict.duplicates += 1
                self.verdict.find(f"I1 duplicate: {one.key.node} seq {one.key.seq} stands twice in the journal")
                continue
            mine = world.kept.get(one.key)
            if mine is not None and mine.digest != one.digest:
                self.verdict.invented += 1
                self.verdict.find(f"I1 {one.key.node} seq {one.key.seq}: ledger and journal differ")
            heard[one.key] = one
            self._late(one, world.machines[site.CENTRE].clock.world_ns(line.monotonic_ns))
        return heard

    def _late(self, one: Happening, at_ns: int) -> None:
        world = self.world
        began_ns = world.machines[one.key.node].clock.world_ns(one.monotonic_ns)
        free_ns = max(began_ns, *(world.outages.last_end(name, at_ns) for name in (one.key.node, site.CENTRE)))
        late_s = (at_ns - free_ns) / NS
        self.verdict.late_s.append(late_s)
        if late_s > (LATE_SINGLE_S if world.single else LATE_MAX_S):
            self.verdict.find(f"I4 late: {one.key.node} seq {one.key.seq} came {late_s:.1f} s after the way was free")

    def _lost(self, heard: dict[Key, Happening]) -> None:
        """Every event of a ledger, and every one that was told, is in the journal: under its key, or (when its commit failed, and
        it was written into the next ledger) under another. Only a ledger in memory, without a disk, may lose what it had.
        """
        world = self.world
        known = {(one.key.node, one.monotonic_ns, repr(one.data)) for one in heard.values()}
        durable = {key.ledger for key in world.kept}
        told = {one.key: one for node in site.NODES for _, one in _events(world, node)}
        for key, one in told.items():
            if key in heard or key in world.spoilt or (key.node, one.monotonic_ns, repr(one.data)) in known:
                continue
            if world.disks[key.node].failed and (key.ledger not in durable or self._at_a_failure(one)):
                continue
            if world.quiet_ns or key not in world.kept:
                self.verdict.lost += 1
                self.verdict.find(f"I1 lost: {key.node} seq {key.seq} ({one.data}) is not in the journal")

    def _at_a_failure(self, one: Happening) -> bool:
        """Whether the event came while its node's disk was failing: its row may stand in a file whose sync failed, and was
        promised to nobody.
        """
        at_ns = self.world.machines[one.key.node].clock.world_ns(one.monotonic_ns)
        told = (one.key.node, one.key.ledger, one.key.seq) in self.world.witness.told
        return not told and self.world.outages.within(one.key.node, at_ns - NS, at_ns + NS) > 0

    def _alarms(self, record: Record) -> None:
        """Every raise is evidence of an alarm; every alarm was dispatched; nothing else was."""
        evidence, incidents = set[tuple[bytes, int]](), dict[str, int]()
        for line in record.lines:
            if line.kind not in (ROW_ALARM, ROW_KEPT):
                continue
            alarm = cbor2.loads(line.value[-1])
            evidence |= {(bytes(key[1]), key[2]) for key, _seen in alarm[7]}
            if line.kind == ROW_ALARM:
                incidents[alarm[0]] = line.seq
        for line in record.lines:
            if line.kind == ROW_EVENT:
                self._raise(line, evidence)
        self._dispatch(incidents)

    def _raise(self, line: Any, evidence: set[tuple[bytes, int]]) -> None:
        message = self.world.keys.open(bytes(line.value[0]))
        if message is None:
            return
        one = happening(message)
        rises = one.kind == TRANSITION and one.data[1] == RAISED and one.data[3] > one.data[2]
        if rises and (one.key.ledger, one.key.seq) not in evidence:
            self.verdict.lost += 1
            self.verdict.find(f"I1 {one.key.node} seq {one.key.seq} is in the journal and in no alarm")

    def _dispatch(self, alarms: dict[str, int]) -> None:
        names = [path.name for path in self.world.told.glob("*.xml")] if self.world.told.exists() else []
        told = Counter(name.split(f"-{site.ZONE}-flood-")[1][:16] for name in names)
        for alarm in alarms:
            mark = incident(alarm)
            if not told.pop(mark, 0) and self.world.quiet_ns:
                self.verdict.lost += 1
                self.verdict.find(f"I1 alarm {alarm} was never dispatched")
        for mark in told:
            self.verdict.invented += 1
            self.verdict.find(f"I1 invented: dispatch told of incident {mark}, which the journal does not know")


def incident(alarm: str) -> str:
    """An alarm's incident as CAP identifiers carry it, from its id as the journal writes it."""
    return hashlib.sha256(alarm.encode()).hexdigest()[:16]
