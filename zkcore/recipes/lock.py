"""The lock: one holder at a time, in the order of arrival, each with a fencing token.

ZooKeeper's recipe. Every attempt creates one ephemeral sequential znode below the lock's path; the lowest holds the
lock, and every other waits for the one just before it, so that a release wakes one contender and not all. The end of
a session deletes its contenders, so nobody waits for the dead.

The name of a contender begins with a number of its own, drawn by chance: where the answer to its creation is lost, the
contender finds itself by it, and no orphan is left to hold a lock that nobody knows to have (kazoo #732).
"""

from __future__ import annotations

from types import TracebackType

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    LockNotHeldError,
    LockTimeoutError,
    NoNodeError,
    OutcomeUnknownError,
    SessionError,
    SessionExpiredError,
)
from zkcore.recipes.lease import Lease
from zkcore.tree.paths import validate
from zkcore.tree.requests import Create, Delete, Exists
from zkcore.tree.znode import CreateMode
from zkcore.zxid import Zxid

__all__ = ["Lock"]

_MARK = "-lock-"


def _sequence(name: str) -> int:
    """Where a contender stands in the queue. The digits alone decide: what stands before them is chance."""
    return int(name.rpartition(_MARK)[2])


def _is_contender(name: str) -> bool:
    return _MARK in name and name.rpartition(_MARK)[2].lstrip("-").isdigit()


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
        return self._current() is not None

    async def acquire(self, *, timeout: float | None = None) -> bool:
        """Wait for the lock. False where it was not free within `timeout` seconds; None waits for ever, 0 not at all.

        Cancelling it leaves no contender behind. Raises SessionExpiredError or SessionClosedError.
        """
        if timeout is not None and not timeout >= 0:
            raise BadArgumentsError(f"a timeout of {timeout} seconds; give None to wait for ever, or 0 not to wait")
        return await self._acquire(timeout) is not None

    async def release(self) -> None:
        """Give the lock to the next. Raises LockNotHeldError where this object does not hold it.

        Cancelling it does not stop the release.
        """
        lease = self._current()
        if lease is None:
            raise LockNotHeldError(f"the lock {self.path} is not held; it may have been lost with the session")
        await lease.release()

    async def locked(self) -> bool:
        """Whether anybody holds the lock, or waits for it."""
        try:
            return any(map(_is_contender, await self._client.get_children(self.path)))
        except NoNodeError:
            return False

    async def __aenter__(self) -> Lease:
        lease = await self._acquire(None)
        if lease is None:
            raise LockTimeoutError(f"the lock {self.path} was not free")
        return lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lease = self._current()
        if lease is not None:
            await lease.release()

    # --- within

    def _current(self) -> Lease | None:
        self._leases = [lease for lease in self._leases if not lease.released and not lease.is_lost()]
        return self._leases[0] if self._leases else None

    async def _acquire(self, timeout: float | None) -> Lease | None:
        port = self._client.port
        deadline = None if timeout is None else port.now() + timeout
        nonce = f"{port.rng.getrandbits(64):016x}"
        try:
            name, token = await self._enter(port, nonce)
            if await self._wait_for_turn(port, name, deadline):
                lease = Lease(port, f"{self.path}/{name}", token, self._release)
                self._leases.append(lease)
                return lease
        except BaseException:
            await port.shield(lambda: self._leave(port, nonce))
            raise
        await port.shield(lambda: self._leave(port, nonce))
        return None

    async def _enter(self, port: Port, nonce: str) -> tuple[str, Zxid]:
        """Create the contender: its name, and the zxid of its creation."""
        request = Create(f"{self.path}/{nonce}{_MARK}", self._identifier, mode=CreateMode.EPHEMERAL_SEQUENTIAL)
        while True:
            try:
                created = await port.request(request)
                return created.path.rpartition("/")[2], created.stat.czxid
            except NoNodeError:
                await self._client.ensure_path(self.path)
            except OutcomeUnknownError:
                # Once attached again everything that will ever be applied is, so looking is conclusive.
                if (name := await self._find(nonce)) is not None:
                    stat = await port.request(Exists(f"{self.path}/{name}"))
                    if stat is not None:
                        return name, stat.czxid

    async def _find(self, nonce: str) -> str | None:
        while True:
            try:
                names = await self._client.get_children(self.path)
            except NoNodeError:
                return None
            except OutcomeUnknownError:
                continue
            return next((name for name in names if name.startswith(nonce + _MARK)), None)

    async def _wait_for_turn(self, port: Port, name: str, deadline: float | None) -> bool:
        """Until there is nobody before us. Only the predecessor is watched: its end is what may make it our turn."""
        changed = port.signal()
        while True:
            try:
                before = await self._predecessor(name)
                if before is None:
                    return True
                changed.clear()
                path = f"{self.path}/{before}"
                if await self._client.exists(path, watch=lambda _: changed.set()) is None:
                    continue
            except OutcomeUnknownError:
                continue
            left = None if deadline is None else max(deadline - port.now(), 0.0)
            if await port.wait(changed, timeout=left) is None:
                return False

    async def _predecessor(self, name: str) -> str | None:
        names = await self._client.get_children(self.path)
        if name not in names:
            raise SessionExpiredError(f"the contender {self.path}/{name} is gone: the session ended, or it was deleted")
        mine = _sequence(name)
        before = [other for other in names if _is_contender(other) and _sequence(other) < mine]
        return max(before, key=_sequence, default=None)

    async def _release(self, lease: Lease) -> None:
        lease.end()
        port = self._client.port
        await port.shield(lambda: self._delete(port, lease.path))

    async def _leave(self, port: Port, nonce: str) -> None:
        """Remove the contender, if it came to be."""
        try:
            if (name := await self._find(nonce)) is not None:
                await self._delete(port, f"{self.path}/{name}")
        except SessionError:
            pass  # the end of the session deletes it

    async def _delete(self, port: Port, path: str) -> None:
        while True:
            try:
                await port.request(Delete(path))
                return
            except OutcomeUnknownError:
                continue  # deleting twice does no harm: the name is never used again
            except (NoNodeError, SessionError):
                return
