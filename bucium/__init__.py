"""The face of Bucium: the `bucium` command and the demo. Nothing of substance lives here (design §4, §5)."""

from typing import Final


def version() -> str:
    """The installed version, or `unknown` in a bare tree."""
    from importlib import metadata  # not at the top: the node pays for every module

    try:
        return metadata.version("bucium")
    except metadata.PackageNotFoundError:
        return "unknown"


DONE: Final = 0
FAILED: Final = 1  # refused, or it did not come true
MISUSED: Final = 2  # the command line itself was wrong
