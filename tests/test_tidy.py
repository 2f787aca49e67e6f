"""The looks of the source, where a machine can judge them. What must be judged by a reader is in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MAX_LINE = 120
MAX_FILE_LINES = 450
MAX_TEST_LINES = 600
MAX_FUNCTION_LINES = 60

UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE = re.compile(r"(?<![\w.$}])/(work|tmp|home|root|Users)/")
"""Paths of somebody's machine. Znode paths and relative ones look different."""

PYTHON = sorted(
    path
    for folder in ("zkcore", "tests", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)  # fmt: skip
PROSE = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMANDS = [path for path in (ROOT / "Makefile", ROOT / ".ci" / "run") if path.exists()]

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


class Source:
    """The text of a module, and which of its lines are code: neither blank, nor comment, nor docstring."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        words = {
            line
            for node in ast.walk(self.tree)
            if isinstance(node, Definition) and ast.get_docstring(node) is not None
            for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
        }
        self.code = {
            number
            for number, line in enumerate(text.splitlines(), 1)
            if number not in words and line.strip() and not line.lstrip().startswith("#")
        }

    def long_functions(self) -> list[str]:
        return [
            f"{node.name} has {lines} lines"
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (lines := len(self.code & set(range(node.lineno, (node.end_lineno or 0) + 1)))) > MAX_FUNCTION_LINES
        ]


def long_lines(text: str) -> list[int]:
    """What is said to a tool at the end of a line, such as `# type: ignore`, does not count."""
    lines = re.sub(r"  # (type|noqa|fmt)\b.*", "", text).splitlines()
    return [number for number, line in enumerate(lines, 1) if len(line) > MAX_LINE]


def unwanted(text: str) -> list[str]:
    return [
        f"line {number}: {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern in (UNFINISHED, MACHINE)
        for match in pattern.finditer(line)
    ]


# --- the judges -------------------------------------------------------------------------------------------------------


def test_docstrings_comments_and_blank_lines_are_not_counted() -> None:
    source = (
        '"""A module.\n\nWith words.\n"""\n\n# why\nx = 1\n\n'
        '\ndef f():\n    """Words."""\n    # why\n    return x\n'
    )
    assert Source(source).code == {7, 10, 13}


def test_a_long_function_is_found() -> None:
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    found = Source(f'def f():\n    """Words."""\n{body}').long_functions()
    assert found == [f"f has {MAX_FUNCTION_LINES + 1} lines"]
    assert Source("def f():\n" + "    # why\n" * 99 + "    return 1\n").long_functions() == []


def test_a_long_line_is_found() -> None:
    assert long_lines("short\n" + "x" * (MAX_LINE + 1) + "\n" + "x" * MAX_LINE + "  # type: ignore") == [2]


@pytest.mark.parametrize("line", ["# TO" "DO: later", "x = 1  # XX" "X", "see /wo" "rk/main", "open('/tm" "p/x')"])
def test_what_should_not_be_there_is_found(line: str) -> None:
    assert unwanted(line)


@pytest.mark.parametrize("line", ["/works/1 is a znode", "a method", "$(mktemp -d)/zkcore", "zkcore/tmp/x"])
def test_what_may_be_there_is_not(line: str) -> None:
    assert unwanted(line) == []


# --- the source -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PYTHON, ids=shown)
def test_a_source_file_is_one_room(path: Path) -> None:
    source = Source(path.read_text(encoding="utf-8"))
    limit = MAX_TEST_LINES if path.is_relative_to(ROOT / "tests") else MAX_FILE_LINES
    assert len(source.code) <= limit, "find the two modules in it"
    assert source.long_functions() == []


@pytest.mark.parametrize("path", PYTHON, ids=shown)
def test_a_module_opens_with_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", [*PYTHON, *COMMANDS], ids=shown)
def test_a_source_fits_the_screen(path: Path) -> None:
    assert long_lines(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [*PYTHON, *PROSE, *COMMANDS], ids=shown)
def test_a_file_is_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert unwanted(text) == []
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\t" not in text or path.name == "Makefile"
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)


@pytest.mark.parametrize("path", PROSE, ids=shown)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http", "#")):
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_there_is_something_to_look_at() -> None:
    assert len(PYTHON) > 80
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= {path.name for path in PROSE}
    assert len(COMMANDS) == 2


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
