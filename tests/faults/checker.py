"""The history checker of a world that has ended: compares five accounts of the same hour, and believes none of them.

    device truth   the registers that we set, and what the relays did
    wire           every event, ack and order that passed the line of its program
    ledgers        each node's files, read with plain SQL
    journals       the controller's files, read with plain SQL, the chain computed anew
    dispatch       the receiver's posts, and the files in its folder

Findings begin with the invariant that they break (reliability.md §9).
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import cbor2

from tests.simulation.reading import RAISED, RESTATED, TRANSITION, Happening, Key, happening, ledgers

from . import site
from .records import Record, records
from .seen import NS, SAMPLE_NS, raise_of
from .site import CENTRE, NODES
from .world import World

ROW_EVENT, ROW_UNUSABLE, ROW_ALARM, ROW_KEPT = 10, 11, 20, 23
LATE_MAX_S: Final = 30.0  # EN 50136: at most; on average 10 s
INCIDENT: Final = re.compile(r"-(?:upper|lower)-flood-([0-9a-f]{16})")
NODE_MIB_MAX: Final = 64


@dataclass
class Verdict:
    """What is left of a world."""

    findings: list[str] = field(default_factory=list)
    events: int = 0
    lost: int = 0
    invented: int = 0
    holes: int = 0  # events that only their ledger has, since pages of the journal were destroyed, and it says so
    duplicates: int = 0  # of posts to the dispatch receiver: allowed, and counted

    def find(self, what: str, *, lost: int = 0, invented: int = 0) -> None:
        self.findings.append(what)
        self.lost += lost
        self.invented += invented


def autopsy(world: World) -> None:
    """The controller is dead: what it has acked stands in its journal now, and not only once its nodes have sent it again."""
    if CENTRE in world.spoilt:
        return
    there = set[Key]()
    for record in records(world.site.data(CENTRE), world.site.folder / "spare"):
        for line in record.lines:
            if line.kind in (ROW_EVENT, ROW_UNUSABLE) and (message := world.seen.keys.open(bytes(line.value[0]))):
                there.add(happening(message).key)
    for key in sorted(world.seen.acked_keys - there, key=lambda key: (key.node, key.seq)):
        world.seen.acked_keys.discard(key)
        world.seen.missing.append(
            f"I1 {key.node} seq {key.seq} was acked before it was durable: the dead journal has it not"
        )


def check(world: World) -> Verdict:
    """Everything that can be said of a world that has ended. Its disks are still mounted."""
    verdict = Verdict()
    seen = world.seen
    for finding in seen.findings:
        verdict.find(finding, invented=1)
    for finding in seen.missing:
        verdict.find(finding, lost=1)
    kept = {event.key: event for node in NODES for event in ledgers(world.site.data(node), seen.keys)}
    verdict.events = len(kept.keys() | seen.told.keys())
    found = _records(world, verdict)
    heard = _heard(world, found, verdict)
    _ledgers(world, kept, verdict)
    holes = any(record.broken and record.says_damaged for record in found)
    _journals(world, kept, heard, verdict, holes=holes)
    _dispatch(world, found, heard, verdict)
    for node in NODES:
        _water(world, node, kept, verdict)
        mib = world.programs[node].peak_kib / 1024
        if mib > NODE_MIB_MAX:
            verdict.find(f"I6 {node} held {mib:.0f} MiB, at most {NODE_MIB_MAX}")
    for finding in seen.monitor.findings:
        verdict.find(f"I2 {finding}", invented=1)
    return verdict


def _records(world: World, verdict: Verdict) -> list[Record]:
    """Every journal of the controller that can be read; the present one whole, and one set aside as far as it goes."""
    found = records(world.site.data(CENTRE), world.site.folder / "spare")
    if not found or found[-1].name != "journal.db":
        verdict.find("I8 there is no journal that can be read")
    elif found[-1].broken and not (CENTRE in world.spoilt and found[-1].says_damaged):
        verdict.find(f"I8 journal.db: {found[-1].broken}")
    if len(found) > 1 and CENTRE not in world.spoilt:
        verdict.find("I8 a journal was set aside, and nobody had harmed it")
    return found


def _heard(world: World, found: list[Record], verdict: Verdict) -> dict[Key, Happening]:
    """The journals' events: each once in its journal, each a node's own."""
    heard: dict[Key, Happening] = {}
    for record in found:
        mine = Counter[Key]()
        for line in record.lines:
            if line.kind not in (ROW_EVENT, ROW_UNUSABLE):
                continue
            message = world.seen.keys.open(bytes(line.value[0]))
            if message is None:
                verdict.find(f"I2 journal row {line.seq} holds an event that nobody signed", invented=1)
                continue
            event = happening(message)
            mine[event.key] += 1
            if mine[event.key] == 2:
                verdict.find(f"I1 duplicate: {event.key.node} seq {event.key.seq} stands twice in one journal")
            told = world.seen.told.get(event.key)
            if told is None:
                verdict.find(
                    f"I1 {event.key.node} seq {event.key.seq} is in the journal and was never sent", invented=1
                )
            elif told.event.digest != event.digest:
                verdict.find(f"I1 {event.key.node} seq {event.key.seq}: wire and journal differ", invented=1)
            heard[event.key] = event
    return heard


def _ledgers(world: World, kept: dict[Key, Happening], verdict: Verdict) -> None:
    """Whatever was sent was durable before, in a file that is still there; unless its disk was failing."""
    files = {key.ledger for key in kept}
    for key, told in world.seen.told.items():
        if key in kept:
            if kept[key].digest != told.event.digest:
                verdict.find(f"I1 {key.node} seq {key.seq}: ledger and wire differ", invented=1)
        elif key.node not in world.spoilt:
            known = "its ledger stands, and has not got it" if key.ledger in files else "its ledger is gone"
            verdict.find(f"I1 {key.node} seq {key.seq} was sent before it was durable: {known}", lost=1)


def _journals(
    world: World, kept: dict[Key, Happening], heard: dict[Key, Happening], verdict: Verdict, *, holes: bool
) -> None:
    """Every event that a ledger holds, that was sent, or that was acked is in a journal: under its key or, when its first commit
    failed and it was written into the next ledger, under another. `holes`: pages of the journal were destroyed behind its back,
    and it says so; then what was acked must at least stand in its ledger still, unless that was destroyed as well.
    """
    known = {(event.key.node, event.monotonic_ns, repr(event.data)) for event in heard.values()}
    events = {key: told.event for key, told in world.seen.told.items()} | kept
    for key, event in events.items():
        if key in heard or (key.node, event.monotonic_ns, repr(event.data)) in known:
            continue
        acked = any(ack.covers(key) for ack in world.seen.acked[key.node])
        if holes and acked and (key in kept or key.node in world.spoilt):  # its ledger may have been destroyed, too
            verdict.holes += 1
            continue
        word = "acked, and is in no journal" if acked else "in no journal"
        verdict.find(f"I1 lost: {key.node} seq {key.seq} ({event.data}) is {word}", lost=1)


def _dispatch(world: World, found: list[Record], heard: dict[Key, Happening], verdict: Verdict) -> None:
    """Every raise is evidence of an alarm, every alarm was told, and nothing else was."""
    evidence, alarms = set[Key](), set[str]()
    for record in found:
        for line in record.lines:
            if line.kind in (ROW_ALARM, ROW_KEPT):
                alarm = cbor2.loads(line.value[-1])
                evidence |= {Key(key[0], bytes(key[1]), key[2]) for key, _seen in alarm[7]}
                alarms.add(_mark(alarm[0]))
    for key, event in heard.items():
        if raise_of(event) and key not in evidence:
            verdict.find(f"I1 {key.node} seq {key.seq} is in the journal and in no alarm", lost=1)
    posts = Counter(post.headers.get("webhook-id", "") for post in world.receiver.taken)
    verdict.duplicates = sum(count - 1 for count in posts.values())
    files = [path.name for path in world.site.told.glob("*.xml")]
    for place, names in (("the dispatch centre", [*posts]), ("the folder", files)):
        told = {incident[1] for name in names if (incident := INCIDENT.search(name))}
        for mark in alarms - told:
            verdict.find(f"I1 alarm {mark} was never told to {place}", lost=1)
        for mark in told - alarms:
            verdict.find(f"I1 {place} was told of alarm {mark}, which no journal knows", invented=1)


def _mark(alarm: str) -> str:
    """An alarm as CAP identifiers carry it."""

    return hashlib.sha256(alarm.encode()).hexdigest()[:16]


def _water(world: World, node: str, kept: dict[Key, Happening], verdict: Verdict) -> None:
    """Every raise rests on water that stood so high not long before; every Level goes down only by an event that says so."""
    events = {key: told.event for key, told in world.seen.told.items()} | kept
    turns = sorted(
        {(e.monotonic_ns, *e.data[1:4]) for key, e in events.items() if key.node == node and e.kind == TRANSITION}
    )
    level, since_ns = 0, 0
    for at_ns, cause, was, now in turns:
        first_ns = at_ns - SAMPLE_NS if cause == RAISED else since_ns
        says = (cause == RAISED and now > was) or (cause == RESTATED and now > 0)
        if says and world.seen.highest(node, first_ns, at_ns) < site.RAISE[now]:
            when = f"{(at_ns - world.seen.water[node][0][0]) / NS:.1f} s"
            verdict.find(f"I1 invented: {node} says Level {now} at {when}, the water was lower", invented=1)
        if was < level and node not in world.spoilt:
            verdict.find(f"I1 forgotten: {node} stood at Level {level}, and then it never had", lost=1)
        if now == 0:
            since_ns = at_ns - SAMPLE_NS
        level = now
    if level:
        verdict.find(f"I1 {node}: the water is low, its point stands at {level} for ever")
