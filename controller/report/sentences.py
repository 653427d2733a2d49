"""An entry as one sentence in the reader's language. Codes that have words get them; the rest stay codes (docs/ has them)."""

from typing import Any, Final

from cython_ext import Level
from lanes.plan import Group, Plan, Point

from .. import texts
from ..texts import Language
from .case import Entry, Kind

PLAIN: Final = frozenset(
    {
        "told.call",
        "told.escalation",
        "ordered.start",
        "ordered.stop",
        "ordered.fall-back",
        "sounded.outcome",
        "told.delivery",
    }
)


class Sentences:
    """The words of one plan (None: it is not at hand), in one language and one time zone."""

    def __init__(self, plan: Plan | None, language: Language, timezone: str) -> None:
        self._plan = plan
        self._language = language
        self._timezone = timezone

    def text(self, key: str, **values: object) -> str:
        return texts.text(self._language, f"report.{key}", **values)

    # Names and values.

    def point(self, name: str) -> Point | Group | None:
        return self._plan.judged(name) if self._plan else None

    def point_name(self, name: str) -> str:
        point = self.point(name)
        shown = texts.local(point.name, self._language, name) if isinstance(point, Point) else name
        return shown if shown == name else f"{shown} ({name})"

    def siren_name(self, name: str) -> str:
        siren = self._plan.siren(name) if self._plan else None
        shown = texts.local(siren.name, self._language, name) if siren else name
        return shown if shown == name else f"{shown} ({name})"

    def value(self, name: str, value: float | None) -> str:
        if value is None:
            return self.text("no-value")
        point = self.point(name)
        if isinstance(point, Point):
            return texts.measure(self._language, value, point.unit)
        number = texts.number(self._language, value)
        return number if isinstance(point, Group) else f"{number} {self.text('unit-unknown')}"

    def level(self, level: int) -> str:
        return texts.text(self._language, texts.code("level", Level(level)))

    def moment(self, at_us: int) -> str:
        """Date and time with milliseconds and the offset."""
        day, clock, offset = texts.moment(at_us, self._timezone).split(" ")
        return f"{day} {clock}.{at_us // 1000 % 1000:03} {offset}"

    def clock(self, at_us: int) -> str:
        """The time of day with milliseconds."""
        return texts.moment(at_us, self._timezone).split(" ")[1] + f".{at_us // 1000 % 1000:03}"

    def word(self, group: str, code: str) -> str:
        key = f"{group}.{code}"
        return texts.text(self._language, key) if texts.known(key) else code

    # Sentences.

    def sentence(self, entry: Entry) -> str:
        """What the entry says."""
        values = dict(entry.values) | {"who": entry.who}
        tell = {
            Kind.SEEN: self._seen,
            Kind.JUDGED: self._judged,
            Kind.ORDERED: self._siren,
            Kind.SOUNDED: self._siren,
            Kind.TOLD: self._told,
            Kind.ANSWERED: self._answered,
            Kind.MUTED: self._muted,
        }.get(entry.kind, self._plainly)
        return " ".join(tell(entry.code, values).split())

    def _plainly(self, code: str, values: dict[str, Any]) -> str:
        return self.text(f"say.{code}", **values)

    def _measured(self, values: dict[str, Any]) -> dict[str, Any]:
        troubles = ", ".join(self.word("trouble", each) for each in values.get("trouble", ()))
        return values | {
            "point": self.point_name(values["point"]),
            "level": self.level(values["level"]),
            "value": self.value(values["point"], values["value"]),
            "reason": self.word("reason", values["reason"]),
            "late": "" if values.get("live", True) else f" {self.text('say.late')}",
            "trouble": troubles,
        }

    def _seen(self, code: str, values: dict[str, Any]) -> str:
        said = self._measured(values)
        if code == "seen.trouble-cleared":
            said["trouble"] = f" ({said['trouble']})" if said["trouble"] else ""
        shown = self.text(f"say.{code}", **said)
        if said["trouble"] and "trouble" not in code:
            shown += f"; {said['trouble']}"
        at = self.clock(values["node_us"])
        return (
            f"{shown}; {self.text('say.node-clock', at=at, clock=values['clock'], error_ms=values['clock_error_ms'])}"
        )

    def _judged(self, code: str, values: dict[str, Any]) -> str:
        if code.startswith("judged.watchdog"):
            return self.text("say.judged.watchdog", **self._measured(values))
        pattern = f": {values['pattern']}" if values.get("pattern") else ""
        shown = {"level": self.level(values["level"]), "pattern": pattern}
        shown |= {name: self.word(name, values[name]) for name in ("state", "move") if name in values}
        return self.text(f"say.{code}", **values | shown)

    def _siren(self, code: str, values: dict[str, Any]) -> str:
        values = values | {"siren": self.siren_name(values["siren"])}
        if code in PLAIN:
            return self.text(f"say.{code}", **values | {"sirens": ", ".join(values.get("sirens", ()))})
        kind, _, what = code.partition(".")
        if kind == "ordered":
            return self.text("say.ordered.other", **values | {"action": what})
        measured = f", {self.text('say.measured')}" if values.get("measured") else ""
        reason = f"({values['reason']})" if values["reason"] else ""
        return self.text(
            "say.sounded", **values | {"stage": self.word("stage", what), "measured": measured, "reason": reason}
        )

    def _told(self, code: str, values: dict[str, Any]) -> str:
        if code in PLAIN:
            return self.text(f"say.{code}", **values | {"outcome": self.word("outcome", values.get("outcome", ""))})
        values = values | {"siren": self.siren_name(values["siren"])}
        return self.text("say.told.notice", **values | {"notice": code.removeprefix("told.")})

    def _answered(self, code: str, values: dict[str, Any]) -> str:
        if "verb" in values:
            reason = f"«{values['reason']}»" if values.get("reason") else ""
            until = self.text("say.until", until=self.moment(values["until_us"])) if "until_us" in values else ""
            if values.get("permit"):
                until += f" [{values['permit']}]"
            return self.text("say.answered.act", **values | {"reason": reason, "until": until})
        if code == "answered.reset":
            return self.text("say.answered.reset", **values | {"point": self.point_name(values["point"])})
        return self.text(f"say.{code}", **values | {"zones": ", ".join(values.get("zones", ()))})

    def _muted(self, code: str, values: dict[str, Any]) -> str:
        permit = f"[{values['permit']}]" if values["permit"] else ""
        shown = {"state": self.word("state", values["state"]), "permit": permit}
        shown |= {"until": self.moment(values["until_us"]), "covers": self.level(values["covers"])}
        return self.text(f"say.{code}", **values | shown)
