"""The world's control socket: the verbs of `world.Simulation` as JSON lines (the form of `lanes/control.py`).

    {"verb": "set", "args": {"device": "prut-gauge", "channel": "level", "value": 3.2}}
    {"verb": "trouble", "args": {"device": "prut-gauge", "channel": "level", "means": "device-fault", "on": true}}
    {"verb": "fault", "args": {"device": "prut-gauge", "fault": "dead", "delay_s": 0, "times": 0}}
    {"verb": "fail", "args": {"device": "informer", "how": "mute"}}
    {"verb": "cut", "args": {"line": "river", "seconds": 2}}     {"verb": "mend", "args": {"line": "river"}}
    {"verb": "endpoint", "args": {"line": "river"}}              {"verb": "endpoints"}
    {"verb": "record", "args": {"since": 0}}                     -> {"next": 12, "entries": [...]}

From Python: `lanes.control.ask(path, "set", device=…, channel=…, value=…)`.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cython_ext.errors import ConfigError
from lanes.control import serve as serve_verbs

from .faults import misbehaviour

if TYPE_CHECKING:
    from .world import Simulation

ENTRIES_MOST: Final = 5_000  # of one answer: below the line's limit of 1 MiB


def serve(path: Path, world: "Simulation") -> AbstractAsyncContextManager[None]:
    """Answer the verbs while the context lasts."""
    return serve_verbs(path, {name: getattr(_Verbs(world), name) for name in _VERBS})


_VERBS: Final = ("set", "trouble", "fault", "fail", "cut", "mend", "endpoint", "endpoints", "record")


class _Verbs:
    def __init__(self, world: "Simulation") -> None:
        self._world = world

    async def set(self, args: dict[str, Any]) -> None:
        self._world.set(_text(args, "device"), _text(args, "channel"), _number(args, "value"))

    async def trouble(self, args: dict[str, Any]) -> None:
        on = bool(args.get("on", True))
        self._world.trouble(_text(args, "device"), _text(args, "channel"), _text(args, "means"), on)

    async def fault(self, args: dict[str, Any]) -> None:
        fields = {key: _number(args, key) for key in args if key not in ("device", "fault")}
        self._world.fault(_text(args, "device"), misbehaviour(_text(args, "fault"), **fields))

    async def fail(self, args: dict[str, Any]) -> None:
        self._world.fail(_text(args, "device"), _text(args, "how"))

    async def cut(self, args: dict[str, Any]) -> None:
        await self._world.cut(_text(args, "line"), _number(args, "seconds") if "seconds" in args else 0.0)

    async def mend(self, args: dict[str, Any]) -> None:
        await self._world.mend(_text(args, "line"))

    async def endpoint(self, args: dict[str, Any]) -> dict[str, Any]:
        return dict(self._world.endpoint(_text(args, "line")))

    async def endpoints(self, args: dict[str, Any]) -> dict[str, Any]:
        del args
        return {name: dict(line.endpoint()) for name, line in self._world.lines.items()}

    async def record(self, args: dict[str, Any]) -> dict[str, Any]:
        since = int(_number(args, "since")) if "since" in args else 0
        entries = self._world.record.since(since)[:ENTRIES_MOST]
        return {"next": min(since + len(entries), len(self._world.record)), "entries": [asdict(one) for one in entries]}


def _text(args: dict[str, Any], key: str) -> str:
    value = args.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"args.{key} must be text")
    return value


def _number(args: dict[str, Any], key: str) -> float:
    value = args.get(key)
    if not isinstance(value, (int, float)):
        raise ConfigError(f"args.{key} must be a number")
    return value
