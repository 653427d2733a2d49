"""The six TOML files of Bucium: which is which, the model that checks each, and what else must be right around it."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from cython_ext import ConfigError, SystemClock
from lanes.settings import Settings, load


@dataclass(frozen=True, slots=True)
class Document:
    """One kind of file. `model` is imported only when it is needed: pymodbus for a node, lxml for a controller."""

    kind: str
    what: str
    marks: frozenset[str]  # top-level keys that only this kind has
    model: Callable[[], type[Settings]]
    service: str = ""  # the module whose `load` and `ready` a start asks: plan, root and keys too


def _model(module: str, name: str) -> Callable[[], type[Settings]]:
    def find() -> type[Settings]:
        found: type[Settings] = getattr(import_module(module), name)
        return found

    return find


DOCUMENTS: Final = (
    Document(
        "node",
        "a node: buses, devices, sirens, broker",
        frozenset({"bus", "device", "reading"}),
        _model("edge.config", "NodeConfig"),
        "edge.config",
    ),
    Document(
        "controller",
        "a controller: broker, journal, dispatch",
        frozenset({"dispatch", "journal", "history"}),
        _model("controller.config", "ControllerConfig"),
        "controller.config",
    ),
    Document(
        "duty",
        "people, rotas and escalations of a controller",
        frozenset({"person", "rota", "escalation"}),
        _model("controller.duty", "DutyFile"),
    ),
    Document(
        "desk",
        "lamps, buzzers and contacts at the dispatch desk",
        frozenset({"lamp", "bus", "device"}),
        _model("firmware_bridge.desk", "DeskConfig"),
    ),
    Document(
        "plan", "the plan, before it is built", frozenset({"zone", "policy", "pattern"}), _model("lanes.plan", "Plan")
    ),
    Document(
        "root", "the trust anchor of plans", frozenset({"planner", "threshold"}), _model("lanes.planfile", "Root")
    ),
)
KINDS: Final = tuple(document.kind for document in DOCUMENTS)


def of_kind(kind: str) -> Document:
    """The document kind of this name; ConfigError names the known ones."""
    for document in DOCUMENTS:
        if document.kind == kind:
            return document
    raise ConfigError(f"kind {kind!r} is not known: {', '.join(KINDS)}")


def recognise(path: Path) -> Document:
    """The kind of a file: by its name, else by the keys in it. ConfigError when neither says."""
    for document in DOCUMENTS:
        if document.kind in path.name.split(".")[0].replace("_", "-").split("-"):
            return document
    keys = _top_keys(path)
    scored = max(DOCUMENTS, key=lambda document: len(document.marks & keys))
    if scored.marks & keys:
        return scored
    raise ConfigError(f"cannot tell what this file is; say --kind {'|'.join(KINDS)}", source=str(path))


def _top_keys(path: Path) -> frozenset[str]:
    try:
        return frozenset(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", source=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not TOML: {error}", source=str(path)) from None


def check(path: Path, kind: str = "") -> tuple[Document, Settings]:
    """The file as its model, valid; ConfigError names file, line, what is wrong and what to do."""
    document = of_kind(kind) if kind else recognise(path)
    return document, load(path, document.model())


def check_in_place(path: Path, document: Document) -> bool:
    """Whether plan, root and keys of a service were there to be checked too; ConfigError as its start would give it."""
    if not document.service:
        return False
    service: Any = import_module(document.service)
    local = service.load(path)
    section = getattr(local.config, document.kind)
    if not local.at(section.plan).exists():
        return False
    if refused := service.ready(local).plan_refused:
        raise ConfigError(f"this plan would not run, the one that ran last would: {refused}", source=str(path))
    return True


def doubts(path: Path, document: Document, settings: Settings, *, whole: bool) -> list[str]:
    """What is allowed and hardly meant: in a plan; in a node or a controller beside the plan that is in its place."""
    if document.kind == "plan":
        from lanes.plan import Plan
        from lanes.plan_doubts import doubts as of_plan

        assert isinstance(settings, Plan)
        return list(of_plan(settings))
    if document.kind == "node" and whole:
        app: Any = import_module("edge.app")
        service: Any = import_module("edge.config")
        return list(app.doubts(service.ready(service.load(path)), SystemClock()))
    if document.kind == "controller" and whole:
        control: Any = import_module("controller.config")
        return list(control.doubts(control.ready(control.load(path))))
    return []
