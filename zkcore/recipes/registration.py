"""The registration: this process as an instance of a service, which others find (`discovery.py`).

It is a member of the group of the service's instances, whose data says where it is to be reached and how it is. Before
it leaves it says so, and stays for a while: who chooses is told, and gives it nothing more.

This module must not know how instances are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from attrs import evolve

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, NotMemberError
from zkcore.recipes.choosing import Instance, Status
from zkcore.recipes.entered import Entered
from zkcore.recipes.guarded import Guarded
from zkcore.recipes.lease import Lease
from zkcore.recipes.membership import Membership
from zkcore.recipes.waiting import nonce

__all__ = ["Registration"]

_ENTERED: Entered[Guarded] = Entered("zkcore_registrations_entered")


class Registration:
    """This process as an instance of the service at `path`, a znode that is created where it is missing.

    ::

        async with zkcore.Registration(zk, "/services/web", address="10.0.0.7:80", metadata={"zone": "a"}) as me:
            await me.update(load=17)
            await serve()

    Making one does no I/O. `name` is the instance's, of which there is one at a time; without one it gets a name of
    chance. `weight` is how much it takes, relative to the others. A `status` other than UP is not chosen: begin as
    DOWN, and `update(status=Status.UP)` when it is ready.

    To be registered is to hold a lease: it is lost when the session is, and the body of the `with` is cancelled then.
    The end of the `with` drains first: it says DRAINING, and leaves `drain_seconds` later. An instance that is gone
    without leaving is seen until its session expires.
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
        if not drain_seconds >= 0:
            raise BadArgumentsError(f"drain_seconds={drain_seconds!r}; give 0 to leave at once, or more")
        self.path = path
        self._port = client.port
        self._drain_seconds = drain_seconds
        chosen = nonce(client.port) if name is None else name
        self._said = Instance(chosen, address, dict(metadata or {}), weight, Status(status), load)
        self._said.check()
        self._membership = Membership(client, path, name=chosen, data=self._said.encode())

    def __repr__(self) -> str:
        state = self._said.status if self._membership.is_member else "not registered"
        return f"<Registration {self.path} as {self.name}, {state}>"

    @property
    def name(self) -> str:
        """Of this instance."""
        return self._said.name

    @property
    def status(self) -> Status:
        """What it says of itself."""
        return self._said.status

    @property
    def lease(self) -> Lease | None:
        """How long it is registered: `lost` is set when it is not any more. None where it is not."""
        return self._membership.lease

    async def start(self) -> Lease:
        """Be found from now on. Raises NodeExistsError where there is an instance of that name: another, or this
        process as it was before, whose session has not expired yet. Cancelling it leaves no instance behind."""
        return await self._membership.join()

    async def update(
        self,
        *,
        status: Status | None = None,
        load: float | None = None,
        weight: float | None = None,
        address: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Say something else from now on; what is not given stays. Raises NotMemberError where it is not registered,
        and BadArgumentsError for what makes no sense."""
        said = self._said
        changed = evolve(
            said,
            status=said.status if status is None else Status(status),
            load=said.load if load is None else load,
            weight=said.weight if weight is None else weight,
            address=said.address if address is None else address,
            metadata=said.metadata if metadata is None else dict(metadata),
        )
        changed.check()
        await self._membership.update(changed.encode())
        self._said = changed

    async def drain(self) -> None:
        """Take nothing more: once this has returned, nobody chooses it who knows what was done by then
        (`Discovery.age`). Raises NotMemberError."""
        await self.update(status=Status.DRAINING)

    async def close(self) -> None:
        """Drain, wait until others have heard of it, and be found no more. Raises NotMemberError where it is not
        registered, or ceased to be with its session. Cancelling it leaves at once."""
        lease = self.lease
        if lease is not None:
            await self._drain_for_a_while(lease)
        await self._membership.leave()

    async def __aenter__(self) -> Self:
        _ENTERED.push(self, Guarded(self._port, await self.start()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        body = _ENTERED.pop(self)
        lease = self.lease
        try:
            if lease is not None:
                await self._drain_for_a_while(lease)
        finally:
            if body is not None:
                await body.end(kind, error, trace)
            elif lease is not None:  # entered in another context, as fixtures of tests are
                await lease.release()

    # --- within

    async def _drain_for_a_while(self, lease: Lease) -> None:
        try:
            if self._drain_seconds:
                if self.status is not Status.DRAINING:
                    await self.drain()
                await self._port.wait(lease.lost, timeout=self._drain_seconds)
        except NotMemberError:
            pass  # somebody deleted it: there is nothing to drain
        except GeneratorExit:
            raise  # nobody runs this coroutine any more: the end of the session removes it
        except BaseException:
            await lease.release()
            raise
