"""A plain listener of Sparkplug messages, and the stores of tests."""

from dataclasses import dataclass, field

from cython_ext.payload import DataType, Metric, Payload
from cython_ext.wire import decode, encode
from lanes.link import Message
from tests.kit.broker import MemoryBroker

REBIRTH = encode(
    Payload(1_767_322_800_000, (Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True),))
)


@dataclass
class MemoryBdSeq:
    """A BdSeqStore that lives as long as the test."""

    last: int = -1

    async def advance(self) -> int:
        self.last = (self.last + 1) % 256
        return self.last


@dataclass
class MemoryStateTime:
    """A StateTimeStore that lives as long as the test."""

    last: int = -1

    async def advance(self, now_ms: int) -> int:
        self.last = max(now_ms, self.last + 1)
        return self.last


@dataclass
class Heard:
    """What the broker took, shortened: ("NBIRTH", "n", seq) or ("DDATA", "n/gauge", seq)."""

    broker: MemoryBroker
    at: int = 0
    messages: list[Message] = field(default_factory=list)

    def new(self) -> list[tuple[str, str, int | None]]:
        """Since the last call, Sparkplug messages of nodes only."""
        taken = [message for _, message in self.broker.published[self.at :]]
        self.at = len(self.broker.published)
        self.messages = [m for m in taken if m.topic.startswith("spBv1.0/") and "/STATE/" not in m.topic]
        return [(*short(m), decode(m.payload).seq) for m in self.messages]


def short(message: Message) -> tuple[str, str]:
    parts = message.topic.split("/")
    return parts[2], "/".join(parts[3:])
