"""Several reads of one state: none of them shows what another does not.

This module must not know what kind of Port it has.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from zkcore.client.port import Port
from zkcore.errors import BadArgumentsError
from zkcore.replica.levels import Read, ReadLevel
from zkcore.tree.paths import validate
from zkcore.tree.requests import (
    ChildKind,
    Exists,
    GetACL,
    GetChildren,
    GetChildren2,
    GetData,
    ListChildren,
    MultiRead,
    Request,
)

__all__ = ["Reads"]


class Reads:
    """Reads that are gathered, and answered together by `fetch`, or at the end of an `async with` that nothing was
    raised in. What was gathered is fetched once."""

    def __init__(self, port: Port, *, read: ReadLevel = Read.SESSION) -> None:
        self._port = port
        self._read = read
        self._operations: list[Request[Any]] = []
        self._results: tuple[object, ...] | None = None

    def __repr__(self) -> str:
        return f"<Reads: {len(self._operations)}, {'not ' if self._results is None else ''}fetched>"

    @property
    def results(self) -> tuple[object, ...]:
        """What `fetch` gave. Raises BadArgumentsError before that."""
        if self._results is None:
            raise BadArgumentsError("reads have results when they were fetched")
        return self._results

    def get(self, path: str) -> None:
        """The data and the Stat of a znode, as `Client.get` gives them."""
        self._add(path, GetData(path))

    def exists(self, path: str) -> None:
        """The Stat of a znode, or None."""
        self._add(path, Exists(path))

    def get_children(self, path: str, *, include_data: bool = False) -> None:
        """The names of the children, in order, as a tuple; with `include_data` Children, as `Client.get_children`
        gives them."""
        self._add(path, GetChildren2(path) if include_data else GetChildren(path))

    def get_acls(self, path: str) -> None:
        """The ACL of a znode and its Stat."""
        self._add(path, GetACL(path))

    def list_children(
        self,
        path: str,
        *,
        after: str = "",
        prefix: str = "",
        limit: int = 1000,
        kind: ChildKind = ChildKind.ANY,
        with_stat: bool = False,
        with_data: bool = False,
    ) -> None:
        """A page of the children, as `Client.list_children` gives it."""
        self._add(
            path,
            ListChildren(
                path, after=after, prefix=prefix, limit=limit, kind=kind, with_stat=with_stat, with_data=with_data
            ),
        )

    async def fetch(self) -> tuple[object, ...]:
        """The answers to all of them, in order, and in the place of one that fails its RequestError, which is not
        raised. Raises BadArgumentsError where they were fetched before."""
        self._check_open()
        answers = await self._port.request(MultiRead(self._operations), read=self._read)
        self._results = answers
        return answers

    def _add(self, path: str, operation: Request[Any]) -> None:
        self._check_open()
        validate(path)
        self._operations.append(operation)

    def _check_open(self) -> None:
        if self._results is not None:
            raise BadArgumentsError("these reads were fetched before; make new ones")

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._results is None:
            await self.fetch()
