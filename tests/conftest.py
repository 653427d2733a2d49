"""What every test may ask for, the rule that in CI nothing is skipped unseen, and what a run compared with the oracle."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.kit import brokers, watched

watched.begin()
CI = os.environ.get("CI") == "true"
# How quick the machine is says nothing about the code: a timed figure is never in an assert, nor in Hypothesis' own.
settings.register_profile(
    "bucium",
    settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(os.environ.get("BUCIUM_EXAMPLES", "100")),
)
settings.load_profile("bucium")


@pytest.fixture(params=brokers.KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[brokers.RealBroker]:
    """A real broker on loopback: each test that asks runs on the embedded one and on Mosquitto."""
    why = brokers.missing(request.param)
    if why:
        pytest.skip(why)
    running = brokers.RealBroker(request.param, tmp_path / "broker").start()
    yield running
    running.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The relay monitor watches every test in which a siren is sounded."""
    with watched.watching(item.path.relative_to(item.config.rootpath)):
        return (yield)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """In CI a skip is a failure, unless the test is marked `skip_allowed` with its reason."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if CI and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("skip_allowed") is None:
        report.outcome = "failed"
        report.longrepr = f"unexpected skip in CI: {report.longrepr}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much a run compared with the oracle, in one line whoever ran it: a worker's own print is not seen."""
    done = [0, 0, 0]
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "call":
                continue
            for name, value in report.user_properties:
                if name == "oracle":
                    done = [before + more for before, more in zip(done, value, strict=True)]
    if any(done):
        terminalreporter.write_line("oracle: {} cases, {} samples, {} differences".format(*done))
