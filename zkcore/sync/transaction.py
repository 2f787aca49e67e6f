"""The blocking face of `zkcore.client.transaction`."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from zkcore.client.transaction import Transaction as AsyncTransaction
from zkcore.jute.records import ACL
from zkcore.sync.port import mirrors, run
from zkcore.tree.requests import Condition
from zkcore.zxid import Zxid

__all__ = ["Transaction"]


@mirrors(AsyncTransaction)
class Transaction:
    """`zkcore.Transaction` for blocking code: committed by `commit`, or at the end of a `with`."""

    def __init__(self, inner: AsyncTransaction) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def results(self) -> tuple[object, ...]:
        return self._inner.results

    @property
    def zxid(self) -> Zxid:
        return self._inner.zxid

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
        self._inner.create(
            path, value, acl=acl, ephemeral=ephemeral, sequence=sequence, container=container, ttl=ttl,
            exist_ok=exist_ok,
        )  # fmt: skip

    def set(self, path: str, value: bytes, *, version: int = -1) -> None:
        self._inner.set(path, value, version=version)

    def delete(self, path: str, *, version: int = -1, missing_ok: bool = False) -> None:
        self._inner.delete(path, version=version, missing_ok=missing_ok)

    def check(self, path: str, *, version: int = -1) -> None:
        self._inner.check(path, version=version)

    def check_absent(self, path: str) -> None:
        self._inner.check_absent(path)

    def check_stat(self, path: str, conditions: Iterable[Condition]) -> None:
        self._inner.check_stat(path, conditions)

    def commit(self) -> tuple[object, ...]:
        return run(self._inner.commit())

    def __enter__(self) -> Self:
        run(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._inner.__aexit__(kind, error, trace))
