"""Configuration files: what is wrong is said with its line and the nearest known key."""

import pytest
from pydantic import Field

from cython_ext import ConfigError
from lanes.settings import Settings, load, parse


class Inner(Settings):
    hold_s: float = Field(1.0, ge=0)
    deadband_m: float = 0.0


class Outer(Settings):
    name: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = Field((), alias="one")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "a"\nnme = 1', r":2: unknown key 'nme'; did you mean 'name'"),
        ('name = "a"\n[inner]\nholds = 1', r":3: unknown key 'inner.holds'; did you mean 'hold_s'"),
        ('name = "a"\n[[one]]\nhold_s = 1\n[[one]]\ndeadband = 1', r":5: unknown key 'one\[1\].deadband'.*deadband_m"),
        ('name = "a"\n[inner]\nzzz = 1', r":3: .*known keys: deadband_m, hold_s"),
        ("", "'name' is missing"),
        ("name = 5", r":1: name: .*string.*given: 5"),
        ('name = "a"\n[inner]\nhold_s = -1', r":3: inner.hold_s: .*greater than or equal to 0"),
        ('name = "a"\nname = "b"', ":2: not TOML"),
        ("name = ", ":1: not TOML"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse(text, Outer, source="node.toml")
    assert str(caught.value).startswith("node.toml")


def test_several_faults_are_said_at_once():
    with pytest.raises(ConfigError, match=r"(?s)aaa.*also line 3.*bbb"):
        parse('aaa = 1\nname = "a"\nbbb = 1', Outer, source="x")


def test_files_that_are_not_text_or_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "none.toml", Outer)
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "bad.toml", Outer)


def test_a_right_file_loads(tmp_path):
    (tmp_path / "ok.toml").write_text('name = "a"\n[[one]]\nhold_s = 2')
    assert load(tmp_path / "ok.toml", Outer).many[0].hold_s == 2
