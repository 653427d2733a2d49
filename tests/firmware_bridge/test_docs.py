"""docs/devices.md knows every word of a profile, every profile, every bus setting and every fault; and its examples load."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter

from firmware_bridge import profile, settings
from firmware_bridge.simulators.faults import Fault
from firmware_bridge.simulators.informer import FAILURES
from firmware_bridge.simulators.settings import WorldSettings

TEXT = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
WORDS = set(re.findall(r"[a-z0-9_-]+", TEXT))
MODELS = [
    profile.Profile,
    profile.ChannelProfile,
    profile.StatusRule,
    profile.ScaleRegister,
    profile.UnitRegister,
    profile.Loop,
    profile.WritePoint,
    profile.Pulse,
    profile.SirenProfile,
    profile.Act,
    profile.Check,
    profile.SerialDefaults,
    settings.ModbusTcpBus,
    settings.ModbusRtuBus,
    settings.GpioBus,
    settings.DeviceSettings,
    settings.InputSettings,
    settings.OutputSettings,
    settings.SirenSettings,
    settings.ChannelRef,
]


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one.__name__)
def test_every_key_is_documented(model: type[BaseModel]) -> None:
    assert set(model.model_fields) <= WORDS, set(model.model_fields) - WORDS


def test_every_profile_is_listed_as_it_is() -> None:
    listed = dict(re.findall(r"^\| `([a-z0-9-]+)` \| .* \| (yes|no) \|$", TEXT, re.M))
    assert listed == {name: "yes" if profile.load(name).verified else "no" for name in profile.names()}


def test_every_fault_is_named() -> None:
    assert {one.value for one in Fault if one} | {one for one in FAILURES if one} <= WORDS


def test_the_examples_load() -> None:
    examples = [tomllib.loads(one) for one in re.findall(r"```toml\n(.*?)```", TEXT, re.S)]
    kinds = {"bus": settings.BusSettings, "device": settings.DeviceSettings, "siren": settings.SirenSettings}
    seen = set()
    for example in examples:
        if "line" in example:
            WorldSettings.model_validate(example)
            seen.add("world")
            continue
        for key, kind in kinds.items():
            for one in example.get(key, []):
                TypeAdapter(kind).validate_python(one)
                seen.add(key)
    assert seen == {"bus", "device", "siren", "world"}
