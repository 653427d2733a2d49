"""What `bucium siren` shows to people: tables that fit a terminal of 80 columns, and a policy in words (docs/dispatcher.md)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bucium.output import say, table
from lanes.reports import SirenTrouble

NEWEST: Final = 10  # activations that `siren status` shows, beside those that are not settled
FAILED: Final = {  # domain.md's three ways; docs/dispatcher.md
    "audio": "nothing proves that it was heard",
    "other": "its node tells of another sound than the last one ordered",
    "time": "order and sound lie more than 90 minutes apart",
}
COUNTS: Final = ("pending", "pass", "fail", "total")
Document = dict[str, Any]

# Sirens.


def sirens(found: Sequence[Document]) -> None:
    """Each siren: could it sound, what it does, how it last went; then what keeps it ready, where there is something to say."""
    rows = [(s["siren"], s["node"], " ".join(s["zones"]), readiness(s), _doing(s), last_sound(s)) for s in found]
    table("sirens", ("siren", "node", "zones", "could it sound", "now", "last sound"), rows)
    upkeep = [(s["siren"], _left(s), _tested(s), _trouble(s)) for s in found]
    upkeep = [row for row in upkeep if any(row[1:])]
    if upkeep:
        table("upkeep", ("siren", "battery", "silent test", "trouble"), upkeep)


def readiness(siren: Document) -> str:
    """Whether it could sound, and why not."""
    why = ", ".join(siren["reasons"])
    return str(siren["ready"]).replace("-", " ") + (f": {why}" if why else "")


def last_sound(siren: Document) -> str:
    """How the last sound went that was ordered here."""
    last, failed = siren["last"], siren["failed_to_sound"]
    if last is None:
        return ""
    if failed:
        return f"FAILED TO SOUND: {FAILED[failed]}"
    return f"{last['result']}, measured" if last["measured"] else f"{last['result']} {last['why']}".rstrip()


def troubles(bits: int) -> str:
    """A siren's trouble bits in words."""
    return ", ".join(one.name.lower().replace("_", " ") for one in SirenTrouble if one & bits and one.name)


def _doing(siren: Document) -> str:
    mode = "" if siren["sounding_mode"] in ("", "live") else f" {siren['sounding_mode'].upper()}"
    held = f", held by a stop {siren['hold_s']} s" if siren["hold_s"] else ""
    return f"{siren['stage']}{mode}{held}"


def _left(siren: Document) -> str:
    """Full activations left, and what that rests on."""
    rest = siren["activations_left"]
    if rest is None:
        return ""
    left = "unknown" if rest["left"] is None else f"{rest['left']} of {rest['of']:g}"
    return f"{left} ({rest['basis'].replace('-', ' ')}){', TOO FEW' if rest['short'] else ''}"


def _tested(siren: Document) -> str:
    test = siren["silent_test"]
    if not test["result"]:
        return "not yet" if test["calendar"] else ""
    return f"FAILED: {test['why']}" if test["result"] == "fail" else str(test["result"])


def _trouble(siren: Document) -> str:
    return ", ".join(filter(None, ("node silent" if siren["node_silent"] else "", troubles(siren["trouble"]))))


def coverage(zones: Sequence[Document]) -> None:
    """People within earshot of sirens that could sound now."""
    heads = ("zone", "sirens", "people", "percent", "asked")
    table("people within earshot of sirens that could sound now", heads, [_covered(zone) for zone in zones])


def _covered(zone: Document) -> tuple[str, ...]:
    able = f"{zone['sirens_able']} of {zone['sirens']}"
    if zone["people_total"] is None:
        return zone["zone"], able, "not known", "", ""
    people_now = f"{zone['people_covered_now']} of {zone['people_total']}"
    asked = f"{zone['target_percent']:g} %" if zone["target_percent"] else ""
    return zone["zone"], able, people_now, f"{zone['percent']:g} %{' TOO FEW' if zone['short'] else ''}", asked


def standing(found: Sequence[Document]) -> None:
    """The control room's troubles; docs/troubles.md says of each what to do."""
    if found:
        rows = [(each["code"], each["subject"], each["node"], when(each["since_us"])) for each in found]
        table("troubles", ("code", "of", "told by node", "since, UTC"), rows)


# Activations.


def newest(found: Sequence[Document]) -> list[Document]:
    """The last few, and whatever is not settled."""
    return [each for number, each in enumerate(found) if each["pending"] or number >= len(found) - NEWEST]


def activations(found: Sequence[Document], now_us: int) -> None:
    """Each with its counts; each siren of each; what was done about failures; who was reached."""
    rows = [
        (
            str(a["activation"]),
            lately(a["ordered_us"], now_us),
            _what(a),
            a["by"].replace(",", ", "),
            *(str(a[n]) for n in COUNTS),
        )
        for a in found
    ]
    table("activations", ("number", "at, UTC", "what", "by", *COUNTS), rows)
    _each_siren(found)
    _failures(found)
    reached = [
        (str(a["activation"]), zone, f"{each['people']} of {each['people_total']}", f"{each['percent']:g} %")
        for a in found
        for zone, each in a["people"].items()
    ]
    if reached:
        table("people within earshot of proven sound", ("number", "zone", "people", "percent"), reached)


def _what(activation: Document) -> str:
    mode = "" if activation["mode"] == "live" else f", {activation['mode'].upper()}"
    what = f"{activation['action'].replace('_', ' ')} {activation['pattern']}".rstrip()
    return f"{what} in {', '.join(activation['zones'])}{mode}"


def _each_siren(found: Sequence[Document]) -> None:
    rows = [
        (
            str(a["activation"]),
            each["siren"],
            each["stage"],
            each["result"],
            "yes" if each["measured"] else "",
            each["why"],
            each["stands_in_for"],
        )
        for a in found
        for each in a["sirens"]
    ]
    if rows:
        table("sirens", ("number", "siren", "stage", "result", "measured", "why", "in place of"), rows)


def _failures(found: Sequence[Document]) -> None:
    rows = [
        (
            str(a["activation"]),
            fall["siren"],
            fall["failure"],
            fall["why"],
            str(fall["retries"] or ""),
            " ".join(fall["stand_ins"]),
            "told" if fall["told"] else "",
        )
        for a in found
        for fall in a["fall_backs"]
    ]
    if rows:
        table("failures", ("number", "siren", "failure", "why", "retries", "in its place", "dispatch"), rows)


def exercises(found: Sequence[Document]) -> None:
    """The plan's exercises, and what became of the last of each."""
    if found:
        rows = [
            (e["exercise"], " ".join(e["zones"]), e["pattern"], when(e["next_us"]), e["last"], when(e["last_us"]))
            for e in found
        ]
        table("exercises", ("exercise", "zones", "pattern", "next, UTC", "last", "its time, UTC"), rows)


def refused(found: Sequence[Document], now_us: int) -> None:
    """Orders that nodes have refused and that are none of ours."""
    if found:
        rows = [
            (each["node"], each["siren"], each["reason"], str(each["count"]), lately(each["last_us"], now_us))
            for each in found
        ]
        heads = ("node", "siren", "why", "times", "last, UTC")
        table("refused by nodes: orders that nobody here gave", heads, rows)


def request(found: Document, now_us: int) -> None:
    """A request, as it is approved."""
    say(f"request {found['request']} by {found['by']}: {found['reason']}", "bold")
    zones, mode = ", ".join(found["zones"]), found["mode"].upper()
    say(f"  {found['pattern']} for at most {found['max_s']} s in {zones}, {mode}")
    say(f"  sirens {', '.join(found['sirens'])}; incident {found['incident']}")
    approved = ", ".join(found["approved_by"]) or "nobody yet"
    left_s = max(0.0, (found["not_after_us"] - now_us) / 1e6)
    missing = f"; missing: {found['missing']}, within {left_s:.0f} s" if found["missing"] else ""
    say(f"  approved by {approved}{missing}")


def veto_times(found: Sequence[Document]) -> None:
    """Sounds that begin by themselves unless somebody says no."""
    if found:
        table("veto times", ("incident", "left"), [(each["incident"], f"{each['left_s']:.0f} s") for each in found])


def stopped(found: Sequence[Document]) -> bool:
    """What became of a stop, siren by siren; whether every one is silent for certain."""
    for each in found:
        if each["result"] == "pass":
            say(f"{each['siren']}: silent" + (" (it did not sound)" if each["why"] == "not-sounding" else ""), "green")
        elif each["result"] == "fail":
            say(f"{each['siren']}: NOT CONFIRMED: {each['why']}; it is switched off again and again", "red")
        else:
            say(f"{each['siren']}: NO ANSWER YET: its node is asked until it answers; see: bucium siren status", "red")
    return all(each["result"] == "pass" for each in found)


# A dry run.


def dry_run(found: Document) -> None:
    """What would sound, by whom, and what of it could not."""
    say(f"by plan version {found['plan_version']} ({found['plan'][:16]})", "dim")
    if "decision" in found:
        decision = found["decision"]
        say(f"now: {decision['move']}, because: {decision['reason']}", "bold")
    if found["policy"] is None:
        say("the plan has no policy here: only people can sound it")
        return
    _policy(found["policy"])
    for name, each in found["hindered"].items():
        say(f"  {name} is {readiness(each)}", "yellow")


def _policy(policy: Document) -> None:
    """A policy in words."""
    say(f"{policy['zone']}, {policy['hazard']} from {policy['level']}: {policy['mode']}", "bold")
    wait = f" after {policy['veto_s']:g} s without a veto" if policy["mode"] == "unless-vetoed" else ""
    on = ", ".join(policy["sirens"]) or "no siren"
    say(f"  {policy['pattern'] or 'nothing'} for at most {policy['max_s']} s{wait} on {on}")
    nodes, centres = many(policy["k"], "node"), many(policy["centres"], "centre")
    say(f"  by evidence of {nodes}; by hand {policy['approvals']} people of {centres}")
    fall = policy["fall_back"]
    retries = many(fall["retries"], "retry", "retries")
    told = "dispatch is told" if fall["tell"] else "nobody is told"
    say(f"  a siren that fails: {retries}, {many(fall['neighbours'], 'neighbour')}, {told}")


def many(count: int, one: str, several: str = "") -> str:
    """The count with its noun: 1 node, 2 nodes."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def when(at_us: int) -> str:
    """A time in UTC, or empty for none."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M") if at_us else ""


def lately(at_us: int, now_us: int) -> str:
    """The time of what happened today, the date of what happened before, in UTC."""
    at, today = datetime.fromtimestamp(at_us / 1e6, UTC), datetime.fromtimestamp(now_us / 1e6, UTC).date()
    return at.strftime("%H:%M:%S" if at.date() == today else "%Y-%m-%d") if at_us else ""
