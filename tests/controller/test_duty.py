"""duty.toml: who is on duty by a rota's own clock, what is refused, and that nobody else may read it."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import config, duty
from controller.duty import Duty, DutyFile, Rota
from controller.escalating import Escalating
from cython_ext import ConfigError, Hazard, Level
from lanes.settings import parse
from tests.controller.test_escalating import DUTY, Desk, raise_alarm
from tests.kit.control_room import ControlRoom

ROTA = {
    "id": "desk",
    "timezone": "Europe/Chisinau",
    "shift": [
        {"days": "monday tuesday wednesday thursday friday", "begin": "07:00", "end": "19:00", "people": ["day"]},
        {"begin": "19:00", "end": "07:00", "people": ["night"]},
        {"days": "saturday sunday", "begin": "07:00", "end": "19:00", "people": ["weekend", "night"]},
    ],
}


def at(text: str, zone: str = "Europe/Chisinau", fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(local.timestamp() * 1e6)


@pytest.mark.parametrize(
    ("when", "people"),
    [
        ("2026-11-30 06:59", ("night",)),  # Monday: the night that began on Sunday
        ("2026-11-30 07:00", ("day",)),
        ("2026-11-30 18:59", ("day",)),
        ("2026-11-30 19:00", ("night",)),
        ("2026-12-05 08:00", ("weekend", "night")),
        ("2026-12-06 23:59", ("night",)),
        ("2026-03-29 04:30", ("night",)),  # the hour after the skipped one
    ],
)
def test_who_is_on_duty(when: str, people: tuple[str, ...]) -> None:
    assert Rota.model_validate(ROTA).on_duty(at(when)) == people


def test_the_hour_that_comes_twice_is_on_duty_twice() -> None:
    rota = Rota.model_validate(
        {"id": "r", "timezone": "Europe/Bucharest", "shift": [{"begin": "03:00", "end": "04:00", "people": ["a"]}]}
    )
    first, second = at("2026-10-25 03:30", rota.timezone), at("2026-10-25 03:30", rota.timezone, fold=1)
    assert second - first == 3_600_000_000
    assert rota.on_duty(first) == rota.on_duty(second) == ("a",)
    assert rota.on_duty(second + 3_600_000_000) == ()


@given(
    st.integers(0, 4_000_000_000),
    st.sampled_from(["Europe/Chisinau", "Europe/Bucharest", "America/Caracas", "Asia/Kathmandu"]),
)
def test_a_week_that_is_covered_has_somebody_at_each_instant(second: int, zone: str) -> None:
    rota = Rota.model_validate({**ROTA, "timezone": zone})
    now_us = second * 1_000_000
    on = rota.on_duty(now_us)
    assert on
    local = datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo(zone))
    assert ("day" in on) == (local.weekday() < 5 and 7 <= local.hour < 19)


def test_a_zone_of_its_own_comes_before_one_for_all() -> None:
    step = '[[escalation.step]]\nafter_s = 0\npeople = ["ana"]\nchannels = ["sms"]\n'
    text = DUTY + f'[[escalation]]\nid = "mill"\nzones = ["mill"]\nhazards = ["fire"]\n{step}'
    found = Duty(parse(text, DutyFile))
    names = [
        each.id if (each := found.escalation(zone, hazard, Level.ALARM)) else None
        for zone, hazard in (("mill", Hazard.FIRE), ("mill", Hazard.FLOOD), ("quay", Hazard.FIRE))
    ]
    assert names == ["mill", "all", "all"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('id = "ion"', 'id = "ana"', r"two \[\[person\]\] tables are called 'ana'"),
        ('people = ["ana", "ion"]', 'people = ["eve"]', "rota 'desk' names person 'eve'"),
        ('rota = ["desk"]', 'rota = ["night"]', "escalation 'all' names rota 'night'"),
        ("after_s = 180", "after_s = 10", "in the order of their after_s"),
        ('rota = ["desk"]\n', "", "name a rota or people"),
        ('timezone = "Europe/Chisinau"', 'timezone = "Europe/Iasi"', "no IANA time zone"),
        ("[[rota.shift]]\n", '[[rota.shift]]\ndays = "mon"\n', "are no days"),
        ("[[rota.shift]]\n", '[[rota.shift]]\nbegin = "7"\n', "no time of day"),
        ("answer_s = 60", "answer = 60", "did you mean 'answer_s'"),
        ('reach = { sms = "+40700000002" }', "reach = {}", "ion cannot be reached"),
        ('sms = "+40700000002"', 'sms = " x"', "reach.sms is no address"),
    ],
)
def test_what_makes_no_sense_is_refused(old: str, new: str, says: str) -> None:
    assert old in DUTY
    with pytest.raises(ConfigError, match=says):
        parse(DUTY.replace(old, new, 1), DutyFile)


@pytest.mark.parametrize(
    ("calling", "channels", "says"),
    [
        (["mail"], ["mail"], "no such"),
        (["mail"], ["mail", "sms"], "cannot call a person"),
    ],
)
def test_it_fits_the_channels(calling: list[str], channels: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        duty.check(Duty(parse(DUTY, DutyFile)), calling, channels, "duty.toml")


def test_a_person_whom_a_step_cannot_reach_is_refused() -> None:
    found = Duty(parse(DUTY.replace('channels = ["sms", "mail"]', 'channels = ["mail"]'), DutyFile))
    with pytest.raises(ConfigError, match="calls 'ion' by mail, and they have no address there"):
        duty.check(found, ["mail", "sms"], ["mail", "sms"], "duty.toml")


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "duty.toml"
    path.write_text(DUTY)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read"):
        duty.read(path)
    path.chmod(0o600)
    assert Duty(duty.read(path)).address("ana", "sms") == "+40700000001"


async def test_another_file_counts_without_a_restart_and_a_bad_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "duty.toml"

    def put(text: str) -> None:
        beside = tmp_path / "new"
        beside.write_text(text)
        beside.chmod(0o600)
        beside.replace(path)

    put(DUTY)
    desk = Desk(ControlRoom(tmp_path / "journal.db"), Duty(duty.read(path)))
    desk.escalating = Escalating(desk.control.room, desk.duty, duty.Watch(path, lambda: duty.read(path)))
    put(DUTY.replace('people = ["ana", "ion"]', 'people = ["ion"]'))
    desk.wait(61)
    raise_alarm(desk)
    desk.wait(17)
    assert [each.person for each in desk.calls] == ["ion"]
    put(DUTY.replace("[[rota]]", "[[rata]]"))
    desk.wait(61)
    assert ("duty-refused", "duty") in desk.control.codes()
    assert len(desk.duty.escalations) == 1
    put(DUTY)
    desk.wait(61)
    assert ("duty-refused", "duty") not in desk.control.codes()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('fallback = "b"', "no channel with standby = true"),
        ("standby = true\nfallback = 'a'", "is standby itself"),
    ],
)
def test_a_fallback_is_a_standby_channel(more: str, says: str) -> None:
    text = (
        f'[controller]\nid = "c"\n[keys]\nlive = "x"\n[[dispatch]]\nkind = "files"\nname = "a"\nfolder = "f"\n{more}\n'
    )
    with pytest.raises(ConfigError, match=says):
        parse(text, config.ControllerConfig)
