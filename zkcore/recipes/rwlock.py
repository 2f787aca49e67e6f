"""The read-write lock: readers together, a writer alone, all in the order of arrival.

ZooKeeper's recipe. Readers and writers stand in one line. A writer has its turn when nobody is before it, and waits for
the one just before it; a reader when no writer is, and waits for the nearest one. So a reader that comes behind a
waiting writer waits, no writer is starved, and the end of a writer wakes those readers whose turn it may be, and no
others.

A writer that becomes a reader sets its znode, which thereby has another version than it was created with. It keeps its
place, its znode and its token: nobody can come between, and the readers behind it, who watch it, are let in.
"""

from __future__ import annotations

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import BadVersionError, DeadlockError, LockNotHeldError, NoNodeError, SessionError
from zkcore.jute.records import Stat
from zkcore.recipes.contender import Attempt, Contender, contenders
from zkcore.recipes.holding import Holdable, Line
from zkcore.recipes.lease import Lease
from zkcore.recipes.waiting import FOR_EVER, ask
from zkcore.tree.requests import SetData

__all__ = ["ReadLock", "ReadWriteLock", "WriteLock"]

_READ = "-read-"
_WRITE = "-write-"


def _is_downgraded(stat: Stat) -> bool:
    """Of a writer's znode: whether it has become a reader."""
    return stat.version > 0


def _is_shared(name: str, stat: Stat) -> bool:
    return _READ in name or _is_downgraded(stat)


class _Side(Line):
    """The readers' part of the line, or the writers'."""

    other: _Side

    def __init__(self, client: Client, path: str, *, mark: str, identifier: str | None) -> None:
        super().__init__(
            client, path, what="the read-write lock", identifier=identifier, owner=lambda: client.port.caller()
        )
        self._mark = mark

    def turn(self, name: str) -> Attempt:
        """See Line."""
        if self._mark == _WRITE:
            return Attempt(self.path, _WRITE, name, self._identifier, waits_for=(_READ, _WRITE))
        # A writer that became a reader was in front when it did, so before it is nobody.
        return Attempt(self.path, _READ, name, self._identifier, waits_for=(_WRITE,), passes=_is_downgraded)

    async def acquire(self, timeout: float | None) -> Lease | None:
        """See Line. Raises DeadlockError where the caller has a lease of the other side."""
        own = self.other.own_lease
        if own is not None and not own.is_lost():
            if self._mark == _WRITE:
                raise DeadlockError(
                    f"{self.path}: who reads cannot come to write without letting go, since two who try would wait for "
                    "each other; release the read lock first, then acquire the write lock, and read again"
                )
            raise DeadlockError(
                f"{self.path}: who writes would wait for itself to read; it may read as it is, or call "
                "`writer.downgrade()` to let other readers in"
            )
        return await super().acquire(timeout)

    async def downgrade(self, port: Port, lease: Lease) -> None:
        """Make the writer that has `lease` a reader."""
        try:
            await ask(port, SetData(lease.path, self._identifier, version=0), FOR_EVER)
        except BadVersionError:
            pass  # it was set before: an answer was lost, or two asked for it
        except (NoNodeError, SessionError) as error:
            raise lease.loss() from error
        self.hand_to(self.other, lease)


class ReadLock(Holdable):
    """The part of a ReadWriteLock that many can hold together, as `ReadWriteLock.reader` gives it."""

    def __init__(self, side: _Side) -> None:
        self._line: _Side = side

    def __repr__(self) -> str:
        return f"<ReadLock {self._line.path} {'held' if self.held else 'not held'}>"


class WriteLock(Holdable):
    """The part of a ReadWriteLock that one holds alone, as `ReadWriteLock.writer` gives it."""

    def __init__(self, side: _Side) -> None:
        self._line: _Side = side

    def __repr__(self) -> str:
        return f"<WriteLock {self._line.path} {'held' if self.held else 'not held'}>"

    async def downgrade(self) -> None:
        """Go on as a reader: other readers may come in from the call on, and no writer does in between. Then it is
        `reader` that holds it; the Lease stays the same, and so does its fencing token.

        Raises LockNotHeldError where the caller does not hold the write lock, LeaseLostError where it has lost it.
        Cancelling it does not stop it.
        """
        side = self._line
        lease = side.own_lease
        if lease is None:
            raise LockNotHeldError(
                f"the write lock of {side.path} is not held, so it cannot be downgraded; acquire it first, "
                "or acquire the read lock"
            )
        lease.check()
        await side.client.port.shield(lambda port: side.downgrade(port, lease))


class ReadWriteLock:
    """A read-write lock at `path`, a znode that is created where it is missing.

    ::

        lock = zkcore.ReadWriteLock(zk, "/locks/catalogue")
        async with lock.reader:                   # together with other readers
            ...
        async with lock.writer as lease:          # alone
            await resource.write(data, token=lease.fencing_token)
            await lock.writer.downgrade()         # reads on, and lets other readers in; no writer comes between
            ...

    `reader` and `writer` are used as a `Lock` is. Making one does no I/O. Several tasks may use one. Both parts are
    reentrant as an RLock is: a task that holds a part, in blocking code a thread, gets it again at once. A reader
    cannot become a writer: where one task asks for both that is a DeadlockError, and not a wait without an end.

    Guaranteed: of the leases whose `check` does not raise, a writer's is never held together with any other, as far as
    clocks run at rates that differ by less than one per cent. Whoever comes later waits for every writer that came
    before, so neither readers nor writers are starved.

    The fencing token of a lease is its place in the line: of two leases of which one is a writer's the later has the
    higher one, also where that was downgraded before the other began. Two that read together have different ones, and
    both are good. So a resource must not refuse a reader because a later *reader* came: tell a FenceGuard which of
    them reads, with `guard.check(token, shared=True)`. It refuses a reader where a later writer was seen, and a writer
    where a later reader or writer was.
    """

    def __init__(self, client: Client, path: str, *, identifier: str | None = None) -> None:
        read = _Side(client, path, mark=_READ, identifier=identifier)
        write = _Side(client, path, mark=_WRITE, identifier=identifier)
        read.other, write.other = write, read
        self._client = client
        self.path = path
        self.reader = ReadLock(read)
        """What many can hold together."""
        self.writer = WriteLock(write)
        """What one holds alone."""

    def __repr__(self) -> str:
        return f"<ReadWriteLock {self.path}>"

    async def holders(self) -> tuple[Contender, ...]:
        """Who holds it: one writer, or any number of readers (`Contender.shared`). As of the replica that serves this
        client, and a moment ago."""
        line = await self.contenders()
        first_alone = next((place for place, contender in enumerate(line) if not contender.shared), len(line))
        return line[: max(first_alone, 1)]

    async def contenders(self) -> tuple[Contender, ...]:
        """Who holds it, and behind them who waits for it, in their order."""
        return await contenders(self._client.port, self.path, _READ, _WRITE, shared=_is_shared)
