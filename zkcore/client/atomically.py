"""Optimistic transactions: a function that reads some znodes and changes others, carried out as if nobody else were
there, and again from its beginning where somebody was.

An attempt notes what it reads and gathers what it writes. Then it commits: one transaction, refused unless everything
that was read is still so, also that something was not there. Whoever is refused had computed with the past, and begins
anew.

Within an attempt all that was read belongs to one state of the tree: every read looks again, in the same breath, at
what was read before. So a function never sees half of what somebody else has changed, not even one that will be
refused.

This module must not know what kind of Port it has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from attrs import frozen

from zkcore.client.asking import FOR_EVER, Patience, ask, back_off, settle
from zkcore.client.building import creation, deletion, replacement
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    MultiError,
    NodeExistsError,
    NoNodeError,
    RequestError,
    TransactionConflictError,
)
from zkcore.jute.records import ACL, Stat
from zkcore.tree.paths import validate
from zkcore.tree.requests import (
    Check,
    CheckAbsent,
    CheckStat,
    Condition,
    Created,
    Exists,
    GetChildren2,
    GetData,
    Multi,
    MultiRead,
    Relation,
    Request,
    StatField,
)
from zkcore.zxid import Zxid

__all__ = ["Atomic", "AtomicTransaction", "Committed", "atomic", "done_at"]

P = ParamSpec("P")
R = TypeVar("R")

MOST_ATTEMPTS = 100


@frozen
class Committed(Generic[R]):
    """What came of a function that was carried out atomically."""

    value: R
    """What it returned."""
    zxid: Zxid
    """From here on everybody sees what it did: for `Read.at_least`, here and elsewhere. Of one that wrote nothing, the
    newest that its client may have seen."""
    attempts: int
    """How often it was called."""


class Conflict(Exception):
    """What was read is so no more: the attempt ends here. No ZkcoreError: no function shall take it for an answer."""


@frozen
class _Seen:
    """What an attempt has read of one znode: what must still hold. None of a field is for what was not looked at."""

    exists: bool
    mzxid: Zxid | None = None
    pzxid: Zxid | None = None

    def holds(self, stat: Stat | None) -> bool:
        if stat is None:
            return not self.exists
        return self.exists and self.mzxid in (None, stat.mzxid) and self.pzxid in (None, stat.pzxid)

    def check(self, path: str) -> Request[None]:
        """The same for a Multi."""
        if not self.exists:
            return CheckAbsent(path)
        fields = ((StatField.MZXID, self.mzxid), (StatField.PZXID, self.pzxid))
        conditions = [Condition(field, Relation.EQUAL, zxid) for field, zxid in fields if zxid is not None]
        return CheckStat(path, conditions) if conditions else Check(path)


class AtomicTransaction:
    """One attempt of a function that is carried out atomically: what it reads, and what it will have written.

    What was read and is no more so ends the attempt, by an exception that is no business of the function: let it pass.
    Nothing is written before the function has returned, and nothing at all where it raises. What an attempt has
    written it cannot read: it knows that.
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._seen: dict[str, _Seen] = {}
        self._operations: list[Request[Any]] = []
        self._written: set[str] = set()
        self._is_refused = False

    def __repr__(self) -> str:
        return f"<AtomicTransaction that read {len(self._seen)} znodes and writes {len(self._operations)}>"

    # --- reading

    async def get(self, path: str) -> bytes:
        """The data of a znode. Raises NoNodeError, NoAuthError, BadArgumentsError."""
        answer = await self._read(path, GetData(path))
        if isinstance(answer, NoNodeError):
            self._note(path, _Seen(exists=False))
            raise answer
        self._note(path, _Seen(exists=True, mzxid=answer.stat.mzxid))
        data: bytes = answer.data
        return data

    async def exists(self, path: str) -> bool:
        """Whether there is a znode. Raises NoAuthError, BadArgumentsError."""
        stat = await self._read(path, Exists(path))
        self._note(path, _Seen(exists=stat is not None))
        return stat is not None

    async def get_children(self, path: str) -> list[str]:
        """The names of the children, in order. Raises NoNodeError, NoAuthError, BadArgumentsError."""
        answer = await self._read(path, GetChildren2(path))
        if isinstance(answer, NoNodeError):
            self._note(path, _Seen(exists=False))
            raise answer
        self._note(path, _Seen(exists=True, pzxid=answer.stat.pzxid))
        return list(answer.names)

    # --- writing

    def create(
        self,
        path: str,
        value: bytes = b"",
        *,
        acl: Iterable[ACL] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl: float | None = None,
    ) -> None:
        """Create a znode, as `Client.create` does. Raises BadArgumentsError."""
        self._add(
            path,
            creation(
                path, value, acl=acl, ephemeral=ephemeral, sequence=sequence, container=container, ttl=ttl
            ),
        )  # fmt: skip

    def set(self, path: str, value: bytes) -> None:
        """Replace the data of a znode. Raises BadArgumentsError."""
        self._add(path, replacement(path, value, version=-1))

    def delete(self, path: str) -> None:
        """Delete a znode. Raises BadArgumentsError."""
        self._add(path, deletion(path, version=-1))

    # --- within

    async def _read(self, path: str, request: Request[Any]) -> Any:
        """The answer to `request`, of a state in which all that was read before still holds. An error that is part of
        the state is returned, others are raised. Raises Conflict."""
        validate(path)
        if path in self._written:
            raise BadArgumentsError(
                f"{path} was written in this transaction; read it first, or keep what was written", path=path
            )
        before = list(self._seen.items())
        both = MultiRead([request, *(Exists(seen_path) for seen_path, _ in before)])
        answers: Any = await ask(self._port, both, FOR_EVER)
        answer, *stats = answers
        for (_, seen), stat in zip(before, stats, strict=True):
            if isinstance(stat, RequestError) or not seen.holds(stat):
                self._is_refused = True
                raise Conflict
        if isinstance(answer, RequestError) and not isinstance(answer, NoNodeError):
            raise answer
        return answer

    def _note(self, path: str, seen: _Seen) -> None:
        known = self._seen.get(path)
        if known is not None:
            seen = _Seen(known.exists, known.mzxid or seen.mzxid, known.pzxid or seen.pzxid)
        self._seen[path] = seen

    def _add(self, path: str, operation: Request[Any]) -> None:
        self._written.add(path)
        self._operations.append(operation)

    async def _commit(self) -> Zxid:
        """Carry it out; from when on everybody sees it. Raises Conflict, and what is wrong with an operation."""
        if self._is_refused:
            raise Conflict  # a function that catches everything has caught that one, too
        if not self._operations:
            return self._port.session.last_zxid
        checks = [seen.check(path) for path, seen in self._seen.items()]
        try:
            answers = await settle(self._port, Multi([*checks, *self._operations]))
        except MultiError as error:
            if error.index < len(checks) and isinstance(error.error, BadVersionError | NoNodeError | NodeExistsError):
                raise Conflict from error
            raise error.error from None
        return done_at(self._port, answers)


def done_at(port: Port, answers: Iterable[object]) -> Zxid:
    """The zxid of the transaction that was just answered like this; where no answer says it, a later one that this
    session has seen."""
    for answer in answers:
        stat = answer.stat if isinstance(answer, Created) else answer
        if isinstance(stat, Stat):
            return stat.mzxid
    return port.session.last_zxid


Atomic = Callable[Concatenate[AtomicTransaction, P], Awaitable[R]]
"""A function that can be carried out atomically: a coroutine function whose first argument is the attempt."""


def atomic(
    port: Port, function: Atomic[P, R], *, attempts: int, timeout: float | None
) -> Callable[P, Coroutine[Any, Any, Committed[R]]]:
    """See `Client.atomically`."""
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        raise BadArgumentsError(f"{attempts!r} attempts; allow at least one")

    @wraps(function)
    async def carry_out(*args: P.args, **kwargs: P.kwargs) -> Committed[R]:
        patience = Patience(port, timeout)
        for attempt in range(1, attempts + 1):
            transaction = AtomicTransaction(port)
            try:
                value = await function(transaction, *args, **kwargs)
                return Committed(value, await transaction._commit(), attempt)
            except Conflict:
                if patience.is_over:
                    break
                await back_off(port, attempt)
        raise TransactionConflictError(
            f"{getattr(function, '__name__', 'the function')} was called {attempt} times, and others were faster each "
            "time; nothing was written. Try again later, allow more attempts, or have fewer write the same znodes"
        )

    return carry_out
