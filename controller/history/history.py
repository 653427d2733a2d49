"""History: every reading, transition and alarm to a server that speaks InfluxDB's v2 write API, when one is configured.

    readings, transitions ─ memory (1 s) ─ spool (disk) ─ one request at a time ─ server

Nothing here is in the alarm path: the calls only append to bounded lists, the disk and the network have runners of their own,
and a server that is away costs disk up to the spool's bound and nothing else. The client library costs 64 MB and two seconds
to load, so it is loaded by the first request, in the network's thread.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, ParamSpec, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import apsw
from pydantic import Field, model_validator

from cython_ext import NS_PER_S, Clock, ConfigError
from cython_ext.panel import RECORD
from lanes.keys import secret_bytes
from lanes.plan import Plan
from lanes.reports import TransitionData
from lanes.settings import Settings
from lanes.store import Runner

from ..alarm.changes import AlarmChange
from ..dispatch import Answer, TroubleSink
from ..dispatch.courier import Entropy
from ..dispatch.settings import Url, loopback
from . import line_protocol
from .spool import CORRUPT, Kind, Spool

P = ParamSpec("P")
R = TypeVar("R")
FLUSH_S: Final = 1.0  # readings wait in memory at most this long; a crash loses them, as the telemetry lane may
BATCH_LINES: Final = 5000  # of one request: InfluxDB's own advice
RECORDS_MAX: Final = 16 << 20  # bytes of readings in memory: about 700,000, when the disk does not keep up
LINES_MAX: Final = 50_000  # transitions in memory
REST_S: Final = 1.0
REST_MAX_S: Final = 60.0
TELL_AFTER_NS: Final = 30 * NS_PER_S
RETRY_REFUSED_NS: Final = 3600 * NS_PER_S


class HistorySettings(Settings):
    """`[history]` of controller.toml."""

    url: Url = Field(description="the server, e.g. https://history.example:8086")
    bucket: str = Field("bucium", min_length=1, max_length=128, description="the bucket (database) written to")
    org: str = Field("", max_length=128, description="the organisation, where the server has them")
    token_file: Path | None = Field(None, description="file of mode 0600 with the write token")
    ca: Path | None = Field(None, description="PEM of the server's CA, when it is not a public one")
    timeout_s: float = Field(10.0, gt=0, le=60, description="the whole of one request")
    spool_mib: int = Field(256, ge=1, le=16384, description="disk for what the server has not taken")
    insecure: bool = Field(False, description="true: allow http:// beyond this machine; the token can then be read")

    @model_validator(mode="after")
    def _sense(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.insecure and not loopback(parts.hostname or ""):
            raise ValueError("history.url: use https://, or say insecure = true")
        if self.ca and parts.scheme != "https":
            raise ValueError("history.ca is for https:// addresses")
        return self


class Writer(Protocol):
    """Sends ready lines."""

    async def write(self, lines: bytes) -> Answer:
        """One request, within a deadline. `refused`: the server is there and these lines are not acceptable."""


class InfluxWriter:
    """Through `influxdb-client`. `runner` must be the network's own: a request may take its whole deadline."""

    def __init__(self, settings: HistorySettings, runner: Runner) -> None:
        self._settings = settings
        self._runner = runner
        self._token = _token(settings.token_file) if settings.token_file else ""
        if settings.ca and not settings.ca.is_file():
            raise ConfigError("history.ca: no such file", source=str(settings.ca))
        self._api: Any = None

    async def write(self, lines: bytes) -> Answer:
        return await self._runner(self._post, lines)

    def _post(self, lines: bytes) -> Answer:
        from influxdb_client.rest import ApiException
        from urllib3.exceptions import HTTPError

        try:
            api = self._open()
            api.write(self._settings.bucket, self._settings.org, lines, write_precision="us")
        except ApiException as error:
            status = int(error.status or 0)
            return Answer(False, str(status or "tls"), refused=status in (400, 413, 422))
        except (HTTPError, OSError) as error:
            return Answer(False, f"no-connection: {type(error).__name__}")
        return Answer(True, "204")

    def _open(self) -> Any:
        if self._api is None:
            from influxdb_client.client.influxdb_client import InfluxDBClient
            from influxdb_client.client.write_api import SYNCHRONOUS

            client = InfluxDBClient(
                self._settings.url,
                token=self._token,
                org=self._settings.org,
                timeout=round(self._settings.timeout_s * 1000),
                ssl_ca_cert=str(self._settings.ca) if self._settings.ca else None,
                retries=False,  # we retry, from disk
            )
            self._api = client.write_api(write_options=SYNCHRONOUS)
        return self._api


def _token(path: Path) -> str:
    token = secret_bytes(path).decode("ascii", "replace").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError("a token is one line of printable ASCII; copy it again from the server", source=str(path))
    return token


class History:
    """Takes what happens, without waiting; `run` carries it to the server until cancelled."""

    def __init__(
        self,
        plan: Plan,
        writer: Writer,
        *,
        path: Path,
        clock: Clock,
        disk: Runner,
        entropy: Entropy,
        trouble: TroubleSink,
        bytes_max: int,
    ) -> None:
        """`disk`: a runner of its own, not the journal's. `bytes_max`: of the spool."""
        self._writer = writer
        self._spool = Spool(path, bytes_max=bytes_max)
        self._clock = clock
        self._disk = disk
        self._entropy = entropy
        self._trouble = trouble
        self._records: deque[tuple[bytes, int, list[bytes]]] = deque()  # with the heads of their plan's points
        self._records_bytes = 0
        self._lines: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()  # nothing on disk that the server might take
        self._on: set[str] = set()
        self._retry_ns = clock.monotonic_ns() + RETRY_REFUSED_NS
        self.overrun = 0  # readings and lines that memory could not hold, because the disk did not keep up
        self.replan(plan)

    def replan(self, plan: Plan) -> None:
        """From now on records count in this plan's points."""
        self._heads = [
            line_protocol.head("bucium_reading", {"point": p.id, "node": p.node, "hazard": p.hazard, "unit": p.unit})
            for p in plan.points
        ]
        self._hazards = {judged: plan.hazard_of(judged).name.lower() for judged in plan.judged_ids}

    # In: called from the alarm path and the telemetry lane; never waits, never raises.

    def readings(self, records: bytes, wall_offset_us: int) -> None:
        """Packed records as the Panel reads them. `wall_offset_us` + record time in µs = UTC microseconds."""
        self._records.append((records, wall_offset_us, self._heads))
        self._records_bytes += len(records)
        while self._records_bytes > RECORDS_MAX:
            oldest, *_ = self._records.popleft()
            self._records_bytes -= len(oldest)
            self.overrun += len(oldest) // RECORD.size

    def transition(self, node: str, data: TransitionData, at_us: int) -> None:
        """An event of a point or vote."""
        tags = {"point": data.point, "node": node, "hazard": self._hazards.get(data.point, "")}
        values: dict[str, float | int] = {
            "level": int(data.level),
            "was": int(data.was),
            "cause": int(data.cause),
            "reason": int(data.reason),
            "trouble": int(data.trouble),
            "value": float(data.value),
        }
        self._append(line_protocol.line(line_protocol.head("bucium_transition", tags), values, at_us))

    def alarm(self, change: AlarmChange) -> None:
        """A change of a zone's alarm."""
        tags = {"zone": change.zone, "hazard": change.hazard.name.lower(), "mode": change.mode.name.lower()}
        values = {
            "level": int(change.level),
            "was": int(change.was),
            "acknowledged": int(change.kind == "acknowledged"),
            "evidence": len(change.evidence),
        }
        self._append(line_protocol.line(line_protocol.head("bucium_alarm", tags), values, change.at_us))

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        if len(self._lines) > LINES_MAX:
            self._lines.popleft()
            self.overrun += 1

    # Out.

    async def run(self) -> None:
        """Flush and send until cancelled; what is in memory is then on disk."""
        if self._spool.damaged:
            self._say("history-disk", True, "damaged")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._flush_for_ever())
                group.create_task(self._send_for_ever())
        finally:
            await self._flush()
            await self._disk(self._spool.close)

    async def status(self) -> dict[str, int]:
        """Bytes on disk, lines shed of each kind, and what memory could not hold."""
        shed = await self._disk(self._spool.shed_lines)
        counts = {f"shed_{kind.name.lower()}": lines for kind, lines in shed.items()}
        return {"spool_bytes": self._spool.size_bytes, **counts, "overrun": self.overrun}

    async def settled(self, timeout_s: float) -> bool:
        """Flush, and wait until the server has everything, at most so long. For tools that end; True: it has."""
        await self._flush()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self._flush()

    async def _flush(self) -> None:
        if not self._records and not self._lines:
            return
        records, lines = list(self._records), list(self._lines)
        self._records.clear()
        self._lines.clear()
        self._records_bytes = 0
        shed = await self._change(self._write, records, lines)
        if shed is None:  # kept in memory, within its bound
            self._records.extendleft(reversed(records))
            self._records_bytes += sum(len(data) for data, *_ in records)
            self._lines.extendleft(reversed(lines))
            return
        self._say("history-shed", shed > 0)
        self._empty.clear()
        self._arrived.set()

    async def _change(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """A write to the spool; None, with Trouble, when the disk does not take it. A foreign file raises."""
        try:
            result = await self._disk(function, *args, **kwargs)
        except CORRUPT:
            await self._disk(self._spool.begin_anew)
            self._say("history-disk", True, "damaged")
            return None
        except (apsw.FullError, apsw.IOError, apsw.BusyError) as error:
            self._say("history-disk", True, str(error)[:48])
            return None
        self._say("history-disk", False)
        return result

    def _write(self, records: list[tuple[bytes, int, list[bytes]]], lines: list[bytes]) -> int:
        """In the disk's thread: readings into lines, all into the spool. Returns the lines shed."""
        readings = [line for data, offset_us, heads in records for line in _lines_of(data, offset_us, heads) if line]
        batches = [
            (kind, all_lines[at : at + BATCH_LINES])
            for kind, all_lines in ((Kind.TELEMETRY, readings), (Kind.TRANSITION, lines))
            for at in range(0, len(all_lines), BATCH_LINES)
        ]
        return self._spool.put(batches)

    async def _send_for_ever(self) -> None:
        failures = 0
        since_ns = 0
        while True:
            self._arrived.clear()
            try:
                batch = await self._disk(self._spool.newest)
            except CORRUPT:
                await self._change(self._spool.newest)  # which begins a new one
                continue
            if batch is None:
                if not self._arrived.is_set():
                    self._empty.set()
                await self._wait()
                continue
            answer = await self._writer.write(batch.lines)
            if answer.taken:
                failures = 0
                self._say("history-down", False)
                await self._change(self._spool.taken, batch.number)  # on a full disk it is sent again: the same points
                if "history-disk" in self._on:
                    await asyncio.sleep(FLUSH_S)
            elif answer.refused:
                failures = 0
                if batch.count == 1:
                    self._say("history-refused", True, answer.detail)
                await self._change(self._spool.refused, batch)
            else:
                now_ns = self._clock.monotonic_ns()
                since_ns = since_ns if failures else now_ns
                failures += 1
                if now_ns - since_ns >= TELL_AFTER_NS:
                    self._say("history-down", True, answer.detail)
                whole = min(REST_S * 2.0 ** min(failures - 1, 30), REST_MAX_S)
                await asyncio.sleep(whole / 2 + whole / 2 * self._entropy.random())

    async def _wait(self) -> None:
        """Until there is something to send; once an hour offer again what the server refused."""
        left_ns = self._retry_ns - self._clock.monotonic_ns()
        try:
            async with asyncio.timeout(max(left_ns, 0) / NS_PER_S):
                await self._arrived.wait()
        except TimeoutError:
            self._retry_ns = self._clock.monotonic_ns() + RETRY_REFUSED_NS
            self._say("history-refused", False)
            await self._change(self._spool.retry_refused)

    def _say(self, code: str, on: bool, subject: str = "") -> None:
        """Raise or end a Trouble, once."""
        if on == (code in self._on):
            return
        (self._on.add if on else self._on.discard)(code)
        self._trouble(code, on, subject)


def _lines_of(records: bytes, offset_us: int, heads: list[bytes]) -> list[bytes]:
    """A line for each record of a point that the plan has."""
    return [
        line_protocol.line(
            heads[point],
            {"value": value, "status": status} | ({"thinned_s": thinned_s} if thinned_s else {}),
            offset_us + at_ns // 1000,
        )
        for at_ns, value, point, status, thinned_s in RECORD.iter_unpack(records)
        if point < len(heads)
    ]
