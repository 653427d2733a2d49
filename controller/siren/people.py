"""The files of where people live, that the plan names by their hash: read beside the plan, for each plan that runs.

A file that is missing, changed or wrong is Trouble (`people-unknown`): coverage of that zone is then not known. No siren, no
alarm and no start waits for it.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final

from cython_ext import ConfigError
from lanes.plan import Plan
from lanes.population import Cell, cells_of, digest_of
from lanes.store import Runner

from ..coverage import ZoneCover, covers
from ..room import Room

log = logging.getLogger("bucium.controller")
LOOK_S: Final = 5.0  # another plan may run
AGAIN_S: Final = 60.0  # a file that is not right may be put right
UNKNOWN: Final = "people-unknown"


class People:
    """Runs until cancelled."""

    def __init__(self, room: Room, folder: Path, runner: Runner) -> None:
        self._room = room
        self._folder = folder
        self._runner = runner

    async def run(self) -> None:
        while True:
            plan, digest = self._room.plan, self._room.signed.digest
            found, wrong = await self._runner(read_covers, plan, self._folder)
            if self._room.signed.digest == digest:
                self._room.covers = digest, found
                self._say(plan, wrong)
            left_s = AGAIN_S if wrong else float("inf")
            while self._room.signed.digest == digest and left_s > 0:
                await asyncio.sleep(LOOK_S)
                left_s -= LOOK_S

    def _say(self, plan: Plan, wrong: dict[str, str]) -> None:
        for zone in plan.zones:
            if zone.people_file:
                self._room.trouble(UNKNOWN, zone.id, zone.id in wrong)
        for zone_id, why in wrong.items():
            log.warning("people.unknown zone=%s why=%s", zone_id, why)


def read_covers(plan: Plan, folder: Path) -> tuple[dict[str, ZoneCover], dict[str, str]]:
    """(each zone whose people are known, why not by zone). Blocks: 50,000 cells and 20 sirens take half a second."""
    cells, wrong = read_people(plan, folder)
    return covers(plan, cells), wrong


def read_people(plan: Plan, folder: Path) -> tuple[dict[str, tuple[Cell, ...]], dict[str, str]]:
    """(cells by zone, why not by zone). Blocks for the disk."""
    found: dict[str, tuple[Cell, ...]] = {}
    wrong: dict[str, str] = {}
    for zone in plan.zones:
        if not zone.people_file:
            continue
        path = folder / zone.people_file
        try:
            data = path.read_bytes()
            if digest_of(data) != zone.people_sha256:
                raise ConfigError(f"its SHA-256 is {digest_of(data)}, the plan names another", source=str(path))
            found[zone.id] = cells_of(data, str(path))
        except OSError as error:
            wrong[zone.id] = f"{path}: {error.strerror}"
        except ConfigError as error:
            wrong[zone.id] = str(error)
    return found, wrong
