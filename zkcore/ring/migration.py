"""From one placement to another without interruption: which data goes where, in what order, and who has it meanwhile.

A `MigrationPlan` is a list of moves between two placements. A *move* brings the data of some ranges of the circle to a
node that is to keep them. Most moves are hand-overs, in which the source keeps serving until the target has everything;
then, in one step, the target is a replica and the source no longer. So hand-overs never lessen the number of replicas.
What they have to do with racks is decided when sources and targets are paired, range by range: a target in the rack of
a node that leaves takes over from just that node. Then replicas that were in different racks before and after are so
at every moment between, whichever moves are done (`_paired` has the argument).

Three phases follow each other: *copies* make replicas where there are too few, because nodes were lost or more replicas
are wanted; *hand-overs*; and *drops* of replicas that are too many. No move begins before the last of an earlier phase
is finished, so a copy always finds the node that it copies from.

A `Migration` is a plan being followed: it says which moves may begin, at most so many at a time, and who has a key now.
It moves no data, and knows no network and no time: the application moves the data, and reports.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import Enum
from typing import TypeAlias

from attrs import field, frozen

from zkcore.ring.arcs import Arcs, Range
from zkcore.ring.errors import BadArgumentsError, PlanError
from zkcore.ring.hashing import Key

__all__ = ["Migration", "MigrationPlan", "Move", "Phase", "Step"]


class Phase(Enum):
    """What a move does to the number of replicas: one more, the same, one less."""

    COPY = "copy"
    HAND_OVER = "hand over"
    DROP = "drop"


@frozen
class Move:
    """What has to be done for `ranges`. COPY: `target` gets their data from `source`, which keeps it. HAND_OVER:
    `target` gets it, and `source` deletes it. DROP: `source` deletes it, and there is no target."""

    number: int
    """Its place in the plan, from 0. This is what to write down of finished moves."""
    phase: Phase
    source: str
    target: str | None
    ranges: tuple[Range, ...] = field(repr=False)
    share: float
    """How much of all keys it is about, from 0 to 1."""

    def __contains__(self, position: object) -> bool:
        """Whether this move is about the keys at `position`."""
        if not isinstance(position, int):
            return False
        at = bisect_right(self.ranges, position, key=_start) - 1
        return at >= 0 and position in self.ranges[at]

    def __str__(self) -> str:
        to = "" if self.target is None else f" -> {self.target}"
        return f"{self.number:3}  {self.phase.value:9}  {self.source}{to}  {self.share:.2%}"


@frozen
class Step:
    """Moves that can be under way together, and what holds when they are done."""

    moves: tuple[Move, ...]
    fewest_replicas: int
    """Of any range that the plan is about."""
    moved: float
    """The sum of the shares of this and all earlier steps."""


Part: TypeAlias = tuple[Phase, str, str | None]
"""What is done for one range: phase, source and target of the move that does it."""


@frozen(eq=False)
class MigrationPlan:
    """How to get from one placement to another. Made by `Placement.plan`; a value, which may be looked at, printed,
    tried (`steps`) and thrown away.

    Promises, whichever order moves finish in: no range has fewer than `minimum` replicas unless it had so few to begin
    with, and then never fewer than it had; where replicas are distinct by rack before and after, they are so always; at
    most `at_once` moves are under way.
    """

    old: Arcs
    new: Arcs
    marks: Mapping[str, str] = field(repr=False)
    minimum: int
    at_once: int
    lost: frozenset[str]
    changes: Mapping[Range, tuple[Part, ...]] = field(repr=False)
    moves: tuple[Move, ...] = field(repr=False)

    @classmethod
    def between(
        cls, old: Arcs, new: Arcs, *, marks: Mapping[str, str], minimum: int, at_once: int, lost: Collection[str] = ()
    ) -> MigrationPlan:
        """The plan from `old` to `new`. `marks` gives the rack of each node, or its name where racks do not matter.

        Raises PlanError when all replicas of a range are lost, or the new placement keeps too few or lost ones.
        """
        if not isinstance(at_once, int) or isinstance(at_once, bool) or at_once < 1:
            raise BadArgumentsError(f"the number of moves at a time is 1 or more, not {at_once!r}")
        if isinstance(lost, str | bytes):
            raise BadArgumentsError(f"`lost` is a collection of nodes, not the one text {lost!r}")
        gone, fewest = frozenset(lost), min(map(len, new.holders))
        if not 1 <= minimum <= fewest:
            raise PlanError(f"{minimum!r} replicas at least are wanted, but the new placement keeps {fewest}")
        if kept := gone.intersection(node for nodes in new.holders for node in nodes):
            raise PlanError(f"node {min(kept)!r} is lost, but the new placement counts on it")
        changes = {each: _paired(each, marks, gone) for each in old.diff(new)}
        moves = _moves(changes, 1 << old.hash.bits)
        return cls(old, new, marks, minimum, at_once, gone, changes, moves)

    @property
    def share(self) -> float:
        """How much is transferred, in parts of all keys: 0.5 is half of them once, or a quarter to two nodes."""
        return sum(move.share for move in self.moves if move.target is not None)

    def steps(self) -> Iterator[Step]:
        """A dry run: the moves in groups of `at_once`, and what holds after each group. Nothing happens."""
        migration, moved = Migration(self), 0.0
        while begun := tuple(migration.begin()):
            for move in begun:
                migration.finish(move)
                moved += move.share if move.target is not None else 0.0
            yield Step(begun, min(len(migration.at(each.start)) for each in self.changes), moved)

    def __str__(self) -> str:
        head = f"{len(self.moves)} moves, {self.share:.2%} of the keys to transfer, {self.at_once} at a time"
        return "\n".join([head, *map(str, self.moves)])


class Migration:
    """A plan being followed. `begin`, move the data, `finish`; until `complete`.

    To resume after a crash, write down the numbers of finished moves, and give them as `finished` with the same plan,
    which the same two placements always give. What was under way then begins again.

    Raises PlanError for finished moves that following the plan could not have led to.
    """

    def __init__(self, plan: MigrationPlan, finished: Iterable[int] = ()) -> None:
        self.plan = plan
        self._finished = set(finished)
        self._under_way: set[int] = set()
        self._aborted = False
        self._ranges = list(plan.changes)
        self._numbers: dict[Part, int] = {(move.phase, move.source, move.target): move.number for move in plan.moves}
        if unknown := self._finished - set(range(len(plan.moves))):
            raise PlanError(f"the plan has no move {min(unknown)}")
        phase = self._phase()
        for number in sorted(self._finished):
            if phase is not None and _ORDER[plan.moves[number].phase] > _ORDER[phase]:
                raise PlanError(f"move {number} is finished, but not all moves of the phase before it")

    @property
    def finished(self) -> frozenset[int]:
        """The numbers of the moves that are done: what to write down."""
        return frozenset(self._finished)

    @property
    def under_way(self) -> tuple[Move, ...]:
        """The moves that have begun and are not done."""
        return tuple(self.plan.moves[number] for number in sorted(self._under_way))

    @property
    def complete(self) -> bool:
        """Whether all moves are done."""
        return len(self._finished) == len(self.plan.moves)

    def _phase(self) -> Phase | None:
        """That of the first move that is not finished; moves are in the order of their phases."""
        return next((move.phase for move in self.plan.moves if move.number not in self._finished), None)

    def begin(self) -> list[Move]:
        """The moves that may begin now, which are under way from now on. None while there are as many as allowed, or
        while one of an earlier phase is not finished, or after an abort."""
        phase = self._phase()
        known = self._finished | self._under_way
        may = [move for move in self.plan.moves if move.phase is phase and move.number not in known]
        begun = [] if self._aborted else may[: self.plan.at_once - len(self._under_way)]
        self._under_way.update(move.number for move in begun)
        return begun

    def finish(self, move: Move) -> None:
        """`move` is done: from now on its target is asked, and its source may delete. Raises PlanError when it is not
        under way."""
        self._leave(move)
        self._finished.add(move.number)

    def fail(self, move: Move) -> None:
        """`move` did not work out. Nothing has changed, and it may begin again. Raises PlanError when it is not under
        way."""
        self._leave(move)

    def _leave(self, move: Move) -> None:
        if move.number not in self._under_way:
            raise PlanError(f"move {move.number} is not under way")
        self._under_way.remove(move.number)

    def abort(self) -> None:
        """Stop here. What is under way counts for nothing, and nothing more begins; what is finished stays so, and who
        has a key stays right. `Migration(plan, finished)` goes on later, and `back` is the way back."""
        self._aborted = True
        self._under_way.clear()

    def back(self) -> MigrationPlan:
        """The plan from here to where this one began, with the same promises. Raises PlanError while moves are under
        way, and when nodes were lost, to which nothing can go back."""
        if self._under_way:
            raise PlanError(f"move {min(self._under_way)} is under way; abort first")
        if self.plan.lost:
            raise PlanError(f"node {min(self.plan.lost)!r} is lost: there is no way back")
        plan = self.plan
        minimum = min(plan.minimum, *map(len, plan.old.holders))
        return MigrationPlan.between(self.arcs(), plan.old, marks=plan.marks, minimum=minimum, at_once=plan.at_once)

    def owner(self, key: Key) -> str:
        """The node to ask for `key` now. Raises BadKeyError."""
        return self.replicas(key)[0]

    def replicas(self, key: Key) -> tuple[str, ...]:
        """The nodes that have all data of `key` now, those first that are asked first. Raises BadKeyError."""
        return self.at(self.plan.old.hash.position(key))

    def arcs(self) -> Arcs:
        """Who has what now, for the whole circle: also where another plan can begin."""
        plan = self.plan
        cuts = {0, *plan.old.starts, *(each.start for each in self._ranges), *(each.stop for each in self._ranges)}
        starts = sorted(cuts - {1 << plan.old.hash.bits})
        return Arcs.merged(plan.old.hash, ((start, self.at(start)) for start in starts))

    def at(self, position: int) -> tuple[str, ...]:
        """The nodes that have all data of the keys at `position` now."""
        place = bisect_right(self._ranges, position, key=_start) - 1
        if place < 0 or position not in self._ranges[place]:
            return self.plan.old.at(position)
        each = self._ranges[place]
        parts = self.plan.changes[each]
        if all(self._numbers[part] in self._finished for part in parts):
            return each.new
        nodes = [node for node in each.old if node not in self.plan.lost]
        for part in parts:
            if self._numbers[part] in self._finished:
                _, source, target = part
                if target is None:
                    nodes.remove(source)
                elif part[0] is Phase.HAND_OVER:
                    nodes[nodes.index(source)] = target
                else:
                    nodes.append(target)
        return tuple(nodes)


_ORDER = {phase: number for number, phase in enumerate(Phase)}


def _start(each: Range) -> int:
    return each.start


def _paired(each: Range, marks: Mapping[str, str], lost: frozenset[str]) -> tuple[Part, ...]:
    """What to do for one range: who takes over from whom.

    Why racks stay distinct: let no two of `old` and no two of `new` share a rack. A target whose rack is that of a node
    in `old` takes over from that node: it is in the rack of one of `new`, so it is not in `new` itself, and leaves. Any
    other target comes into a rack that nobody in `old` and no other target is in. So no move ever puts a node beside
    one of its rack, whichever were done before. And a range has copies or drops, never both, so the number of its
    replicas goes straight from what it was to what it will be.
    """
    living = [node for node in each.old if node not in lost]
    if not living:
        raise PlanError(f"all replicas of {each} are lost")
    sources = [node for node in living if node not in each.new]
    targets = [node for node in each.new if node not in living]
    parts: list[Part] = []
    for target in list(targets):
        beside = next((node for node in sources if marks[node] == marks[target]), None)
        if beside is not None:
            parts.append((Phase.HAND_OVER, beside, target))
            sources.remove(beside)
            targets.remove(target)
    pairs = min(len(sources), len(targets))
    parts += [(Phase.HAND_OVER, *pair) for pair in zip(sources, targets, strict=False)]
    parts += [(Phase.COPY, living[0], target) for target in targets[pairs:]]
    parts += [(Phase.DROP, source, None) for source in sources[pairs:]]
    return tuple(parts)


def _moves(changes: Mapping[Range, tuple[Part, ...]], size: int) -> tuple[Move, ...]:
    """One move for all ranges that go the same way: phase after phase, large ones first."""
    ranges: dict[Part, list[Range]] = {}
    for each, parts in changes.items():
        for part in parts:
            ranges.setdefault(part, []).append(each)
    shares = {part: sum(each.stop - each.start for each in found) / size for part, found in ranges.items()}
    ordered = sorted(ranges, key=lambda part: (_ORDER[part[0]], -shares[part], part[1], part[2] or ""))
    return tuple(
        Move(number, *part, tuple(ranges[part]), shares[part]) for number, part in enumerate(ordered)
    )  # fmt: skip
