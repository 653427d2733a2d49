"""One way to one receiver: one message outstanding, its retries, the receiver's clock, and supervision.

Theory. A message is sent up to `tries` times under one sequence number, each time for `answer_s`. What comes back counts only
when it answers just this: the right frame, sequence number and account; encrypted and freshly stamped where we encrypt. All else
is counted by its reason and waited past. An ACK or a DUH ends it. A NAK has the receiver's time: where that differs from what we
stamp, the difference is taken (never our own clock, and at most OFFSET_MAX_S, since whoever forges a NAK could else make us stamp
messages for a far day and play them then), and the message goes again; a NAK that tells no new time is a refusal.

A path that answered is up, one that did not is down. Any message restarts the timer of supervision; when it runs out a NULL
message asks, and one that stays unanswered is `dispatch-silent` at once. While a path is down it is asked more often.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from cython_ext import NS_PER_S, Clock

from .. import TroubleSink
from .frame import ACK, DUH, NAK, NULL, Frame, Malformed, decode, encode
from .link import Broken, Link

OFFSET_MAX_S: Final = 14 * 3600  # a receiver that keeps local time instead of GMT is the furthest honest error
OFFSET_TOLD_S: Final = 20  # the receiver's window is -40 to +20 s: beyond it somebody must set a clock
OFFSET_NEWS_S: Final = 5  # less is the way and the load, and no reason for a NAK
ADJUST_MAX: Final = 2  # NAKs that are heeded for one message
FRESH_S: Final = 60  # an encrypted answer's stamp may differ by this from the receiver's clock as we know it
ANSWER_BYTES_MAX: Final = 1000  # an encrypted ACK has 150
PROBE_S: Final = 10.0  # a path that is down is asked after this, doubling up to its poll_s
_S_US: Final = 1_000_000

Refuse = Callable[[str, str], object]  # a reason and where: an answer that does not count


@dataclass(frozen=True, slots=True)
class Line:
    """Who we are to the centre, and how long it may take to answer."""

    account: str
    prefix: str
    receiver: str
    key: bytes | None
    answer_s: float
    tries: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the id, the sequence number, data and xdata."""

    token: str
    sequence: int
    data: bytes = b""
    extended: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """The receiver's answer: ACK, DUH or NAK, with its time in UTC seconds if it said one."""

    token: str
    stamp_s: int | None = None


POLL: Final = Question(NULL, 0)


class Path:
    """`poll_s` is asked each time: a second path is polled more often when the first is down."""

    def __init__(
        self, name: str, link: Link, line: Line, *, poll_s: Callable[[], float], clock: Clock, refuse: Refuse
    ) -> None:
        self.name = name
        self.up: bool | None = None  # not yet known
        self.offset_s = 0  # the receiver's clock, ahead of ours
        self._link = link
        self._line = line
        self._poll_s = poll_s
        self._clock = clock
        self._refuse = refuse
        self._turn = asyncio.Lock()
        self._lost = 0  # how often it was found silent in a row
        self._losses = 0  # how often in all
        self._why = ""
        self._spoken_ns = clock.monotonic_ns()
        self._news = asyncio.Event()
        self._said: dict[str, bool] = {}
        self._trouble: TroubleSink | None = None

    async def ask(self, question: Question) -> Heard | str:
        """The receiver's answer, or why there is none. What waited while another question found the path silent is not asked."""
        losses = self._losses
        async with self._turn:
            if self._losses != losses:
                return self._why
            heard = await self._ask(question)
        self._spoken_ns = self._clock.monotonic_ns()
        if isinstance(heard, str):
            self._lost += 1
            self._losses += 1
            self._why = heard
        else:
            self._lost = 0
        self.up = not self._lost
        self._say("dispatch-silent", not self.up)
        self._news.set()
        return heard

    async def supervise(self, trouble: TroubleSink) -> None:
        """Ask whenever the timer has run out, until cancelled."""
        self._trouble = trouble
        self._said.setdefault("dispatch-clock", False)
        for code, on in self._said.items():
            trouble(code, on, self.name)
        await self.ask(POLL)
        while True:
            self._news.clear()
            rest_ns = self._spoken_ns + round(self._rest_s() * NS_PER_S) - self._clock.monotonic_ns()
            if rest_ns <= 0:
                await self.ask(POLL)
                continue
            try:
                async with asyncio.timeout(rest_ns / NS_PER_S):
                    await self._news.wait()
            except TimeoutError:
                pass

    def close(self) -> None:
        self._link.drop()

    def _rest_s(self) -> float:
        return self._poll_s() if self.up else min(PROBE_S * 2.0 ** min(self._lost - 1, 20), self._poll_s())

    async def _ask(self, question: Question) -> Heard | str:
        why, adjusted, left = "", 0, self._line.tries
        while left:
            try:
                async with asyncio.timeout(self._line.answer_s):
                    heard = await self._link.ask(self._frame(question), partial(self._hear, question))
            except (TimeoutError, Broken) as error:
                why = error.why if isinstance(error, Broken) else "timeout"
                if why in ("garbled", "oversized"):
                    self._count(why)
                self._link.drop()
                left -= 1
                continue
            if heard.token == NAK and adjusted < ADJUST_MAX and self._adjust(heard.stamp_s):
                adjusted += 1
                continue
            return heard
        return why

    def _frame(self, question: Question) -> bytes:
        line = self._line
        frame = Frame(
            question.token,
            question.sequence,
            line.account,
            line.prefix,
            line.receiver,
            question.data,
            question.extended,
            self._clock.wall_us() // _S_US + self.offset_s,
        )
        return encode(frame, line.key)

    def _hear(self, question: Question, raw: bytes) -> Heard | None:
        """What a frame means to the question; None, and counted: it does not answer it."""
        try:
            if len(raw) > ANSWER_BYTES_MAX:
                raise Malformed("length")
            meaning = self._meaning(question, decode(raw, self._line.key))
        except Malformed as error:
            meaning = error.why
        if isinstance(meaning, Heard):
            return meaning
        self._count(meaning)
        return None

    def _meaning(self, question: Question, frame: Frame) -> Heard | str:
        """The answer, or the reason why the frame is none."""
        if frame.token == NAK and not frame.encrypted:
            return Heard(NAK, frame.stamp_s)
        if frame.token not in (ACK, DUH):
            return "token"
        if frame.sequence != question.sequence:
            return "sequence"
        if int(frame.account, 16) != int(self._line.account, 16):  # some write it without its leading zeros
            return "account"
        if frame.token == ACK and self._line.key is not None:
            if not frame.encrypted:
                return "clear"
            ahead_s = (frame.stamp_s or 0) - self._clock.wall_us() // _S_US - self.offset_s
            if abs(ahead_s) > FRESH_S:
                self._say("dispatch-clock", True)
                return "stamp"
        return Heard(frame.token, frame.stamp_s)

    def _adjust(self, stamp_s: int | None) -> bool:
        """Take the receiver's time for our stamps; whether that is news."""
        if stamp_s is None:
            return False
        offset_s = stamp_s - self._clock.wall_us() // _S_US
        if abs(offset_s) > OFFSET_MAX_S:
            self._say("dispatch-clock", True)
            self._count("clock")
            return False
        if abs(offset_s - self.offset_s) < OFFSET_NEWS_S:
            return False
        self.offset_s = offset_s
        self._say("dispatch-clock", abs(offset_s) > OFFSET_TOLD_S)
        return True

    def _count(self, why: str) -> None:
        self._refuse(f"dc09-{why}", self.name)

    def _say(self, code: str, on: bool) -> None:
        """Raise or end a Trouble, once."""
        if self._said.get(code) is on:
            return
        self._said[code] = on
        if self._trouble is not None:
            self._trouble(code, on, self.name)
