"""Every point at its own pace; a dead, slow or silent device gives samples that say so."""

import asyncio
from collections import Counter
from itertools import pairwise
from math import isnan

import pytest

from cython_ext import ConfigError, Status
from cython_ext.panel import RECORD
from edge.config import PointBinding
from edge.sense.sampler import CHANGES_MAX, READ_MAX_S, Sampler, Source
from edge.troubles import Troubles
from firmware_bridge.driver import Channel, Reading, missing
from lanes.pulse import Pulse
from tests.kit.clock import ManualClock, run_virtual

S = 1_000_000_000


class FakeBus:
    def __init__(self, name: str) -> None:
        self.id = name


class FakeDevice:
    """Answers after `delay_s` with the number of the read."""

    def __init__(self, name: str, bus: FakeBus, clock: ManualClock, delay_s: float = 0.01) -> None:
        self.id = name
        self.bus = bus
        self.channels = (Channel("level", "m"), Channel("rain", "mm"))
        self.clock = clock
        self.delay_s = delay_s
        self.dead = False
        self.reads: list[tuple[int, tuple[str, ...]]] = []

    async def read(self, channels=None, *, priority=None):
        asked = tuple(channels)
        self.reads.append((self.clock.monotonic_ns(), asked))
        await asyncio.sleep(self.delay_s)
        now_ns = self.clock.monotonic_ns()
        if self.dead:
            return tuple(missing(one, now_ns, "silence") for one in asked)
        return tuple(Reading(one, float(len(self.reads)), Status.OK, now_ns) for one in asked)


class WatchedDevice(FakeDevice):
    def watch(self, callback) -> None:
        self.tell = callback


class Rig:
    def __init__(self, points: dict[str, tuple[str, str, float]], **delays: float) -> None:
        self.clock = ManualClock()
        bus = FakeBus("river")
        names = {device for device, _, _ in points.values()}
        self.devices = {
            name: (WatchedDevice if name == "contacts" else FakeDevice)(name, bus, self.clock, delays.get(name, 0.01))
            for name in names
        }
        sources = [
            Source(index, PointBinding(id=point, device=device, channel=channel), round(period_s * S))
            for index, (point, (device, channel, period_s)) in enumerate(points.items())
        ]
        self.batches: list[list[tuple[int, float, int, int]]] = []
        self.presence: list[tuple[str, bool]] = []
        self.told: list[tuple[str, bool, str]] = []
        troubles = Troubles(lambda data: self.told.append((data.code, data.on, data.subject)))
        self.sampler = Sampler(
            sources=sources,
            devices=self.devices,
            clock=self.clock,
            deliver=self._deliver,
            presence=lambda device, there: self.presence.append((device, there)),
            troubles=troubles,
            pulse=Pulse(self.clock),
        )

    async def _deliver(self, batch: bytes) -> None:
        self.batches.append([record[:4] for record in RECORD.iter_unpack(batch)])

    def run(self, *steps: object) -> None:
        """Numbers are seconds to wait, anything else is called."""

        async def main() -> None:
            task = asyncio.create_task(self.sampler.run())
            for step in steps:
                if callable(step):
                    step()
                else:
                    await asyncio.sleep(step)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run_virtual(main(), self.clock)

    def counts(self) -> Counter[int]:
        return Counter(record[2] for batch in self.batches for record in batch)


def test_each_point_has_its_own_pace():
    rig = Rig({"a": ("gauge", "level", 1.0), "b": ("gauge", "rain", 10.0), "c": ("other", "level", 2.0)})
    rig.run(100)
    counts = rig.counts()
    assert 99 <= counts[0] <= 101
    assert 9 <= counts[1] <= 11
    assert 49 <= counts[2] <= 51


def test_points_of_one_device_and_pace_are_read_together_and_devices_are_staggered():
    rig = Rig({"a": ("gauge", "level", 4.0), "b": ("gauge", "rain", 4.0), "c": ("other", "level", 4.0)})
    rig.run(9)
    assert rig.devices["gauge"].reads[0][1] == ("level", "rain")
    offset = rig.devices["other"].reads[0][0] - rig.devices["gauge"].reads[0][0]
    assert abs(offset) == 2 * S


def test_pace_does_not_drift_with_the_time_a_read_takes():
    rig = Rig({"a": ("gauge", "level", 1.0)}, gauge=0.4)
    rig.run(60)
    starts = [at for at, _ in rig.devices["gauge"].reads]
    assert {later - earlier for earlier, later in pairwise(starts)} == {S}


def test_a_dead_device_gives_missing_samples_and_is_told_of_once():
    rig = Rig({"a": ("gauge", "level", 1.0)})
    gauge = rig.devices["gauge"]
    rig.run(3.5, lambda: setattr(gauge, "dead", True), 10, lambda: setattr(gauge, "dead", False), 3)
    statuses = [record[3] for batch in rig.batches for record in batch]
    assert statuses.count(int(Status.MISSING)) == 10
    assert rig.presence == [("gauge", True), ("gauge", False), ("gauge", True)]


def test_a_read_that_never_ends_is_cut_and_its_points_are_missing():
    rig = Rig({"a": ("gauge", "level", 1.0)}, gauge=10_000.0)
    rig.run(READ_MAX_S + 1)
    assert rig.batches[0][0][3] == int(Status.MISSING)


def test_a_bus_that_cannot_keep_pace_skips_and_says_so_and_recovers():
    rig = Rig({"a": ("gauge", "level", 1.0)}, gauge=1.5)
    rig.run(20, lambda: setattr(rig.devices["gauge"], "delay_s", 0.1), 10)
    assert rig.told == [("overrun", True, "river/gauge"), ("overrun", False, "river/gauge")]
    starts = [(at - rig.devices["gauge"].reads[0][0]) / S for at, _ in rig.devices["gauge"].reads]
    assert all(abs(start - round(start)) < 1e-6 for start in starts), "still in its own slots"


def test_factor_and_offset_make_a_level_of_a_distance():
    source = Source(3, PointBinding(id="a", device="g", channel="distance", factor=-1.0, offset=9.4), S)
    assert source.record(Reading("distance", 6.0, Status.OK, 5)) == (3, 5, pytest.approx(3.4), 0)
    gone = source.record(missing("distance", 5, "x"))
    assert isnan(gone[2])
    assert gone[3] == int(Status.MISSING)


def test_a_contact_that_changes_is_a_sample_at_once():
    rig = Rig({"a": ("contacts", "level", 60.0)})

    def press() -> None:
        now_ns = rig.clock.monotonic_ns()
        rig.devices["contacts"].tell(Reading("level", 1.0, Status.OK, now_ns))
        rig.devices["contacts"].tell(Reading("rain", 1.0, Status.OK, now_ns))  # no point of ours

    rig.run(1.0, press, 0.001)
    assert [batch for batch in rig.batches if batch[0][1] == 1.0][-1][0][0] == rig.clock.monotonic_ns() - 1_000_000


def test_changes_beyond_what_can_be_judged_are_bounded():
    rig = Rig({"a": ("contacts", "level", 60.0)})
    for _ in range(3 * CHANGES_MAX):
        rig.devices["contacts"].tell(Reading("level", 1.0, Status.OK, 0))
    assert len(rig.sampler._changes) == CHANGES_MAX


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="nowhere"):
        Sampler(
            sources=[Source(0, PointBinding(id="a", device="nowhere", channel="x"), S)],
            devices={},
            clock=ManualClock(),
            deliver=None,
            presence=None,
            troubles=None,
            pulse=None,
        )
