"""The way in: services start without the face's libraries, trouble is one line, and help has examples."""

import json
import subprocess
import sys

import pytest

from bucium import cli
from bucium.__main__ import main
from cython_ext import BuciumError
from tests.kit.face import Face

FACE_ONLY = ("typer", "rich", "controller", "bucium.cli", "prometheus_client", "httpx", "lxml", "influxdb_client")


def modules_after(*argv: str) -> set[str]:
    """What a fresh process has imported once a verb has ended."""
    code = (
        "import json, sys\n"
        "from bucium.__main__ import main\n"
        f"try:\n    main({list(argv)!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_edge_run_imports_nothing_of_the_face() -> None:
    loaded = modules_after("edge", "run", "--config", "/nonexistent/node.toml")
    assert "edge.config" in loaded  # it really got there
    assert not [name for name in loaded if name.split(".")[0] in FACE_ONLY or name in FACE_ONLY]


def test_help_of_the_services_is_there(face: Face) -> None:
    for service in ("edge", "controller"):
        said = face(service, "run", "--help")
        assert said.code == 0
        assert "Example: bucium" in said.out


def test_every_verb_has_help_with_an_example(face: Face) -> None:
    assert face("--help").code == 0
    groups = {group.typer_instance.info.name or group.name: group.typer_instance for group in cli.app.registered_groups}
    assert {"config", "keys", "plan", "journal", "bus", "siren", "alarm", "node"} <= groups.keys()
    for name, group in groups.items():
        for command in group.registered_commands:
            callback = command.callback
            assert callback is not None
            assert "Example: bucium " in (callback.__doc__ or ""), f"{name} {command.name or callback.__name__}"
    for command in cli.app.registered_commands:
        assert command.callback is not None
        assert "Example: bucium " in (command.callback.__doc__ or "")


def test_no_words_is_misuse(face: Face) -> None:
    assert face("bogus").code == 2


def test_version(face: Face) -> None:
    said = face("--version")
    assert said.code == 0
    assert said.out.startswith("bucium ")


def test_a_refusal_is_one_line_and_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch, face: Face) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise BuciumError("the facts, and what to do")

    monkeypatch.setattr(cli, "app", refuse, raising=True)
    monkeypatch.setattr(cli, "_attach", lambda: None)
    refuse.registered_groups = ()  # type: ignore[attr-defined]
    said = face("anything")
    assert (said.code, said.err.strip()) == (1, "bucium: the facts, and what to do")

    def broken(*_args: object, **_options: object) -> None:
        raise ZeroDivisionError

    broken.registered_groups = ()  # type: ignore[attr-defined]
    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(ZeroDivisionError):
        main(["anything"])


def test_a_bench_prints_its_figures(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    from bucium.bench import wire

    measure = wire.measure
    monkeypatch.setattr(wire, "measure", lambda: measure(bursts=1))
    assert "judged_us" in face("bench", "wire", "--json").document
    assert face("bench", "wire").out.count("metrics") >= 2


def test_control_verbs_without_a_service_say_so(face: Face) -> None:
    for words in (("alarm", "list"), ("siren", "list"), ("siren", "status"), ("node", "status"), ("node", "events")):
        said = face(*words, "--socket", "/nonexistent/socket")
        assert said.code == 1
        assert "is it running?" in said.err
