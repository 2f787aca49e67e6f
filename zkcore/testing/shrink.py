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

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import groupby
from time import process_time
from typing import TypeVar

from attrs import evolve, frozen

from zkcore.testing.checkers import Violation
from zkcore.testing.faults import Plan, draw_plan
from zkcore.testing.handwired import RefusedError
from zkcore.testing.interpreter import Interpreter, ScenarioError
from zkcore.testing.load import BarePeers, Program
from zkcore.testing.recording import record
from zkcore.testing.world import simulate

__all__ = ["Replayed", "Shrunk", "replay", "shorten", "shrink", "shrink_script"]

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


# --- worlds -----------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Shrunk:
    """What is left of the world of `seed`: `violation` breaks in it with only these `strikes` and pieces of load, and
    none of the noise in `quiet`.

    `script` breaks the same invariant by hand, where that can be done: a leader that stays too long and an ensemble
    that never recovers are seen by the world only, and there are no scripts of whole replicas. It was recorded in
    `recorded` steps.
    """

    seed: int
    violation: Violation
    strikes: tuple[str, ...]
    loads: tuple[str, ...]
    quiet: tuple[str, ...]
    recorded: int
    script: tuple[str, ...]

    def as_scenario(self) -> str:
        """The script as the text of a scenario that expects the violation."""
        comments = [
            f"# Seed {self.seed} of bare peers: {self.recorded} steps, of which {len(self.script)} are needed.",
            f"# strikes: {' '.join(self.strikes) or 'none'}; {len(self.loads)} pieces of load",
        ]
        opening, *steps, last = self.script
        lines = [*comments, opening, f"expect-violation {self.violation.invariant}", *steps, "", last, "----"]
        return "\n".join(lines) + "\n"


@frozen
class _Tried:
    """What came of one run of a world. `steps` are none where nothing breaks when they are taken by hand."""

    violation: Violation | None
    strikes: tuple[str, ...]
    loads: int
    steps: tuple[str, ...] = ()


class _AllBut(Container[str]):
    """All strikes and pieces of load but those in `kept`: also those that the failing run did not live to see."""

    def __init__(self, kept: Iterable[str]) -> None:
        self._kept = frozenset(kept)

    def __contains__(self, name: object) -> bool:
        return name not in self._kept


Try = Callable[[Plan, Container[str]], _Tried]
"""Runs the world of a plan, with some strikes and pieces of load left out."""


def _trying(make_program: Callable[[Plan], Program], without: frozenset[str], on_files: bool | None) -> Try:
    """Bare peers are recorded and replayed, others run."""

    def attempt(plan: Plan, leave_out: Container[str]) -> _Tried:
        if make_program is not BarePeers:
            report = simulate(
                plan.seed, plan=plan, without=without, make_program=make_program, leave_out=leave_out, on_files=on_files
            )
            return _Tried(report.violation, report.strikes, report.loads)
        run = record(plan, without=without, leave_out=leave_out, on_files=on_files)
        steps = run.steps
        if run.violation is not None:
            by_hand = replay(steps, without=without).violation
            if by_hand is None or by_hand.invariant != run.violation.invariant:
                steps = ()
        return _Tried(run.violation, run.strikes, run.loads, steps)

    return attempt


def _quieter(plan: Plan) -> dict[str, Plan]:
    """The plan with one kind of noise less, each by its name."""
    plans = {
        "jitter": evolve(plan, jitter_ns=0),
        "late messages": evolve(plan, spike_share=0.0),
        "skewed clocks": evolve(plan, tick_ns=plan.tick_ns[:1] * len(plan.tick_ns)),
        "late notice": evolve(plan, notice_ns=1),
        "transfers": evolve(plan, transfer_share=0.0),
        "batches": evolve(plan, batch=1),
        "snapshots": evolve(plan, snapshot_every=0),
        "large snapshots": evolve(plan, snapshot_filler=0),
        "bytes": evolve(plan, over_wire=False),
    }
    return {name: quiet for name, quiet in plans.items() if quiet != plan}


def _shrink_world(plan: Plan, first: _Tried, run: Try, spent: Spent) -> tuple[_Tried, list[str], list[str]]:
    """The run that is left, the strikes and pieces of load it was given, and which noise is gone."""
    assert first.violation is not None
    invariant = first.violation.invariant
    everything = [*first.strikes, *(f"load/{number}" for number in range(first.loads))]
    best = first

    def fails(plan: Plan, kept: list[str]) -> bool:
        nonlocal best
        tried = run(plan, _AllBut(kept))
        if tried.violation is None or tried.violation.invariant != invariant or (first.steps and not tried.steps):
            return False
        best = tried
        return True

    kept = shorten(everything, lambda kept: kept if fails(plan, kept) else None, spent)
    quiet: list[str] = []
    for name in _quieter(plan):
        candidate = _quieter(plan)[name]
        if not spent() and fails(candidate, kept):
            plan = candidate
            quiet.append(name)
    return best, kept, quiet


def shrink(
    seed: int,
    *,
    make_program: Callable[[Plan], Program] = BarePeers,
    without: frozenset[str] = frozenset(),
    on_files: bool | None = None,
    budget_s: float = 60.0,
) -> Shrunk | None:
    """Shrink the failing world of `seed` within about `budget_s` seconds of CPU time; None where nothing fails."""
    begun = process_time()
    run = _trying(make_program, without, on_files)
    first = run(draw_plan(seed), frozenset())
    if first.violation is None:
        return None
    best, kept, quiet = _shrink_world(draw_plan(seed), first, run, lambda: process_time() - begun > budget_s / 3)
    assert best.violation is not None
    violation, script = best.violation, list[str]()
    if best.steps:
        script = shrink_script(
            best.steps, violation.invariant, lambda: process_time() - begun > budget_s, without=without
        )
        violation = replay(script, without=without).violation or violation
    return Shrunk(
        seed=seed,
        violation=violation,
        strikes=best.strikes,
        loads=tuple(name for name in kept if name.startswith("load/")),
        quiet=tuple(quiet),
        recorded=len(first.steps),
        script=tuple(script),
    )


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
    for simpler in (_fresh_beginnings, _smaller_ensembles, _without_one):
        kept = _simplify(kept, attempt, simpler, spent)
    before: list[str] = []
    while kept != before and not spent():
        before = kept
        kept = shorten(kept, attempt, spent)
        for simpler in (_heard_links, _windows, _plain_words, _smaller_ensembles, _without_one):
            kept = _simplify(kept, attempt, simpler, spent)
    return _joined(kept, attempt)


def _weight(steps: list[str]) -> tuple[int, int, int]:
    """The less, the simpler: steps, members, letters."""
    return len(steps), len(_members(steps)), sum(map(len, steps))


def _simplify(
    steps: list[str], attempt: Attempt[str], simpler: Callable[[list[str]], Iterator[list[str]]], spent: Spent
) -> list[str]:
    """Take up what `simpler` proposes, as often as it still fails and is simpler indeed."""
    progress = True
    while progress:
        progress = False
        for candidate in simpler(steps):
            if spent():
                return steps
            used = attempt(candidate)
            if used is not None and _weight(used) < _weight(steps):
                steps, progress = used, True
                break
    return steps


def _without_one(steps: list[str]) -> Iterator[list[str]]:
    """One member less, and the others renumbered."""
    _, voters, *options = steps[0].split()
    if int(voters) < 2 or any(option.startswith(("observers", "groups", "weights")) for option in options):
        return
    for gone in range(1, int(voters) + 1):
        number = {str(each): str(each - (each > gone)) for each in range(1, int(voters) + 1) if each != gone}
        kept = [_renumbered(step, number) for step in steps[1:]]
        yield [" ".join(["nodes", str(int(voters) - 1), *options]), *(step for step in kept if step)]


def _renumbered(step: str, number: dict[str, str]) -> str:
    """The step with members numbered anew; empty where it needs one that is not there."""
    name, *words = step.split()
    if name in ("propose", "crash", "tick", "run", "lose", "fail-disk"):
        ids, others = words[:1], words[1:]
    elif name in ("deliver", "drop"):
        ids, others = words[0].split(">"), words[1:]
    else:
        ids, others = [word for word in words if word.isdecimal()], [word for word in words if not word.isdecimal()]
    known = [number[each] for each in ids if each in number]
    if len(known) < len(ids) and (name not in ("start", "stabilize", "hold-saves", "save", "elect") or not known):
        return ""
    if name in ("deliver", "drop"):
        known = [">".join(known)]
    return " ".join([name, *known, *others])


def _smaller_ensembles(steps: list[str]) -> Iterator[list[str]]:
    """Fewer members; a limit as it usually is."""
    _, voters, *options = steps[0].split()
    for option in options:
        yield [" ".join(["nodes", voters, *(each for each in options if each != option)]), *steps[1:]]
    if not any(option.startswith(("observers", "groups", "weights")) for option in options):
        for fewer in range(1, int(voters)):
            yield [" ".join(["nodes", str(fewer), *options]), *steps[1:]]


def _heard_links(steps: list[str]) -> Iterator[list[str]]:
    """Both ends hear at once that they are linked."""
    for index, step in enumerate(steps):
        if step.endswith(" unheard"):
            yield [*steps[:index], step.removesuffix(" unheard"), *steps[index + 1 :]]


def _fresh_beginnings(steps: list[str]) -> Iterator[list[str]]:
    """An ensemble without a past in place of everything up to some step."""
    opening, members = steps[0], _members(steps)
    for sixteenths in (15, 14, 12, 10, 8, 6, 4, 2, 1):
        cut = len(steps) * sixteenths // 16
        for leader in reversed(members):
            yield [opening, "start", f"elect {leader}", *steps[cut:]]


def _members(steps: list[str]) -> range:
    _, voters, *options = steps[0].split()
    observers = next((option for option in options if option.startswith("observers=")), "observers=0")
    return range(1, 1 + int(voters) + int(observers.removeprefix("observers=")))


def _windows(steps: list[str]) -> Iterator[list[str]]:
    """One step that lets an undisturbed ensemble go on, in place of many; but not of the last, which does the harm."""
    members = _members(steps)
    easy = ["stabilize", *(f"elect {leader}" for leader in members)]
    if len(members) <= 3:
        easy += [f"elect {leader} {other}" for leader in members for other in members if other != leader]
    size = len(steps) // 2
    while size > 1:
        for start in range(1, len(steps) - size, max(size // 4, 1)):
            for step in easy:
                yield [*steps[:start], step, *steps[start + size :]]
        size = size * 2 // 3


def _plain_words(steps: list[str]) -> Iterator[list[str]]:
    """Proposals of one short payload, named in order; a crash between two saves."""
    names = iter("abcdefghijklmnopqrstuvwxyz" * len(steps))
    plain = [f"propose {step.split()[1]} {next(names)}" if step.startswith("propose") else step for step in steps]
    if plain != steps:
        yield plain
    for index, step in enumerate(steps):
        if step.startswith("crash") and " " in step.removeprefix("crash "):
            yield [*steps[:index], " ".join(step.split()[:2]), *steps[index + 1 :]]


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
