"""What the pages say is true: commands parse and those that need no network run, keys and codes are the code's, links lead on."""

import ast
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

import cython_ext
from bucium import cli, documents
from controller.policy import Move, decide
from cython_ext import Trouble
from lanes.envelope import Refused
from lanes.plan import Plan
from lanes.reports import SirenTrouble
from lanes.settings import parse
from tests.kit.docpages import DOCS, PART, PARTS, ROOT, current, sections

RUN_S = 280  # of a page's commands, each a Python that starts, on a machine that has much else to do
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), ROOT / "cython_ext" / "README.md"]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([a-z][a-z-]*)`")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# Commands.


def root_command():
    if not cli.app.registered_groups:
        cli._attach()
    return get_command(cli.app)


def words_of(line: str) -> Iterator[list[str]]:
    """Each `bucium …` in a line of shell, as words."""
    lexer = shlex.shlex(line.replace("ExecStart=", ""), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    piece: list[str] = []
    words = iter([*lexer, ";"])
    for word in words:
        if set(word) <= set("<>"):
            next(words, "")  # a file's name
            continue
        if not set(word) <= set("();|&<>"):
            piece.append(word)
            continue
        while piece and (piece[0] in ("do", "then", "sudo") or re.match(r"[A-Z_]+=", piece[0])):
            piece.pop(0)
        if piece and piece[0].rsplit("/", 1)[-1] == "bucium":
            yield piece[1:]
        piece = []


def commands() -> list[tuple[str, list[str]]]:
    found = []
    for page in PAGES:
        for info, block in FENCE.findall(page.read_text()):
            if info.split(" ")[0] in ("", "sh", "ini"):
                for line in block.replace("\\\n", " ").splitlines():
                    if "bucium " in line:
                        found += [(f"{name(page)}: {line.strip()}", words) for words in words_of(line)]
    return found


COMMANDS = commands()


def leaf(words: list[str]):
    """The command that the words name, and what is left of them."""
    command, rest = root_command(), list(words)
    while rest and hasattr(command, "commands"):
        assert rest[0] in command.commands, f"no verb {' '.join(words)!r}"
        command = command.commands[rest.pop(0)]
    return command, rest


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 50


@pytest.mark.parametrize(("where", "words"), COMMANDS, ids=[f"{n}" for n in range(len(COMMANDS))])
def test_a_command_of_the_pages_parses(where, words):
    command, rest = leaf(words)
    assert not hasattr(command, "commands"), where
    command.make_context(" ".join(words), rest)  # raises what the person would read


def inline() -> list[tuple[str, str]]:
    texts = [(page, FENCE.sub("", page.read_text())) for page in PAGES]
    return [(name(page), text) for page, body in texts for text in re.findall(r"`bucium ([^`]+)`", body)]


@pytest.mark.parametrize(("page", "text"), inline())
def test_a_command_in_a_sentence_has_its_verb_and_options(page, text):
    for verb in re.split(r"\\?\|", text.split(" ")[1]) if "|" in text.split(" -")[0] else [""]:
        words = [text.split(" ")[0], verb] if verb else text.split(" ")
        group = root_command().commands.get(words[0])
        assert group is not None, f"{page}: bucium {text}"
        commands = getattr(group, "commands", None)
        if commands is None or len(words) < 2 or not re.match(r"[a-z]", words[1]):
            continue
        assert words[1] in commands, f"{page}: bucium {text}"
        options = {option for parameter in commands[words[1]].params for option in parameter.opts}
        for option in re.findall(r"(?<!\S)--[a-z-]+", text):
            assert option in options | {"--help"}, f"{page}: bucium {text}"


def offline(page: Path) -> str:
    return "".join(block for info, block in FENCE.findall(page.read_text()) if info == "sh tested")


@pytest.mark.timeout(RUN_S + 20)
@pytest.mark.parametrize("page", [page for page in PAGES if offline(page)], ids=name)
def test_what_can_run_offline_runs(page, tmp_path):
    for example in (ROOT / "examples").rglob("*.toml"):
        place = tmp_path / example.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(example.read_text())
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool, words in (("bucium", "-m bucium "), ("python", "")):
        (tools / tool).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        (tools / tool).chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tools}:{os.environ['PATH']}"}
    said = tmp_path / "said"
    with said.open("wb") as file:
        shell = subprocess.Popen(
            ["sh", "-euc", offline(page)],
            cwd=tmp_path,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            code = shell.wait(RUN_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert code == 0, said.read_text()


def test_the_make_targets_of_the_pages_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)(?=[ `\n])", page.read_text(), re.MULTILINE))
        assert named <= targets, f"{name(page)}: {named - targets}"


# Configuration and generated parts.


@pytest.mark.parametrize("page", [page for page in PAGES if PART.search(page.read_text())], ids=name)
def test_generated_parts_are_current(page):
    assert current(page.read_text()) == page.read_text(), "run: make docs"


def test_every_generated_part_stands_somewhere():
    assert {part for page in PAGES for _, part, _, _ in PART.findall(page.read_text())} == set(PARTS)


@pytest.mark.parametrize("kind", documents.KINDS)
def test_every_key_says_what_it_means(kind):
    for heading, model in sections(documents.of_kind(kind).model()):
        for key, field in model.model_fields.items():
            if not sections_of(field):
                assert field.description, f"{kind}: {heading} {key}"


def sections_of(field) -> bool:
    from tests.kit.docpages import models_in

    return bool(models_in(field.annotation))


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=name)
def test_an_example_is_good_and_knows_every_table(path):
    documents.check(path)
    text = path.read_text()
    document = documents.recognise(path)
    for heading, _ in sections(document.model()):
        for table in re.findall(r"\[+([a-z]+)[\]]", heading):
            assert re.search(rf"^(# )?\[+{table}\b", text, re.MULTILINE), f"{name(path)} has no [{table}]"


def test_there_is_an_example_of_each_kind():
    assert {documents.recognise(path).kind for path in (ROOT / "examples").glob("*.toml")} == set(documents.KINDS)


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "patterns").glob("*.toml")), ids=name)
def test_a_country_s_signals_fit_into_a_plan(path):
    text = (ROOT / "examples" / "plan.toml").read_text() + "\n" + path.read_text()
    assert len(parse(text, Plan).patterns) > 2


# Codes.


def section(page: str, heading: str) -> str:
    text = (DOCS / page).read_text()
    assert f"\n## {heading}\n" in text
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(text: str, column: int = 0) -> list[str]:
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [code for row in rows[2:] for code in CODE.findall(row[column])]


def literals(node: ast.expr) -> Iterator[str]:
    """The strings that an argument can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)


def calls(folder: str, names: set[str]) -> Iterator[tuple[ast.Call, dict[str, str]]]:
    """Every call of one of these names, with the module's own string constants."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, (ast.AnnAssign, ast.Assign)) and isinstance(node.value, ast.Constant)
            for target in ([node.target] if isinstance(node, ast.AnnAssign) else node.targets)
            if isinstance(target, ast.Name) and isinstance(node.value.value, str)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in names and node.args:
                    yield node, constants


def codes_of(folder: str, names: set[str], place: int = 0) -> set[str]:
    found = set()
    for call, constants in calls(folder, names):
        if len(call.args) > place:
            argument = call.args[place]
            found |= set(literals(argument))
            if isinstance(argument, ast.Name) and argument.id in constants:
                found.add(constants[argument.id])
    return {code for code in found if re.fullmatch(r"[a-z]+(-[a-z]+)*", code)}


@pytest.mark.parametrize(("heading", "words"), [("At a point", Trouble), ("At a siren", SirenTrouble)])
def test_every_trouble_bit_is_explained(heading, words):
    expected = sorted(bit.name.lower().replace("_", "-") for bit in words)
    assert sorted(first_cells(section("troubles.md", heading))) == expected


def test_every_reason_why_a_siren_could_not_sound_is_explained():
    from controller.siren.watching import CODES, SHORT

    assert sorted(first_cells(section("troubles.md", "Could it sound?"))) == sorted((*CODES, SHORT))


def test_every_trouble_of_a_node_is_explained():
    told = {
        code
        for path in (ROOT / "edge").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and call.args
        for code in literals(call.args[0])
        if (isinstance(call.func, ast.Attribute) and ast.unparse(call.func).endswith("troubles.set"))
        or (isinstance(call.func, ast.Name) and call.func.id == "Finding" and path.stem != "proof")
    }
    assert sorted(first_cells(section("troubles.md", "Of a node"))) == sorted(told)


def test_every_trouble_of_a_controller_is_explained():
    told = codes_of("controller", {"trouble", "_trouble", "_say"})
    assert sorted(first_cells(section("troubles.md", "Of a controller"))) == sorted(told)


def test_every_decision_is_explained():
    tree = ast.parse((ROOT / "controller" / "policy.py").read_text())
    body = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == decide.__name__)
    reasons = {
        code for node in ast.walk(body) if isinstance(node, ast.Call) for arg in node.args for code in literals(arg)
    }
    for node in ast.walk(body):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            reasons |= {code for part in node.value.elts for code in literals(part)}
    from controller.alarm.life import MUTED
    from controller.room import BARRED

    reasons |= {str(state) for state in MUTED} | BARRED | {"not-vetoed"}
    reasons = {code for code in reasons if re.fullmatch(r"[a-z]+(-[a-z]+)*", code)}
    page = section("decisions.md", "Reasons")
    assert sorted(first_cells(page)) == sorted(reasons)
    assert '"not-vetoed"' in (ROOT / "controller" / "deciding.py").read_text()
    moves = (DOCS / "decisions.md").read_text().split("## Reasons")[0]
    assert sorted(first_cells(moves)) == sorted(Move)


def test_every_end_of_an_order_is_explained():
    source = (ROOT / "controller" / "activation.py").read_text()
    page = first_cells(section("decisions.md", "How an order ended"), column=1)
    for code in ("no-answer", "silent", "unproved", "stopped", "already"):
        assert f'"{code}"' in source
        assert code in page


def test_every_reason_of_an_escalation_is_explained():
    from controller.escalations import WHY

    page = section("escalation.md", "Who was told, and when")
    assert set(first_cells(page, column=1)) == set().union(*WHY.values())
    assert set(first_cells(page)) == set(WHY)


def test_every_refusal_of_an_act_is_explained():
    said = {code for folder in ("controller", "edge", "lanes") for code in codes_of(folder, {"ControlError"})}
    tree = ast.parse((ROOT / "lanes" / "acts.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "WireError":
            said |= set(literals(node.args[0]))
    said |= {str(why) for why in Refused}
    assert said - set(first_cells(section("decisions.md", "Why an act was refused"))) == set()


# Words and links.

TECHNICAL = {  # no words of the field: errors, configurations of words that stand in the glossary, the machine's clock
    "NS_PER_S", "BuciumError", "ConfigError", "WireError", "GroupConfig", "LevelConfig", "PanelConfig", "PointConfig",
    "SystemClock",
}  # fmt: skip


def test_the_glossary_has_the_core_s_vocabulary():
    text = (DOCS / "glossary.md").read_text()
    words = set(re.findall(r"^\| ([A-Z][A-Za-z]+)", text, re.MULTILINE)) | set(re.findall(r"`([A-Z][A-Za-z]+)`", text))
    assert set(cython_ext.__all__) - TECHNICAL <= words
    assert set(cython_ext.__all__) >= TECHNICAL


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {link}"


def test_every_page_is_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
        todo += [t for link in links if (t := (page.parent / link).resolve()).exists() and t not in seen]
    assert set(PAGES) <= seen
