"""The case as people read it: one document with words of one language, which the HTML and the PDF only draw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cython_ext import Level
from lanes.keys import Mode
from lanes.plan import Plan, Point

from .. import texts
from ..texts import Language
from .case import Case, Entry, Kind, Proof, Series
from .sentences import Sentences

SIREN_STEPS: Final = (("ordered.start",), ("sounded.accepted", "sounded.already"), ("sounded.sounding",))
SERIES_MAX: Final = 12  # charts; more are read by nobody


@dataclass(frozen=True, slots=True)
class Cell:
    """`style`: "", "good", "bad", "faint", "level-1" to "level-3", or a kind of entry."""

    text: str
    style: str = ""


Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """`widths`: parts of the page's width. No rows: `empty` stands there."""

    title: str
    heads: tuple[str, ...]
    widths: tuple[int, ...]
    rows: tuple[Row, ...]
    empty: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One point's values. `levels`: (raise, Level, its name) lines."""

    title: str
    unit: str
    series: Series
    levels: tuple[tuple[float, int, str], ...]


@dataclass(slots=True)
class Document:
    """`banner`: what stands in large letters over an exercise or a test; "" when it was real."""

    language: Language
    timezone: str
    title: str
    subtitle: str
    banner: str
    footer: str
    facts: list[tuple[str, Cell]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)  # before the charts
    charts: list[Chart] = field(default_factory=list)
    lists: list[Table] = field(default_factory=list)  # after them
    instructions: list[str] = field(default_factory=list)


def write(case: Case, language: Language) -> Document:
    """The document of the case."""
    return _Writer(case, language).document()


class _Writer:
    def __init__(self, case: Case, language: Language) -> None:
        self._case = case
        self._language = language
        self._plan: Plan | None = case.plan.plan if case.plan else None
        zone = next((z for z in self._plan.zones if z.id == case.zone), None) if self._plan else None
        self._zone = zone
        self._timezone = zone.timezone if zone else "UTC"
        self._say = Sentences(self._plan, language, self._timezone)

    def text(self, key: str, **values: object) -> str:
        return texts.text(self._language, f"report.{key}", **values)

    def document(self) -> Document:
        case = self._case
        hazard = texts.text(self._language, texts.code("hazard", case.hazard)) if case.hazard else ""
        zone = texts.local(self._zone.name, self._language, case.zone) if self._zone else case.zone
        document = Document(
            self._language,
            self._timezone,
            self.text("title"),
            " · ".join(filter(None, (hazard, zone))) or case.subject,
            "" if case.mode is Mode.LIVE else self.text(case.mode.name.lower()),
            self.text("footer", journal=case.journal),
        )
        document.facts = list(self._facts())
        document.tables = [self._steps(), self._points(), self._sights()]
        document.charts = [
            self._chart(each) for each in case.series[:SERIES_MAX] if len(each.marks) + len(each.samples) > 1
        ]
        document.lists = [
            self._sirens(),
            self._told(),
            self._entries("people", [e for e in case.entries if e.kind is Kind.ANSWERED]),
            self._entries("mutes", [e for e in case.entries if e.kind is Kind.MUTED]),
            self._timeline(case.entries),
        ]
        own = self._zone.instructions if self._zone else {}
        said = [f"{name}: {own[name]}" for name in texts.LANGUAGES if name in own]
        document.instructions = said or [self.text("instructions.missing")]
        return document

    # Facts.

    def _facts(self) -> Iterator[tuple[str, Cell]]:
        case, verdict = self._case, self._case.verdict
        yield self.text("fact.alarm"), Cell(case.subject)
        if others := [each for each in case.alarms if each != case.subject]:
            yield self.text("fact.aliases"), Cell(", ".join(others))
        yield self.text("fact.incidents"), Cell(", ".join(case.incidents) or self.text("none"))
        if case.entries:
            yield self.text("fact.began"), Cell(self._say.moment(case.entries[0].wall_us))
            yield self.text("fact.ended"), Cell(self._say.moment(case.entries[-1].wall_us))
        yield self.text("fact.worst"), Cell(self._say.level(case.worst), f"level-{int(case.worst)}")
        yield self.text("fact.state"), Cell(self._say.word("state", case.state) if case.state else self.text("none"))
        yield self.text("fact.controller"), Cell(case.controller)
        key = "plan.said" if self._plan else "plan.missing"
        plan = self.text(key, version=case.plan_version, digest=case.plan_sha256)
        yield self.text("fact.plan"), Cell(plan, "" if self._plan else "bad")
        yield self.text("fact.software"), Cell(case.software)
        yield self.text("fact.journal"), Cell(case.journal)
        if verdict.whole:
            chain = Cell(self.text("chain.whole", rows=verdict.rows, hash=verdict.last_hash), "good")
        else:
            chain = Cell(self.text("chain.broken", row=verdict.bad_row, why=verdict.why), "bad")
        yield self.text("fact.chain"), chain
        checked = bool(verdict.checked) or not verdict.heads
        heads = self.text(
            f"heads.{'checked' if checked else 'unchecked'}", checked=verdict.checked, heads=verdict.heads
        )
        yield self.text("fact.heads"), Cell(heads, "" if checked else "bad")
        proofs = case.proofs()
        counted = {str(proof): count for proof, count in proofs.items()}
        style = "bad" if proofs[Proof.WRONG] else "good" if not proofs[Proof.UNKNOWN] else ""
        yield self.text("fact.signatures"), Cell(self.text("signatures.said", **counted), style)
        yield self.text("fact.times"), Cell(self.text("times.said", zone=self._timezone))

    # Tables.

    def _table(self, name: str, heads: tuple[str, ...], widths: tuple[int, ...], rows: Sequence[Row]) -> Table:
        shown = tuple(self.text(f"head.{head}") if head != "ms" else "ms" for head in heads)
        return Table(self.text(f"section.{name}"), shown, widths, tuple(rows), self.text("none"))

    def _steps(self) -> Table:
        rows = []
        for step in self._case.steps:
            after = Cell(self.text("not-happened"), "faint") if step.ms is None else Cell(elapsed(step.ms))
            since = Cell("" if step.cause_ms is None else elapsed(step.cause_ms))
            named = Cell(self.text(f"step.{step.code}", who=step.who))
            rows.append((named, after, since, Cell(str(step.seq or ""), "faint")))
        return self._table("steps", ("step", "after-sight", "after-cause", "row"), (40, 24, 26, 10), rows)

    def _points(self) -> Table:
        rows, seen = [], [e for e in self._case.entries if e.kind is Kind.SEEN]
        for name in dict.fromkeys(e.values["point"] for e in seen):
            mine = [e for e in seen if e.values["point"] == name]
            point = self._say.point(name)
            values = [e.values["value"] for e in mine if e.values["value"] is not None]
            falling = isinstance(point, Point) and point.direction == "falling"
            worst = (min if falling else max)(values, default=None)
            level = Level(max(e.values["level"] for e in mine))
            rows.append(
                (
                    Cell(self._say.point_name(name)),
                    Cell(mine[0].who),
                    Cell(self._place(point)),
                    Cell(self._thresholds(point)),
                    Cell(self._say.value(name, mine[0].values["value"])),
                    Cell(self._say.value(name, worst)),
                    Cell(self._say.level(level), f"level-{int(level)}"),
                )
            )
        return self._table(
            "points",
            ("point", "node", "place", "levels", "first", "most", "highest"),
            (18, 10, 17, 20, 11, 11, 13),
            rows,
        )

    def _sights(self) -> Table:
        """What was known a moment after each raise."""
        rows, unknown = [], Cell(self.text("not-known"), "faint")
        for sight in self._case.sights:
            rate, coming = unknown, unknown
            if sight.rate_per_s is not None:
                rate = Cell(self._say.value(sight.point, sight.rate_per_s * 3600) + "/h")
            if sight.next_s is not None and sight.next_level is not None:
                coming = Cell(f"{self._say.level(sight.next_level)}: {elapsed(sight.next_s * 1000)}")
            troubles = ", ".join(texts.troubles(self._language, sight.trouble).split(", ")) if sight.trouble else ""
            quality = Cell(f"{sight.qc.name.lower()} {troubles}".strip(), "bad" if sight.trouble else "")
            votes = ", ".join(f"{vote.point}: {self._say.level(vote.level)}" for vote in sight.votes)
            told = Cell(f"{sight.needed}: {votes}") if votes else Cell("–", "faint")
            named = Cell(self._say.point_name(sight.point))
            rows.append(
                (Cell(self._say.clock(sight.at_us)), named, Cell(str(len(sight.samples))), rate, coming, quality, told)
            )
        heads = ("time", "point", "samples", "rate", "next", "quality", "votes")
        return self._table("sights", heads, (13, 19, 9, 13, 18, 13, 15), rows)

    def _place(self, point: Any) -> str:
        if isinstance(point, Point) and point.latitude is not None and point.longitude is not None:
            return f"{point.latitude:.5f}, {point.longitude:.5f}"
        return self.text("no-place")

    def _thresholds(self, point: Any) -> str:
        if not isinstance(point, Point):
            return ""
        return " / ".join(texts.measure(self._language, raise_at, point.unit) for raise_at, _ in levels_of(point))

    def _sirens(self) -> Table:
        rows = []
        entries = [e for e in self._case.entries if e.kind in (Kind.ORDERED, Kind.SOUNDED)]
        for name in dict.fromkeys(e.values["siren"] for e in entries if e.values.get("siren")):
            mine = [e for e in entries if e.values.get("siren") == name]
            last = next((e for e in reversed(mine) if e.kind is Kind.SOUNDED), None)
            measured = any(e.values.get("measured") for e in mine)
            bad = last is None or last.code in ("sounded.failed", "sounded.refused")
            rows.append(
                (
                    Cell(self._say.siren_name(name)),
                    *(Cell(self._since(mine, *codes)) for codes in SIREN_STEPS),
                    Cell(self.text("yes" if measured else "no"), "good" if measured else ""),
                    Cell(self._say.sentence(last) if last else self.text("none"), "bad" if bad else ""),
                )
            )
        heads = ("siren", "ordered", "accepted", "sounding", "measured", "result")
        return self._table("sirens", heads, (15, 16, 16, 16, 10, 27), rows)

    def _since(self, mine: list[Entry], *codes: str) -> str:
        entry = next((e for e in mine if e.code in codes), None)
        start = self._case.first
        return elapsed(entry.after_ms(start)) if entry and start else "–"

    def _told(self) -> Table:
        rows = []
        for entry in self._case.entries:
            if entry.code != "told.delivery":
                continue
            said, good = entry.values, entry.values["outcome"] == "delivered"
            words = self._say.word("outcome", said["outcome"]) + (f" ({said['detail']})" if said["detail"] else "")
            rows.append(
                (
                    Cell(entry.who),
                    Cell(said["identifier"]),
                    Cell(words, "good" if good else "bad"),
                    Cell(str(said["attempts"])),
                    Cell(f"{said['took_ms']:g} ms"),
                    Cell(self._since([entry], entry.code)),
                )
            )
        heads = ("channel", "message", "result", "attempts", "took", "after")
        return self._table("told", heads, (13, 35, 15, 10, 11, 16), rows)

    def _entries(self, name: str, entries: list[Entry]) -> Table:
        rows = [
            (Cell(self._say.moment(e.wall_us)), Cell(e.who), Cell(self._say.sentence(e)), self._row(e)) for e in entries
        ]
        return self._table(name, ("time", "who", "what", "row"), (18, 13, 59, 10), rows)

    def _row(self, entry: Entry) -> Cell:
        if entry.proof is Proof.WRONG:
            return Cell(f"{entry.seq} {self.text('proof.wrong')}", "bad")
        return Cell(f"{entry.seq}{' ✓' if entry.proof is Proof.GOOD else ''}", "faint")

    def _timeline(self, entries: list[Entry]) -> Table:
        start = self._case.first
        rows: list[Row] = []
        for entry in entries:
            level = entry.values.get("level", 0) if entry.kind in (Kind.SEEN, Kind.JUDGED) else 0
            rows.append(
                (
                    Cell(self._say.clock(entry.wall_us)),
                    Cell(elapsed(entry.after_ms(start)) if start else ""),
                    Cell(self.text(f"kind.{entry.kind}"), str(entry.kind)),
                    Cell(self._say.sentence(entry), f"level-{level}" if level else ""),
                    self._row(entry),
                )
            )
        if self._case.left_out:
            rows.append(
                (Cell(""), Cell(""), Cell(""), Cell(self.text("left-out", count=self._case.left_out), "bad"), Cell(""))
            )
        return self._table("timeline", ("time", "after", "kind", "what", "row"), (13, 16, 10, 51, 10), rows)

    def _chart(self, series: Series) -> Chart:
        point = self._say.point(series.point)
        title = self.text("chart", point=self._say.point_name(series.point))
        unit = point.unit if isinstance(point, Point) else self.text("unit-unknown")
        named = ((raise_at, level, self._say.level(level).partition(" (")[0]) for raise_at, level in levels_of(point))
        return Chart(title, unit, series, tuple(named))


def levels_of(point: Any) -> list[tuple[float, int]]:
    """(raise, Level) of the Levels that the point has."""
    if not isinstance(point, Point):
        return []
    rules = ((point.attention, Level.ATTENTION), (point.alarm, Level.ALARM), (point.danger, Level.DANGER))
    return [(rule.raise_at, int(level)) for rule, level in rules if rule is not None]


def elapsed(ms: float) -> str:
    """Milliseconds as people read them: exact below a minute, then minutes and seconds too."""
    if abs(ms) < 60_000:
        return f"{ms:+,.0f}\u00a0ms".replace(",", "\u202f")
    sign, rest = ("-" if ms < 0 else "+"), abs(ms) / 1000
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    said = f"{hours:.0f} h {minutes:02.0f} min" if hours else f"{minutes:.0f} min {seconds:06.3f} s"
    return sign + said.replace(" ", "\u00a0")
