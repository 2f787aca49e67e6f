"""The blocking face of `zkcore.recipes.rlock`."""

from __future__ import annotations

from collections.abc import Hashable

from zkcore.recipes.rlock import RLock as AsyncRLock
from zkcore.sync.client import Client
from zkcore.sync.lock import Lock

__all__ = ["RLock"]


class RLock(Lock):
    """`zkcore.RLock` for blocking code, with the signatures of `threading.RLock`. Its owner is the thread that acquires
    it, unless another `owner` is given; threads that share one must take turns.

    ::

        lock = zkcore.RLock(zk, "/locks/accounts")
        with lock as lease:
            with lock:                        # at once, and no request
                resource.write(data, token=lease.fencing_token)
    """

    _inner: AsyncRLock

    def __init__(
        self, client: Client, path: str, *, identifier: str | None = None, owner: Hashable | None = None
    ) -> None:
        self._inner = AsyncRLock(client.unblocked, path, identifier=identifier, owner=owner)
