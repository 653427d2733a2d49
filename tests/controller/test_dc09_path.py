"""A DC-09 path in virtual time: when it asks, what restarts its timer, how it comes back."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from controller.dispatch.dc09.frame import Frame, decode, encode
from controller.dispatch.dc09.link import Broken
from controller.dispatch.dc09.path import POLL, Heard, Line, Path, Question
from tests.kit.clock import ManualClock, run_virtual

T = TypeVar("T")
HOUR = 3600.0
EVENT = Question("SIA-DCS", 5, b"#1234|NFA001")


class Wire:
    """A link without a network: what it carries, when, and what comes back."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[tuple[float, Frame]] = []
        self.answers: Callable[[Frame], bytes | None] = lambda frame: encode(Frame("ACK", frame.sequence, "1234"))
        self.broken = ""
        self.drops = 0

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_ns() / 1e9 - 1000

    async def ask(self, frame: bytes, hear: Callable[[bytes], T | None]) -> T:
        said = decode(frame)
        self.asked.append((self.now_s, said))
        if self.broken:
            raise Broken(self.broken)
        while True:
            answer = self.answers(said)
            if answer is not None and (meaning := hear(answer)) is not None:
                return meaning
            await asyncio.sleep(1.0)

    def drop(self) -> None:
        self.drops += 1

    def times(self, token: str = "NULL") -> list[float]:
        return [at for at, frame in self.asked if frame.token == token]


def world(
    main: Callable[[Path, Wire, list[tuple[str, bool, str]]], Any], poll_s: Callable[[], float] = lambda: 60.0
) -> None:
    clock = ManualClock()

    async def run() -> None:
        wire, said = Wire(clock), list[tuple[str, bool, str]]()
        line = Line("1234", "0", "0", None, 5.0, 3)
        path = Path("arc", wire, line, poll_s=poll_s, clock=clock, refuse=lambda why, where: None)
        task = asyncio.create_task(path.supervise(lambda *each: said.append(each)))
        await main(path, wire, said)
        task.cancel()

    run_virtual(run(), clock)


def test_a_quiet_path_is_asked_at_once_and_each_minute() -> None:
    async def main(path: Path, wire: Wire, said: list[Any]) -> None:
        await asyncio.sleep(HOUR - 1)
        assert len(wire.times()) == 60
        assert all(abs(at - 60 * n) < 0.01 for n, at in enumerate(wire.times()))
        assert said == [("dispatch-clock", False, "arc"), ("dispatch-silent", False, "arc")]

    world(main)


def test_any_message_restarts_the_timer() -> None:
    async def main(path: Path, wire: Wire, said: list[Any]) -> None:
        for _ in range(100):
            await asyncio.sleep(50)
            assert await path.ask(EVENT) == Heard("ACK")
        assert len(wire.times()) == 1, "only the first"
        await asyncio.sleep(61)
        assert len(wire.times()) == 2

    world(main)


def test_silence_is_told_when_the_tries_are_used_up_and_asked_for_more_often() -> None:
    async def main(path: Path, wire: Wire, said: list[Any]) -> None:
        await asyncio.sleep(1)
        wire.answers = lambda frame: None
        await asyncio.sleep(59 + 15.1)
        assert wire.times() == [0.0, 60.0, 65.0, 70.0]
        assert said[-1] == ("dispatch-silent", True, "arc")
        before = len(wire.asked)
        await asyncio.sleep(10 + 15 + 20 + 15 + 40 + 15 + 60 + 15)
        assert len(wire.asked) - before == 12, "after 10, 20, 40 and 60 s, three times each"
        wire.answers = lambda frame: encode(Frame("ACK", frame.sequence, "1234"))
        await asyncio.sleep(76)
        assert said[-1] == ("dispatch-silent", False, "arc")
        assert path.up is True

    world(main)


def test_a_message_that_finds_silence_is_told_at_once_and_one_that_is_taken_ends_it() -> None:
    async def main(path: Path, wire: Wire, said: list[Any]) -> None:
        await asyncio.sleep(1)
        wire.broken = "no-connection: ConnectionRefusedError"
        assert await path.ask(EVENT) == "no-connection: ConnectionRefusedError"
        assert said[-1] == ("dispatch-silent", True, "arc")
        wire.broken = ""
        assert await path.ask(EVENT) == Heard("ACK")
        assert said[-1] == ("dispatch-silent", False, "arc")

    world(main)


def test_the_pace_can_change_while_it_waits() -> None:
    pace = [900.0]

    async def main(path: Path, wire: Wire, said: list[Any]) -> None:
        await asyncio.sleep(901)
        assert wire.times() == [0.0, 900.0]
        pace[0] = 60.0  # the first path is down now
        await asyncio.sleep(900)
        assert len(wire.times()) >= 3

    world(main, lambda: pace[0])


def test_naks_that_name_ever_new_times_end() -> None:
    async def main(path: Path, wire: Wire, said: list[Any]) -> None:
        await asyncio.sleep(1)
        ahead = [0]

        def nak(frame: Frame) -> bytes:
            ahead[0] += 100
            return encode(Frame("NAK", 0, "000", stamp_s=wire.clock.wall_us() // 10**6 + ahead[0]))

        wire.answers = nak
        heard = await path.ask(EVENT)
        assert isinstance(heard, Heard)
        assert heard.token == "NAK"
        assert len(wire.times("SIA-DCS")) == 3

    world(main)


def test_a_nak_that_says_no_time_or_the_one_we_had_is_a_refusal() -> None:
    async def main(path: Path, wire: Wire, said: list[Any]) -> None:
        await asyncio.sleep(1)
        for stamp_s in (None, wire.clock.wall_us() // 10**6 + 2):
            wire.answers = lambda frame, at=stamp_s: encode(Frame("NAK", 0, "000", stamp_s=at))  # type: ignore[misc]
            before = len(wire.asked)
            heard = await path.ask(EVENT)
            assert isinstance(heard, Heard)
            assert heard.token == "NAK"
            assert len(wire.asked) == before + 1
            assert path.offset_s == 0

    world(main)


def test_a_late_answer_to_another_message_does_not_count() -> None:
    async def main(path: Path, wire: Wire, said: list[Any]) -> None:
        await asyncio.sleep(1)
        late = [encode(Frame("ACK", 4, "1234")), encode(Frame("DUH", 4, "1234")), encode(Frame("ACK", 5, "1234"))]
        wire.answers = lambda frame: late.pop(0)
        assert await path.ask(EVENT) == Heard("ACK")
        assert not late

    world(main)


def test_leading_zeros_of_the_account_do_not_matter() -> None:
    async def main(path: Path, wire: Wire, said: list[Any]) -> None:
        wire.answers = lambda frame: encode(Frame("ACK", frame.sequence, "00001234", "000"))
        assert await path.ask(POLL) == Heard("ACK")

    world(main)
