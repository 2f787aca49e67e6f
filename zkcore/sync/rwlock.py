"""The blocking face of `zkcore.recipes.rwlock`."""

from __future__ import annotations

from zkcore.recipes.contender import Contender
from zkcore.recipes.rwlock import ReadLock as AsyncReadLock
from zkcore.recipes.rwlock import ReadWriteLock as AsyncReadWriteLock
from zkcore.recipes.rwlock import WriteLock as AsyncWriteLock
from zkcore.sync.client import Client
from zkcore.sync.holding import Holdable
from zkcore.sync.port import mirrors, run

__all__ = ["ReadLock", "ReadWriteLock", "WriteLock"]


class ReadLock(Holdable):
    """The part of a ReadWriteLock that many can hold together, as `ReadWriteLock.reader` gives it."""

    def __init__(self, inner: AsyncReadLock) -> None:
        self._inner = inner


@mirrors(AsyncWriteLock)
class WriteLock(Holdable):
    """The part of a ReadWriteLock that one holds alone, as `ReadWriteLock.writer` gives it."""

    _inner: AsyncWriteLock

    def __init__(self, inner: AsyncWriteLock) -> None:
        self._inner = inner

    def downgrade(self) -> None:
        run(self._inner.downgrade())


@mirrors(AsyncReadWriteLock)
class ReadWriteLock:
    """`zkcore.ReadWriteLock` for blocking code. Several threads may use one.

    ::

        lock = zkcore.ReadWriteLock(zk, "/locks/catalogue")
        with lock.reader:                     # together with other readers
            ...
        with lock.writer as lease:            # alone
            resource.write(data, token=lease.fencing_token)
            lock.writer.downgrade()           # reads on, and lets other readers in; no writer comes between
            ...
    """

    def __init__(self, client: Client, path: str, *, identifier: str | None = None) -> None:
        self._inner = AsyncReadWriteLock(client.unblocked, path, identifier=identifier)
        self.reader = ReadLock(self._inner.reader)
        """What many can hold together."""
        self.writer = WriteLock(self._inner.writer)
        """What one holds alone."""

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode whose children are the readers and writers."""
        return self._inner.path

    def holders(self) -> tuple[Contender, ...]:
        return run(self._inner.holders())

    def contenders(self) -> tuple[Contender, ...]:
        return run(self._inner.contenders())
