"""Golden scripts: what a few nodes do, step by step, and everything that came of it, as text that is read and compared.

A script is a list of blocks, with a blank line between them::

    # A comment: two nodes agree without the third.
    nodes 3
    start 1 2
    elect 2

    propose 2 a
    deliver 2>1 PROPOSAL
    ----
    2 -> 1  PROPOSAL 0x1_00000001..0x1_00000001
    2 saved APPEND 0x1_00000001..0x1_00000001
    ...

A block is one or more commands; below `----` stands what they print. A block without `----` is run all the same and
what it prints is not looked at. After every step all invariants of the simulator are checked, and one that breaks ends
the script with Violation: it fails, unless it had said `expect-violation`.

The commands are those of interpreter.py. What a script must show is in its expected output, which `Scenario.rewritten`
renews.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from zkcore.testing.checkers import Violation
from zkcore.testing.handwired import RefusedError
from zkcore.testing.interpreter import Interpreter, ScenarioError

__all__ = ["Scenario"]

RULE = "----"
"""Stands between the commands of a block and what they print."""


@frozen
class Block:
    """Commands, each with the number of its line, and where the script shows their output how many lines that has."""

    commands: tuple[tuple[int, str], ...]
    shown: bool
    output_from: int  # the line behind the rule
    output_lines: int


class Scenario:
    """A script. `text` is that of its file, `name` what errors call it by."""

    def __init__(self, text: str, *, name: str = "scenario") -> None:
        self.text = text
        self.name = name
        self._lines = text.splitlines()
        self._blocks = list(self._parse())

    @property
    def notes(self) -> dict[str, str]:
        """What its comments say in the form `# name: words`."""
        return {found[1]: found[2].strip() for found in re.finditer(r"^# ([a-z ]+): (.+)$", self.text, re.MULTILINE)}

    def _parse(self) -> Iterator[Block]:
        commands: list[tuple[int, str]] = []
        lines = iter(enumerate(self._lines, 1))
        for number, line in lines:
            if line.startswith("#"):
                continue
            if line.strip() == RULE:
                if not commands:
                    raise ScenarioError(f"{self.name}:{number}: {RULE} without a command before it")
                output = 0
                for _, shown in lines:
                    if not shown.strip():
                        break
                    output += 1
                yield Block(tuple(commands), True, number + 1, output)
                commands = []
            elif line.strip():
                commands.append((number, line.strip()))
            elif commands:
                yield Block(tuple(commands), False, 0, 0)
                commands = []
        if commands:
            yield Block(tuple(commands), False, 0, 0)

    def run(self, *, without: frozenset[str] = frozenset()) -> list[list[str]]:
        """Run it, and return what each block printed.

        Raises ScenarioError, with the line, for what makes no sense in a script or at that point of it, and where an
        expected violation does not come about; Violation where another one does.
        """
        script = Interpreter(without=without)
        outputs: list[list[str]] = []
        for block in self._blocks:
            printed: list[str] = []
            for number, command in block.commands:
                if outputs and script.expected == "":
                    raise ScenarioError(f"{self.name}:{number}: the script ended with the violation before")
                printed += self._run_command(script, number, command)
            outputs.append(printed)
        if script.expected:
            raise ScenarioError(f"{self.name}: {script.expected} was expected to break, and did not")
        return outputs

    def _run_command(self, script: Interpreter, number: int, command: str) -> list[str]:
        before = len(script.lines)
        try:
            script.execute(command)
        except (ScenarioError, RefusedError) as error:
            raise ScenarioError(f"{self.name}:{number}: {error}") from error
        except Violation as violation:
            if violation.invariant != script.expected:
                violation.add_note(f"at {self.name}:{number}: {command}")
                raise
            script.expected = ""
            return [*script.lines[before:], f"broken: {violation}"]
        return script.lines[before:]

    def rewritten(self, outputs: list[list[str]]) -> str:
        """The text with `outputs` in place of what it expects: the same text, where it ran as expected."""
        lines: list[str] = []
        taken = 0
        for block, output in zip(self._blocks, outputs, strict=True):
            if block.shown:
                lines += self._lines[taken : block.output_from - 1]
                lines += output or ["ok"]
                taken = block.output_from - 1 + block.output_lines
        lines += self._lines[taken:]
        return "\n".join(lines) + "\n"
