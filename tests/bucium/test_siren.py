"""`bucium siren` against services at work: tests with the right key, stops, vetoes at the pole, dry runs, what status shows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bucium.verbs.siren_show import last_sound, many, stopped
from tests.kit.face import Face
from tests.kit.town import Town, order_of


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("t")) as running:
        yield running


@pytest.fixture
def siren(face: Face, town: Town):
    """`siren("list")`: a verb of `bucium siren` at the controller's socket, with --json."""

    def call(*words: object, key: str = "", node: str = ""):
        more = ["--key", town.key(*key.split("."))] if key else []
        where = ["--node", town.socket(node)] if node else ["--socket", town.socket("iasi")]
        return face("siren", *words, *more, *where, "--json")

    return call


@pytest.fixture
def sounding(town: Town, siren):
    """s1 sounds by two people's order; at the end it is silent again."""

    def begin() -> dict:
        town.permit(60)
        words = ("--zone", "ungheni", "--pattern", "long", "--reason", "test")
        request = siren("request", *words, key="ana.live").document
        siren("approve", request["request"], "--yes", key="ana.live")
        answer = siren("approve", request["request"], "--yes", key="ion.live").document
        town.until(lambda: town.board.levels["R1"])
        return answer

    yield begin
    stop = siren("stop", key="ana.live").document["activation"]
    town.until(lambda: not town.board.levels["R1"])
    assert town.activation(stop)["zones"] == ["ungheni", "valea"], "those of all its sirens"


# Tests: each, for a siren, a zone, or all, with the right key.


@pytest.mark.parametrize(
    ("kind", "words", "key", "sirens"),
    [
        ("status", ["s1"], "ana.test", ["s1"]),
        ("status", ["--all"], "ana.live", ["s1", "s2"]),
        ("arm", ["--all"], "ana.exercise", ["s1", "s2"]),
        ("arm", ["s2"], "ana.live", ["s2"]),
        ("silent", ["--zone", "valea"], "eva.test", ["s2"]),
        ("silent", ["s1", "s2"], "ana.test", ["s1", "s2"]),
    ],
)
def test_each_check_passes_end_to_end(town: Town, siren, kind: str, words: list[str], key: str, sirens: list[str]):
    answer = siren("test", *words, "--kind", kind, key=key)
    assert answer.code == 0, answer.err
    assert answer.document["sirens"] == sirens
    activation = town.settled(answer.document["activation"])
    assert [(s["siren"], s["result"]) for s in activation["sirens"]] == [(s, "pass") for s in sirens]
    assert (activation["pending"], activation["pass"], activation["fail"]) == (0, len(sirens), 0)
    assert activation["total"] == len(sirens)


def test_a_growl_is_heard_once_in_ten_minutes(town: Town, siren):
    town.permit(1)
    before = town.monitor.activations
    activation = town.settled(siren("test", "s1", "--kind", "growl", key="ana.test").document["activation"])
    assert activation["sirens"][0]["result"] == "pass"
    assert town.monitor.activations == before + 1
    again = town.settled(siren("test", "s1", "--kind", "growl", key="ana.test").document["activation"])
    assert (again["sirens"][0]["result"], again["sirens"][0]["why"]) == ("fail", "rate")


@pytest.mark.parametrize(
    ("words", "key", "says"),
    [
        (["s1", "--kind", "growl"], "ana.live", "a test needs your test key, this one is live"),
        (["s1", "--kind", "silent"], "ana.exercise", "a test needs your test key, this one is exercise"),
        (["s1", "--kind", "status"], "eva.test", "eva is not named for a zone of siren s1"),
        (["s9"], "ana.test", "the plan has no siren 's9'"),
        (["--zone", "nowhere"], "ana.test", "the plan has no zone 'nowhere'"),
        (["s1", "--kind", "loud"], "ana.test", "one of silent, growl, arm, status"),
        ([], "ana.test", "name sirens, or zones by --zone, or say --all"),
        (["s1", "--all"], "ana.test", "name sirens, or zones by --zone, or say --all"),
        (["s1"], "n1.test", "this key is node n1's in the plan"),
    ],
)
def test_what_is_no_one_s_to_test_is_refused(siren, words: list[str], key: str, says: str):
    answer = siren("test", *words, key=key)
    assert answer.code != 0
    assert says in answer.err + answer.out


# A sound by two people, its proof, and its end.


def test_a_sound_is_counted_proven_and_stopped(town: Town, siren, face: Face, sounding):
    number = sounding()["activation"]
    activation = town.settled(number)
    assert (activation["pass"], activation["fail"], activation["total"]) == (1, 0, 1)
    assert activation["sirens"][0]["measured"]
    last = town.sirens()["s1"]
    assert (last["failed_to_sound"], last["last"]["activation"], last["last"]["result"]) == ("", number, "pass")
    assert last["last"]["sounded_us"] > last["last"]["ordered_us"] > 0
    shown = face("siren", "status", "--socket", town.socket("iasi")).out
    assert "pending" in shown
    assert "total" in shown
    assert "start long" in shown
    assert last_sound(last) == "pass, measured"
    assert last_sound(last | {"failed_to_sound": "audio"}).startswith("FAILED TO SOUND: nothing proves")
    assert face("siren", "list", "--socket", town.socket("iasi")).code == 0


def test_a_stop_says_of_each_siren_that_it_is_silent(town: Town, sounding, face: Face):
    sounding()
    words = ("--key", town.key("ana"), "--socket", town.socket("iasi"))
    said = face("siren", "stop", *words)
    assert said.code == 0
    assert "s1: silent\n" in said.out
    assert "s2: silent (it did not sound)" in said.out


@pytest.mark.parametrize(
    ("result", "why", "says"), [("pending", "", "NO ANSWER YET"), ("fail", "not-off", "NOT CONFIRMED: not-off")]
)
def test_a_stop_that_is_not_confirmed_is_not_done(capsys, result: str, why: str, says: str):
    done = {"siren": "s1", "result": "pass", "why": "stopped"}
    assert stopped([done])
    assert not stopped([done, {"siren": "s2", "result": result, "why": why}])
    assert f"s2: {says}" in capsys.readouterr().out


def test_a_technician_at_the_pole_silences_it(town: Town, siren, sounding):
    sounding()
    answer = siren("stop", "s1", key="ana.live", node="n1")
    assert (answer.code, answer.document["stopped"], answer.document["node"]) == (0, True, "n1")
    town.until(lambda: not town.board.levels["R1"], 2)


@pytest.mark.parametrize(
    ("key", "node", "says"),
    [
        ("eva.live", "n1", "zone"),
        ("n1.live", "n1", "a person's is needed"),
        ("ana.live", "n9", "no service answers"),
    ],
)
def test_a_stop_at_the_pole_needs_authority(town: Town, siren, sounding, key: str, node: str, says: str):
    sounding()
    answer = siren("stop", "s1", key=key, node=node)
    assert answer.code == 1
    assert says in answer.err + answer.out
    assert town.board.levels["R1"]


def test_a_deaf_siren_has_failed_to_sound_and_its_neighbour_sounds(town: Town, siren, sounding):
    town.heard = False
    try:
        number = sounding()["activation"]
        activation = town.settled(number)
    finally:
        town.heard = True
    found = {each["siren"]: each for each in activation["sirens"]}
    assert (found["s1"]["result"], found["s1"]["why"]) == ("fail", "no-sound")
    assert (found["s2"]["result"], found["s2"]["measured"], found["s2"]["stands_in_for"]) == ("pass", True, "s1")
    assert (activation["pass"], activation["fail"], activation["total"]) == (1, 1, 2)
    assert activation["fall_backs"][0]["stand_ins"] == ["s2"]
    assert town.sirens()["s1"]["failed_to_sound"] == "audio"


@pytest.mark.parametrize(
    ("words", "key", "zones", "sirens"),
    [
        (["--siren", "s2"], "ana.live", ["valea"], ["s2"]),
        (["--siren", "s1", "--zone", "ungheni"], "ana.live", ["ungheni"], ["s1"]),
        (["--siren", "s1", "--siren", "s2"], "ana.live", ["ungheni", "valea"], ["s1", "s2"]),
        (["--all"], "ana.live", ["ungheni", "valea"], ["s1", "s2"]),
        (["--all"], "eva.live", ["valea"], ["s2"]),
    ],
)
def test_a_request_is_for_a_siren_a_zone_or_all(siren, words: list[str], key: str, zones: list[str], sirens: list[str]):
    found = siren("request", *words, "--pattern", "long", "--reason", "test", key=key).document
    assert (found["zones"], found["sirens"]) == (zones, sirens)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name zones by --zone, sirens by --siren, or say --all"),
        (["--all", "--zone", "valea"], "name zones by --zone, sirens by --siren, or say --all"),
        (["--siren", "s9"], "the plan has no siren 's9'; it has: s1, s2"),
        (["--zone", "ungeni"], "the plan has no zone 'ungeni'; it has: "),
        (["--siren", "s2", "--zone", "ungheni"], "siren s2 is none of ungheni"),
        (["--siren", "s1"], "eva is not named for zone ungheni"),
    ],
)
def test_a_request_for_nobody_or_what_is_not_theirs_is_refused(siren, words: list[str], says: str):
    answer = siren(
        "request", *words, "--pattern", "long", "--reason", "test", key="eva.live" if "eva" in says else "ana.live"
    )
    assert answer.code != 0
    assert says in answer.err + answer.out


# What nobody here ordered.


def test_an_order_of_a_stranger_is_refused_and_the_dispatcher_sees_it(town: Town, siren, face: Face):
    town.inject("n1", order_of("ana", node="n1", siren="s1"))
    found = town.until(lambda: siren("status").document["refused"])
    assert [(each["node"], each["reason"], each["count"]) for each in found] == [("n1", "role", 1)]
    assert "refused by nodes" in face("siren", "status", "--socket", town.socket("iasi")).out
    listed = face("siren", "list", "--socket", town.socket("iasi")).out
    assert "orders-refused" in listed
    assert town.sirens()["s1"]["stage"] != "refused", "what it does is not what it refuses"


# Vetoes and dry runs.


def test_a_fire_waits_for_a_veto_here_and_at_the_pole(town: Town, siren, face: Face):
    dry = siren("dry-run", "--zone", "ungheni", "--hazard", "fire", "--level", "alarm").document
    assert (dry["plan_version"], dry["policy"]["mode"], dry["policy"]["sirens"]) == (3, "unless-vetoed", ["s1"])
    town.drive("SMOKE", True)
    try:
        waiting = town.until(lambda: siren("status").document["veto_times"])
        incident = waiting[0]["incident"]
        dry = siren("dry-run", "ungheni/fire").document
        assert (dry["decision"]["move"], dry["decision"]["sirens"]) == ("unless-vetoed", ["s1"])
        assert dry["incident"] == incident
        status = face("node", "status", "--socket", town.socket("n1"), "--json").document["status"]
        assert [(a["incident"], a["vetoed"]) for a in status["alarms"]] == [(incident, False)]
        refused = siren("veto", incident, "--reason", "not hers", key="eva.live", node="n1")
        assert refused.code == 1
        assert siren("veto", incident, "--reason", "welding", key="ana.live", node="n1").code == 0
        status = face("node", "status", "--socket", town.socket("n1"), "--json").document["status"]
        assert status["alarms"][0]["vetoed"]
        assert siren("veto", incident, "--reason", "welding", key="ana.live").document["alarms"] == 1
        assert siren("dry-run", "ungheni/fire").document["decision"]["reason"] == "vetoed"
    finally:
        town.drive("SMOKE", False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give an alarm, or a zone"),
        (["--zone", "nowhere"], "the plan has no zone"),
        (["valea/flood"], "no open alarm valea/flood"),
        (["--zone", "valea", "--level", "purple"], "give zone, hazard"),
    ],
)
def test_a_dry_run_that_makes_no_sense_says_so(siren, words: list[str], says: str):
    answer = siren("dry-run", *words)
    assert answer.code != 0
    assert says in answer.err + answer.out


def test_a_dry_run_of_what_has_no_policy_says_so(town: Town, face: Face):
    shown = face("siren", "dry-run", "--zone", "valea", "--socket", town.socket("iasi"))
    assert shown.code == 0
    assert "only people can sound it" in shown.out


def test_a_dry_run_reads_like_a_sentence(town: Town, face: Face):
    words = ("--zone", "ungheni", "--hazard", "fire", "--level", "alarm", "--socket", town.socket("iasi"))
    shown = face("siren", "dry-run", *words).out
    assert "unless-vetoed" in shown
    assert "after 600 s without a veto" in shown
    assert "1 retry, 1 neighbour, dispatch is told" in shown
    assert "by evidence of 1 node; by hand 2 people of 1 centre" in shown
    assert (many(2, "node"), many(1, "retry", "retries"), many(0, "retry", "retries")) == (
        "2 nodes",
        "1 retry",
        "0 retries",
    )


def test_nothing_sounded_without_an_order(town: Town):
    town.monitor.check(town.clock.monotonic_ns())
    assert not town.monitor.findings, Path(town.folder).name
