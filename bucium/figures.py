"""The figures of the alarm system as tables for people."""

from typing import Any, Final

from bucium.output import moment, say, table

ROWS: Final = (
    ("average in 10 min", "average_per_10_min", "at most {:g}"),
    ("average in an hour", "average_per_hour", "at most {:g}"),
    ("average in a day", "average_per_day", "at most {:g}"),
    ("most in 10 min", "peak_10_min", "10: a flood begins"),
    ("most in an hour", "peak_hour", "at most {:g}"),
    ("most in a minute, last day", "peak_minute", "at most {:g}"),
    ("% of hours with more than 30", "busy_hours_percent", "under 1"),
    ("% of time in a flood", "flood_percent_of_time", "under {:g}"),
    ("% from the ten busiest alarms", "top_percent", "under 5"),
    ("standing now", "standing", "under {:g}"),
)


def show_figures(found: dict[str, Any]) -> None:
    """What `alarm.stats` answers."""
    targets = found["targets"]
    say(f"from {moment(found['since_us'])} to {moment(found['now_us'])}", "bold")
    counts = found["annunciations"]
    rows = [("asked for a person", str(counts["total"]), "")]
    rows += [(f"  in the last {name}", str(counts[key]), "") for name, key in LAST]
    rows += [(name, _number(found[key]), aim.format(targets.get(key, 0))) for name, key, aim in ROWS]
    rows.append(("standing for more than 24 h", str(len(found["stale"])), f"under {targets['stale']:g}"))
    for level, each in found["levels"].items():
        rows.append(
            (f"% {level}", f"{_number(each['percent'])} ({each['count']})", f"about {targets[level + '_percent']:g}")
        )
    table("figures", ("figure", "now", "what EEMUA 191 and ISA-18.2 ask"), rows)
    floods = [
        (moment(each["start_us"]), moment(each["end_us"]) if each["end_us"] else "lasts", str(each["count"]))
        for each in found["flood"]["floods"]
    ]
    table("floods of alarms", ("from", "to", "annunciations"), floods)
    top = [(each["alarm"], str(each["count"]), _number(each["percent"])) for each in found["top"]]
    table("the busiest alarms", ("alarm", "annunciations", "%"), top)
    for name in ("chattering", "fleeting"):
        table(name, ("alarm", "times"), [(each["alarm"], str(each["times"])) for each in found[name]])
    if found["stale"]:
        table("stale", ("alarm",), [(alarm,) for alarm in found["stale"]])


LAST: Final = (("10 min", "last_10_min"), ("hour", "last_hour"), ("day", "last_day"))


def _number(value: float | None) -> str:
    return "not known yet" if value is None else f"{value:g}"
