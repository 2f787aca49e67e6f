"""The blocking face of `zkcore.recipes.lease`."""

from __future__ import annotations

from zkcore.client.port import Signal
from zkcore.recipes.lease import Lease as AsyncLease
from zkcore.sync.port import mirrors, run
from zkcore.zxid import Zxid

__all__ = ["Lease"]


@mirrors(AsyncLease)
class Lease:
    """`zkcore.Lease` for blocking code. It may be handed to other threads."""

    def __init__(self, inner: AsyncLease) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def unblocked(self) -> AsyncLease:
        """The lease that this is the face of."""
        return self._inner

    @property
    def path(self) -> str:
        """The contender's znode."""
        return self._inner.path

    @property
    def fencing_token(self) -> Zxid:
        """The zxid at which the contender's znode was created. Of two holds of one lock the later has the higher
        one."""
        return self._inner.fencing_token

    @property
    def lost(self) -> Signal:
        """Set when the session, and with it the lease, is lost."""
        return self._inner.lost

    @property
    def remaining(self) -> float:
        """Seconds until the lease is lost unless another heartbeat is confirmed. Advisory: it can be released
        before."""
        return self._inner.remaining

    @property
    def released(self) -> bool:
        """Whether the holder has released it."""
        return self._inner.released

    def is_lost(self) -> bool:
        return self._inner.is_lost()

    def check(self) -> None:
        self._inner.check()

    def release(self) -> None:
        run(self._inner.release())
