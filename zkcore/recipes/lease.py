"""The Lease: what holding something means, and how a holder learns that it holds it no longer.

A lease ends in one of three ways: its holder releases it, the ensemble ends the holder's session, or the holder can
no longer be sure that it has not. The holder's own clock decides the third: when no heartbeat was confirmed in time,
the lease is lost, heard or not. What ends a lease earlier than the session is its `Life`.

No lease can stop a holder that is paused between a check and what it does next. That takes the resource: hand it the
`fencing_token` with every write, and let it refuse a token lower than one it has seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from zkcore.client.port import Port, Signal
from zkcore.errors import LeaseLostError
from zkcore.zxid import Zxid

__all__ = ["Lease", "Life", "WithSession"]


class Life(Protocol):
    """What a lease lasts as long as: the session, or something that ends no later."""

    @property
    def lost(self) -> Signal:
        """Set when it is over."""

    @property
    def alive_until(self) -> float:
        """Until when, on `Port.now`, it surely is not."""


class WithSession:
    """The Life of what lasts as long as the session, unless `lost` is set before."""

    def __init__(self, port: Port) -> None:
        self._session = port.session
        self.lost = port.signal()

    @property
    def alive_until(self) -> float:
        return 0.0 if self.lost.is_set() or self._session.lost.is_set() else self._session.alive_until


class Lease:
    """One hold, from its beginning to its end. Made by recipes.

    `path` is the contender's znode. It may be handed to other tasks of the same client.
    """

    def __init__(
        self,
        port: Port,
        path: str,
        token: Zxid,
        release: Callable[[Lease], Awaitable[None]],
        *,
        life: Life | None = None,
    ) -> None:
        self._port = port
        self._life: Life = port.session if life is None else life
        self._release = release
        self._ended = False
        self._seen_lost = False
        self.path = path
        self.fencing_token = token
        """The zxid at which the contender's znode was created. Of two holds of one lock the later has the higher
        one."""

    def __repr__(self) -> str:
        state = "released" if self._ended else "lost" if self.is_lost() else "held"
        return f"<Lease {self.path} token={self.fencing_token:#x} {state}>"

    @property
    def lost(self) -> Signal:
        """Set when the session, and with it the lease, is lost: something to wait for, with `Port.wait`."""
        return self._life.lost

    @property
    def remaining(self) -> float:
        """Seconds until the lease is lost unless another heartbeat is confirmed. Advisory: it can be released
        before."""
        if self._ended or self.is_lost():
            return 0.0
        return self._life.alive_until - self._port.now()

    @property
    def released(self) -> bool:
        """Whether the holder has released it."""
        return self._ended

    def is_lost(self) -> bool:
        """Whether it ended without being released. What was lost once stays lost."""
        if self._ended:
            return False
        life = self._life
        if life.lost.is_set() or self._port.now() >= life.alive_until:
            self._seen_lost = True
        return self._seen_lost

    def check(self) -> None:
        """Raises LeaseLostError unless the lease is still held, as far as anybody here can know."""
        if self._ended:
            raise LeaseLostError(f"the lease on {self.path} was released; acquire again")
        if self.is_lost():
            raise self.loss()

    def loss(self) -> LeaseLostError:
        """For recipes: the error that says that it is lost."""
        return LeaseLostError(
            f"the lease on {self.path} is lost: the session ended, or nothing confirmed it in time. "
            "Stop what you are doing; somebody else may hold it now"
        )

    async def release(self) -> None:
        """Give it up. Releasing what is lost or released already does nothing."""
        if not self._ended:
            await self._release(self)

    def end(self) -> None:
        """For recipes: the holder has given it up."""
        self._ended = True

    def hand_to(self, release: Callable[[Lease], Awaitable[None]]) -> None:
        """For recipes: from now on `release` gives it up."""
        self._release = release
