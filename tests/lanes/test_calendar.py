"""Calendars in the zones' own time: each day once, whatever the clocks do."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanes.calendar import DAYS, Calendar

ZONES = ("Europe/Chisinau", "Europe/Bucharest")
zones = st.sampled_from(ZONES).map(ZoneInfo)
days = st.dates(date(2024, 1, 1), date(2037, 12, 31))
texts = st.one_of(
    st.just("daily"),
    st.sets(st.sampled_from(DAYS), min_size=1).map(" ".join),
    st.tuples(st.sampled_from(["first", "second", "third", "fourth", "last"]), st.sampled_from(DAYS)).map(" ".join),
)
clocks = st.times().map(lambda t: f"{t.hour:02d}:{t.minute:02d}")
night = st.integers(0, 299).map(lambda m: f"{m // 60:02d}:{m % 60:02d}")  # where the clocks change


def local(at_us: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC).astimezone(zone)


def test_the_romanian_drill_is_the_first_wednesday_at_ten() -> None:
    zone = ZoneInfo("Europe/Bucharest")
    drill = Calendar.parse("10:00 first wednesday")
    now_us = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    found = []
    for _ in range(12):
        now_us = drill.next_us(now_us, zone)
        found.append(local(now_us, zone))
    assert [each.month for each in found] == list(range(1, 13))
    assert all(each.weekday() == 2 and each.day <= 7 and (each.hour, each.minute) == (10, 0) for each in found)
    assert found[0].utcoffset() == timedelta(hours=2)
    assert found[6].utcoffset() == timedelta(hours=3)


@pytest.mark.parametrize(
    ("zone", "day", "clock", "then"),
    [
        ("Europe/Bucharest", date(2026, 3, 29), "03:10", "04:00+0300"),  # 03:00 to 04:00 is skipped
        ("Europe/Bucharest", date(2026, 3, 29), "02:59", "02:59+0200"),
        ("Europe/Bucharest", date(2026, 10, 25), "03:10", "03:10+0300"),  # 03:00 to 04:00 comes twice
        # Moldova changed an hour of the clock earlier; from 2022 on tzdata says so up to 2025c, and no longer since.
        ("Europe/Chisinau", date(2019, 3, 31), "02:10", "03:00+0300"),
        ("Europe/Chisinau", date(2019, 10, 27), "02:10", "02:10+0300"),
    ],
)
def test_a_skipped_minute_runs_at_the_next_and_a_repeated_one_once(zone, day, clock, then) -> None:
    found = local(Calendar.parse(f"{clock} daily").instant_us(day, ZoneInfo(zone)), ZoneInfo(zone))
    assert found.strftime("%H:%M%z") == then


@given(night, days, zones)
def test_every_day_has_it_once_on_that_day(clock: str, day: date, zone: ZoneInfo) -> None:
    calendar = Calendar.parse(f"{clock} daily")
    before_us = calendar.instant_us(day - timedelta(days=1), zone)
    at_us = calendar.instant_us(day, zone)
    found = local(at_us, zone)
    assert found.date() == day
    assert calendar.next_us(before_us, zone) == at_us
    wanted = datetime.combine(day, calendar.at)
    naive = found.replace(tzinfo=None)
    assert naive >= wanted
    if naive > wanted:  # skipped: no earlier minute of that hour exists
        minute = (found.astimezone(UTC) - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None)
        assert minute < wanted
    assert found.fold == 0, "the first of two"


@given(texts, clocks, st.integers(1_704_067_200_000_000, 2_145_916_800_000_000), zones)  # 2024 to 2037
def test_last_now_and_next_leave_no_hole(text: str, clock: str, now_us: int, zone: ZoneInfo) -> None:
    calendar = Calendar.parse(f"{clock} {text}")
    last_us, next_us = calendar.last_us(now_us, zone), calendar.next_us(now_us, zone)
    assert 0 < last_us <= now_us < next_us
    assert calendar.next_us(last_us, zone) == next_us
    assert calendar.last_us(next_us, zone) == next_us
    assert calendar.last_us(next_us - 1, zone) == last_us
    assert calendar.near_us(now_us, zone, now_us - last_us) == last_us
    assert calendar.near_us(now_us, zone, 0) == (last_us if last_us == now_us else 0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "daily", "3:10 daily", "24:00 daily", "10:60 daily", "10:00", "10:00 first", "10:00 first daily"),
        *("10:00 wensday", "10:00 fifth monday", "10:00 first monday tuesday", "10:00 daily monday"),
        "10:00 " + "monday " * 20 + "x",
    ],
)
def test_what_is_no_calendar_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="03:10 daily"):
        Calendar.parse(text)
