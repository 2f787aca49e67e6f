"""The looks of the source, where a machine can judge them. What must be judged by a reader is in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
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
            and (lines := self._lines_of(node)) > MAX_FUNCTION_LINES
        ]

    def _lines_of(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        return sum(line in self.code for line in range(node.lineno, (node.end_lineno or 0) + 1))


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


# One test looks at all files: there are many, and a test for each of them costs more than to look at it.


def complaints(paths: list[Path], judge: Callable[[Path, str], Iterator[str]]) -> list[str]:
    return [f"{shown(path)}: {why}" for path in paths for why in judge(path, path.read_text(encoding="utf-8"))]


def not_one_room(path: Path, text: str) -> Iterator[str]:
    source = Source(text)
    if ast.get_docstring(source.tree) is None:
        yield "does not open with what it is"
    if len(source.code) > (MAX_TEST_LINES if path.is_relative_to(ROOT / "tests") else MAX_FILE_LINES):
        yield f"has {len(source.code)} lines of code; find the two modules in it"
    yield from source.long_functions()


def too_wide(path: Path, text: str) -> Iterator[str]:
    yield from (f"line {number} is longer than {MAX_LINE}" for number in long_lines(text))


def unfinished(path: Path, text: str) -> Iterator[str]:
    yield from unwanted(text)
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield "does not end with one line break"
    if "\t" in text and path.name != "Makefile":
        yield "has a tab in it"
    if re.search(r"[ \t]+$", text, re.MULTILINE):
        yield "has blanks at the end of a line"


def test_a_source_file_is_one_room_and_opens_with_what_it_is() -> None:
    assert complaints(PYTHON, not_one_room) == []


def test_a_source_fits_the_screen() -> None:
    assert complaints([*PYTHON, *COMMANDS], too_wide) == []


def test_a_file_is_finished() -> None:
    assert complaints([*PYTHON, *PROSE, *COMMANDS], unfinished) == []


@pytest.mark.parametrize(
    ("judge", "text"),
    [
        (not_one_room, "x = 1\n"),
        (not_one_room, '"""A room."""\n' + "x = 1\n" * (MAX_TEST_LINES + 1)),
        (not_one_room, '"""A room."""\ndef f():\n' + "    x = 1\n" * (MAX_FUNCTION_LINES + 1)),
        (too_wide, "x" * (MAX_LINE + 1)),
        (unfinished, "x = 1"),
        (unfinished, "x = 1\n\n"),
        (unfinished, "\tx = 1\n"),
        (unfinished, "x = 1 \n"),
    ],
)
def test_what_is_wrong_with_a_file_is_found(judge: Callable[[Path, str], Iterator[str]], text: str) -> None:
    (found,) = judge(ROOT / "zkcore" / "a.py", text)
    assert found


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
