import re
from itertools import product
from string import Formatter

import pytest

from controller import texts
from cython_ext import Hazard, Level, Reason, Trouble
from lanes.reports import Stage

RUSSIAN_ONLY = re.compile("[ыэъё]", re.IGNORECASE)
UKRAINIAN_ONLY = re.compile("[іїєґ]", re.IGNORECASE)
CYRILLIC = re.compile("[а-яёіїєґ]", re.IGNORECASE)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(texts.catalogue()))
def test_every_text_stands_in_all_languages_with_the_same_placeholders(key: str) -> None:
    each = texts.catalogue()[key]
    assert set(each) == set(texts.LANGUAGES)
    assert all(text.strip() == text and text for text in each.values())
    assert len({frozenset(placeholders(text)) for text in each.values()}) == 1


@pytest.mark.parametrize("key", sorted(texts.catalogue()))
def test_each_text_is_in_its_own_script(key: str) -> None:
    each = texts.catalogue()[key]
    assert not CYRILLIC.search(each["ro"] + each["en"])
    assert not UKRAINIAN_ONLY.search(each["ru"])
    assert not RUSSIAN_ONLY.search(each["uk"])
    assert not re.search("[şţŞŢ]", each["ro"]), "Romanian has a comma below, not a cedilla"


def test_every_code_of_the_core_has_words() -> None:
    keys = texts.catalogue()
    assert {texts.code("level", level) for level in Level} <= keys.keys()
    assert {texts.code("reason", reason) for reason in Reason} <= keys.keys()
    assert {texts.code("hazard", hazard) for hazard in Hazard} <= keys.keys()
    assert {texts.code("stage", stage) for stage in Stage} <= keys.keys()
    assert {f"trouble.{flag.name.lower()}" for flag in Trouble if flag.name} <= keys.keys()
    for group, hazard, level in product(("event", "instruction"), Hazard, [level for level in Level if level]):
        assert f"{group}.{hazard.name.lower()}.{level.name.lower()}" in keys


def test_several_troubles_are_said_together() -> None:
    assert texts.troubles("en", Trouble.STALE | Trouble.CLOCK) == "stale data, clock not trusted"
    assert texts.troubles("en", Trouble.NONE) == ""


@pytest.mark.parametrize(
    ("language", "value", "unit", "shown"),
    [
        ("ro", 2.456, "m", "246 cm"),
        ("en", 0.153, "dB/m", "0.15 dB/m"),
        ("ru", 0.15, "dB/m", "0,15 dB/m"),
        ("uk", 12.0, "mm", "12 mm"),
        ("en", -0.001, "°C", "0 °C"),
        ("en", 100.0, "", "100"),
        ("en", float("nan"), "m", "nan cm"),
    ],
)
def test_measures_are_shown_as_people_write_them(language: str, value: float, unit: str, shown: str) -> None:
    assert texts.measure(language, value, unit) == shown


def test_a_name_falls_back_and_never_fails() -> None:
    assert texts.local({"ru": "Кагул"}, "ro", "cahul") == "Кагул"
    assert texts.local({}, "ro", "cahul") == "cahul"


def test_moments_say_their_offset() -> None:
    assert texts.moment(1_767_322_800_000_000, "Europe/Chisinau") == "02.01.2026 05:00:00 +0200"


@pytest.mark.parametrize(("at_us", "shown"), [(-1, "01.01.1970"), (1 << 62, "01.01.2100")])
def test_a_broken_clock_or_time_zone_does_not_stop_a_message(at_us: int, shown: str) -> None:
    assert texts.moment(at_us, "Europe/Nowhere").startswith(shown)
    assert texts.moment(at_us, "../etc").startswith(shown)


def test_the_languages_of_a_zone_are_those_it_has() -> None:
    assert texts.spoken([{"ro": "Galați"}, {"uk": "Ґалац"}], ("ro", "en", "uk")) == ("ro", "uk")
    assert texts.spoken([{}], ("ro", "en")) == ("ro", "en")
