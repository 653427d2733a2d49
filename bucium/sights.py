"""What is known around an alarm's points, and what its zone's people should do, for a person at the desk."""

from typing import Any, Final

from bucium.output import moment, say
from cython_ext import Level

LANGUAGES: Final = ("ro", "en", "ru", "uk")
HEADS: Final = ("last samples", "rate", "next Level", "quality", "node's clock", "position", "votes")
SECONDS_BELOW: Final = 120
SHOWN: Final = 6  # of the samples: --json has all that are kept


def show_sights(found: dict[str, Any]) -> None:
    """Samples, rate, time to the next Level, quality, clock, position and votes of each point; then the instructions."""
    for point in found["points"]:
        if point["sight"]:
            say(f"around {point['point']}:", "bold")
            for head, cell in zip(HEADS, _cells(point["sight"]), strict=True):
                if cell:
                    say(f"  {head:<12}  {cell}")
    written = found["instructions"]
    say("what the zone's people should do, by the plan:", "bold")
    for language in LANGUAGES:
        say(f"  {language}  {written.get(language, 'the plan has none in this language')}")


def _cells(sight: dict[str, Any]) -> tuple[str, ...]:
    samples = ", ".join(f"{each['value']:g}" for each in sight["samples"][-SHOWN:])
    if samples:
        samples += f" (to {moment(sight['samples'][-1]['at_us'])})"
    rate, clock, place = sight["rate_per_s"], sight["clock"], sight["position"]
    coming = "not known"
    if sight["next_s"] is not None:
        coming = f"{Level(sight['next_level']).name.lower()} in {_span(sight['next_s'])}"
    votes = ", ".join(f"{vote['point']} {Level(vote['level']).name.lower()}" for vote in sight["votes"])
    return (
        samples or "no telemetry of it has come",
        "not known" if rate is None else f"{rate * 3600:.3g} an hour (by its {sight['rate_from']})",
        coming,
        " ".join([sight["qc"], *sight["trouble"]]),
        _vouched(clock),
        f"{place['latitude']:.5f}, {place['longitude']:.5f}" if place else "the plan does not say",
        f"{sight['votes_needed']} needed: {votes}" if votes else "",
    )


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < SECONDS_BELOW else f"{seconds / 60:.0f} min"


def _vouched(clock: dict[str, Any] | None) -> str:
    if clock is None:
        return "not heard since the controller began"
    if clock["source"] == "none":
        return "nobody vouches for it"
    return f"{clock['source']}, at most {clock['error_ms']} ms off"
