"""Instants of a recording: text of a file to UTC microseconds, and back to words for people."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from cython_ext import ConfigError

TimeFormat = Literal["auto", "iso", "s", "ms", "us", "ns"]

EARLIEST_US: Final = 0  # 1970: earlier than any digital record of a gauge
LATEST_US: Final = 7_258_118_400_000_000  # 2200: beyond it a clock or a column is wrong
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


class BadTime(ValueError):
    """Text that is no instant of ours; the message says why."""


def reader(form: TimeFormat, *, naive_is_utc: bool = False) -> Callable[[str], int]:
    """A function from text to UTC microseconds, which raises BadTime. `form` must not be "auto"; see `recognise`."""
    assert form != "auto"
    return _iso(naive_is_utc) if form == "iso" else _epoch(_PER_SECOND[form])


def recognise(text: str) -> TimeFormat:
    """ISO-8601, or the unit of an epoch by its size: seconds until the year 5138, then milliseconds, and so on."""
    try:
        size = abs(float(text))
    except ValueError:
        return "iso"
    return "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"


def instant(text: str) -> int:
    """An instant that a person gave, ISO-8601 with zone or an epoch; ConfigError says what is wrong."""
    try:
        return reader(recognise(text))(text)
    except BadTime as error:
        raise ConfigError(f"{text!r} {error}, e.g. 2018-06-22T00:00:00Z") from None


def _iso(naive_is_utc: bool) -> Callable[[str], int]:
    parse, epoch, microsecond = datetime.fromisoformat, _EPOCH, _MICROSECOND

    def read(text: str) -> int:
        try:
            found = parse(text)
        except ValueError:
            raise BadTime("is not a time in ISO-8601") from None
        if found.tzinfo is None:
            if not naive_is_utc:
                raise BadTime("has no time zone: it needs Z or +02:00 at its end (--utc: times without one are UTC)")
            found = found.replace(tzinfo=UTC)
        at_us = (found - epoch) // microsecond
        return at_us if EARLIEST_US <= at_us <= LATEST_US else _sane(at_us)

    return read


def _epoch(per_second: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            whole = int(text)  # exact; a double would round nanoseconds
        except ValueError:
            try:
                at_us = round(float(text) * (1_000_000 / per_second))
            except (ValueError, OverflowError):
                raise BadTime("is not a number of seconds since 1970 (or ms, us, ns)") from None
        else:
            at_us = whole * 1_000_000 // per_second
        return _sane(at_us)

    return read


def _sane(at_us: int) -> int:
    if not EARLIEST_US <= at_us <= LATEST_US:
        raise BadTime("is not between 1970 and 2200")
    return at_us


def utc(at_us: int) -> str:
    """ISO-8601 in UTC, as programs read it; microseconds only where there are some."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")


def local(at_us: int, zone: ZoneInfo) -> str:
    """For people: local time to the second, with its offset, so that a repeated hour is told apart."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z")


def moment(at_us: int, zone: ZoneInfo) -> datetime:
    """The local time."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone)


def span(seconds: float) -> str:
    """A duration for people: at most two units."""
    whole = round(abs(seconds))
    sign = "-" if seconds < 0 and whole else ""
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (left, "s")) if n]
    return sign + " ".join(parts[:2]) if parts else f"{seconds:.3g} s" if seconds else "0 s"
