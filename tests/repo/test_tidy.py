"""The repository itself, as a test: sizes, imports the linter cannot see, time, secrets, words."""

import ast
import re
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("cython_ext", "lanes", "firmware_bridge", "edge", "controller", "bucium")
LINES_MAX = 420  # "about 400"
TEST_LINES_MAX = 560  # tables of cases run longer
FUNCTION_LINES_MAX = 75  # "about 70"


def tracked() -> list[Path]:
    """Every file that git would publish."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.splitlines() if (ROOT / name).is_file()]


FILES = tracked()
PYTHON = [f for f in FILES if f.suffix == ".py"]
CODE = [f for f in PYTHON if f.relative_to(ROOT).parts[0] in PACKAGES]
CYTHON = [f for f in FILES if f.suffix in (".pyx", ".pxd")]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_top_level_name_is_only_ours(package):
    assert set(packages_distributions()[package]) == {"bucium"}


@pytest.mark.parametrize("path", CYTHON, ids=name)
def test_the_core_imports_only_c_and_itself(path):
    """import-linter does not read Cython."""
    allowed = {
        "libc",
        "cpython",
        "cython_ext",
        "cython",
        "dataclasses",
        "typing",
        "math",
        "struct",
        "collections",
        "hashlib",
        "zlib",
        "sys",
    }
    for module in re.findall(r"^\s*(?:from\s+(\S+)\s+c?import|c?import\s+(\S+))", path.read_text(), re.M):
        top = (module[0] or module[1]).split(".")[0]
        assert top in allowed or top == "", f"{name(path)} imports {top}"


@pytest.mark.parametrize("path", PYTHON + CYTHON, ids=name)
def test_a_file_holds_one_noun(path):
    lines = len(path.read_text().splitlines())
    most = TEST_LINES_MAX if name(path).startswith("tests/") else LINES_MAX
    assert lines <= most, f"{name(path)} has {lines} lines: it holds two nouns"


def functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_a_function_fits_a_screen(path):
    for function, lines in functions(path):
        assert lines <= FUNCTION_LINES_MAX, f"{name(path)}: {function} has {lines} lines"


@pytest.mark.parametrize("path", CODE, ids=name)
def test_time_is_read_in_one_place(path):
    if name(path) == "cython_ext/clock.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            call = f"{node.value.id}.{node.attr}"
            assert call not in (
                "time.time",
                "time.monotonic",
                "time.time_ns",
                "time.monotonic_ns",
                "datetime.now",
                "datetime.utcnow",
            ), f"{name(path)}:{node.lineno} reads the time; take a Clock"


@pytest.mark.parametrize("path", CODE, ids=name)
def test_no_handler_swallows_everything(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            assert passes_on or caught not in ("", "Exception", "BaseException"), (
                f"{name(path)}:{node.lineno}: bugs crash"
            )


@pytest.mark.parametrize("path", CODE, ids=name)
def test_public_things_say_their_contract(path):
    tree = ast.parse(path.read_text())
    if path.read_text().strip():
        assert ast.get_docstring(tree), f"{name(path)} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name(path)}: class {node.name} has no docstring"


UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error"]) + r")\b")
SECRET = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
MACHINE = re.compile(r"/(?:work|farm)/|bash_job[s]|/root/[.]pyenv|https?://[^ ]*(?:/simple/|registry\.|/pool/main/)")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_unfinished_secret_or_of_this_machine(path):
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    if path.suffix in (".py", ".pyx", ".pxd", ".yml", ".toml"):
        assert not UNFINISHED.search(text), f"{name(path)} is unfinished"
    assert not SECRET.search(text), f"{name(path)} holds a private key"
    assert not MACHINE.search(text), f"{name(path)} names a machine or a registry"


def test_every_source_file_is_tested():
    """A test names each source file, or names a neighbour that is made of it."""
    tests = "\n".join(f.read_text() for f in PYTHON if name(f).startswith("tests/"))

    def named(path: Path) -> bool:
        module = name(path)[:-3].replace("/", ".")
        package, stem = module.rsplit(".", 1)
        return module in tests or (f"from {package} import" in tests and re.search(rf"\b{stem}\b", tests) is not None)

    for path in CODE:
        if path.stem.startswith("__") or named(path):
            continue
        users = [
            f
            for f in path.parent.glob("*.py")
            if re.search(rf"from \.{path.stem} import|import {path.stem}\b", f.read_text())
        ]
        assert any(named(user) for user in users), f"no test reaches {name(path)}"
