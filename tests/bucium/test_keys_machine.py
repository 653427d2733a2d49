"""Any sequence of enrolments, rotations, retirements and revocations: who should be believed is, and nobody else."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bucium import departure, standing
from bucium.certcheck import certificate_of
from cython_ext import ConfigError
from lanes.keys import kid_of
from tests.kit.keysite import HOUR_US, NOW_US, KeySite

NAMES = st.sampled_from(["quay", "bridge", "centre-1", "broker"])
ROLES = {"quay": "node", "bridge": "node", "centre-1": "controller", "broker": "broker"}
OVERLAP_HOURS = 48


class Keys(RuleBasedStateMachine):
    """The folder and its hosts, against what everybody may expect."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.site = KeySite(self.folder / "site").begin()
        self.now_us = NOW_US
        self.state: dict[
            str, str
        ] = {}  # enrolled, asked, admitted (new keys beside the old), adopted (old ones leaving)
        self.dead: set[str] = set()  # key ids that must never count again

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(hours=st.integers(1, 40))
    def time_goes_by(self, hours: int) -> None:
        self.now_us += hours * HOUR_US

    @rule(name=NAMES)
    def enrol(self, name: str) -> None:
        if name in self.state:
            with pytest.raises(ConfigError, match="has an identity"):
                self.site.asked(name, ROLES[name], self.now_us)
            return
        shutil.rmtree(self.site.own(name).folder, ignore_errors=True)
        self.site.enrol(name, ROLES[name], self.now_us, cap=name == "centre-1")
        self.state[name] = "enrolled"

    @rule(name=NAMES)
    def rotate(self, name: str) -> None:
        state = self.state.get(name)
        if state == "enrolled":
            self.site.own(name).rotate()
            assert self.site.admit(name, self.now_us, overlap_hours=OVERLAP_HOURS).changed
            self.state[name] = "admitted"
        elif state == "admitted":
            assert not self.site.admit(name, self.now_us, overlap_hours=OVERLAP_HOURS).changed
        elif state == "adopted":
            self.site.own(name).rotate()
            with pytest.raises(ConfigError, match="have not left"):
                self.site.admit(name, self.now_us)
            shutil.rmtree(self.site.own(name).next)

    @rule(name=NAMES)
    def adopt(self, name: str) -> None:
        if self.state.get(name) == "admitted":
            assert self.site.adopt(name, self.now_us)
            self.state[name] = "adopted"

    @rule(name=NAMES)
    def retire(self, name: str) -> None:
        if self.state.get(name) == "adopted":
            until_us = max(each.from_us for each in self.site.ring.register.read().leaving if each.id == name)
            if until_us > self.now_us:
                with pytest.raises(ConfigError, match="hours more"):
                    departure.retire(self.site.ring, name, self.now_us)
                return
            self.dead |= set(departure.retire(self.site.ring, name, self.now_us).kids)
            self.state[name] = "enrolled"

    @rule(name=NAMES)
    def revoke(self, name: str) -> None:
        if name in self.state:
            done = departure.revoke(self.site.ring, name, "stolen", self.now_us)
            assert done.changed
            self.dead |= set(done.kids)
            del self.state[name]

    @invariant()
    def who_has_an_identity_is_believed(self) -> None:
        listed = self.site.listed()
        for name in self.state:
            own = self.site.own(name)
            assert {key.hex() for key in own.publics().values()} <= set(self.site.roster(name))
            assert certificate_of(own.current / "tls.crt").serial_number not in listed

    @invariant()
    def nobody_else_is(self) -> None:
        ring = self.site.ring
        assert {key.signer for key in ring.signers()} == {name for name in self.state if name != "broker"}
        assert not self.dead & {standing.kid(key) for key in ring.signers()}
        assert self.dead <= set(ring.register.revoked_kids())
        for name in set(ROLES) - set(self.state):
            own = self.site.own(name).current / "tls.crt"
            if own.exists():
                assert certificate_of(own).serial_number in self.site.listed()

    @invariant()
    def each_counts_at_most_twice(self) -> None:
        for name, state in self.state.items():
            many = 0 if name == "broker" else 6 if state in ("admitted", "adopted") else 3
            assert len(self.site.roster(name)) == many
            assert len({kid_of(bytes.fromhex(each)) for each in self.site.roster(name)}) == many


TestKeys = Keys.TestCase
TestKeys.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
