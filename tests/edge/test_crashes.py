"""Every siren ends, whatever else has died (reliability.md I3): a part of `make crashes`, and that the campaign can fail."""

import pytest

from edge.siren.sequencer import Player
from edge.siren.sounder import Sounder
from firmware_bridge.driver import Outcome, Priority
from firmware_bridge.gpio.device import GpioDevice
from firmware_bridge.sirens.base import BaseSiren
from tests.kit.crashes import BREAKS, campaign, main


def test_a_part_of_the_campaign() -> None:
    outcome = campaign(range(60))
    assert (outcome.seeds, outcome.sounded, outcome.late) == (60, 60, [])
    assert {each.__name__ for each in BREAKS} < set(outcome.broken), "each kind of crash was there"


def test_the_campaign_ends_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "seeds 5, late 0"


def test_a_siren_whose_every_off_is_gone_is_found_late(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object, **__: object) -> Outcome:
        return Outcome(True)

    async def held(device: GpioDevice, point: str, _hold_s: float, *, priority: Priority) -> Outcome:
        return await device.write(point, 1, priority=priority)

    monkeypatch.setattr(GpioDevice, "pulse", held)
    monkeypatch.setattr(Sounder, "_silence", lambda _self: None)
    monkeypatch.setattr(Sounder, "silenced", nothing)
    monkeypatch.setattr(BaseSiren, "_expire", lambda _self: None)
    monkeypatch.setattr(Player, "_mark", lambda _self, *, on: None)
    monkeypatch.setattr(BaseSiren, "off", nothing)
    outcome = campaign([1, 2, 3, 4])
    assert outcome.late
