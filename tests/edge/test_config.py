"""node.toml: every mistake is one clear line that says where, what, and what to do."""

import tomllib
from pathlib import Path

import pytest

from cython_ext import ConfigError
from edge import VERSION, config
from lanes.keys import Mode, SigningKey, write_key
from tests.kit.nodes import KEYS
from tests.kit.site import TOML, lay_out

ROOT = Path(__file__).parents[2]


def refused(folder: Path, old: str = "", new: str = "") -> ConfigError:
    """The refusal of a good site's node.toml in which `old` was replaced by `new`."""
    path = folder / "node.toml"
    if not path.exists():
        lay_out(folder)
    good = path.read_text()
    assert old in good
    path.write_text(good.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        config.ready(config.load(path))
    path.write_text(good)
    assert str(folder) in str(error.value)
    return error.value


def test_a_right_one_is_ready(tmp_path):
    ready = config.ready(config.load(lay_out(tmp_path)))
    assert ready.node == "quay"
    assert set(ready.keys) == {Mode.LIVE, Mode.EXERCISE, Mode.TEST}
    assert ready.local.at(Path("data")) == tmp_path / "data"


def test_the_example_is_valid_and_says_what_each_default_is():
    example = ROOT / "examples" / "node.toml"
    local = config.load(example)
    defaults = config.BrokerSettings.model_validate({})
    assert local.config.broker.keepalive_s == defaults.keepalive_s
    assert local.config.clock == config.ClockSection.model_validate({})
    text = example.read_text()
    for section in ("node", "keys", "broker", "telemetry", "clock", "[bus]", "[device]", "[point]", "[siren]"):
        assert f"[{section}]" in text, section
    named = {"NodeSection": "node", "TelemetrySection": "telemetry", "ClockSection": "clock", "KeysSection": "keys"}
    for model, table in named.items():
        for key in getattr(config, model).model_fields:
            assert key in tomllib.loads(text)[table], f"{table}.{key} is not shown"


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('id = "quay"', 'id = "quay"\ndat = "x"', 3, "unknown key 'node.dat'; did you mean 'data'?"),
        ('id = "quay"', 'id = "Quay"', 2, "id 'Quay' is not valid"),
        ("port = 1\n", "port = 0\n", 11, "greater than or equal to 1"),
        ('device = "gauge"\nchannel = "level"', 'device = "gouge"\nchannel = "level"', 0, "names device 'gouge'"),
        ('bus = "river"\nprofile = "vegapuls"', 'bus = "rivr"\nprofile = "vegapuls"', 0, "names bus 'rivr'"),
        ('id = "smoke"', 'id = "level"', 0, "point 'level' stands twice"),
        (
            'id = "smoke"',
            'id = "fog"',
            42,
            "point 'fog' is not a point of node 'quay' in the plan; it has level, smoke",
        ),
        ('id = "school"', 'id = "church"', 47, "siren 'church' is not a siren of node 'quay'"),
        (
            '[[point]]\nid = "smoke"\ndevice = "panel"\nchannel = "alarm-2"\n',
            "",
            0,
            "the plan gives this node point smoke",
        ),
        ('channel = "alarm-2"', 'channel = "alarm-2"\nfactor = 0', 0, "factor 0 would hide every value"),
        ("simulated = true", "simulated = true\nbaud = 9600", 19, "known keys: dead_after, framing, host"),
        ('id = "quay"', 'id = "weir"', 1, "neither points nor sirens of node 'weir'; it knows mill, quay"),
        ("[broker]", "[broker", 9, "not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, line, says):
    error = refused(tmp_path, old, new)
    assert says in str(error)
    if line:
        assert error.line == line, str(error)


def test_keys_that_nobody_would_believe_are_refused(tmp_path):
    lay_out(tmp_path)
    live = tmp_path / "keys" / "live.pem"
    live.unlink()
    write_key(SigningKey.from_seed(b"?" * 32), live)
    assert "is not in the plan's roster" in str(refused(tmp_path))
    live.unlink()
    write_key(KEYS["quay", "test"], live)
    assert "the plan knows this key as node 'quay', test; it must be node 'quay', live" in str(refused(tmp_path))
    live.chmod(0o644)
    assert "chmod 600" in str(refused(tmp_path))
    live.unlink()
    assert "cannot read this secret" in str(refused(tmp_path))


def test_a_plan_that_nobody_signed_is_refused(tmp_path):
    from lanes import planfile
    from tests.kit.nodes import signed

    path = lay_out(tmp_path)
    planfile.write(signed(), tmp_path / "plan.cbor")
    with pytest.raises(ConfigError, match="signed by nobody"):
        config.ready(config.load(path))


def test_the_brokers_files_are_relative_to_the_file_too(tmp_path):
    path = lay_out(tmp_path, text=TOML.replace('host = "127.0.0.1"', 'host = "h"\nca = "tls/ca.pem"', 1))
    assert config.load(path).config.broker.ca == tmp_path / "tls" / "ca.pem"


def test_the_version_is_the_projects():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
