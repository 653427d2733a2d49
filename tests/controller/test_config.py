"""controller.toml: the example is valid and whole, and a mistake is one clear line."""

from pathlib import Path

import pytest

from controller import config
from controller.config import ControllerConfig
from cython_ext import ConfigError
from lanes.settings import parse

EXAMPLE = Path(__file__).parents[2] / "examples" / "controller.toml"


def test_the_example_is_valid_and_its_paths_are_beside_it() -> None:
    local = config.load(EXAMPLE)
    assert local.config.controller.id == "centre-1"
    assert local.config.broker.ca == EXAMPLE.parent / "tls/ca.crt"
    assert local.config.history is not None
    assert local.config.history.token_file == EXAMPLE.parent / "keys/history.token"
    names = ["other-bank", "files", "iasi", "mail", "sms", "atom", "arc", "desk"]
    assert [channel.name for channel in local.config.dispatch] == names


def test_the_example_shows_every_section_and_key_of_ours() -> None:
    text = EXAMPLE.read_text()
    for name, field in ControllerConfig.model_fields.items():
        written = field.alias or name
        assert f"[{written}]" in text or f"[[{written}]]" in text, written
    for section in (config.ControllerSection, config.KeysSection, config.TelemetrySection):
        for key in section.model_fields:
            assert f"{key} = " in text, key


@pytest.mark.parametrize(
    ("change", "at", "said"),
    [
        (("socket = ", "sokcet = "), "sokcet", "did you mean 'socket'"),
        (('live = "keys/live.pem"', ""), "[keys]", "'keys.live' is missing"),
        (("port = 8731", "port = 8731\ninsecure = 3"), "insecure = 3", "listener.insecure"),
        (("port = 8731", "port = 8731\nkey = 'x'"), "", "belong together"),
        (('sirens = "by-hand"', 'sirens = "automatic"'), "sirens = ", "by-hand"),
        (("poll_s = 30.0", "poll_s = 1"), "poll_s", "poll_s"),
        (("port = 8883", 'port = "eight"'), "port = ", "broker.port"),
        (('name = "files"', 'name = "other-bank"'), "", "two [[dispatch]] channels are called 'other-bank'"),
        (('kind = "desk"', 'kind = "desk"\nfallback = "arc"'), "", "fallback 'arc' is no channel with standby = true"),
    ],
)
def test_a_mistake_is_one_clear_line(change: tuple[str, str], at: str, said: str) -> None:
    text = EXAMPLE.read_text()
    assert change[0] in text
    wrong = text.replace(*change, 1)
    with pytest.raises(ConfigError) as refused:
        parse(wrong, ControllerConfig, source="controller.toml")
    assert said in str(refused.value)
    if at:
        assert at in wrong.splitlines()[refused.value.line - 1]


def test_a_stand_in_that_would_tell_nobody_is_refused() -> None:
    text = EXAMPLE.read_text().replace('kind = "desk"', 'kind = "desk"\nfallback = "sms"')
    assert 'name = "sms"\n' in text
    text = text.replace('name = "sms"\n', 'name = "sms"\nstandby = true\n')
    with pytest.raises(ConfigError, match="fallback 'sms' has nobody in `to`"):
        parse(text, ControllerConfig)
    parse(text.replace('name = "sms"\n', 'name = "sms"\nto = ["+40700000001"]\n'), ControllerConfig)
