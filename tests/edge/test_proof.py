"""What a measurement means: heard, silent, believed, and when."""

from edge.siren.activation import Cue
from edge.siren.proof import Finding, Watch
from firmware_bridge.sirens.driver import Proof

S = 1_000_000_000
YES, NO, BLIND = (Proof(x, "io/f1", 0) for x in (True, False, None))


def look(watch: Watch, at_s: float, proof: Proof | None, *, started: bool = True, failing: str = "") -> Finding | None:
    return watch.judge(round(at_s * S), proof, started=started, failing=failing)


def required() -> Watch:
    return Watch(required=True, can_prove=True, within_s=2.0)


def test_proof_is_told_once() -> None:
    watch = required()
    assert look(watch, 0.1, NO) is None
    assert look(watch, 0.2, YES) == Finding(Cue.HEARD, True, "measured")
    assert look(watch, 0.3, YES) is None
    assert watch.measured


def test_no_proof_in_time_is_a_failure_and_late_proof_is_told() -> None:
    watch = required()
    assert look(watch, 2.5, NO) is None
    assert look(watch, 2.6, NO) == Finding(Cue.SILENT, False, "no-sound")
    assert look(watch, 2.7, NO) is None
    assert look(watch, 9.0, YES) == Finding(Cue.HEARD, True, "measured")


def test_a_siren_that_falls_silent_on_the_way_has_failed() -> None:
    watch = required()
    look(watch, 1.0, YES)
    assert look(watch, 3.5, NO) is None
    assert look(watch, 3.6, NO) == Finding(Cue.SILENT, False, "no-sound")
    assert look(watch, 4.0, YES) == Finding(Cue.HEARD, True, "measured")


def test_why_it_is_not_proven() -> None:
    assert look(required(), 3, BLIND) == Finding(Cue.SILENT, False, "not-seen")
    assert look(required(), 3, NO, started=False, failing="no answer") == Finding(Cue.SILENT, False, "driver")


def test_proof_asked_of_a_siren_that_has_none() -> None:
    watch = Watch(required=True, can_prove=False, within_s=2.0)
    assert look(watch, 0.1, None, started=False) is None
    assert look(watch, 0.2, None) == Finding(Cue.SILENT, False, "no-feedback")
    assert look(watch, 9.0, None) is None


def test_a_siren_that_cannot_be_measured_is_believed() -> None:
    watch = Watch(required=False, can_prove=False, within_s=2.0)
    assert look(watch, 0.1, None) == Finding(Cue.HEARD, False, "not-measured")
    assert not watch.measured


def test_a_siren_that_need_not_prove_itself_is_believed_after_its_time() -> None:
    watch = Watch(required=False, can_prove=True, within_s=2.0)
    assert look(watch, 2.0, NO) is None
    assert look(watch, 2.6, NO) == Finding(Cue.HEARD, False, "unproven")
    assert look(watch, 3.0, YES) == Finding(Cue.HEARD, True, "measured")


def test_a_driver_that_never_began_is_not_believed() -> None:
    watch = Watch(required=False, can_prove=False, within_s=2.0)
    assert look(watch, 2.6, None, started=False, failing="no answer") == Finding(Cue.SILENT, False, "driver")
