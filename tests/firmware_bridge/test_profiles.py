"""Profiles: every shipped one is whole, comes back through simulator and driver, and a bad one is refused with its line."""

import asyncio
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cython_ext.errors import ConfigError
from cython_ext.model import Status
from firmware_bridge.modbus import interpret, plan
from firmware_bridge.profile import ChannelProfile, Profile, load, names
from firmware_bridge.registers import Type
from firmware_bridge.simulators.memory import Memory
from tests.kit.clock import ManualClock, run_virtual
from tests.kit.modbus import MemoryLine, device

FIRST = ("vegapuls", "geolux-lx80", "sonbest-xm9505", "notifier-zone", "waveshare-relay8", "federal-informer")
CHANNELS = [(name, channel) for name in names() for channel in load(name).channel]


def test_the_promised_profiles_ship() -> None:
    assert set(FIRST) <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_profile_can_be_read_and_says_where_it_comes_from(name: str) -> None:
    profile = load(name)
    plan.check(name, profile)
    assert profile.title
    assert profile.source
    assert profile.verified or profile.notes or "no manual" in profile.source, "what is not verified says why"


def exact_values(channel: ChannelProfile) -> st.SearchStrategy[float]:
    """Values that the channel's registers can hold exactly (numbers of the register, as the device counts)."""
    if channel.type is Type.BITS:
        shift = (channel.mask & -channel.mask).bit_length() - 1
        most = 1 if channel.function in (1, 2) or channel.invert else channel.mask >> shift
        return st.integers(0, most).map(float)
    if channel.type is Type.F32:
        return st.floats(-1e6, 1e6, width=32)
    low, high = {
        Type.U16: (0, 0xFFFF),
        Type.S16: (-0x8000, 0x7FFF),
        Type.U32: (0, 0xFFFFFFFF),
        Type.S32: (-0x80000000, 0x7FFFFFFF),
    }[channel.type]
    places = 2 if channel.scale_register else 0
    return st.integers(low, high).map(lambda raw: raw / 10**places * channel.scale + channel.offset)


def read_all(profile: Profile, memory: Memory, asked: list[str], counters: interpret.Counters) -> dict[str, float]:
    words: dict[tuple[int, int], int] = {}
    for block in plan.blocks(profile, asked):
        values = memory.read(block.function, block.address, block.count)
        assert values is not None
        words.update({(block.function, block.address + i): one for i, one in enumerate(values)})
    found = {}
    for name in asked:
        reading = interpret.reading(name, profile.channel[name], words, counters, 0, "absent")
        found[name] = reading.value if not reading.status & ~Status.TEST else math.nan
    return found


@settings(max_examples=30)
@given(data=st.data())
@pytest.mark.parametrize(("name", "channel"), CHANNELS)
def test_every_channel_round_trips(name: str, channel: str, data: st.DataObject) -> None:
    profile = load(name)
    memory = Memory(profile)
    value = data.draw(exact_values(profile.channel[channel]))
    asked = data.draw(st.sampled_from([[channel], list(profile.channel)]))
    memory.set(channel, value)
    # A zone that is neither active nor inactive, or not installed, has no value; the rest of the word stays free.
    found = read_all(profile, memory, asked, interpret.Counters())[channel]
    own = profile.channel[channel]
    rules = [rule for rule in own.status if interpret.applies(rule, memory_word(memory, rule, own))]
    if rules:
        assert own.type is Type.BITS or channel == "radar-ok" or math.isnan(found)
    else:
        assert found == pytest.approx(value, rel=1e-6, abs=1e-9)


def memory_word(memory: Memory, rule: object, channel: ChannelProfile) -> int:
    return memory._get(rule, channel)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", names())
def test_every_profile_round_trips_from_simulator_to_driver(name: str) -> None:
    clock = ManualClock()
    line = MemoryLine(clock)
    unit = load(name).unit
    simulated = line.add(name, unit, offset=100)

    async def main() -> None:
        bus = line.bus()
        await bus.open()
        master = device(bus, name, unit, clock, offset=100)
        for channel in master.channels:
            kept = simulated.profile.channel[channel.id]
            whole = kept.type in (Type.BITS, Type.U16, Type.S16) and kept.scale == 1.0
            value = 1.0 if whole else 1.25
            if kept.loop is None:
                simulated.memory.set(channel.id, value)
            (reading,) = await master.read([channel.id])
            assert reading.status & ~Status.DEVICE_FAULT is Status.OK, (channel, reading)
            if reading.status is Status.OK:
                assert reading.value == pytest.approx(value, abs=0.051), (channel, reading)
        every = await master.read()
        assert [one.channel for one in every] == [one.id for one in master.channels]
        await bus.close()

    run_virtual(main(), clock)


def test_vega_gives_one_value_in_three_orders_and_by_register_3000() -> None:
    clock = ManualClock()
    line = MemoryLine(clock, rtu=False)
    memory = line.add("vegapuls", 246).memory

    async def main() -> None:
        bus = line.bus()
        await bus.open()
        master = device(bus, "vegapuls", 246, clock)
        channels = ["level", "level-big-endian", "level-own-status", "level-set-order"]
        for code in range(4):
            memory.set("byte-order", code)
            memory.set("level", 3.21)
            readings = await master.read(channels)
            assert [one.value for one in readings] == [pytest.approx(3.21)] * 4, code
            assert len({one.raw for one in readings[:3]}) == 2
        memory.set("byte-order", 9)
        (reading,) = await master.read(["level-set-order"])
        assert reading.status is Status.DEVICE_FAULT
        await bus.close()

    run_virtual(main(), clock)


def test_vega_set_to_feet_still_gives_metres_and_an_unknown_unit_gives_none() -> None:
    profile = load("vegapuls")
    memory = Memory(profile)
    memory.set("level", 3.0)
    memory.tables[4][104], memory.tables[4][105] = 0, 44  # ft
    assert read_all(profile, memory, ["level"], interpret.Counters())["level"] == pytest.approx(3.0 * 0.3048)
    memory.tables[4][104], memory.tables[4][105] = 44, 0  # the same with the low word first
    assert read_all(profile, memory, ["level"], interpret.Counters())["level"] == pytest.approx(3.0 * 0.3048)
    memory.tables[4][104], memory.tables[4][105] = 0, 43  # cubic metres are no level
    assert math.isnan(read_all(profile, memory, ["level"], interpret.Counters())["level"])


def test_value_and_status_travel_in_one_request() -> None:
    profile = load("vegapuls")
    assert plan.blocks(profile, ["level"]) == (plan.Block(4, 100, 8),)
    assert plan.blocks(load("geolux-lx80"), ["level"]) == (plan.Block(3, 0x1E, 3),)
    assert len(plan.blocks(load("waveshare-relay8"), [f"relay-{n}" for n in range(1, 9)])) == 1


def test_a_clearing_register_is_read_alone_and_never_bridged() -> None:
    profile = load("delta-ohm-hd2016")
    found = plan.blocks(profile, profile.channel)
    assert plan.Block(4, 2, 2, once=True) in found
    wide = profile.model_copy(update={"gap": 8})
    for block in plan.blocks(wide, wide.channel):
        assert block.once or not block.address <= 2 < block.end


def test_the_notifier_word() -> None:
    profile = load("notifier-zone")
    alarm = profile.channel["alarm"]

    def judged(word: int) -> tuple[float, Status]:
        reading = interpret.reading("alarm", alarm, {(3, 0): word}, interpret.Counters(), 0, "")
        return reading.value, reading.status

    assert judged(0x1400) == (0.0, Status.OK)  # enabled, inactive
    assert judged(0x0C05) == (1.0, Status.OK)  # enabled, active, event 5
    assert judged(0x2C05) == (1.0, Status.OK)  # trouble never hides an active zone
    assert judged(0x0A05) == (1.0, Status.OK)  # nor does 'disabled'
    assert judged(0x0CFF)[0] == 1.0  # nor a low byte of FF
    assert judged(0x3400) == (0.0, Status.DEVICE_FAULT)  # trouble
    assert judged(0x1200) == (0.0, Status.DEVICE_FAULT)  # disabled
    assert judged(0x0000) == (0.0, Status.DEVICE_FAULT)  # neither
    value, status = judged(0x10FF)
    assert math.isnan(value)
    assert status & Status.SENTINEL


def test_a_counter_goes_on_through_its_wrap_and_from_nought_after_a_restart() -> None:
    counter = interpret.Counter()
    raws = [65_530, 65_535, 4, 100, 0, 7]
    assert [counter.wrapped(raw, 65_536) for raw in raws] == [65_530, 65_535, 65_540, 65_636, 65_636, 65_643]


@given(st.lists(st.integers(0, 30_000), max_size=50), st.integers(0, 65_535))
def test_a_wrapping_counter_never_loses_rain(steps: list[int], start: int) -> None:
    counter = interpret.Counter()
    counter.wrapped(start, 65_536)
    raw = start
    for step in steps:
        raw = (raw + step) % 65_536
        counter.wrapped(raw, 65_536)
    assert counter.total == start + sum(steps)


def test_what_reading_clears_is_summed() -> None:
    clock = ManualClock()
    line = MemoryLine(clock)
    memory = line.add("delta-ohm-hd2016", 1).memory

    async def main() -> None:
        bus = line.bus()
        await bus.open()
        gauge = device(bus, "delta-ohm-hd2016", 1, clock)
        for expected in (0.2, 0.4, 0.6):
            memory.set("rain-partial", 0.2)
            (reading,) = await gauge.read(["rain-partial"])
            assert reading.value == pytest.approx(expected)
            assert memory.tables[4][3] == 0, "the device has cleared it"
        await bus.close()

    run_virtual(main(), clock)


LOOP = {"function": 3, "address": 0, "type": "u16", "scale": 0.001, "unit": "m", "loop": {"low": 0.0, "high": 8.0}}


@pytest.mark.parametrize(
    ("microamps", "value", "status"),
    [
        (4_000, 0.0, Status.OK),
        (12_000, 4.0, Status.OK),
        (20_000, 8.0, Status.OK),
        (20_500, 8.25, Status.OK),  # beyond the span: the core judges it
        (3_600, -0.2, Status.OK),
        (3_599, math.nan, Status.LOOP_FAULT),
        (21_001, math.nan, Status.LOOP_FAULT),
        (0, math.nan, Status.LOOP_FAULT),
    ],
)
def test_namur_ne43(microamps: int, value: float, status: Status) -> None:
    reading = interpret.reading(
        "level", ChannelProfile.model_validate(LOOP), {(3, 0): microamps}, interpret.Counters(), 0, ""
    )
    assert reading.status is status
    assert reading.value == pytest.approx(value, nan_ok=True)


@given(st.lists(st.integers(0, 0xFFFF), min_size=2, max_size=2))
def test_any_registers_of_a_float_are_a_number_or_say_why_not(words: list[int]) -> None:
    channel = ChannelProfile.model_validate(
        {"function": 4, "address": 0, "type": "f32", "sentinels": [0x7F7FFFFF], "unit": "m"}
    )
    reading = interpret.reading("x", channel, {(4, 0): words[0], (4, 1): words[1]}, interpret.Counters(), 0, "")
    assert math.isfinite(reading.value) == (reading.status is Status.OK)
    assert reading.reason or reading.status is Status.OK


WHOLE = """\
title = "a gauge"
source = "its manual"
verified = false

[channel.level]
function = 3
address = 4
type = "u16"
unit = "m"
"""


@pytest.mark.parametrize(
    ("change", "says", "line"),
    [
        (("unit =", "unti ="), "did you mean 'unit'?", 9),
        (('"u16"', '"u17"'), "type", 8),
        (("address = 4", "address = 70000"), "address", 7),
        (("function = 3", "function = 1"), "coils and discrete inputs", 0),
        (('unit = "m"', "range = [3.0, 1.0]"), "range", 0),
        (('unit = "m"', "wrap = 65536\nread_once = true"), "wrapping counter", 0),
        (('unit = "m"', 'same_as = "other"'), "not a channel", 0),
        (("[channel.level]", "[channel.Level]"), "an id is", 0),
        (('title = "a gauge"\n', ""), "'title' is missing", 0),
    ],
)
def test_a_bad_profile_is_refused_with_a_clear_line(
    tmp_path: Path, change: tuple[str, str], says: str, line: int
) -> None:
    path = tmp_path / "gauge.toml"
    path.write_text(WHOLE.replace(*change))
    with pytest.raises(ConfigError) as refusal:
        load("gauge.toml", tmp_path)
    assert says in str(refusal.value)
    assert line in (0, refusal.value.line)


def test_an_unknown_profile_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vegapuls"):
        load("vegapulse")
    with pytest.raises(ConfigError, match="vegapuls"):
        load("../profiles/vegapuls")
    (tmp_path / "mine.toml").write_text(WHOLE)
    assert load("mine.toml", tmp_path).title == "a gauge"


def test_a_status_too_far_from_its_value_is_refused() -> None:
    profile = Profile.model_validate(
        {
            "title": "x",
            "source": "x",
            "verified": False,
            "channel": {
                "level": {
                    "function": 3,
                    "address": 4,
                    "type": "u16",
                    "status": [{"address": 9, "equals": 1, "means": "device-fault", "reason": "broken"}],
                }
            },
        }
    )
    with pytest.raises(ConfigError, match="raise gap"):
        plan.check("x", profile)
    plan.check("x", profile.model_copy(update={"gap": 4}))


def test_misuse_of_a_device_is_refused() -> None:
    clock = ManualClock()
    line = MemoryLine(clock)
    line.add("waveshare-relay8", 1)

    async def main() -> None:
        bus = line.bus()
        await bus.open()
        relays = device(bus, "waveshare-relay8", 1, clock)
        informer = device(bus, "federal-informer", 2, clock)
        for wrong in (
            relays.read(["relay-9"]),
            relays.write("relay-9", 1),
            relays.write("relay-1", 2),
            relays.write("relay-1", 0.5),
            relays.pulse("relay-1", 301.0),
            relays.pulse("relay-1", 0.0),
            informer.write("tone", 8),
            informer.write("attenuation", 21),
        ):
            with pytest.raises(ConfigError):
                await wrong
        assert not (await relays.pulse("all", 1.0)).ok
        assert (await informer.write("run-1", 0)).ok  # nothing to do, and nothing sent
        assert not line.sent
        assert (await relays.pulse("relay-3", 0.65)).ok
        assert line.sent[-1][:6] == bytes.fromhex("01 05 02 02 00 07"), "0.65 s is rounded up to 0.7 s"
        await asyncio.sleep(0.6)
        assert line.units[1].memory.tables[1][2] == 1
        await asyncio.sleep(0.2)
        assert line.units[1].memory.tables[1][2] == 0
        assert [(one.name, one.value, one.by) for one in line.record] == [
            ("relay-3", 1, "bus"),
            ("relay-3", 0, "timer"),
        ]
        await bus.close()

    run_virtual(main(), clock)
