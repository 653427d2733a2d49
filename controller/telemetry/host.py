"""The Sparkplug host: our STATE, every node's session, and the requests to be born again.

Order on connecting (Sparkplug B 3.0 §5.2): the will says offline with timestamp T, then the subscriptions, then STATE
online with the same T. T comes from disk and only rises, so that a clock that stepped back strands no node. When our own
link is lost all is STALE. A broker may let anyone speak as this host: an offline that is not ours is contradicted at once.
"""

import asyncio
import contextlib
import random
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from cython_ext import NS_PER_S, BuciumError, Clock, WireError, topics
from cython_ext.payload import DataType, Metric, Payload
from cython_ext.topics import Verb
from cython_ext.wire import encode
from lanes.link import Connector, Link, LinkDown, Message, Will
from lanes.sparkplug import HEARTBEAT_S, REBIRTH, HostState, StateTimeStore, decode_state, encode_state

from .gate import Gate
from .nodes import Node
from .presence import EventKind, Listener, NodeEvent, Presence, Resolve
from .rebirths import Key, Rebirths

REORDER_S: Final = 2.0  # how long a missing message may still come; links that reorder do so by far less
SUSPECT_S: Final = 2 * HEARTBEAT_S + 1.0  # two heartbeats and a second of the network's own
NODES_MAX: Final = 10_000  # more than twice the largest network we promise
YIELD_EVERY: Final = 32  # messages handled before others get the loop: some 5 ms
LAST_WORD_S: Final = 2.0  # how long saying that we end may take
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 10.0  # sirens wait for nobody, but the centre is blind until we are back


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """`id` is what nodes name as their primary host; one live host has it. Client id: the same."""

    id: str
    groups: tuple[str, ...]
    reorder_s: float = REORDER_S
    suspect_s: float = SUSPECT_S


class Host:
    """Follows all nodes of its groups. `listener` is told what is to be judged and what changed."""

    def __init__(
        self,
        identity: HostIdentity,
        *,
        listener: Listener,
        resolve: Resolve,
        connector: Connector,
        store: StateTimeStore,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        topics.require_id(identity.id, "host")
        for group in identity.groups:
            topics.require_id(group, "group")
        self.nodes: dict[Key, Node] = {}
        self.counts: Counter[str] = Counter()  # messages that belong to no node
        self.online_ms: int | None = None  # the T of our present STATE; None: not connected
        self.down_reason = "not connected yet"
        self._identity = identity
        self._listener = listener
        self._resolve = resolve
        self._connector = connector
        self._store = store
        self._clock = clock
        self._rng = rng
        self._rebirths = Rebirths(rng)
        self._heard: OrderedDict[Key, None] = OrderedDict()  # present nodes, the longest silent first
        self._gaps: set[Key] = set()
        self._gates: dict[Key, Gate] = {}
        self._flooding: set[Key] = set()
        self._commands: list[tuple[str, bytes]] = []
        self._reassert = False
        self._duplicate_ms: int | None = None
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()

    def replan(self, resolve: Resolve) -> None:
        """Other points, or in another order: what is born is bound to them anew."""
        self._resolve = resolve
        for node in self.nodes.values():
            node.replan(resolve)

    # -- for others ------------------------------------------------------------------------------------------------

    def rebirth(self, group: str, node: str) -> None:
        """Ask this node for its births, within the limits."""
        if self._rebirths.want((group, node), self._clock.monotonic_ns()):
            self._wake.set()

    def command(self, group: str, node: str, metric: Metric, device: str = "") -> None:
        """Send one NCMD, or DCMD with a device. Raises BuciumError for a node or device that is not there.

        A metric born with an alias is commanded by it, as the standard demands. Only what may be lost travels so:
        siren orders have their own lane.
        """
        known = self.nodes.get((group, node))
        if known is None or known.stale(device):
            raise BuciumError(f"{group}/{node}{'/' + device if device else ''} is not online; nothing was sent")
        verb = Verb.DCMD if device else Verb.NCMD
        self._send(topics.telemetry(group, verb, node, device), metric)

    def stop(self) -> None:
        """End on purpose: STATE says offline, then the link is closed."""
        self._stop.set()
        self._wake.set()

    async def run(self) -> None:
        """Connected as long as it can be, until `stop` or cancellation."""
        failures = 0
        while not self._stop.is_set():
            try:
                await self._one()
            except LinkDown as down:
                self.down_reason = str(down)
            finally:
                failures = failures + 1 if self.online_ms is None else 0
                self._lost()
            longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 6))
            await _pause(self._stop, self._rng.uniform(0, longest))

    # -- one connection --------------------------------------------------------------------------------------------

    async def _one(self) -> None:
        identity = self._identity
        topic = topics.state(identity.id)
        since_ms = await self._store.advance(self._wall_ms())
        will = Will(topic, encode_state(HostState(False, since_ms)), qos=1, retain=True)
        async with self._connector.connect(identity.id, will) as link:
            await link.subscribe((topic, 1), *((f"{topics.SPARKPLUG}/{group}/#", 1) for group in identity.groups))
            await link.publish(topic, encode_state(HostState(True, since_ms)), qos=1, retain=True)
            self.online_ms, self.down_reason = since_ms, ""
            reader = asyncio.create_task(self._read(link), name="host.read")
            reader.add_done_callback(lambda _: self._wake.set())
            try:
                await self._write(link, reader)
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
                await self._say_offline(link, topic)
        self.down_reason = "stopped"

    async def _say_offline(self, link: Link, topic: str) -> None:
        """However we end: closing the link takes the will back. On a dead link the broker says it for us."""
        until_ms = await self._store.advance(self._wall_ms())
        said = encode_state(HostState(False, until_ms))
        with contextlib.suppress(LinkDown, TimeoutError):
            async with asyncio.timeout(LAST_WORD_S):
                await link.publish(topic, said, qos=1, retain=True)

    async def _read(self, link: Link) -> None:
        count = 0
        async for message in link.messages():
            self._received(message)
            link.ack(message)
            count += 1
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # alarms have a connection of their own, but the same loop

    async def _write(self, link: Link, reader: "asyncio.Task[None]") -> None:
        """Until stopped: commands, rebirths, and what time brings. LinkDown when the connection is gone."""
        topic = topics.state(self._identity.id)
        while not self._stop.is_set():
            if reader.done():
                reader.result()
                raise LinkDown("connection ended")
            self._wake.clear()
            if self._reassert and self.online_ms is not None:
                self._reassert = False
                await link.publish(topic, encode_state(HostState(True, self.online_ms)), qos=1, retain=True)
            self._tick(self._clock.monotonic_ns())
            while self._commands:
                where, payload = self._commands.pop(0)
                await link.publish(where, payload, qos=0)
            if not self._reassert:
                await self._until_due()

    async def _until_due(self) -> None:
        due_ns = self._next_ns()
        if due_ns is None:
            await self._wake.wait()
        else:
            await _pause(self._wake, max(0.0, (due_ns - self._clock.monotonic_ns()) / NS_PER_S))

    # -- what arrives ----------------------------------------------------------------------------------------------

    def _received(self, message: Message) -> None:
        if message.topic == topics.state(self._identity.id):
            self._own_state(message)
            return
        try:
            topic = topics.parse_telemetry(message.topic)
        except WireError as error:
            self.counts[error.code] += 1
            return
        if topic.verb in (Verb.NCMD, Verb.DCMD):
            return  # ours, or another host's: not for us
        if message.retain:
            self.counts["retained"] += 1  # of another time: nothing of a node may be retained
            return
        key = (topic.group, topic.node)
        node = self.nodes.get(key) or self._meet(key)
        if node is None:
            self.counts["nodes"] += 1
            return
        now_ns = self._clock.monotonic_ns()
        if not self._may_enter(key, topic.verb):
            return
        node.receive(topic.verb, topic.device, message.payload, now_ns, self._wall_ms())
        if topic.verb is Verb.NBIRTH and node.presence is Presence.ONLINE:
            self._rebirths.born(key)
        self._watch(key, node)

    def _may_enter(self, key: Key, verb: Verb) -> bool:
        """Within what one node may send; said once when it is more, and when it has calmed down."""
        now_ns = self._clock.monotonic_ns()
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = Gate(now_ns)
        if not gate.enter(now_ns, birth=verb is Verb.NBIRTH):
            self.counts["flood"] += 1
            if key not in self._flooding:
                self._flooding.add(key)
                self._event(EventKind.FLOODING, *key)
            return False
        if key in self._flooding and gate.calm(now_ns):
            self._flooding.discard(key)
            self._event(EventKind.CALM, *key)
        return True

    def _meet(self, key: Key) -> Node | None:
        if len(self.nodes) >= NODES_MAX:
            unborn = next((k for k, n in self.nodes.items() if n.presence is Presence.UNBORN), None)
            if unborn is None:
                return None
            self._gates.pop(unborn, None)
            self._flooding.discard(unborn)
            del self.nodes[unborn]  # names that were never born make room
            self._rebirths.born(unborn)
        node = Node(
            *key,
            listener=self._listener,
            resolve=self._resolve,
            want_rebirth=lambda: self.rebirth(*key),
        )
        self.nodes[key] = node
        return node

    def _watch(self, key: Key, node: Node) -> None:
        """Keep the times by which this node must be heard, or its gap be filled. Wake only for an earlier one."""
        sooner = not self._heard
        if node.presence is Presence.ONLINE:
            self._heard[key] = None
            self._heard.move_to_end(key)
        else:
            self._heard.pop(key, None)
        waiting = node.gap_since_ns is not None
        if waiting != (key in self._gaps):
            (self._gaps.add if waiting else self._gaps.discard)(key)
            sooner = True
        if sooner:
            self._wake.set()

    def _own_state(self, message: Message) -> None:
        if message.retain:
            return  # what was kept from before; our own birth follows or has followed
        try:
            said = decode_state(message.payload)
        except WireError:
            said = HostState(False, -1)  # not ours either, and retained by now
        if not said.online:
            self._reassert = True
            self._wake.set()
        elif said.timestamp_ms not in (self.online_ms, self._duplicate_ms):
            # Not contradicted: two hosts that contradict each other would never end. A person must end one.
            self._duplicate_ms = said.timestamp_ms
            self._event(EventKind.HOST_DUPLICATE, reason=f"timestamp {said.timestamp_ms}")

    # -- time ------------------------------------------------------------------------------------------------------

    def _next_ns(self) -> int | None:
        dues = [self._rebirths.next_ns()]
        dues += [self._gap_due_ns(self.nodes[key]) for key in self._gaps]
        if self._heard:
            dues.append(self.nodes[next(iter(self._heard))].heard_ns + round(self._identity.suspect_s * NS_PER_S))
        return min((due for due in dues if due is not None), default=None)

    def _gap_due_ns(self, node: Node) -> int | None:
        if node.gap_since_ns is None:
            return None
        return node.gap_since_ns + round(self._identity.reorder_s * NS_PER_S)

    def _tick(self, now_ns: int) -> None:
        wall_ms = self._wall_ms()
        for key in list(self._gaps):
            due_ns = self._gap_due_ns(self.nodes[key])
            if due_ns is not None and due_ns <= now_ns:
                self.nodes[key].close_gap(now_ns, wall_ms)
                self._gaps.discard(key)
        while self._heard:
            key = next(iter(self._heard))
            if self.nodes[key].heard_ns + round(self._identity.suspect_s * NS_PER_S) > now_ns:
                break
            del self._heard[key]
            self.nodes[key].silent(now_ns, wall_ms)
        for key in [key for key in self._flooding if self._gates[key].calm(now_ns)]:
            self._flooding.discard(key)
            self._event(EventKind.CALM, *key)
        for group, node in self._rebirths.take(now_ns):
            metric = Metric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
            self._send(topics.telemetry(group, Verb.NCMD, node), metric)
            self._event(EventKind.REBIRTH, group, node)

    def _send(self, topic: str, metric: Metric) -> None:
        wall_ms = self._wall_ms()
        self._commands.append((topic, encode(Payload(wall_ms, (metric,)))))
        self._wake.set()

    def _lost(self) -> None:
        """Our link is gone: all is stale, and nothing that waited is sent later."""
        self.online_ms = None
        self._commands.clear()
        self._reassert = False
        self._rebirths.clear()
        self._heard.clear()
        self._gaps.clear()
        now_ns, wall_ms = self._clock.monotonic_ns(), self._wall_ms()
        for node in self.nodes.values():
            node.our_link_lost(now_ns, wall_ms)

    def _event(self, kind: EventKind, group: str = "", node: str = "", *, reason: str = "") -> None:
        self._listener.event(NodeEvent(kind, group, node, self._clock.monotonic_ns(), self._wall_ms(), reason=reason))

    def _wall_ms(self) -> int:
        return self._clock.wall_us() // 1000


async def _pause(event: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event."""
    with contextlib.suppress(TimeoutError):  # not wait_for: up to Python 3.11 it can swallow a cancellation
        async with asyncio.timeout(seconds):
            await event.wait()
