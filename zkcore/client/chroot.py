"""A part of the tree as if it was the whole: a Port that puts a prefix before every path that is asked about, and takes
it from every path that is answered, told by a watch or named by an error.

All requests pass here, so the client and every recipe see the part alone, and none of them has to know. A path that is
not below the prefix is left as it is, where an error names one: a quota, say, that somebody set further up.

This module must not know what a request does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import attrs

from zkcore.client.port import Port, Watcher
from zkcore.client.wrapped import WrappedPort
from zkcore.errors import MultiError, RequestError
from zkcore.replica.levels import Read, ReadLevel
from zkcore.tree.paths import validate
from zkcore.tree.requests import (
    Create,
    CreateContainer,
    Created,
    CreateTTL,
    CreateWithParents,
    GetEphemerals,
    Multi,
    MultiRead,
    Once,
    PlainCreate,
    Request,
)
from zkcore.tree.watch_requests import Missed
from zkcore.tree.znode import CreateMode

__all__ = ["ChrootPort", "without_chroot"]

T = TypeVar("T")

_NUMBERED = (PlainCreate, Create, CreateContainer, CreateTTL, CreateWithParents)
"""The requests whose path may be completed with a number."""


def without_chroot(port: Port) -> Port:
    """`port` for the whole of the tree, but else as it is."""
    if not isinstance(port, WrappedPort):
        return port
    inner = without_chroot(port.inner)
    if isinstance(port, ChrootPort):
        return inner
    return port if inner is port.inner else port.wrap(inner)


class ChrootPort(WrappedPort):
    """The Port `inner` for what is at and below `root`. Raises BadArgumentsError where that is no path."""

    def __init__(self, inner: Port, root: str) -> None:
        super().__init__(inner, lambda port: ChrootPort(port, root))
        validate(root)
        self._root = "" if root == "/" else root
        # In the midst of a text, too: where nothing of a longer path stands before or behind it.
        self._mentioned = re.compile(rf"(?<![^\s'\"(]){re.escape(self._root)}(?=/|[^\w.-]|\Z)")

    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        """See `zkcore.client.port.Port.request`."""
        absolute = self._absolute_op(op)
        told = None if watch is None else _Relative(self._relative, watch)
        try:
            answer = await self._inner.request(absolute, watch=told, timeout=timeout, read=read)
        except RequestError as error:
            self._make_relative(error)
            raise
        return cast(T, self._relative_answer(op, answer))

    def unwatch(self, path: str, watch: Watcher | None) -> None:
        """See `zkcore.client.port.Port.unwatch`."""
        told = None if watch is None else _Relative(self._relative, watch)
        self._inner.unwatch(self._absolute(path), told)

    # --- down

    def _absolute(self, path: str, *, is_numbered: bool = False) -> str:
        """Raises BadArgumentsError for what is no path: with the prefix it could become one, and a wrong one."""
        validate(path + "0" if is_numbered else path)
        if path == "/" and not is_numbered:
            return self._root or path
        return self._root + path

    def _absolute_op(self, op: Request[T]) -> Request[T]:
        changed: Any
        if isinstance(op, Multi | MultiRead):
            changed = attrs.evolve(op, operations=[self._absolute_op(each) for each in op.operations])
        elif isinstance(op, Once):
            changed = attrs.evolve(op, request=self._absolute_op(op.request))
        elif isinstance(op, GetEphemerals):
            changed = attrs.evolve(op, prefix=self._root + op.prefix)
        elif hasattr(op, "path"):
            is_numbered = isinstance(op, _NUMBERED) and op.mode in _SEQUENTIAL
            changed = attrs.evolve(op, path=self._absolute(op.path, is_numbered=is_numbered))  # type: ignore[misc]
        else:
            changed = op
        return cast(Request[T], changed)

    # --- up

    def _relative(self, path: str) -> str:
        if path == self._root:
            return "/"
        return path.removeprefix(self._root) if path.startswith(self._root + "/") else path

    def _relative_answer(self, op: Request[Any], answer: Any) -> Any:
        if isinstance(op, Once):
            return self._relative_answer(op.request, answer)
        if isinstance(op, Multi | MultiRead):
            return tuple(self._relative_answer(*pair) for pair in zip(op.operations, answer, strict=True))
        if isinstance(answer, Created):
            return answer._replace(path=self._relative(answer.path))
        if isinstance(op, PlainCreate):
            return self._relative(answer)
        if isinstance(op, GetEphemerals):
            return tuple(map(self._relative, answer))
        if isinstance(answer, RequestError):  # of one read of several
            self._make_relative(answer)
        return answer

    def _make_relative(self, error: RequestError) -> None:
        """Errors are made for who asked, and seen by nobody else."""
        if isinstance(error, MultiError) and isinstance(error.error, RequestError):
            self._make_relative(error.error)
        if error.path is not None:
            error.path = self._relative(error.path)
        if self._root:
            error.args = tuple(self._in_text(arg) if isinstance(arg, str) else arg for arg in error.args)

    def _in_text(self, text: str) -> str:
        return self._mentioned.sub(lambda found: "" if text[found.end() :].startswith("/") else "/", text)


_SEQUENTIAL = frozenset(int(mode) for mode in CreateMode if mode.is_sequential)


@attrs.frozen
class _Relative:
    """A watcher that is told of paths as its owner knows them. Two of one watcher are equal: by it it is removed."""

    relative: Callable[[str], str]
    watch: Callable[[Any], None]

    def __call__(self, event: Missed | None) -> None:
        self.watch(None if event is None else event._replace(path=self.relative(event.path)))
