"""From a seed that breaks an invariant to the few steps that are needed to break it.

A failing world is mostly things that do not matter. They are left out as far as the same invariant still breaks: first
whole strikes of faults and bits of load, and the noise of network and clocks, always of the same seed. What is left is
recorded as a script (recording.py), and then steps of the script are left out, runs of steps replaced by one that does
what an undisturbed ensemble would do, nodes and limits taken away. The result is a golden script (scenario.py) that
fails: somebody can read it.

Leaving out is delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002): large
pieces first, then ever smaller ones, until no single item can go. An attempt may use even less than it was given, since
a step that makes no sense without those before it is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from attrs import frozen

from zkcore.testing.checkers import Violation
from zkcore.testing.handwired import RefusedError
from zkcore.testing.scenario import Interpreter, ScenarioError

__all__ = ["Replayed", "replay", "shorten", "shrink_script"]

T = TypeVar("T")

Attempt = Callable[[list[T]], list[T] | None]
"""Runs with these items only: those of them that were of use, if it still fails as it should; else None."""

Spent = Callable[[], bool]
"""Whether the budget is used up."""


def shorten(items: Sequence[T], attempt: Attempt[T], spent: Spent) -> list[T]:
    """Fewer of `items`, with which `attempt` still fails. No single one of them can be left out, unless the budget was
    spent before. `items` as a whole must fail."""
    kept = list(items)
    size = max(len(kept) // 2, 1)
    while not spent():
        before = len(kept)
        end = len(kept)
        while end > 0 and not spent():
            start = max(end - size, 0)
            used = attempt(kept[:start] + kept[end:])
            if used is not None:
                kept = used
            end = min(start, len(kept))
        if size == 1 and len(kept) == before:
            break
        size = max(min(size, len(kept)) // 2, 1)
    return kept


# --- scripts ----------------------------------------------------------------------------------------------------------


@frozen
class Replayed:
    """What came of a script: the violation that ended it, if one did, and the steps that made sense up to there."""

    violation: Violation | None
    steps: list[str]


def replay(steps: Iterable[str], *, without: frozenset[str] = frozenset()) -> Replayed:
    """Run `steps`, and skip those that make no sense as things stand. One that was half done before that was found out
    ends it."""
    script = Interpreter(without=without)
    taken: list[str] = []
    for step in steps:
        before = len(script.lines)
        try:
            script.execute(step)
        except RefusedError:
            if len(script.lines) > before:
                break
            continue
        except ScenarioError:
            break
        except Violation as violation:
            return Replayed(violation, [*taken, step])
        taken.append(step)
    return Replayed(None, taken)


def shrink_script(
    steps: Sequence[str], invariant: str, spent: Spent, *, without: frozenset[str] = frozenset()
) -> list[str]:
    """A script as short as can be that breaks `invariant`, as `steps` do."""

    def attempt(candidate: list[str]) -> list[str] | None:
        replayed = replay(candidate, without=without)
        if replayed.violation is None or replayed.violation.invariant != invariant:
            return None
        return replayed.steps

    kept = attempt(list(steps))
    if kept is None:
        raise ValueError(f"these steps do not break {invariant}")
    kept = _first(kept, attempt, _smaller_ensembles(kept), spent)
    before: list[str] = []
    while kept != before and not spent():
        before = kept
        kept = shorten(kept, attempt, spent)
        for simpler in (_heard_links, _windows, _plain_payloads, _smaller_ensembles):
            kept = _all(kept, attempt, simpler, spent)
    return _joined(kept, attempt)


def _first(steps: list[str], attempt: Attempt[str], candidates: Iterable[list[str]], spent: Spent) -> list[str]:
    """The first of `candidates` that fails as well, or else `steps`."""
    for candidate in candidates:
        if spent():
            break
        used = attempt(candidate)
        if used is not None:
            return used
    return steps


def _all(
    steps: list[str], attempt: Attempt[str], simpler: Callable[[list[str]], Iterator[list[str]]], spent: Spent
) -> list[str]:
    """Make `steps` simpler as often as it goes."""
    while (then := _first(steps, attempt, simpler(steps), spent)) != steps:
        steps = then
    return steps


def _smaller_ensembles(steps: list[str]) -> Iterator[list[str]]:
    """Fewer voters; a limit as it usually is."""
    _, voters, *limits = steps[0].split()
    for fewer in range(1, int(voters)):
        yield [" ".join(["nodes", str(fewer), *limits]), *steps[1:]]
    for limit in limits:
        yield [" ".join(["nodes", voters, *(each for each in limits if each != limit)]), *steps[1:]]


def _heard_links(steps: list[str]) -> Iterator[list[str]]:
    """Both ends hear at once that they are linked."""
    for index, step in enumerate(steps):
        if step.endswith(" unheard"):
            yield [*steps[:index], step.removesuffix(" unheard"), *steps[index + 1 :]]


def _windows(steps: list[str]) -> Iterator[list[str]]:
    """One step that lets an undisturbed ensemble go on, in place of many."""
    ids = range(1, int(steps[0].split()[1]) + 1)
    easy = ["stabilize", *(f"elect {leader}" for leader in ids)]
    easy += [f"elect {leader} {other}" for leader in ids for other in ids if other != leader]
    size = len(steps) // 2
    while size > 1:
        for start in range(1, len(steps) - size + 1, max(size // 4, 1)):
            for step in easy:
                yield [*steps[:start], step, *steps[start + size :]]
        size = size * 2 // 3


def _plain_payloads(steps: list[str]) -> Iterator[list[str]]:
    """Proposals of one short payload, named in order."""
    names = iter("abcdefghijklmnopqrstuvwxyz" * len(steps))
    plain = [f"propose {step.split()[1]} {next(names)}" if step.startswith("propose") else step for step in steps]
    if plain != steps:
        yield plain


def _joined(steps: list[str], attempt: Attempt[str]) -> list[str]:
    """Equal steps in a row, and those of several nodes, as one."""
    joined: list[str] = []
    for kind, group in groupby(steps, key=lambda step: step.split()[0]):
        run = list(group)
        if kind in ("start", "hold-saves", "save"):
            joined.append(" ".join([kind, *(word for step in run for word in step.split()[1:])]))
        elif kind == "deliver":
            for step, equal in groupby(run):
                count = len(list(equal))
                joined.append(step if count == 1 else f"{step} {count}")
        else:
            joined += run
    return joined if attempt(joined) is not None else steps
