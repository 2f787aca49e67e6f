"""The blocking face of `zkcore.recipes.everywhere`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from zkcore.errors import BadArgumentsError
from zkcore.recipes.codec import Codec, bytes_codec
from zkcore.recipes.everywhere import Call
from zkcore.recipes.everywhere import Everywhere as AsyncEverywhere
from zkcore.recipes.everywhere import Handler as AsyncHandler
from zkcore.recipes.execution import Execution as AsyncExecution
from zkcore.recipes.execution import Report
from zkcore.sync.changes import Changes
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run, seconds
from zkcore.zxid import Zxid

__all__ = ["Everywhere", "Execution"]

T = TypeVar("T")

Handler: TypeAlias = Callable[[Call[Any]], Any]
"""What does an action, on the thread that serves; what it returns is the result."""


@mirrors(AsyncEverywhere)
class Everywhere(Generic[T]):
    """`zkcore.Everywhere` for blocking code. Several threads may use one, and one of them serves.

    ::

        def reload(call: zkcore.Call) -> object:
            return load(call.argument, token=call.token)

        everywhere = zkcore.Everywhere(zk, "/fleet", name="host-7", actions={"reload": reload}, codec=zkcore.json_codec)
        threading.Thread(target=everywhere.serve).start()          # a member as long as it serves
        report = everywhere.run("reload", {"version": 2}, timeout=10)
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        name: str | None = None,
        actions: Mapping[str, Handler] | None = None,
        codec: Codec[T] = bytes_codec,  # type: ignore[assignment]
        history: int = 100,
    ) -> None:
        given = {action: _unblocked(handler) for action, handler in (actions or {}).items()}
        self._inner = AsyncEverywhere(
            client.unblocked, path, name=name, actions=given, codec=codec, history=history
        )

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode below which the members and the executions are."""
        return self._inner.path

    def start(self, action: str, argument: T, *, where: Callable[[str], object] | None = None) -> Execution[T]:
        return Execution(run(self._inner.start(action, argument, where=where)))

    def run(
        self,
        action: str,
        argument: T,
        *,
        where: Callable[[str], object] | None = None,
        timeout: float | None = None,
    ) -> Report[T]:
        return run(self._inner.run(action, argument, where=where, timeout=seconds(timeout)))

    def executions(self) -> tuple[Execution[T], ...]:
        return tuple([Execution(each) for each in run(self._inner.executions())])

    def members(self) -> dict[str, tuple[str, ...]]:
        return run(self._inner.members())

    def serve(self) -> None:
        """Be a member, and run what is asked for on this thread, until `stop`. Handlers are called one after the other;
        what one raises is recorded for who asked, and concerns nobody else. Nothing can cancel a handler when the
        session is lost: it looks at the lease of its call, or finds out by the token.

        Raises what `zkcore.Everywhere.serve` does.
        """
        run(self._inner.serve())

    def stop(self) -> None:
        self._inner.stop()


@mirrors(AsyncExecution)
class Execution(Generic[T]):
    """`zkcore.Execution` for blocking code."""

    def __init__(self, inner: AsyncExecution[T]) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """Its znode, below which the members write."""
        return self._inner.path

    @property
    def zxid(self) -> Zxid:
        """The transaction that began it: the `token` of its calls."""
        return self._inner.zxid

    @property
    def action(self) -> str:
        """The name of what is run."""
        return self._inner.action

    def report(self) -> Report[T]:
        return run(self._inner.report())

    def wait(self, *, timeout: float | None = None) -> Report[T]:
        return run(self._inner.wait(timeout=seconds(timeout)))

    def changes(self) -> Changes[Report[T]]:
        return Changes(self._inner.changes())


def _unblocked(handler: Handler) -> AsyncHandler:
    if not callable(handler):
        raise BadArgumentsError(f"{handler!r} is no function to call; give names and functions as actions")

    async def call(given: Call[Any]) -> Any:
        lease: Any = Lease(given.lease)
        return handler(attrs.evolve(given, lease=lease))

    return call
