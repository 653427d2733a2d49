"""A demo under test: the real command as a child, its JSON lines as they come, and what it leaves behind."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LINE_S = 40.0  # the longest silence of a demo that lives: it tells the river four times a second


class DemoRun:
    """`with DemoRun("--speed", "4") as run:`; `run.until("ready", part="all")`, then `run.finish()`."""

    def __init__(self, *options: object, temporary: Path, script: str = "") -> None:
        start = "import sys; from bucium.__main__ import main; "
        words = ["demo", "--json", *map(str, options)]
        environment = {**os.environ, "TMPDIR": str(temporary)}
        self.temporary = temporary
        self.told: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{start}{script}\nsys.exit(main({words!r}))"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._out, self._err)]
        for thread in self._threads:
            thread.start()

    def _out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _err(self) -> None:
        assert self.process.stderr is not None
        self._errors += list(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for thread in self._threads:
            thread.join(10)

    def next(self) -> dict[str, Any] | None:
        """The next line, or None at the end."""
        line = self._lines.get(timeout=LINE_S)
        if line is None:
            return None
        self.told.append(json.loads(line))
        return self.told[-1]

    def until(self, event: str, **facts: Any) -> dict[str, Any]:
        """Read on until such a line comes."""
        while (one := self.next()) is not None:
            if one["event"] == event and all(one.get(name) == value for name, value in facts.items()):
                return one
        raise AssertionError(f"the demo ended before {event} {facts}: {self.told[-3:]} {self.error}")

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self.next() is not None:
            pass
        code = self.process.wait(30)
        for thread in self._threads:
            thread.join(10)
        return code

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.told if one["event"] == event]

    @property
    def error(self) -> str:
        return "".join(self._errors)

    @property
    def left(self) -> list[str]:
        """What it left in its temporary folder, and programs that still name it."""
        files = [str(path) for path in self.temporary.iterdir()]
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.temporary) in words:
                    files.append(words)
        return files
