"""The command line under test: in this process, with its exit code and what it printed."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from bucium.__main__ import main


@dataclass(frozen=True, slots=True)
class Said:
    """What a verb left behind."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """Standard output as JSON, one document a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self) -> Any:
        (one,) = self.documents
        return one


class Face:
    """`face("keys", "list")` runs a verb."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *words: object) -> Said:
        self._capture.readouterr()
        code = main([str(word) for word in words])
        out, err = self._capture.readouterr()
        return Said(code, out, err)
