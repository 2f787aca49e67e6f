"""The blocking face of `zkcore.client.reads`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from zkcore.client.reads import Reads as AsyncReads
from zkcore.sync.port import mirrors, run
from zkcore.tree.requests import ChildKind

__all__ = ["Reads"]


@mirrors(AsyncReads)
class Reads:
    """`zkcore.Reads` for blocking code: fetched by `fetch`, or at the end of a `with`."""

    def __init__(self, inner: AsyncReads) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def results(self) -> tuple[object, ...]:
        return self._inner.results

    def get(self, path: str) -> None:
        self._inner.get(path)

    def exists(self, path: str) -> None:
        self._inner.exists(path)

    def get_children(self, path: str, *, include_data: bool = False) -> None:
        self._inner.get_children(path, include_data=include_data)

    def get_acls(self, path: str) -> None:
        self._inner.get_acls(path)

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
        self._inner.list_children(
            path, after=after, prefix=prefix, limit=limit, kind=kind, with_stat=with_stat, with_data=with_data
        )

    def fetch(self) -> tuple[object, ...]:
        return run(self._inner.fetch())

    def __enter__(self) -> Self:
        run(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._inner.__aexit__(kind, error, trace))
