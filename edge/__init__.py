"""The node's agent: it reads its points, judges them, keeps and sends what happened, obeys orders, and acts alone if it must."""

from typing import Final

VERSION: Final = (
    "0.1.0"  # as in pyproject.toml (a test compares); asking the installed metadata would cost a node 1 MiB
)
