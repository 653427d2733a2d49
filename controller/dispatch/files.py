"""Writes each CAP message into a folder, whole or not at all. The name sorts by time and repeats with the identifier."""

from pathlib import Path

from cython_ext import ConfigError
from lanes import durable
from lanes.store import Runner

from . import Answer, Message
from .cap import time_of
from .settings import FilesSettings


class Files:
    """One folder. A message written twice is the same file."""

    def __init__(self, settings: FilesSettings, runner: Runner) -> None:
        self._settings = settings
        self._runner = runner
        try:
            settings.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"dispatch {settings.name!r}: cannot make {settings.folder}: {error.strerror}") from None

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def expires(self) -> bool:
        return True

    def wants(self, *, cap: bool) -> bool:
        return cap

    async def deliver(self, message: Message) -> Answer:
        try:
            path = await self._runner(self._write, message)
        except OSError as error:
            return Answer(False, f"disk: {error.strerror}")
        return Answer(True, path.name)

    async def close(self) -> None:
        """Nothing is held open."""

    def _write(self, message: Message) -> Path:
        stamp = time_of(message.sent_us)[:19].replace(":", "").replace("-", "")
        path = self._settings.folder / f"{stamp}-{message.identifier}.xml"
        durable.replace(path, message.cap or b"")
        return path
