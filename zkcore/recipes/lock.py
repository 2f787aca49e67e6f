"""The lock: one holder at a time, in the order of arrival, each with a fencing token.

ZooKeeper's recipe. Every attempt creates one ephemeral sequential znode below the lock's path; the lowest holds the
lock, and every other waits for the one just before it, so that a release wakes one contender and not all. The end of
a session deletes its contenders, so nobody waits for the dead.

The name of a contender begins with a number of its own, drawn by chance: where the answer to its creation is lost, the
contender finds itself by it, and no orphan is left to hold a lock that nobody knows to have (kazoo #732).
"""

from __future__ import annotations

from contextvars import ContextVar
from types import TracebackType

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    LockNotHeldError,
    NodeExistsError,
    NoNodeError,
    OutcomeUnknownError,
    SessionError,
    SessionExpiredError,
    ThrottledError,
)
from zkcore.recipes.lease import Lease
from zkcore.tree.applied import WatchEvent
from zkcore.tree.paths import validate
from zkcore.tree.requests import Create, Delete, Exists, GetChildren
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Lock"]

_MARK = "-lock-"

_GRACE_SECONDS = 0.1
"""A request of an `acquire` with a timeout gets at least this long: not to wait is not the same as not to ask."""

_PAUSE_SECONDS = 0.1
"""About so long later what found no room is asked for again."""

_ENTERED: ContextVar[tuple[tuple[object, Lease], ...]] = ContextVar("zkcore_locks_entered", default=())
"""Which lease which `with` of this task or thread holds: another may have the lock by the time this one ends."""


def _sequence(name: str) -> int | None:
    """Where a contender stands in the queue; None for a child that is no contender. The digits alone decide: what
    stands before them is chance."""
    nonce, mark, digits = name.rpartition(_MARK)
    return int(digits) if nonce and mark and digits.isascii() and digits.isdigit() else None


class Lock:
    """A lock at `path`, a znode that is created where it is missing.

    Use it as a context manager, which gives the Lease::

        async with zkcore.Lock(zk, "/locks/report") as lease:
            await resource.write(data, token=lease.fencing_token)

    Making one does no I/O. Several tasks may use one Lock: each attempt has its own contender and its own Lease. It
    is not reentrant: a task that holds it and acquires it again waits for itself. `identifier` is stored with the
    contender, for whoever looks who holds the lock.

    Guaranteed: of all leases on `path` whose `check` does not raise, at most one is held at a time, as far as clocks
    run at rates that differ by less than one per cent; contenders get the lock in the order of their arrival; a later
    lease has a higher fencing token, always.
    """

    def __init__(self, client: Client, path: str, *, identifier: str | None = None) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("a lock needs a path of its own, not the root")
        self.path = path
        self._client = client
        self._identifier = (identifier or "").encode()
        self._leases: list[Lease] = []

    def __repr__(self) -> str:
        return f"<Lock {self.path} {'held' if self.held else 'not held'}>"

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, as far as it can know. Local."""
        return self.lease is not None

    @property
    def lease(self) -> Lease | None:
        """The lease of what this object holds: after `acquire`, the way to its fencing token. None where it holds
        nothing, or has lost it."""
        return next((lease for lease in self._leases if not lease.is_lost()), None)

    async def acquire(self, *, timeout: float | None = None) -> bool:
        """Wait for the lock. False where it was not free within `timeout` seconds; None waits for ever, 0 not at all.

        Cancelling it leaves no contender behind. Raises SessionExpiredError or SessionClosedError.
        """
        if timeout is not None and not timeout >= 0:
            raise BadArgumentsError(f"a timeout of {timeout} seconds; give None to wait for ever, or 0 not to wait")
        return await self._acquire(timeout) is not None

    async def release(self) -> None:
        """Give the lock to the next. Raises LockNotHeldError where this object does not hold it, or has lost it.

        Cancelling it does not stop the release.
        """
        lease = min(self._leases, key=Lease.is_lost, default=None)
        if lease is None:
            raise LockNotHeldError(f"the lock {self.path} is not held")
        lost = lease.is_lost()
        await lease.release()
        if lost:
            raise LockNotHeldError(f"the lock {self.path} was lost with the session, before it was released")

    async def locked(self) -> bool:
        """Whether anybody holds the lock, or waits for it."""
        try:
            names = await self._client.get_children(self.path)
        except NoNodeError:
            return False
        return any(_sequence(name) is not None for name in names)

    async def __aenter__(self) -> Lease:
        lease = await self._acquire(None)
        assert lease is not None  # patience without end does not run out
        _ENTERED.set((*_ENTERED.get(), (self, lease)))
        return lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entered = _ENTERED.get()
        mine = next((pair for pair in reversed(entered) if pair[0] is self), None)
        if mine is not None:
            _ENTERED.set(tuple(pair for pair in entered if pair is not mine))
            await mine[1].release()
        elif self._leases:  # entered in another context, as fixtures of test frameworks are
            await self._leases[0].release()

    # --- within

    async def _acquire(self, timeout: float | None) -> Lease | None:
        port = self._client.port
        patience = _Patience(port, timeout)
        nonce = f"{port.rng.getrandbits(64):016x}"
        try:
            contender = await self._enter(port, nonce, patience)
            if contender is not None and await self._wait_for_turn(port, contender[0], patience):
                lease = Lease(port, f"{self.path}/{contender[0]}", contender[1], self._release)
                self._leases.append(lease)
                return lease
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes the contender
        except BaseException:
            await port.tidy_up(lambda port: self._leave(port, nonce))
            raise
        await port.tidy_up(lambda port: self._leave(port, nonce))
        return None

    async def _enter(self, port: Port, nonce: str, patience: _Patience) -> tuple[str, Zxid] | None:
        """Create the contender: its name, and the zxid of its creation. None where patience ran out first."""
        request = Create(f"{self.path}/{nonce}{_MARK}", self._identifier, mode=CreateMode.EPHEMERAL_SEQUENTIAL)
        perhaps_created = False
        while True:
            try:
                # Once attached again everything that will ever be applied is, so looking is conclusive.
                if perhaps_created and (found := await self._find(port, nonce, patience)) is not None:
                    stat = await port.request(Exists(f"{self.path}/{found}"), timeout=patience.left)
                    if stat is not None:
                        return found, stat.czxid
                perhaps_created = True
                created = await port.request(request, timeout=patience.left)
                return created.path.rpartition("/")[2], created.stat.czxid
            except NoNodeError:
                perhaps_created = False
                if not await self._create_path(port, patience):
                    return None
            except OutcomeUnknownError:
                if patience.is_over:
                    return None

    async def _create_path(self, port: Port, patience: _Patience) -> bool:
        """Create the lock's path and what is missing above it. False where patience ran out first."""
        parts = self.path.split("/")
        missing = ["/".join(parts[: count + 1]) for count in range(1, len(parts))]
        while missing:
            try:
                await port.request(Create(missing[0]), timeout=patience.left)
            except NodeExistsError:
                pass
            except OutcomeUnknownError:
                if patience.is_over:
                    return False
                continue
            del missing[0]
        return True

    async def _find(self, port: Port, nonce: str, patience: _Patience) -> str | None:
        names = await port.request(GetChildren(self.path), timeout=patience.left)
        return next((name for name in names if name.startswith(nonce + _MARK)), None)

    async def _wait_for_turn(self, port: Port, name: str, patience: _Patience) -> bool:
        """Until there is nobody before us. Only the predecessor is watched: its end is what may make it our turn."""
        changed = port.signal()

        def on_change(_: WatchEvent | None) -> None:
            changed.set()

        while True:
            try:
                before = await self._predecessor(port, name, patience)
                if before is None:
                    return True
                if patience.is_over:
                    return False
                changed.clear()
                path = f"{self.path}/{before}"
                if await port.request(Exists(path, watch=True), watch=on_change, timeout=patience.left) is None:
                    port.unwatch(path, on_change)
                    continue
            except OutcomeUnknownError:
                if patience.is_over:
                    return False
                continue
            try:
                if await port.wait(changed, timeout=patience.left_to_wait) is None:
                    return False
            finally:
                port.unwatch(path, on_change)

    async def _predecessor(self, port: Port, name: str, patience: _Patience) -> str | None:
        names = await port.request(GetChildren(self.path), timeout=patience.left)
        if name not in names:
            raise SessionExpiredError(f"the contender {self.path}/{name} is gone: the session ended, or it was deleted")
        mine = _sequence(name)
        assert mine is not None
        before = [(place, other) for other in names if (place := _sequence(other)) is not None and place < mine]
        return max(before)[1] if before else None

    async def _release(self, lease: Lease) -> None:
        lease.end()
        try:
            self._leases.remove(lease)
        except ValueError:
            return  # another thread was faster
        await self._client.port.shield(lambda port: _delete(port, lease.path))

    async def _leave(self, port: Port, nonce: str) -> None:
        """Remove the contender, if it came to be."""
        while True:
            try:
                name = await self._find(port, nonce, _Patience(port, None))
                if name is not None:
                    await _delete(port, f"{self.path}/{name}")
                return
            except OutcomeUnknownError:
                continue
            except ThrottledError:
                await _pause(port)
            except (NoNodeError, SessionError):
                return  # there is no lock, or the end of the session has deleted the contender


class _Patience:
    """How long an `acquire` may take."""

    def __init__(self, port: Port, timeout: float | None) -> None:
        self._port = port
        self._deadline = None if timeout is None else port.now() + timeout

    @property
    def left_to_wait(self) -> float | None:
        """Seconds to wait for others; None for ever."""
        return None if self._deadline is None else max(self._deadline - self._port.now(), 0.0)

    @property
    def left(self) -> float | None:
        """Seconds that a request may take; None for ever."""
        return None if self._deadline is None else max(self._deadline - self._port.now(), _GRACE_SECONDS)

    @property
    def is_over(self) -> bool:
        return self._deadline is not None and self._port.now() >= self._deadline


async def _pause(port: Port) -> None:
    await port.wait(timeout=_PAUSE_SECONDS * (0.5 + port.rng.random()))


async def _delete(port: Port, path: str) -> None:
    while True:
        try:
            await port.request(Delete(path))
            return
        except OutcomeUnknownError:
            continue  # deleting twice does no harm: the name is never used again
        except ThrottledError:
            await _pause(port)  # a contender left behind would hold up the others for as long as the session lives
        except (NoNodeError, SessionError):
            return
