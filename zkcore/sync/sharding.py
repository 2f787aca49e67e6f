"""The blocking face of `zkcore.recipes.sharding`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from zkcore.recipes.shard_map import Route
from zkcore.recipes.shard_table import Placing
from zkcore.recipes.sharding import Sharding as AsyncSharding
from zkcore.ring.hashing import Key
from zkcore.ring.migration import MigrationPlan
from zkcore.ring.rendezvous import Rendezvous
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run, seconds
from zkcore.sync.shard_map import ShardMap
from zkcore.zxid import Zxid

__all__ = ["Sharding"]


def _nothing(*_: object) -> None:
    pass


@mirrors(AsyncSharding)
class Sharding:
    """`zkcore.Sharding` for blocking code.

    ::

        def load(partition, token): ...                      # from now on it is ours
        def drain(partition): ...                            # write down what is under way

        with zkcore.Sharding(
            zk, "/shards", name="host-7", partitions=64, on_acquire=load, on_release=drain
        ) as shards:
            route = shards.route("user:17")

    `on_acquire` and `on_release` are plain functions, called on the client's thread for callbacks, one at a time. They
    may make blocking calls; close it before its client, and not from one of them.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        name: str,
        partitions: int,
        weight: float = 1.0,
        rack: str = "",
        address: str = "",
        replicas: int = 1,
        on_acquire: Callable[[int, Zxid], object] = _nothing,
        on_release: Callable[[int], object] = _nothing,
        placement: Placing = Rendezvous,
        at_once: int = 1,
        leave_within: float = 30.0,
    ) -> None:
        self._inner = AsyncSharding(
            client.unblocked,
            path,
            name=name,
            partitions=partitions,
            weight=weight,
            rack=rack,
            address=address,
            replicas=replicas,
            on_acquire=client._callbacks.awaited(on_acquire),
            on_release=client._callbacks.awaited(on_release),
            placement=placement,
            at_once=at_once,
            leave_within=leave_within,
        )

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """Where the sharding is."""
        return self._inner.path

    @property
    def map(self) -> ShardMap:
        """Who owns what: of all members."""
        return ShardMap.of(self._inner.map)

    @property
    def failures(self) -> Mapping[int, Exception]:
        """By partition why `on_acquire` failed when it was called last."""
        return self._inner.failures

    @property
    def name(self) -> str:
        """Of this member."""
        return self._inner.name

    @property
    def lease(self) -> Lease | None:
        """How long this object is a member; None where it is none."""
        inner = self._inner.lease
        return None if inner is None else Lease(inner)

    @property
    def owned(self) -> Mapping[int, Lease]:
        """The partitions that this member has taken over, and not given up or lost, with the lease of each."""
        return {partition: Lease(lease) for partition, lease in self._inner.owned.items()}

    def route(self, key: Key) -> Route:
        return self._inner.route(key)

    def wait_until_owned(self, *, timeout: float | None = None) -> bool:
        return run(self._inner.wait_until_owned(timeout=seconds(timeout)))

    def plan(self) -> MigrationPlan:
        return self._inner.plan()

    def start(self) -> Lease:
        return Lease(run(self._inner.start()))

    def close(self) -> None:
        run(self._inner.close())

    def update(self, *, weight: float | None = None, address: str | None = None) -> None:
        run(self._inner.update(weight=weight, address=address))

    def __enter__(self) -> Self:
        run(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._inner.__aexit__(kind, error, trace))
