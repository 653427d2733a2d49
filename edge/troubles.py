"""Troubles of the node itself: what stands now, and each change told once, as an event (design §3)."""

import logging
from collections.abc import Callable
from typing import Final

from lanes.reports import TroubleData

log = logging.getLogger("bucium.edge")
SUBJECT_MAX: Final = 48  # characters, as in TroubleData


class Troubles:
    """`post` takes each change; a start of the node (its BOOT event) ends all troubles of the boot before."""

    def __init__(self, post: Callable[[TroubleData], None]) -> None:
        self._post = post
        self._standing: set[tuple[str, str]] = set()

    def set(self, code: str, on: bool, subject: str = "") -> None:
        """It is so now; nothing happens when it was so before."""
        subject = subject[:SUBJECT_MAX]
        key = code, subject
        if on == (key in self._standing):
            return
        (self._standing.add if on else self._standing.remove)(key)
        log.log(logging.WARNING if on else logging.INFO, "trouble.changed code=%s on=%s subject=%s", code, on, subject)
        self._post(TroubleData(code, on, subject))

    def only(self, code: str, *subjects: str) -> None:
        """This trouble stands for these subjects, and for no other."""
        wanted = {subject[:SUBJECT_MAX] for subject in subjects}
        for _, subject in [each for each in self._standing if each[0] == code and each[1] not in wanted]:
            self.set(code, False, subject)
        for subject in subjects:
            self.set(code, True, subject)

    def standing(self) -> list[tuple[str, str]]:
        return sorted(self._standing)
