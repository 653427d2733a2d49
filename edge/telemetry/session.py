"""The edge node's Sparkplug session, without sockets: what happened goes in, the packets to send come out.

Theory (Sparkplug B 3.0 §5; ids in `sparkplug_acceptance.tsv`). A session is one MQTT connection. It begins with births and
ends with the death its will promised; between them DATA flows, each message but the death taking the next `seq`. A seq is
taken when its packet is handed to the socket (`pop`), never before, so no refused packet leaves a hole. If a primary host
is configured nothing is published before that host is known to be online, and the session ends when it goes offline; only
the host's own timestamps decide which of its STATEs is the newest. A rebirth stops DATA at once and says everything again,
at most once a second. Births say the newest readings, so readings that wait when births are due are not sent again.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cython_ext import NS_PER_S, BuciumError, Status, WireError, topics
from cython_ext.payload import DataType, Metric, Payload
from cython_ext.topics import Verb
from cython_ext.wire import decode, encode
from lanes.link import Will
from lanes.sparkplug import BDSEQ, HEARTBEAT_S, REBIRTH, SEQ_COUNT, NodeMetric, decode_state

from .births import BirthTable, Late, Moment, Reading
from .states import TABLE, Cue, State

REBIRTH_GAP_NS: Final = NS_PER_S  # births at most once a second, however often they are asked for
HOLD_MAX_NS: Final = 5 * NS_PER_S  # births give way to an alarm for so long: on a slow line they take most of a second
HOLD_LOOK_NS: Final = NS_PER_S // 10
PENDING_MAX: Final = 512  # packets that wait for the socket; beyond it the oldest readings are shed: this lane may lose
READINGS_MAX: Final = 500  # a packet: about 25 KiB, well within a payload's 64
HISTORICAL_MAX: Final = 64  # packets of late readings that wait: the store they come from keeps the rest


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the session is. `primary_host` empty: births wait for nobody."""

    group: str
    node: str
    primary_host: str = ""

    def topic(self, verb: Verb, device: str = "") -> str:
        return topics.telemetry(self.group, verb, self.node, device)


@dataclass(frozen=True, slots=True)
class Packet:
    """What is handed to the socket, in this order and now. Never retained."""

    topic: str
    payload: bytes
    qos: int
    done: Callable[[bool], None] | None = None  # told whether it was handed over


@dataclass(frozen=True, slots=True)
class _Item:
    """A packet before it has its seq and timestamps."""

    verb: Verb
    device: str = ""
    readings: tuple[Reading, ...] = ()
    late: tuple[Late, ...] = ()  # store and forward
    done: Callable[[bool], None] | None = None


class Session:
    """One node's session after session. `jitter_ns` gives a random delay of births that many nodes make together."""

    def __init__(
        self, identity: Identity, table: BirthTable, *, jitter_ns: Callable[[], int], datatype_in_data: bool = False
    ) -> None:
        self.identity = identity
        self.table = table
        self.counts: Counter[str] = Counter()  # what was refused, ignored or shed, by word
        self.state = State.DOWN
        self.bdseq = 0
        self.parted: Callable[[], None] = _nobody  # told when a born session ends or begins anew
        self.unsent: Callable[[list[Reading]], None] = _ignore  # told of readings that were taken and could not be sent
        self._born_devices: set[str] = (
            set()
        )  # those whose birth of this session has been handed over, and no death since
        self._visitors: set[str] = set()  # devices that are not there, born so that their past can be told
        self._jitter_ns = jitter_ns
        self._datatypes = datatype_in_data
        self._live_devices: set[str] = set()
        self._pending: deque[_Item] = deque()
        self._historical: deque[_Item] = deque()
        self._seq = 0
        self._beats = 0
        self._birth_due_ns = self._birth_latest_ns = 0
        self._born_ns = -REBIRTH_GAP_NS
        self._beat_due_ns = 0
        self._host_ms = -1  # the newest STATE timestamp of the primary host; kept over sessions

    # -- connecting ------------------------------------------------------------------------------------------------

    def will(self, bdseq: int, wall_ms: int) -> Will:
        """The death that the broker keeps for us; begins the next session."""
        self.bdseq = bdseq
        return Will(self.identity.topic(Verb.NDEATH), self._death(wall_ms), qos=1, retain=False)

    def filters(self) -> tuple[tuple[str, int], ...]:
        """What to subscribe to before anything is published."""
        node = self.identity
        wanted = [(node.topic(Verb.NCMD), 1), (node.topic(Verb.DCMD, "+"), 1)]
        if node.primary_host:
            wanted.append((topics.state(node.primary_host), 1))
        return tuple(wanted)

    def linked(self, now_ns: int) -> None:
        """Connected and subscribed."""
        self._birth_due_ns, self._birth_latest_ns = now_ns, now_ns + HOLD_MAX_NS
        self._cue(Cue.LINKED if self.identity.primary_host else Cue.LINKED_FREE)

    def lost(self) -> None:
        """The connection is gone, whoever ended it."""
        self._cue(Cue.LOST)
        self._forget()

    def stop(self) -> None:
        """End the session on purpose: the death is published, then the connection closed."""
        self._end(Cue.STOP)

    @property
    def ended(self) -> bool:
        """All is said: close the connection."""
        return self.state is State.ENDED and not self._pending

    def replan(self, table: BirthTable, now_ns: int) -> None:
        """Other points, or in another order or unit: what waits is void, and everything is said anew."""
        self.table = table
        if self.state is not State.ENDED:  # what waits there is the death
            self._forget()
        if self._cue(Cue.REBIRTH):
            self._due(max(now_ns, self._born_ns + REBIRTH_GAP_NS))

    # -- what arrives ----------------------------------------------------------------------------------------------

    def received(self, topic: str, payload: bytes, retain: bool, now_ns: int) -> None:
        """A message of the broker. Whatever is wrong with it is counted, and changes nothing."""
        try:
            if self.identity.primary_host and topic == topics.state(self.identity.primary_host):
                self._host_said(payload, retain, now_ns)
            elif topic == self.identity.topic(Verb.NCMD):
                self._commanded(payload, retain, now_ns)
            elif topic.startswith(self.identity.topic(Verb.DCMD) + "/"):
                decode(payload)
                self.counts["refused"] += 1  # nothing of ours is written through this lane
            else:
                self.counts["topic"] += 1
        except WireError as error:
            self.counts[f"malformed.{error.code}"] += 1

    def _host_said(self, payload: bytes, retain: bool, now_ns: int) -> None:
        said = decode_state(payload)
        if said.timestamp_ms < self._host_ms:
            self.counts["state_old"] += 1
            return
        newer = said.timestamp_ms > self._host_ms
        self._host_ms = said.timestamp_ms
        if not said.online:
            self._end(Cue.HOST_OFFLINE)
        elif (newer or self.state is State.WAITING) and self._cue(Cue.HOST_ONLINE):
            # A retained STATE answers our own connecting; a live one is heard by all nodes at once.
            self._due(now_ns + (0 if retain else self._jitter_ns()))

    def _commanded(self, payload: bytes, retain: bool, now_ns: int) -> None:
        if retain:
            self.counts["retained"] += 1  # a command kept by the broker is of another time
            return
        for metric in decode(payload).metrics:
            if metric.name != REBIRTH or metric.is_historical or metric.datatype not in (None, DataType.BOOLEAN):
                self.counts["refused"] += 1
            elif metric.value is True:
                self.counts["rebirth"] += 1
                if self._cue(Cue.REBIRTH):
                    self._due(max(now_ns, self._born_ns + REBIRTH_GAP_NS))
            elif metric.value is not False:
                self.counts["refused"] += 1

    # -- what the node measures ------------------------------------------------------------------------------------

    def readings(self, readings: list[Reading]) -> bool:
        """New samples: kept for births, and sent when the node and their devices are born. False: no session to send them."""
        self.table.note(readings)
        if self.state is not State.LIVE:
            return False
        by_device: dict[str, list[Reading]] = {}
        for reading in readings:
            by_device.setdefault(self.table.points[reading.point].device, []).append(reading)
        for device, members in by_device.items():
            if device in self._live_devices:
                for at in range(0, len(members), READINGS_MAX):
                    self._push(_Item(Verb.DDATA, device, tuple(members[at : at + READINGS_MAX])))
            elif told := [reading for reading in members if not reading.status & Status.MISSING]:
                self.unsent(told)  # a device that is not there has no values: its death says so
        return True

    def offer_late(self, late: list[Late], done: Callable[[bool], None]) -> bool:
        """Readings kept while the link was away; all of one device. False: not now.

        A device that is not there is born for as long as its past is told: its values are null until `leave`.
        """
        device = self.table.points[late[0].reading.point].device
        if len(late) > READINGS_MAX:
            raise BuciumError(f"{len(late)} late readings at once; hand over at most {READINGS_MAX}")
        if any(self.table.points[each.reading.point].device != device for each in late):
            raise BuciumError("late readings of several devices; hand over one device's at a time")
        if self.state is not State.LIVE or len(self._historical) >= HISTORICAL_MAX:
            return False
        if device not in self._live_devices and device not in self._visitors:
            self._visitors.add(device)
            self._push(_Item(Verb.DBIRTH, device))
        self._historical.append(_Item(Verb.DDATA, device, late=tuple(late), done=done))
        return True

    def leave(self) -> None:
        """No more late readings of devices that are not there."""
        for device in sorted(self._visitors):
            if not any(item.device == device for item in self._historical):
                self._visitors.discard(device)
                self._push(_Item(Verb.DDEATH, device))

    def device_online(self, device: str) -> None:
        """A device answers: it is born now, or with the node."""
        if device not in self._live_devices and device in self.table.devices:
            self._live_devices.add(device)
            self._visitors.discard(device)
            self._device(Verb.DBIRTH, device)

    def device_lost(self, device: str) -> None:
        """A device is silent."""
        if device in self._live_devices:
            self._live_devices.discard(device)
            self._device(Verb.DDEATH, device)

    def _device(self, verb: Verb, device: str) -> None:
        if self.state is not State.LIVE:
            return
        waiting = [item for item in self._pending if item.device == device]
        for item in waiting:  # its birth or death says more than what waits
            self._pending.remove(item)
            self.unsent(list(item.readings))
        if verb is Verb.DDEATH:
            self._forget_late(device)
            if device not in self._born_devices:
                return  # its birth was never sent: the host knows nothing of it
        self._push(_Item(verb, device))

    # -- time and packets ------------------------------------------------------------------------------------------

    def due_ns(self) -> int | None:
        """When `tick` is next needed; None: not before something happens."""
        if self.state is State.DUE:
            return self._birth_due_ns
        return self._beat_due_ns if self.state is State.LIVE else None

    def tick(self, now_ns: int, *, hold: bool = False) -> None:
        """Let time do what is due: births, heartbeats. `hold`: something more urgent is about to take the line."""
        if self.state is State.DUE and hold and now_ns < self._birth_latest_ns:
            self._birth_due_ns = max(self._birth_due_ns, now_ns + HOLD_LOOK_NS)
        elif self.state is State.DUE and now_ns >= self._birth_due_ns:
            self._cue(Cue.BIRTH_TIME)
            self._forget()
            self._born_devices.clear()
            self._born_ns = now_ns
            self._beat_due_ns = now_ns + round(HEARTBEAT_S * NS_PER_S)
            self._push(_Item(Verb.NBIRTH))
            for device in self.table.devices:
                if device in self._live_devices:
                    self._push(_Item(Verb.DBIRTH, device))
        elif self.state is State.LIVE and now_ns >= self._beat_due_ns:
            self._beat_due_ns = now_ns + round(HEARTBEAT_S * NS_PER_S)
            self._beats += 1
            self.table.tell(NodeMetric.HEARTBEAT, self._beats)
            self._push(_Item(Verb.NDATA))

    def pop(self, moment: Moment) -> Packet | None:
        """The next packet, its seq taken: hand it to the socket before anything else. Live before late."""
        if self._pending:
            item = self._pending.popleft()
        elif self._historical and self.state is State.LIVE:
            item = self._historical.popleft()
        else:
            return None
        if item.verb is Verb.DBIRTH:
            self._born_devices.add(item.device)
        elif item.verb is Verb.DDEATH:
            self._born_devices.discard(item.device)
        topic = self.identity.topic(item.verb, item.device)
        if item.verb is Verb.NDEATH:
            return Packet(topic, self._death(moment.wall_ms), 1)
        seq = 0 if item.verb is Verb.NBIRTH else self._seq
        payload = Payload(moment.wall_ms, self._metrics(item, moment), seq)
        data = item.verb in (Verb.NDATA, Verb.DDATA)
        packet = Packet(topic, encode(payload, datatypes=self._datatypes or not data), 0, item.done)
        self._seq = (seq + 1) % SEQ_COUNT
        return packet

    def _metrics(self, item: _Item, moment: Moment) -> tuple[Metric, ...]:
        match item.verb:
            case Verb.NBIRTH:
                return self.table.node_birth(self.bdseq, moment)
            case Verb.DBIRTH:
                return self.table.device_birth(item.device, moment)
            case Verb.NDATA:
                return self.table.node_data(moment)
            case Verb.DDATA:
                return self.table.historical(item.late) if item.late else self.table.data(item.readings, moment)
            case _:
                return ()

    def _death(self, wall_ms: int) -> bytes:
        metric = Metric(name=BDSEQ, timestamp=wall_ms, datatype=DataType.INT64, value=self.bdseq)
        return encode(Payload(wall_ms, (metric,)))

    def _push(self, item: _Item) -> None:
        self._pending.append(item)
        if len(self._pending) > PENDING_MAX:
            oldest = next((i for i in self._pending if i.verb in (Verb.DDATA, Verb.NDATA)), None)
            if oldest is not None:
                self._pending.remove(oldest)
                self.counts["shed"] += 1
                self.unsent(list(oldest.readings))

    def _due(self, at_ns: int) -> None:
        self._birth_due_ns, self._birth_latest_ns = at_ns, at_ns + HOLD_MAX_NS
        self._forget()  # no DATA before the births, which say the newest of it

    def _end(self, cue: Cue) -> None:
        if self._cue(cue):
            self._forget()
            self._pending.append(_Item(Verb.NDEATH))

    def _forget(self) -> None:
        """Drop what waits for the socket; late readings stay in their store and are offered again."""
        self._pending.clear()
        self._visitors.clear()
        self._forget_late()

    def _forget_late(self, device: str = "") -> None:
        for item in [item for item in self._historical if not device or item.device == device]:
            self._historical.remove(item)
            if item.done:
                item.done(False)

    def _cue(self, cue: Cue) -> bool:
        """Step the table; whether the state changed."""
        following = TABLE.get((self.state, cue))
        if following is None:
            return False
        was, self.state = self.state, following
        if was is State.LIVE:
            self.parted()
        return True


def _nobody() -> None: ...


def _ignore(_readings: list[Reading]) -> None: ...
