"""One edge node as its host sees it: what it was born with, whether it is there, and the order of what it says.

Theory (Sparkplug B 3.0 §5.5–5.8). A session begins with NBIRTH, which fixes the node's bdSeq and restarts its seq; each
later message but the death takes the next seq. A message that comes too early is held while the missing ones may still
arrive (`reorder`); if they do not, what was held is used and the node is asked to be born again, since values received
are worth more than order. A death counts only with the session's own bdSeq: an old will must not end a new session.
A node that says nothing for two heartbeats is SUSPECT, whatever the broker believes.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cython_ext import WireError
from cython_ext.payload import NUMBERS, UNIT, Metric, Payload, Value
from cython_ext.topics import Verb
from cython_ext.wire import decode, typed
from cython_ext.wire_data import sequence
from lanes.sparkplug import BDSEQ, REBIRTH, SEQ_COUNT

from .presence import BORN, TABLE, BornMetric, Cue, Data, Device, EventKind, Listener, NodeEvent, Presence, Resolve

HELD_MAX: Final = 32  # messages of one node kept while a missing one may come; a reordering link swaps a few
HELD_BYTES_MAX: Final = 256 << 10  # of one node, so that 1,000 hostile nodes cannot take more than 256 MiB
BEHIND: Final = 16  # so many seq numbers back is a message that came twice or late, not a gap of 240
DEVICES_MAX: Final = 256  # a node
METRICS_MAX: Final = 4096  # a node


@dataclass(frozen=True, slots=True)
class _Held:
    verb: Verb
    device: str
    payload: bytes
    received_ns: int
    wall_ms: int


class Node:
    """One edge node. `want_rebirth` is called whenever it should say everything again."""

    def __init__(
        self, group: str, name: str, *, listener: Listener, resolve: Resolve, want_rebirth: Callable[[], None]
    ) -> None:
        self.group = group
        self.name = name
        self.presence = Presence.UNBORN
        self.bdseq: int | None = None
        self.since_ms = 0  # of its last birth or death, the host's wall clock
        self.heard_ns = 0
        self.own = Device("")
        self.devices: dict[str, Device] = {}
        self.facts: dict[str, Value] = {}  # the node's own metrics by name: ledger, boot, clock, plan
        self.counts: Counter[str] = Counter()
        self.gap_since_ns: int | None = None
        self._listener = listener
        self._resolve = resolve
        self._want_rebirth = want_rebirth
        self._expected = 0
        self._behind = 0
        self._held: dict[int, _Held] = {}
        self._said: set[str] = set()  # reasons of refusal that were told in this session
        self._now_ns = 0
        self._wall_ms = 0

    def stale(self, device: str = "") -> bool:
        """Whether the metrics of the device (or the node) are not to be trusted as present."""
        if self.presence is not Presence.ONLINE:
            return True
        return bool(device) and not (device in self.devices and self.devices[device].online)

    def replan(self, resolve: Resolve) -> None:
        """Another plan: the metrics that were born feed the points that it says."""
        self._resolve = resolve
        for device in (self.own, *self.devices.values()):
            metrics, device.table = device.metrics, Device("").table
            device.metrics = tuple(replace(metric, point=self._point(device.name, metric)) for metric in metrics)
            for born in device.metrics:
                device.table.bind(born.alias, born.datatype, born.point, born.name)

    def _point(self, device: str, metric: BornMetric) -> int | None:
        return self._resolve(self.group, self.name, device, metric.name) if metric.datatype in NUMBERS else None

    # -- messages --------------------------------------------------------------------------------------------------

    def receive(self, verb: Verb, device: str, payload: bytes, now_ns: int, wall_ms: int) -> None:
        """A message of this node. Whatever is wrong with it is counted, told once, and harms nothing."""
        self._now_ns, self._wall_ms = now_ns, wall_ms
        try:
            if verb is Verb.NBIRTH:
                self._node_begins(payload)
            elif verb is Verb.NDEATH:
                self._node_death(payload)
            elif self.presence not in BORN:
                self._refuse("before_birth")
            else:
                self._in_order(sequence(payload), _Held(verb, device, payload, now_ns, wall_ms))
        except WireError as error:
            self._refuse(error.code)

    def _in_order(self, seq: int, message: _Held) -> None:
        if seq < 0:
            raise WireError("seq", "no seq")
        self._heard()
        if seq == self._expected:
            self._advance(seq)
            self._use(message)
            while (following := self._held.pop(self._expected, None)) is not None:
                self._advance(self._expected)
                self._use(following)
            if not self._held:
                self.gap_since_ns = None
        elif seq in self._held:
            self.counts["duplicate"] += 1
        elif (self._expected - seq) % SEQ_COUNT <= BEHIND and self._behind < BEHIND:
            self._behind += 1
            self.counts["duplicate"] += 1
        else:
            self._held[seq] = message
            if self.gap_since_ns is None:
                self.gap_since_ns = self._now_ns
            if len(self._held) > HELD_MAX or sum(len(m.payload) for m in self._held.values()) > HELD_BYTES_MAX:
                self.close_gap(self._now_ns, self._wall_ms)

    def _advance(self, seq: int) -> None:
        self._expected = (seq + 1) % SEQ_COUNT
        self._behind = 0

    def close_gap(self, now_ns: int, wall_ms: int) -> None:
        """The missing messages did not come: use what was held, and ask for a rebirth."""
        self._now_ns, self._wall_ms = now_ns, wall_ms
        held, self._held = self._held, {}
        self.gap_since_ns = None
        self.counts["gap"] += 1
        self._tell(EventKind.GAP, reason=f"expected seq {self._expected}")
        for seq, message in held.items():  # in the order they came
            self._advance(seq)
            self._use(message)
        self._want_rebirth()

    def _use(self, message: _Held) -> None:
        """A message whose turn has come."""
        try:
            if message.verb is Verb.DBIRTH:
                self._device_birth(message)
            elif message.verb is Verb.DDEATH:
                self._device_death(message.device, decode(message.payload))
            elif message.verb is Verb.DDATA:
                self._device_data(message)
            else:
                self._node_data(message)
        except WireError as error:
            self._refuse(error.code)

    # -- births and deaths -----------------------------------------------------------------------------------------

    def _node_begins(self, payload: bytes) -> None:
        try:
            self._node_birth(payload)
        except WireError:
            if self._cue(Cue.BIRTH_REFUSED):  # the old session is over, and the new one cannot be read
                self._end(self._wall_ms)
                self._tell(EventKind.NODE_OFFLINE, reason="birth refused")
            raise

    def _node_birth(self, payload: bytes) -> None:
        said = decode(payload)
        bdseq = next((m for m in said.metrics if m.name == BDSEQ), None)
        if bdseq is None or isinstance(bdseq.value, bool) or not isinstance(bdseq.value, int):
            raise WireError("bdseq", "no bdSeq in the birth")
        if said.seq is None:
            raise WireError("seq", "no seq")
        born = self._born(Device(""), said, {})
        self.own, self.devices, self.bdseq = born, {}, bdseq.value
        self.facts = {m.name: m.value for m in said.metrics if m.name not in (None, BDSEQ, REBIRTH)}
        self._held.clear()
        self._said.clear()
        self.gap_since_ns = None
        self._advance(said.seq)
        self.since_ms, self.heard_ns = self._wall_ms, self._now_ns
        self._cue(Cue.BIRTH)
        self._tell(EventKind.NODE_BORN)
        self._give(born, Verb.NBIRTH, payload, self._now_ns)

    def _device_birth(self, message: _Held) -> None:
        if message.device not in self.devices and len(self.devices) >= DEVICES_MAX:
            raise WireError("devices", f"more than {DEVICES_MAX}")
        before = self.devices.get(message.device)
        if before is not None:
            before.online = False  # whatever follows, what it said before no longer holds
        said = decode(message.payload)
        others = {name: device for name, device in self.devices.items() if name != message.device}
        device = self._born(Device(message.device), said, others)
        self.devices[message.device] = device
        self._tell(EventKind.DEVICE_BORN, message.device)
        self._give(device, Verb.DBIRTH, message.payload, message.received_ns)

    def _born(self, device: Device, said: Payload, others: Mapping[str, Device]) -> Device:
        """`device` with the metrics of its birth, or WireError: a birth is taken whole or not at all."""
        if said.timestamp is None:
            raise WireError("timestamp", "a birth without timestamp")
        taken = {m.alias for o in others.values() for m in o.metrics} | {
            m.alias for m in self.own.metrics if device.name
        }
        if sum(len(o.metrics) for o in others.values()) + len(said.metrics) > METRICS_MAX:
            raise WireError("metrics", f"more than {METRICS_MAX} at one node")
        names: set[str] = set()
        metrics = []
        for metric in said.metrics:
            born = self._metric(device.name, metric)
            if born.name in names or (born.alias is not None and born.alias in taken):
                raise WireError("repeated", f"{born.name} or its alias is born twice")
            names.add(born.name)
            device.table.bind(born.alias, born.datatype, born.point, born.name)
            metrics.append(born)
        device.metrics = tuple(metrics)
        device.online, device.since_ms = True, self._wall_ms
        return device

    def _metric(self, device: str, metric: Metric) -> BornMetric:
        if metric.name is None:
            raise WireError("name", "a metric is born without name")
        if metric.datatype is None:
            raise WireError("datatype", "a metric is born without datatype")
        unit = metric.property(UNIT)
        point = self._resolve(self.group, self.name, device, metric.name)
        if point is not None and metric.datatype not in NUMBERS:
            raise WireError("datatype", f"{metric.name} feeds a point and is no number")
        return BornMetric(metric.name, metric.alias, metric.datatype, unit if isinstance(unit, str) else "", point)

    def _node_death(self, payload: bytes) -> None:
        metrics = decode(payload).metrics
        bdseq = next((m.value for m in metrics if m.name == BDSEQ), None)
        if bdseq is None or bdseq != self.bdseq or isinstance(bdseq, bool):
            self.counts["stale_death"] += 1  # an older session's will
        elif self._cue(Cue.DEATH):
            self._end(self._wall_ms)
            self._tell(EventKind.NODE_OFFLINE)

    def _end(self, wall_ms: int) -> None:
        self.since_ms = wall_ms
        self._held.clear()
        self.gap_since_ns = None
        for device in self.devices.values():
            device.online, device.since_ms = False, wall_ms

    def _device_death(self, name: str, said: Payload) -> None:
        device = self.devices.get(name)
        if device is None:
            self._refuse("before_birth")
            return
        when_ms = self._wall_ms if said.timestamp is None else said.timestamp
        if device.online:
            device.online, device.since_ms = False, when_ms
            self._tell(EventKind.DEVICE_OFFLINE, name, wall_ms=when_ms)

    # -- data ------------------------------------------------------------------------------------------------------

    def _device_data(self, message: _Held) -> None:
        device = self.devices.get(message.device)
        if device is None or not device.online:
            self._refuse("before_birth")
            return
        self._give(device, Verb.DDATA, message.payload, message.received_ns)

    def _node_data(self, message: _Held) -> None:
        by_alias = {m.alias: m for m in self.own.metrics if m.alias is not None}
        by_name = {m.name: m for m in self.own.metrics}
        for metric in decode(message.payload).metrics:
            born = by_alias.get(metric.alias) if metric.alias is not None else by_name.get(metric.name or "")
            if born is None:
                raise WireError("alias", "a metric is not in the birth")
            value = typed(metric, born.datatype)
            if born.name in self.facts and not metric.is_historical:
                self.facts[born.name] = value
        self._give(self.own, Verb.NDATA, message.payload, message.received_ns)

    def _give(self, device: Device, verb: Verb, payload: bytes, received_ns: int) -> None:
        of = device.name, verb, payload, device.table, received_ns, device.metrics
        self._listener.data(Data(self.group, self.name, *of))

    # -- time and our own link -------------------------------------------------------------------------------------

    def silent(self, now_ns: int, wall_ms: int) -> None:
        """Nothing was heard for too long."""
        self._now_ns, self._wall_ms = now_ns, wall_ms
        if self._cue(Cue.SILENCE):
            self._tell(EventKind.NODE_SUSPECT)

    def our_link_lost(self, now_ns: int, wall_ms: int) -> None:
        """We cannot hear: nothing that was known is known to be so still."""
        self._now_ns, self._wall_ms = now_ns, wall_ms
        if self._cue(Cue.OUR_LINK_LOST):
            self._end(wall_ms)
            self._tell(EventKind.NODE_STALE)

    def _heard(self) -> None:
        self.heard_ns = self._now_ns
        if self._cue(Cue.HEARD):
            self._tell(EventKind.NODE_HEARD)

    def _refuse(self, code: str) -> None:
        """Count it, tell of it once a session, and ask for births where they can mend it."""
        self.counts[code] += 1
        if code not in self._said:
            self._said.add(code)
            self._tell(EventKind.REFUSED, reason=code)
        self._want_rebirth()

    def _tell(self, kind: EventKind, device: str = "", *, reason: str = "", wall_ms: int | None = None) -> None:
        at_ms = self._wall_ms if wall_ms is None else wall_ms
        self._listener.event(NodeEvent(kind, self.group, self.name, self._now_ns, at_ms, device, reason))

    def _cue(self, cue: Cue) -> bool:
        following = TABLE.get((self.presence, cue))
        if following is None:
            return False
        self.presence = following
        return True
