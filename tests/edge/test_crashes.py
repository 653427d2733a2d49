"""Every siren ends, whatever else has died (reliability.md I3): a part of `make crashes`, and that the campaign can fail."""

from pathlib import Path
from random import Random

import pytest

from edge.siren.sequencer import Player
from edge.siren.sounder import Sounder
from firmware_bridge.driver import Outcome as Done
from firmware_bridge.driver import Priority
from firmware_bridge.gpio.device import GpioDevice
from firmware_bridge.sirens.base import BaseSiren
from tests.kit.clock import run_virtual
from tests.kit.crashes import BREAKS, Outcome, campaign, main, on_a_board


def test_a_part_of_the_campaign() -> None:
    outcome = campaign(range(60))
    assert (outcome.seeds, outcome.sounded, outcome.late) == (60, 60, [])
    assert {each.__name__ for each in BREAKS} < set(outcome.broken), "each kind of crash was there"


def test_the_campaign_ends_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "seeds 5, late 0"


def test_a_siren_whose_every_off_is_gone_is_found_late(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def nothing(*_: object, **__: object) -> Done:
        return Done(True)

    async def held(device: GpioDevice, point: str, _hold_s: float, *, priority: Priority) -> Done:
        return await device.write(point, 1, priority=priority)

    monkeypatch.setattr(GpioDevice, "pulse", held)
    monkeypatch.setattr(Sounder, "_silence", lambda _self: None)
    monkeypatch.setattr(Sounder, "silenced", nothing)
    monkeypatch.setattr(BaseSiren, "_expire", lambda _self: None)
    monkeypatch.setattr(Player, "_mark", lambda _self, *, on: None)
    monkeypatch.setattr(BaseSiren, "off", nothing)
    outcome = Outcome()
    with pytest.raises(AssertionError):  # the rig, too, finds the relay closed at its end
        run_virtual(on_a_board(tmp_path, Random(1), outcome))
    assert outcome.late[-1] == "still closed"
