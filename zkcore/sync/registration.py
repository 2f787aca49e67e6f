"""The blocking face of `zkcore.recipes.registration`."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from zkcore.recipes.choosing import Status
from zkcore.recipes.registration import Registration as AsyncRegistration
from zkcore.sync.client import Client
from zkcore.sync.lease import Lease
from zkcore.sync.port import mirrors, run

__all__ = ["Registration"]


@mirrors(AsyncRegistration)
class Registration:
    """`zkcore.Registration` for blocking code.

    ::

        with zkcore.Registration(zk, "/services/web", address="10.0.0.7:80", metadata={"zone": "a"}) as me:
            me.update(load=17)
            serve()
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        address: str,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        weight: float = 1.0,
        status: Status = Status.UP,
        load: float = 0.0,
        drain_seconds: float = 1.0,
    ) -> None:
        self._inner = AsyncRegistration(
            client.unblocked,
            path,
            address=address,
            name=name,
            metadata=metadata,
            weight=weight,
            status=status,
            load=load,
            drain_seconds=drain_seconds,
        )

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def path(self) -> str:
        """The znode whose children are the instances."""
        return self._inner.path

    @property
    def name(self) -> str:
        """Of this instance."""
        return self._inner.name

    @property
    def status(self) -> Status:
        """What it says of itself."""
        return self._inner.status

    @property
    def lease(self) -> Lease | None:
        """How long it is registered; None where it is not."""
        inner = self._inner.lease
        return None if inner is None else Lease(inner)

    def start(self) -> Lease:
        return Lease(run(self._inner.start()))

    def update(
        self,
        *,
        status: Status | None = None,
        load: float | None = None,
        weight: float | None = None,
        address: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        run(self._inner.update(status=status, load=load, weight=weight, address=address, metadata=metadata))

    def drain(self) -> None:
        run(self._inner.drain())

    def close(self) -> None:
        run(self._inner.close())

    def __enter__(self) -> Self:
        run(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._inner.__aexit__(kind, error, trace))
