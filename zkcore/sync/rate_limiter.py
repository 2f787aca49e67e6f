"""The blocking face of `zkcore.recipes.rate_limiter`."""

from __future__ import annotations

from zkcore.recipes.rate_limiter import RateLimiter as AsyncRateLimiter
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["RateLimiter"]


@mirrors(AsyncRateLimiter)
class RateLimiter:
    """`zkcore.RateLimiter` for blocking code. Several threads may use one.

    ::

        limiter = zkcore.RateLimiter(zk, "/limits/mails", rate=50, burst=100)
        limiter.acquire()                              # waits for its turn
        if not limiter.acquire(10, timeout=0.5):       # or not for longer than that
            raise Busy
    """

    def __init__(self, client: Client, path: str, *, rate: float, burst: float) -> None:
        self._inner = AsyncRateLimiter(client.unblocked, path, rate=rate, burst=burst)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode of the bucket."""
        return self._inner.path

    @property
    def rate(self) -> float:
        """Tokens that it gets a second."""
        return self._inner.rate

    @property
    def burst(self) -> float:
        """Tokens that it holds."""
        return self._inner.burst

    def acquire(self, tokens: float = 1, *, timeout: float | None = None) -> bool:
        return run(self._inner.acquire(tokens, timeout=seconds(timeout)))

    def available(self) -> float:
        return run(self._inner.available())
