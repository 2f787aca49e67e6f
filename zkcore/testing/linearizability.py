"""Whether a history of operations is linearizable: each took effect at one moment between its call and its return.

It must not know zkcore: this is the second opinion on what the checks against the committed sequence (clients.py) say,
and it trusts nothing but calls, results and times. So it also serves for objects of your own: give it a Model.

    result = check(history, Register())
    assert result.verdict is Verdict.LINEARIZABLE, result.why

The question is NP-complete, so this is a search (J. M. Wing and C. Gong, "Testing and verifying concurrent objects",
1993), kept small by two ideas of G. Lowe ("Testing for linearizability", 2017). *Just in time:* nothing is put in order
before it must be, which is when an operation returns that has no place yet; then those that are under way are tried,
itself first. *Memory:* what can follow depends only on how many operations have returned, which of those under way have
a place, and the state; no such configuration is looked at twice. And histories are *local* (M. Herlihy and J. Wing,
1990): linearizable if and only if those of the single keys are, so each key is searched by itself.

An operation whose outcome is not known may have happened, or not: until the time it was given up where it is known
that it cannot happen after that, else at any later time.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from attrs import field, frozen

__all__ = [
    "IMPOSSIBLE", "MAX_STEPS", "UNKNOWN", "Add", "Counter", "Create", "Delete", "End", "Held", "Look", "Model",
    "Operation", "Read", "Refusal", "Register", "Result", "Verdict", "Write", "check",
]  # fmt: skip

MAX_STEPS = 1_000_000
"""How often a search may ask its model: about a second of work. More than that and the history is too concurrent."""


class _Sentinel(Enum):
    UNKNOWN = "unknown"
    IMPOSSIBLE = "impossible"

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


UNKNOWN = _Sentinel.UNKNOWN
"""The result of an operation of which nobody knows whether it happened."""

IMPOSSIBLE = _Sentinel.IMPOSSIBLE
"""What a Model answers where an operation cannot have had that result."""


class Operation(NamedTuple):
    """One operation on `key`, from `invoked` to `returned`, in any unit of time: what returned before another was
    invoked comes before it. Where the result is UNKNOWN, `returned` is when it was certain not to happen any more, or
    None where it may happen for ever."""

    key: Hashable
    call: Any
    invoked: int
    returned: int | None = None
    result: Any = UNKNOWN
    client: Any = None
    """Whose it was, for the explanation."""

    def __str__(self) -> str:
        until = "" if self.returned is None else self.returned
        return f"[{self.invoked}..{until}] client {self.client}: {self.call!r} -> {self.result!r}"


class Model(Protocol):
    """What the object does when operations come one after the other. States are hashable and never changed."""

    @property
    def initial(self) -> Hashable:
        """The state before everything."""

    def step(self, state: Any, call: Any, result: Any) -> Any:
        """The state after `call` was made in `state` and had `result`; IMPOSSIBLE where it cannot have had that one.
        An UNKNOWN result may have been any."""


class Verdict(Enum):
    """What a search came to."""

    LINEARIZABLE = "linearizable"
    BROKEN = "not linearizable"
    UNDECIDED = "undecided: the search was given up"


@frozen(kw_only=True)
class Result:
    """The outcome of `check`."""

    verdict: Verdict
    orders: dict[Hashable, tuple[Operation, ...]] = field(factory=dict)
    """For each key an order in which its operations can have happened; where there is none, the longest that explains
    the beginning of the history. A key whose search was given up has the longest order found so far."""
    why: str = ""
    """In words, what cannot be explained, and in which state; empty where all is well."""
    steps: int = 0
    """How often the model was asked."""


def check(history: Iterable[Operation], model: Model, *, max_steps: int = MAX_STEPS) -> Result:
    """Search for an order in which `history` can have happened, one step after the other, by the rules of `model`.

    BROKEN means that there is none, UNDECIDED that none was found within `max_steps`; the first key that is broken ends
    the search. Linear where few operations overlap; exponential in how many do.

    Raises ValueError for an operation that returns before it is invoked, or has a result and never returned.
    """
    keys: dict[Hashable, list[Operation]] = {}
    for operation in history:
        _check_times(operation)
        keys.setdefault(operation.key, []).append(operation)
    orders: dict[Hashable, tuple[Operation, ...]] = {}
    undecided, steps = "", 0
    for key, operations in keys.items():
        search = _Search(operations, model, max_steps - steps)
        verdict = search.run()
        steps += search.steps
        orders[key] = search.best
        if verdict is Verdict.BROKEN:
            return Result(verdict=verdict, orders=orders, why=search.explain(key), steps=steps)
        if verdict is Verdict.UNDECIDED:
            undecided = undecided or f"key {key!r}: no answer within {max_steps} steps; {len(operations)} operations"
    verdict = Verdict.UNDECIDED if undecided else Verdict.LINEARIZABLE
    return Result(verdict=verdict, orders=orders, why=undecided, steps=steps)


def _check_times(operation: Operation) -> None:
    if operation.returned is None:
        if operation.result is not UNKNOWN:
            raise ValueError(f"an operation with a result has returned some time: {operation}")
    elif operation.returned < operation.invoked:
        raise ValueError(f"an operation cannot return before it is invoked: {operation}")


_Configuration = tuple[int, int, Any]
"""How many have returned, which of those under way have their place (bits), and the state."""

_Trail = tuple[int | None, "_Trail | None"]
"""What the last choice placed, or None where it gave something up, and the choices before."""


class _Search:
    """A search through the operations of one key, depth first, without recursion."""

    def __init__(self, operations: Sequence[Operation], model: Model, max_steps: int) -> None:
        returning = sorted((each for each in operations if each.returned is not None), key=_return_of)
        self._count = len(returning)
        # The first `_count` in the order in which they return; the others never do.
        self._operations = [*returning, *(each for each in operations if each.returned is None)]
        self._bits = [0] * len(operations)
        self._under_way: list[list[int]] = []  # at each return: those without one before it, by their returns
        self._step: Callable[[Any, Any, Any], Any] = model.step
        self._initial = model.initial
        self._max_steps = max_steps
        self.steps = 0
        self._furthest = -1
        self._best: _Trail | None = None  # the way there
        self._states: set[Any] = set()  # in which the furthest return had to be explained
        self._sweep()

    def _sweep(self) -> None:
        """Go through calls and returns in order of time. A bit is one operation's while it is under way, and then
        another's, so that a configuration of a long history is as small as that of a short one."""
        operations = self._operations
        calls = deque(sorted(range(len(operations)), key=lambda index: operations[index].invoked))
        under_way: list[int] = []
        free: list[int] = []
        used = 0
        for position in range(self._count):
            while calls and operations[calls[0]].invoked <= _return_of(operations[position]):
                index = calls.popleft()
                if not free:
                    free.append(1 << used)
                    used += 1
                self._bits[index] = free.pop()
                insort(under_way, index)
            self._under_way.append(under_way.copy())  # it begins with the one that returns
            del under_way[0]
            free.append(self._bits[position])

    def run(self) -> Verdict:
        """Search. Afterwards `best` is the order found, or the longest there was."""
        seen: set[_Configuration] = set()
        forks: list[tuple[Iterator[tuple[int | None, _Configuration]], _Trail | None]] = []
        trail: _Trail | None = None
        there = self._pass_placed(0, 0, self._initial)
        while self.steps <= self._max_steps:
            if there not in seen:
                seen.add(there)
                self._note(there, trail)
                if there[0] == self._count:
                    return Verdict.LINEARIZABLE
                forks.append((self._choices(*there), trail))
            while (way := next(forks[-1][0], None)) is None:
                forks.pop()
                if not forks:
                    return Verdict.BROKEN
            placed, there = way
            trail = placed, forks[-1][1]
        return Verdict.UNDECIDED

    @property
    def best(self) -> tuple[Operation, ...]:
        """The longest order there was."""
        order = []
        trail = self._best
        while trail is not None:
            placed, trail = trail
            if placed is not None:
                order.append(self._operations[placed])
        return tuple(reversed(order))

    def _choices(self, position: int, placed: int, state: Any) -> Iterator[tuple[int | None, _Configuration]]:
        """What can come next so that the operation at `position` can return, itself first."""
        operations, bits, step = self._operations, self._bits, self._step
        if operations[position].result is UNKNOWN:
            yield None, self._pass_placed(position, placed | bits[position], state)
        for index in self._under_way[position]:
            bit = bits[index]
            if placed & bit:
                continue
            operation = operations[index]
            self.steps += 1
            after = step(state, operation.call, operation.result)
            if after is IMPOSSIBLE or (operation.result is UNKNOWN and after == state):
                continue  # what changed nothing and told nobody need not have happened
            yield index, self._pass_placed(position, placed | bit, after)

    def _pass_placed(self, position: int, placed: int, state: Any) -> _Configuration:
        """The same, past all that return with their place found."""
        bits = self._bits
        while position < self._count and placed & bits[position]:
            placed ^= bits[position]
            position += 1
        return position, placed, state

    # --- what to say of it

    def _note(self, there: _Configuration, trail: _Trail | None) -> None:
        position, _, state = there
        if position > self._furthest:
            self._furthest, self._best = position, trail
            self._states.clear()
        if position == self._furthest:
            self._states.add(state)

    def explain(self, key: Hashable) -> str:
        """Why there is no order, in a few lines."""
        best = self.best
        stuck, *others = (self._operations[index] for index in self._under_way[self._furthest])
        return "\n".join([
            f"key {key!r}: no order of the operations explains {stuck}",
            "the longest order that explains all that returned before it ends with:",
            *_lines(best[-_SHOWN:]),
            "the state, by that order and others, is one of:",
            *_lines(sorted(self._states, key=repr)[:_SHOWN]),
            "under way with it:",
            *_lines([each for each in others if each not in best][:_SHOWN]),
        ])  # fmt: skip


_SHOWN = 8


def _lines(things: Sequence[object]) -> list[str]:
    return [f"  {thing}" for thing in things] or ["  nothing"]


def _return_of(operation: Operation) -> int:
    assert operation.returned is not None
    return operation.returned


# --- models ----------------------------------------------------------------------------------------------------------


class Refusal(Enum):
    """The results of operations that changed nothing."""

    MISSING = "there is nothing"
    EXISTS = "there is something"
    VERSION = "it has another version"

    def __repr__(self) -> str:
        return self.name


class Read(NamedTuple):
    """Of a Register: the result is a Held value, of which `owner` is not looked at; or Refusal.MISSING."""


class Look(NamedTuple):
    """Of a Register, a Read of the version alone: the result is that, or Refusal.MISSING."""


class Create(NamedTuple):
    """Of a Register: begin with version 0. The result is 0, or Refusal.EXISTS."""

    value: Hashable
    owner: Hashable = None


class Write(NamedTuple):
    """Of a Register: replace the value, if `version` is the one it has or None. The result is the new version, or
    Refusal.MISSING or VERSION."""

    value: Hashable
    version: int | None = None


class Delete(NamedTuple):
    """Of a Register: remove it, if `version` is the one it has or None. The result is None, or Refusal.MISSING or
    VERSION."""

    version: int | None = None


class End(NamedTuple):
    """Of a Register: `owner` goes, and what it created with it. The result is None."""

    owner: Hashable


class Held(NamedTuple):
    """What a Register holds; `version` counts the writes since it was created."""

    value: Hashable
    version: int
    owner: Hashable = None


class Register:
    """A znode without children: absent, or a value with a version, until it is deleted or its owner goes."""

    initial: Held | None = None

    def step(self, state: Held | None, call: Any, result: Any) -> Any:
        """See Model."""
        after, told = self._do(state, call)
        return after if result is UNKNOWN or result == told else IMPOSSIBLE

    def _do(self, state: Held | None, call: Any) -> tuple[Held | None, Any]:
        """The state after `call`, and its result."""
        if isinstance(call, End):
            return (None if state is not None and state.owner == call.owner else state), None
        if isinstance(call, Create):
            return (Held(call.value, 0, call.owner), 0) if state is None else (state, Refusal.EXISTS)
        if state is None:
            return None, Refusal.MISSING
        if isinstance(call, Read):
            return state, state._replace(owner=None)
        if isinstance(call, Look):
            return state, state.version
        if call.version is not None and call.version != state.version:
            return state, Refusal.VERSION
        if isinstance(call, Delete):
            return None, None
        assert isinstance(call, Write), f"a Register knows no {call!r}"
        return state._replace(value=call.value, version=state.version + 1), state.version + 1


class Add(NamedTuple):
    """Of a Counter. The result is what it is afterwards; an Add of 0 is a read."""

    amount: int = 0


class Counter:
    """A number that is added to."""

    initial = 0

    def step(self, state: int, call: Add, result: Any) -> Any:
        """See Model."""
        after = state + call.amount
        return after if result is UNKNOWN or result == after else IMPOSSIBLE
