"""The blocking face of `zkcore.recipes.barrier`."""

from __future__ import annotations

from types import TracebackType

from zkcore.recipes.barrier import Barrier as AsyncBarrier
from zkcore.sync.client import Client
from zkcore.sync.port import mirrors, run, seconds

__all__ = ["Barrier"]


@mirrors(AsyncBarrier)
class Barrier:
    """`zkcore.Barrier` for blocking code, with the manners of `threading.Barrier`. Several threads may use one, each of
    them a party.

    ::

        barrier = zkcore.Barrier(zk, "/start", parties=3)
        barrier.wait()                    # until three are there
        with barrier as index:            # until three are there ...
            work(index)                   # ... and at the end, until all three are done
    """

    def __init__(self, client: Client, path: str, *, parties: int) -> None:
        self._inner = AsyncBarrier(client.unblocked, path, parties=parties)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode whose children are the parties."""
        return self._inner.path

    @property
    def parties(self) -> int:
        """How many pass together."""
        return self._inner.parties

    def wait(self, timeout: float | None = None) -> int:
        return run(self._inner.wait(seconds(timeout)))

    def abort(self) -> None:
        run(self._inner.abort())

    def reset(self) -> None:
        run(self._inner.reset())

    def n_waiting(self) -> int:
        return run(self._inner.n_waiting())

    def broken(self) -> bool:
        return run(self._inner.broken())

    def __enter__(self) -> int:
        return run(self._inner.__aenter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._inner.__aexit__(kind, error, trace))
