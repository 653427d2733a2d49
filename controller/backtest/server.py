"""History from a VictoriaMetrics server, by its export API: /api/v1/export gives raw samples, a JSON document a line.

InfluxDB has no such call; its CSV is read by `csvfile` (docs/backtest.md has the query). Values and status are two series of one
point there, joined here by their time; a reading without a value was written as a status alone.
"""

import json
import ssl
from collections.abc import Iterable, Iterator
from math import nan
from typing import Any, Final

import httpx

from cython_ext import ConfigError, Status
from lanes.keys import secret_bytes

from ..history.history import HistorySettings
from .recording import CHUNK, Defects, Sample, Span

WINDOW_SAMPLES: Final = 500_000  # of one request, at one a second: 100 MB while they are sorted
WINDOW_MIN_US: Final = 600_000_000
LINE_SAMPLES: Final = 10_000  # per line of the answer
_STATUS_MAX: Final = 0xFFFF


class Server:
    """Readings of the `known` points within `span`, which needs both ends; ConfigError when the server does not answer."""

    def __init__(self, settings: HistorySettings, known: Iterable[str], span: Span) -> None:
        self.name = settings.url
        self.points = list(known)
        self.rows = 0
        self.defects = Defects()
        self._settings = settings
        self._span = span
        self._places = {point: place for place, point in enumerate(self.points)}
        if span.from_us == Span().from_us or span.to_us == Span().to_us:
            raise ConfigError("history from a server needs --from and --to", source=self.name)

    def chunks(self) -> Iterator[list[Sample]]:
        window_us = max(WINDOW_SAMPLES // len(self.points) * 1_000_000, WINDOW_MIN_US)
        with self._client() as client:
            for from_us in range(self._span.from_us, self._span.to_us, window_us):
                samples = self._window(client, from_us, min(from_us + window_us, self._span.to_us))
                self.rows += len(samples)
                for at in range(0, len(samples), CHUNK):
                    yield samples[at : at + CHUNK]

    def _client(self) -> httpx.Client:
        settings = self._settings
        token = secret_bytes(settings.token_file).decode("ascii", "replace").strip() if settings.token_file else ""
        verify = ssl.create_default_context(cafile=str(settings.ca)) if settings.ca else True
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=settings.url, headers=headers, timeout=settings.timeout_s, verify=verify)

    def _window(self, client: httpx.Client, from_us: int, to_us: int) -> list[Sample]:
        """Samples of [from, to), in order of time."""
        points = "|".join(self.points)
        query: dict[str, Any] = {
            "match[]": f'{{__name__=~"bucium_reading_(value|status)",point=~"{points}"}}',
            "start": f"{from_us / 1e6:.3f}",
            "end": f"{(to_us - 1000) / 1e6:.3f}",
            "max_rows_per_line": LINE_SAMPLES,
        }
        values: dict[tuple[int, int], float] = {}
        statuses: dict[tuple[int, int], int] = {}
        try:
            with client.stream("GET", "/api/v1/export", params=query) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise ConfigError(_refusal(answer.status_code), source=self.name)
                for line in answer.iter_lines():
                    if line:
                        self._take(line, values, statuses)
        except httpx.HTTPError as error:
            raise ConfigError(f"the history server does not answer: {type(error).__name__}", source=self.name) from None
        return [
            (
                at_us,
                place,
                values.get((at_us, place), nan),
                _status(statuses.get((at_us, place), 0), (at_us, place) in values),
            )
            for at_us, place in sorted(values.keys() | statuses.keys())
            if at_us in self._span
        ]

    def _take(self, line: str, values: dict[tuple[int, int], float], statuses: dict[tuple[int, int], int]) -> None:
        try:
            document = json.loads(line)
            metric = document["metric"]
            place = self._places.get(metric["point"])
            pairs = list(zip(document["timestamps"], document["values"], strict=True))
            if place is None:
                return
            for at_ms, value in pairs:
                if metric["__name__"] == "bucium_reading_status":
                    statuses[at_ms * 1000, place] = int(value)
                elif value is not None:
                    values[at_ms * 1000, place] = float(value)
        except (ValueError, KeyError, TypeError, OverflowError):
            self.defects.add(0, "a line of the server's answer is not a series")


def _status(bits: int, valued: bool) -> int:
    known = bits if 0 <= bits <= _STATUS_MAX else int(Status.DEVICE_FAULT)
    return known if valued else known | int(Status.MISSING)


def _refusal(code: int) -> str:
    if code in (401, 403):
        return f"the history server refuses the token ({code}); it must be allowed to read"
    if code == 404:
        return "this server has no /api/v1/export, which VictoriaMetrics has; export CSV and give the file (docs/backtest.md)"
    return f"the history server answers {code}"
