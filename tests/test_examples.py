"""Everything shown to a reader runs: the numbered examples, the programs in README and guide, and the doctests.

What a program prints is compared with what it says it prints: an example in its docstring, after `prints::`, a program
in a document in the ```text block that follows it. Where a figure differs from run to run, such as a fencing token, the
text has `...` in its place. """

from __future__ import annotations

import ast
import doctest
import pkgutil
import re
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

import zkcore

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

PATIENCE = 180
"""Seconds after which a program is taken for stuck. An example takes a few."""

PRINTED = {"01_quickstart": "held, fencing token ..."}
"""What those examples print that say it in other words."""

NEEDS = {"41_web_application": ("starlette", "uvicorn")}
"""What those examples import that is in an extra."""

MODULES = sorted(
    found.name for found in pkgutil.walk_packages(zkcore.__path__, "zkcore.") if found.name != "zkcore.__main__"
)


class Block(NamedTuple):
    """A ```python block of a document, and the ```text block right after it, if any."""

    document: str
    line: int
    code: str
    printed: str | None

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def is_program(self) -> bool:
        """Whether it stands on its own: programs begin with what they import. The others are pieces of one."""
        return self.code.startswith(("import ", "from "))


BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n*^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def blocks_of(document: str, text: str) -> list[Block]:
    return [
        Block(document, text.count("\n", 0, match.start()) + 2, match.group(1), match.group(2))
        for match in BLOCK.finditer(text)
    ]


BLOCKS = [
    block
    for path in DOCUMENTS
    if path.exists()
    for block in blocks_of(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
]


def run(program: Path, folder: Path) -> str:
    """What `program` prints, run in a process of its own in `folder`, with every warning an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{program.name} exits with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert done.stderr == ""
    return done.stdout


def agrees(printed: str, expected: str) -> bool:
    """Whether `printed` is `expected`, where `...` stands for anything within a line."""
    pattern = r"[^\n]*".join(map(re.escape, expected.rstrip("\n").split("...")))
    return re.fullmatch(pattern, printed.rstrip("\n")) is not None


def promised(source: str) -> str | None:
    """The indented lines after `prints::` in the docstring of a program."""
    words = ast.get_docstring(ast.parse(source)) or ""
    _, found, rest = words.partition("prints::\n")
    lines = takewhile(lambda line: not line or line.startswith(" "), rest.splitlines())
    return dedent("\n".join(lines)).strip("\n") + "\n" if found else None


# --- the judges -------------------------------------------------------------------------------------------------------


def test_dots_stand_for_anything_within_a_line() -> None:
    assert agrees("token 17\ndone\n", "token ...\ndone\n")
    assert agrees("a+b\n", "a+b")
    assert not agrees("token 17\nmore\ndone\n", "token ...\ndone\n")
    assert not agrees("token 17\ndone\n", "token ...\n")
    assert not agrees("axb", "a.b")


def test_blocks_are_found_with_what_they_print() -> None:
    text = "# t\n```python\nimport x\n```\nwords\n```python\nlease.check()\n```\n\n```text\nhello\n```\n"
    assert blocks_of("d", text) == [Block("d", 3, "import x\n", None), Block("d", 7, "lease.check()\n", "hello\n")]
    assert [block.is_program for block in blocks_of("d", text)] == [True, False]


def test_the_promise_of_a_docstring_is_found() -> None:
    assert promised('"""It is.\n\nIt prints::\n\n    one\n      two\n\nAnd more.\n"""') == "one\n  two\n"
    assert promised('"""It is."""') is None


def test_a_program_that_fails_or_warns_is_found(tmp_path: Path) -> None:
    for line in (
        "raise SystemExit(3)",
        "import warnings; warnings.warn('careful')",
        "import sys; sys.stderr.write('!')",
    ):
        program = tmp_path / "program.py"
        program.write_text(line, encoding="utf-8")
        with pytest.raises(AssertionError):
            run(program, tmp_path)


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints_what_it_says(example: Path, tmp_path: Path) -> None:
    for needed in NEEDS.get(example.stem, ()):
        pytest.importorskip(needed, reason="what the example needs beside zkcore is not installed: .[test] has all")
    says = PRINTED.get(example.stem) or promised(example.read_text(encoding="utf-8"))
    printed = run(example, tmp_path)
    assert says is not None, f"the docstring of {example.name} should end with `prints::` and this:\n{printed}"
    if not agrees(printed, says):
        assert printed == says


def test_there_are_examples() -> None:
    assert EXAMPLES
    assert PRINTED.keys() | NEEDS.keys() <= {path.stem for path in EXAMPLES}


def test_every_example_that_a_document_names_is_there() -> None:
    named = {
        name for path in DOCUMENTS for name in re.findall(r"\b\d\d_\w+\.py\b", path.read_text(encoding="utf-8"))
    }
    assert named <= {path.name for path in EXAMPLES}
    assert len(named) > 20


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.is_program], ids=str)
def test_a_program_in_a_document_runs(block: Block, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.code, encoding="utf-8")
    printed = run(program, tmp_path)
    if block.printed is not None and not agrees(printed, block.printed):
        assert printed == block.printed


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.is_program], ids=str)
def test_a_piece_in_a_document_is_python_and_uses_what_exists(block: Block) -> None:
    tree = compile(block.code, str(block), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "zkcore":
            assert hasattr(zkcore, node.attr), f"zkcore.{node.attr}"


def test_the_quickstart_of_the_readme_is_the_first_example() -> None:
    first = next(block for block in BLOCKS if block.document == "README.md")
    example = (ROOT / "examples" / "01_quickstart.py").read_text(encoding="utf-8")
    begin = ast.parse(example).body[1].lineno
    assert first.code.strip() == "\n".join(example.splitlines()[begin - 1 :]).strip()
    assert first.printed is not None
    assert first.printed.strip() == PRINTED["01_quickstart"]


# --- doctests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_doctests_hold(name: str) -> None:
    assert doctest.testmod(pkgutil.resolve_name(name)).failed == 0


def test_there_are_doctests() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    assert any(test.examples for name in MODULES for test in finder.find(pkgutil.resolve_name(name)))
