"""Key files: private to their owner, never overwritten, refused with what to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import ConfigError
from lanes.keys import SigningKey, kid_of, read_key, verify, write_key


def test_a_key_survives_its_file_and_only_its_owner_reads_it(tmp_path):
    key = SigningKey.generate()
    write_key(key, tmp_path / "key.pem")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "key.pem").public == key.public
    with pytest.raises(ConfigError, match="exists"):
        write_key(key, tmp_path / "key.pem")


def test_a_key_that_others_may_read_is_refused_with_the_command(tmp_path):
    write_key(SigningKey.generate(), tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_key(tmp_path / "key.pem")


def test_what_is_no_key_is_refused(tmp_path):
    (tmp_path / "key.pem").write_text("hello")
    (tmp_path / "key.pem").chmod(0o600)
    with pytest.raises(ConfigError, match="bucium keys issue"):
        read_key(tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="cannot read"):
        read_key(tmp_path / "none.pem")


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_verify_never_raises(public, signature, data):
    assert not verify(public, signature, data)


def test_signatures_and_kids():
    key = SigningKey.from_seed(b"s" * 32)
    assert verify(key.public, key.sign(b"x"), b"x")
    assert not verify(key.public, key.sign(b"x"), b"y")
    assert key.kid == kid_of(key.public)
