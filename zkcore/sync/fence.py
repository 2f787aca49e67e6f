"""The blocking face of `zkcore.recipes.fence`: the same guard, for several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from zkcore.recipes.fence import FenceGuard as AsyncFenceGuard
from zkcore.recipes.fence import Tokens
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors
from zkcore.tree.requests import Multi, Request
from zkcore.zxid import Zxid

__all__ = ["FenceGuard"]

T = TypeVar("T")


@mirrors(AsyncFenceGuard)
class FenceGuard:
    """`zkcore.FenceGuard` for blocking code: several threads may share one. `write` lets one of them in at a time, so
    that no other comes between the check and the write."""

    def __init__(self, tokens: Tokens | None = None, *, readers: Tokens | None = None) -> None:
        self._inner = AsyncFenceGuard(tokens, readers=readers)
        self._writing = threading.RLock()

    def check(self, token: Zxid, *, shared: bool = False) -> None:
        with self._writing:
            self._inner.check(token, shared=shared)

    def write(self, token: Zxid, action: Callable[[], T]) -> T:
        with self._writing:
            return self._inner.write(token, action)

    @staticmethod
    def transaction(lease: Lease, operations: Iterable[Request[Any]]) -> Multi:
        return AsyncFenceGuard.transaction(lease.unblocked, operations)
