"""Telling people and other centres. Every channel has its own queue; none waits for another, and no siren for any.

    AlarmChange ─ Dispatcher.tell ─ outbox (disk) ─┬─ courier ─ channel (webhook, files, …) ─ receipt ─ journal
           Call ─┘                                 └─ courier ─ channel (mail, SMS, …)

A message leaves the outbox only when its channel has answered for it. It keeps its identifier through every retry, so that
"at least once" here is once for a receiver that looks at identifiers.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel is given. `cap` is None for what CAP does not tell (a plain acknowledgement); times in UTC microseconds."""

    number: int  # the outbox's own; rising
    identifier: str
    alarm: str
    urgent: bool
    sent_us: int
    expires_us: int
    cap: bytes | None
    summary: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt. `refused`: the receiver is there and says no, so that others need not wait for this one."""

    taken: bool
    detail: str  # "204", "timeout", "refused: 401": short and stable, for the journal
    refused: bool = False
    after_s: float = 0.0  # the receiver's own wish for the next attempt


class Channel(Protocol):
    """One way to tell. Trouble is an Answer; an exception is a bug and stops the program."""

    @property
    def name(self) -> str: ...

    @property
    def expires(self) -> bool:
        """Whether a message past its expiry must not be delivered here (CAP), or is delivered all the same."""

    def wants(self, *, cap: bool) -> bool:
        """Whether this channel takes a message with (or without) a CAP body."""

    async def deliver(self, message: Message) -> Answer:
        """One attempt, within the channel's own deadline."""

    async def close(self) -> None: ...


@runtime_checkable
class Supervised(Protocol):
    """A channel that sees silence by itself, when there is nothing to tell."""

    async def supervise(self, trouble: "TroubleSink") -> None:
        """Ask whether the receiver is there, until cancelled."""


class Outcome(StrEnum):
    """How a delivery stands. Words of the journal: never rename."""

    DELIVERED = "delivered"
    FAILED = "failed"  # and tried again
    REFUSED = "refused"  # and tried again, more slowly
    EXPIRED = "expired"  # never delivered: its time was over, and a newer message stands for it
    STAND_IN = "stand-in"  # not yet delivered, and given to the channel's stand-in as well
    SHED = "shed"  # never delivered: the queue was full, or its channel was taken from the configuration


@dataclass(frozen=True, slots=True)
class Delivery:
    """The receipt of one message at one channel. FAILED and REFUSED are told when they begin or change, not at each retry."""

    channel: str
    identifier: str
    alarm: str
    outcome: Outcome
    detail: str
    attempts: int
    at_us: int
    took_ms: float


ReceiptSink = Callable[[Delivery], Awaitable[object]]
TroubleSink = Callable[[str, bool, str], None]  # code, on, subject: words of the catalogue under "trouble."
