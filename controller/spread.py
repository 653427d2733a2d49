"""The plan that runs, carried to every node that runs an older one, a piece at a time (design §2.5; docs/wire.md).

The nodes set the pace: the next piece goes when the node has asked for it, so one is on its way to each, and a few nodes are
served at once. What a slow link carries beside it is at most one piece late. A node that says nothing gives up its place, and
later goes on where it was: it says itself how much it has. Which plan a node runs, its own signed reports say; so what was begun
needs no record, and a controller that starts again simply looks.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cython_ext import NS_PER_S, WireError
from lanes import pieces, planfile
from lanes.envelope import Kind
from lanes.pieces import PIECE_BYTES, Packed, Want

from .registry import Node
from .room import Room

ACTIVE_MAX: Final = 16  # nodes served at once: with one piece on its way to each, 12 kB in the broker
LOOK_NS: Final = NS_PER_S
RESEND_NS: Final = 8 * NS_PER_S  # then twice as long, up to 32 s; a piece and its answer take 1 s at 9.6 kbit/s
TRIES_MAX: Final = 4  # without an answer; then the place is another node's
GAP_NS: Final = NS_PER_S // 50  # between two pieces to one node: a quick link must not look like a flood
REST_NS: Final = 60 * NS_PER_S
REFUSED_NS: Final = 600 * NS_PER_S  # what a node has refused is offered again: its files may be mended
DISK_NS: Final = 60 * NS_PER_S  # a disk may be sooner
HEARD_NS: Final = 90 * NS_PER_S  # nobody sends to a node that is not there
TROUBLE: Final = "plan-too-long"


@dataclass(slots=True)
class _Errand:
    """A node that is being served."""

    have: int
    due_ns: int
    tries: int = 0
    sent_ns: int = 0


class Spread:
    """Which piece goes to whom, and when. `jitter` gives numbers in [0, 1); `news` is set when `due` may have something."""

    def __init__(self, room: Room, jitter: Callable[[], float]) -> None:
        self._room = room
        self._jitter = jitter
        self.news = asyncio.Event()
        self.refused: dict[
            str, tuple[str, bytes, int]
        ] = {}  # node → why, in which boot, until when it is not offered again
        self._looked_ns = -LOOK_NS
        self.replan()

    def replan(self) -> None:
        """Another plan runs here: whoever runs an older one is to have it."""
        self._active: dict[str, _Errand] = {}
        self._have: dict[str, int] = {}  # nodes that were served before, and how much they had
        self._rest_ns: dict[str, int] = {}
        self.refused.clear()
        self._packed: Packed | None = None
        signed = self._room.signed
        with contextlib.suppress(WireError):  # too long for the lane: it has to come as a file
            self._packed = pieces.pack(signed.digest, planfile.file_of(signed))
        self._room.trouble(TROUBLE, "plan", self._packed is None)
        self.news.set()

    def reconnected(self) -> None:
        """What was on its way is lost, or not: the nodes say what they have."""
        self._active.clear()
        self._looked_ns = -LOOK_NS
        self.news.set()

    def progress(self, node: Node) -> dict[str, Any]:
        """How the plan's way to this node stands, for people."""
        refused, errand = self.refused.get(node.id), self._active.get(node.id)
        return {
            "current": node.plan == self._room.signed.digest,
            "version": node.plan_version,
            "refused": refused[0] if refused else "",
            "sent": errand.have / len(self._packed.data) if errand and self._packed else None,
        }

    # What nodes say.

    def want(self, node: Node, want: Want) -> None:
        """A node's answer to a piece."""
        now_ns = self._room.clock.monotonic_ns()
        if self._packed is None or want.packed != self._packed.digest:
            return
        if want.why:
            wait_ns = DISK_NS if want.why == "disk" else REFUSED_NS
            self.refused[node.id] = (want.why, node.boot, now_ns + wait_ns)
            self._active.pop(node.id, None)
            self._have.pop(node.id, None)
            return
        self._have[node.id] = want.have
        self._rest_ns.pop(node.id, None)
        errand = self._active.get(node.id)
        if errand is not None:
            whole = want.have >= len(self._packed.data)
            errand.have, errand.tries = want.have, 0
            errand.due_ns = (
                now_ns + RESEND_NS if whole else max(now_ns, errand.sent_ns + GAP_NS)
            )  # whole: it is examined
            self.news.set()

    # What goes out.

    def due(self, now_ns: int) -> list[tuple[str, bytes]]:
        """Signed pieces to send now, each with its node."""
        if self._packed is None:
            return []
        if now_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = now_ns
            self._look(now_ns)
        found = []
        for name, errand in list(self._active.items()):
            if errand.due_ns > now_ns:
                continue
            if errand.tries == TRIES_MAX:
                del self._active[name]
                self._rest_ns[name] = now_ns + round(REST_NS * (1 + self._jitter()))
                continue
            first = min(errand.have, (len(self._packed.data) - 1) // PIECE_BYTES * PIECE_BYTES)
            errand.sent_ns, errand.due_ns = now_ns, now_ns + (RESEND_NS << min(errand.tries, 2))
            errand.tries += 1
            found.append((name, self._room.seal(Kind.CHUNK, name, self._packed.piece(first).pack())))
        return found

    def rest_s(self, now_ns: int) -> float:
        """How long `due` has nothing to give, if there is no news."""
        next_ns = min((errand.due_ns for errand in self._active.values()), default=now_ns + LOOK_NS)
        return max(0, min(next_ns, self._looked_ns + LOOK_NS) - now_ns) / NS_PER_S

    def _look(self, now_ns: int) -> None:
        """Who is to be served."""
        nodes = self._room.fold.registry.nodes
        for name in [name for name in self._active if name not in nodes or not self._needs(nodes[name], now_ns)]:
            del self._active[name]
        if len(self._active) >= ACTIVE_MAX:
            return
        ours = self._room.signed.digest
        others = [node for node in nodes.values() if node.plan != ours]  # of a large fleet hardly one
        waiting = [node for node in others if node.id not in self._active and self._needs(node, now_ns)]
        ready = [node for node in waiting if self._rest_ns.get(node.id, 0) <= now_ns]
        ready.sort(
            key=lambda node: (self._rest_ns.get(node.id, 0), node.id)
        )  # who has rested longest comes after the new
        for node in ready[: ACTIVE_MAX - len(self._active)]:
            self._active[node.id] = _Errand(self._have.get(node.id, 0), now_ns)

    def _needs(self, node: Node, now_ns: int) -> bool:
        """Whether this node is there, and runs an older plan that it would leave for ours."""
        signed = self._room.signed
        if node.plan == signed.digest or not 0 < node.plan_version < signed.plan.version:
            return False
        if node.heard_ns is None or now_ns - node.heard_ns > HEARD_NS:
            return False
        refused = self.refused.get(node.id)
        if refused is not None and (refused[1] != node.boot or refused[2] <= now_ns):
            del self.refused[node.id]
            refused = None
        return refused is None
