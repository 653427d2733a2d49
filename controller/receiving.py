"""Messages of other centres, as they are posted or fetched: verified, read, given to heeding.py; or refused, counted and told.

What a stranger sends costs a bounded share of one thread: each address has its allowance of attempts, each source its allowance
of messages, and verification goes one at a time outside the loop. A message is answered for once its row is durable.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lanes.plan import Plan
from lanes.store import Runner

from .dispatch.capcheck import Fault
from .heeding import Heeding
from .inbound import reading, trust
from .inbound.area import Ground
from .inbound.reading import Told
from .inbound.settings import SourceSettings
from .inbound.trust import Pin
from .inbound.warnings import Verdict
from .refusals import Refusals
from .room import Room

log = logging.getLogger("bucium.cap")

RATE_PER_S: Final = 20.0  # messages of one source, and attempts of one address: a tenth of a core at 5 ms each
BURST: Final = 400.0  # a storm of theirs; the rest is answered 429 and comes again
ADDRESSES_MAX: Final = 1024  # whose attempts are counted; the longest silent is forgotten
ENDING_US: Final = 30 * 86_400_000_000  # a pinned certificate that ends so soon is told
OURS: Final = frozenset({"unsigned", "signature", "wrapping", "algorithm", "size", "xml", "doctype", "namespace"})
STATUS: Final = {"unsigned": 403, "signature": 403, "wrapping": 403, "algorithm": 403, "sender": 403, "size": 413}


@dataclass(slots=True)
class _Allowance:
    """A bucket that fills by RATE_PER_S."""

    left: float = BURST
    at_ns: int = 0

    def take(self, now_ns: int) -> bool:
        self.left = min(BURST, self.left + (now_ns - self.at_ns) / 1e9 * RATE_PER_S) if self.at_ns else self.left
        self.at_ns = now_ns
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(frozen=True, slots=True)
class Source:
    """A centre that we listen to, with its pinned certificates."""

    settings: SourceSettings
    pins: tuple[Pin, ...]


def sources_of(settings: Sequence[SourceSettings]) -> dict[str, Source]:
    """By name. ConfigError when a pinned certificate cannot be read."""
    return {each.name: Source(each, trust.pinned(each.certificates)) for each in settings}


class Receiving:
    """For all sources. `counts`: what became of messages, by source and word."""

    def __init__(
        self, room: Room, heeding: Heeding, refusals: Refusals, sources: dict[str, Source], *, runner: Runner
    ) -> None:
        self._room = room
        self._heeding = heeding
        self._refusals = refusals
        self._sources = sources
        self._runner = runner
        self._grounds: tuple[Plan, tuple[Ground, ...]] | None = None
        self._from: OrderedDict[str, _Allowance] = OrderedDict()
        self._of = {name: _Allowance() for name in sources}
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in sources}

    async def post(self, name: str, data: bytes, peer: str) -> tuple[int, str]:
        """A message at the door: (HTTP status, a short word)."""
        source = self._sources.get(name)
        if source is None or not source.settings.post:
            return 404, "not here"
        if not self._allowed(peer):
            self._refusals.count("cap-in-rate", peer)
            return 429, "too many; come again in a while"
        return await self.take(name, data)

    async def take(self, name: str, data: bytes) -> tuple[int, str]:
        """A message that was posted or fetched for this source: (HTTP status, a short word)."""
        room, source = self._room, self._sources[name]
        now_us = room.clock.wall_us()
        found = await self._runner(_read, data, source, self._ground(), now_us)
        if isinstance(found, Fault):
            return self._refused(name, found)
        if room.warnings.known(found.triple):
            self.counts[name]["again"] += 1
            return 200, "again"
        if room.warnings.full(found) or not self._of[name].take(room.clock.monotonic_ns()):
            self.counts[name]["rate"] += 1
            room.trouble("cap-in-refused", name, True)
            return 429, "too many; come again in a while"
        verdict = self._heeding.take(found, data)
        await room.journal.durable()
        if verdict is None:
            return 200, "again"
        word = (found.why or str(verdict)) if verdict is Verdict.NOTHING else str(verdict)
        self.counts[name][word] += 1
        room.trouble("cap-in-refused", name, False)
        log.info("cap.heard source=%s identifier=%s verdict=%s", name, found.identifier[:80], word)
        return 200, word

    def _refused(self, name: str, fault: Fault) -> tuple[int, str]:
        """Counted; and Trouble when it is the centre itself that sends what cannot be used."""
        self.counts[name][fault.rule] += 1
        self._refusals.count(f"cap-in-{fault.rule}", f"{name}: {fault.detail}")
        if fault.rule not in OURS:
            self._room.trouble("cap-in-refused", name, True)
        log.warning("cap.refused source=%s rule=%s detail=%s", name, fault.rule, fault.detail)
        status = STATUS.get(fault.rule, 422 if fault.rule in ("expired", "future", "status") else 400)
        return status, str(fault)[:200]

    def _allowed(self, peer: str) -> bool:
        allowance = self._from.setdefault(peer, _Allowance())
        self._from.move_to_end(peer)
        if len(self._from) > ADDRESSES_MAX:
            self._from.popitem(last=False)
        return allowance.take(self._room.clock.monotonic_ns())

    def _ground(self) -> tuple[Ground, ...]:
        """The zones of the plan that runs."""
        plan = self._room.plan
        if self._grounds is None or self._grounds[0] is not plan:
            self._grounds = plan, tuple(Ground.of(zone) for zone in plan.zones)
        return self._grounds[1]

    def unreached(self, name: str, *, on: bool) -> None:
        """Their feed does not answer, or does again."""
        self._room.trouble("cap-in-silent", name, on)

    def look(self) -> None:
        """Tell which pinned certificates are about to end."""
        soon_us = self._room.clock.wall_us() + ENDING_US
        for name, source in self._sources.items():
            self._room.trouble("cap-in-certificate", name, max(pin.ends_us for pin in source.pins) < soon_us)


def _read(data: bytes, source: Source, grounds: Sequence[Ground], now_us: int) -> Told | Fault:
    root = trust.verified(data, source.pins)
    return root if isinstance(root, Fault) else reading.read(root, source.settings, grounds, now_us)
