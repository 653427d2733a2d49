"""What happened, as one hash: the same seed gives the same, or something in the product or the world is not repeatable."""

import hashlib
from typing import Any


class Trace:
    """`keep`: hold the lines too, to show where two runs part."""

    def __init__(self, *, keep: bool = False) -> None:
        self._hash = hashlib.sha256()
        self.lines: list[str] | None = [] if keep else None
        self.count = 0

    def add(self, at_ns: int, what: str, *facts: Any) -> None:
        line = f"{at_ns} {what} {facts}"
        self._hash.update(line.encode())
        self.count += 1
        if self.lines is not None:
            self.lines.append(line)

    def digest(self) -> str:
        return self._hash.hexdigest()[:16]
