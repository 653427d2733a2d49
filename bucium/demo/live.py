"""The picture on the terminal while the demo runs, and its recording as SVG."""

import asyncio
import io
import re
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live

from bucium.demo.scene import Scene
from bucium.demo.view import View

FRAME_S: Final = 0.2  # five pictures a second: a Pi draws one in about 40 ms
_FONT: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
RECORD_WIDTH: Final = 100
RECORD_HEIGHT: Final = 30


class LiveView:
    """Draws the scene until the context ends; on the terminal's other screen, so that what was there comes back."""

    def __init__(self, scene: Scene, console: Console, record: Path | None = None, *, shown: bool = True) -> None:
        self._view = View(scene)
        self._scene = scene
        self._live = Live(self._view, console=console, screen=True, auto_refresh=False) if shown else None
        self._record = record
        self._best = -1
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._live:
            self._live.start()
        self._task = asyncio.create_task(self._run(), name="view")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._live:
            self._live.stop()

    async def _run(self) -> None:
        while True:
            if self._live:
                self._live.refresh()
            if self._record:
                self._keep(self._record)
            await asyncio.sleep(FRAME_S)

    def _keep(self, path: Path) -> None:
        """Record the picture when it shows more than the one recorded before."""
        scene = self._scene
        sounding = sum(siren.sounding for siren in scene.sirens.values())
        score = 100 * len(scene.alarms) + 30 * bool(sounding) + sum(len(took) for took in scene.steps.values())
        if score > self._best:
            self._best = score
            record(self._view, path)


def record(view: View, path: Path) -> None:
    """Write the picture as SVG."""
    console = Console(
        record=True,
        width=RECORD_WIDTH,
        height=RECORD_HEIGHT,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(view)
    svg = console.export_svg(title="bucium demo")
    path.write_text(_FONT.sub("", svg))  # the picture fetches nothing; a monospaced font is everywhere
