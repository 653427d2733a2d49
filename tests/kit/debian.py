"""Heavier real parts from Debian's packages: installed when we are root, else asked for in one line."""

import ctypes.util
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

SEARCHED = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
NO_SERVICE = Path("/usr/sbin/policy-rc.d")  # Debian asks it before it starts a new service: the tests start their own


@cache
def program(name: str, package: str) -> str | None:
    """The program's path, installed now if need be and possible; None when it cannot be had."""
    return _had(lambda: shutil.which(name, path=SEARCHED), package)


@cache
def library(name: str, package: str) -> str | None:
    """The shared library's name, installed now if need be and possible; None when it cannot be had."""
    return _had(lambda: ctypes.util.find_library(name), package)


def _had(find: Callable[[], str | None], package: str) -> str | None:
    found = find()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with (Path(tempfile.gettempdir()) / "bucium-tests-apt.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several test workers, one apt
            found = find()
            if found is None:
                _install(package)
                found = find()
    return found


def how(package: str) -> str:
    """The line that a skipped test shows."""
    return f"{package} is not installed; get it with: sudo apt install {package}"


def _install(package: str) -> None:
    quiet = {"check": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    mine = not NO_SERVICE.exists()
    if mine:
        NO_SERVICE.write_text("#!/bin/sh\nexit 101\n")
        NO_SERVICE.chmod(0o755)
    try:
        for command in (["apt-get", "-q", "update"], ["apt-get", "-qy", "--no-install-recommends", "install", package]):
            subprocess.run(command, env=environment, **quiet)  # type: ignore[call-overload]
    finally:
        if mine:
            NO_SERVICE.unlink()
