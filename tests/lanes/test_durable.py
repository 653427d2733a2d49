"""A file that is replaced is the old or the new one; a folder that cannot be synced is no error."""

import errno
import os

import pytest

from lanes import durable


def test_the_new_content_stands_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    durable.replace(path, b"one")
    durable.replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]


def test_the_old_content_stands_when_the_disk_refuses(tmp_path, monkeypatch):
    path = tmp_path / "file"
    durable.replace(path, b"one")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        durable.replace(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_only_a_folder_that_is_never_synced_is_no_error(tmp_path, monkeypatch, number, raises):
    def refuse(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if raises:
        with pytest.raises(OSError, match=os.strerror(number)):
            durable.sync_folder(tmp_path)
    else:
        durable.sync_folder(tmp_path)
