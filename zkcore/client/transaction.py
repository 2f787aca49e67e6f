"""Several changes in one: all of them happen, at once for everybody who looks, or none does.

This module must not know what kind of Port it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from zkcore.client.atomically import done_at
from zkcore.client.building import creation, deletion, replacement
from zkcore.client.port import Port
from zkcore.errors import BadArgumentsError
from zkcore.jute.records import ACL
from zkcore.tree.paths import validate
from zkcore.tree.requests import Check, CheckAbsent, CheckStat, Condition, Created, Multi, Request
from zkcore.zxid import Zxid

__all__ = ["Transaction"]


class Transaction:
    """Operations that are gathered, and carried out together by `commit`, or at the end of an `async with` that nothing
    was raised in. Each meets what those before it leave.

    What was gathered counts for one attempt: a transaction is committed once.
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._operations: list[Request[Any]] = []
        self._results: tuple[object, ...] | None = None
        self._zxid: Zxid = 0
        self._committed = False

    def __repr__(self) -> str:
        done = "committed" if self._results is not None else "failed" if self._committed else "not committed"
        return f"<Transaction of {len(self._operations)} operations, {done}>"

    @property
    def results(self) -> tuple[object, ...]:
        """What `commit` gave. Raises BadArgumentsError before that, and where it failed."""
        if self._results is None:
            raise BadArgumentsError("a transaction has results when it was committed")
        return self._results

    @property
    def zxid(self) -> Zxid:
        """From here on everybody sees what was committed: tell it to others, for `Read.at_least`. Raises
        BadArgumentsError as `results` does."""
        if self._results is None:
            raise BadArgumentsError("a transaction has a zxid when it was committed")
        return self._zxid

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
        exist_ok: bool = False,
    ) -> None:
        """Create a znode, as `Client.create` does; its result is the path. Raises BadArgumentsError."""
        self._add(
            creation(
                path, value, acl=acl, ephemeral=ephemeral, sequence=sequence, container=container, ttl=ttl,
                exist_ok=exist_ok,
            )
        )  # fmt: skip

    def set(self, path: str, value: bytes, *, version: int = -1) -> None:
        """Replace the data of a znode, as `Client.set` does; its result is the Stat. Raises BadArgumentsError."""
        self._add(replacement(path, value, version=version))

    def delete(self, path: str, *, version: int = -1, missing_ok: bool = False) -> None:
        """Delete a znode, as `Client.delete` does; its result is None, or with `missing_ok` whether there was one.
        Raises BadArgumentsError."""
        self._add(deletion(path, version=version, missing_ok=missing_ok))

    def check(self, path: str, *, version: int = -1) -> None:
        """Have the transaction fail unless the znode has this version, or with -1 unless it exists; the result is None.
        Raises BadArgumentsError."""
        validate(path)
        self._add(Check(path, version))

    def check_absent(self, path: str) -> None:
        """Have the transaction fail if there is such a znode; the result is None. Raises BadArgumentsError."""
        validate(path)
        self._add(CheckAbsent(path))

    def check_stat(self, path: str, conditions: Iterable[Condition]) -> None:
        """Have the transaction fail unless all `conditions` hold of the Stat of a znode; the result is None. The error
        of the operation is then BadVersionError. Raises BadArgumentsError."""
        validate(path)
        self._add(CheckStat(path, tuple(conditions)))

    async def commit(self) -> tuple[object, ...]:
        """Carry it out: the results of all operations, in order.

        Raises MultiError, which says which operation failed and why: then none was applied. BadArgumentsError where it
        is too large, or was committed before."""
        self._check_open()
        self._committed = True
        answers = await self._port.request(Multi(self._operations)) if self._operations else ()
        self._zxid = done_at(self._port, answers)
        self._results = tuple([answer.path if isinstance(answer, Created) else answer for answer in answers])
        return self._results

    def _add(self, operation: Request[Any]) -> None:
        self._check_open()
        self._operations.append(operation)

    def _check_open(self) -> None:
        if self._committed:
            raise BadArgumentsError("this transaction was committed before; make a new one")

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._committed:
            await self.commit()
