"""The blocking face of `zkcore.client.atomically`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from zkcore.client.atomically import AtomicTransaction as AsyncAtomicTransaction
from zkcore.client.atomically import Committed, atomic
from zkcore.client.port import Port
from zkcore.jute.records import ACL
from zkcore.sync.port import mirrors, run

__all__ = ["Atomic", "AtomicTransaction", "blocking_atomic"]

P = ParamSpec("P")
R = TypeVar("R")


@mirrors(AsyncAtomicTransaction)
class AtomicTransaction:
    """`zkcore.AtomicTransaction` for blocking code: what a function that is carried out atomically is given."""

    def __init__(self, inner: AsyncAtomicTransaction) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    def get(self, path: str) -> bytes:
        return run(self._inner.get(path))

    def exists(self, path: str) -> bool:
        return run(self._inner.exists(path))

    def get_children(self, path: str) -> list[str]:
        return run(self._inner.get_children(path))

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
        self._inner.create(
            path, value, acl=acl, ephemeral=ephemeral, sequence=sequence, container=container, ttl=ttl
        )  # fmt: skip

    def set(self, path: str, value: bytes) -> None:
        self._inner.set(path, value)

    def delete(self, path: str) -> None:
        self._inner.delete(path)


Atomic = Callable[Concatenate[AtomicTransaction, P], R]
"""A function that can be carried out atomically: its first argument is the attempt."""


def blocking_atomic(
    port: Port, function: Atomic[P, R], *, attempts: int, timeout: float | None
) -> Callable[P, Committed[R]]:
    """See `zkcore.sync.Client.atomically`."""

    @wraps(function)
    async def unblocked(inner: AsyncAtomicTransaction, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(AtomicTransaction(inner), *args, **kwargs)

    carry_out = atomic(port, unblocked, attempts=attempts, timeout=timeout)

    @wraps(function)
    def blocking(*args: P.args, **kwargs: P.kwargs) -> Committed[R]:
        return run(carry_out(*args, **kwargs))

    return blocking
