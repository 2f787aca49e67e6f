"""Ensembles that our client of ZooKeeper's protocol is tried on: ours, ours taken for an Apache ZooKeeper, and one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

import zkcore
from zkcore.client.zookeeper import ZookeeperClient
from zkcore.client.zookeeper_port import ZookeeperPort
from zkcore.transport.address import Address

T = TypeVar("T")

_NUMBERS = count(1)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, which must come within 60 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(60):
            return await coroutine

    return asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


class Ensemble:
    """An ensemble at `hosts`, and clients of it that see a part of its tree which nobody else does."""

    def __init__(self, hosts: str, *, is_zkcore: bool) -> None:
        self.hosts = hosts
        self.is_zkcore = is_zkcore
        self._chroot = f"/test-{next(_NUMBERS)}"

    @property
    def url(self) -> str:
        return f"zk://{self.hosts}{self._chroot}"

    def client(self, **options: Any) -> ZookeeperClient:
        return zkcore.connect(self.url, **options)

    def use(self, test: Callable[[ZookeeperClient], Coroutine[Any, Any, None]]) -> None:
        """`test` with a client whose root is there."""

        async def main() -> None:
            async with self.client() as client:
                assert client.is_zkcore == self.is_zkcore
                await client.ensure_path("/")
                await test(client)

        run(main())

    def use_two(self, test: Callable[[ZookeeperClient, ZookeeperClient], Coroutine[Any, Any, None]]) -> None:
        async def use(one: ZookeeperClient) -> None:
            async with self.client() as two:
                await test(one, two)

        self.use(use)


def drop(client: ZookeeperClient) -> None:
    """Break the connection of `client`; it comes again by itself."""
    link = client.whole._link
    assert link is not None
    link.close("a test broke it")


def cut_off(client: ZookeeperClient) -> Callable[[], None]:
    """Break the connection of `client`, which finds nobody until what is returned is called."""
    port: Any = client.whole

    async def reach_nobody(address: Address) -> bool:
        return False

    port._be_served = reach_nobody
    drop(client)
    return lambda: delattr(port, "_be_served")


async def drop_and_return(client: ZookeeperClient) -> None:
    """The same, and wait until it is served again."""
    drop(client)
    assert client.state is zkcore.SessionState.SUSPENDED
    await until(lambda: client.state is zkcore.SessionState.CONNECTED)


async def expire(client: ZookeeperClient) -> None:
    """End the session of `client` as its ensemble does: somebody who has its password takes it away and closes it."""
    come_back = cut_off(client)  # else it would take it back
    thief = ZookeeperPort(client.whole._addresses, timeout=client.session_timeout)
    thief.session.id, thief._password = client.whole.session.id, client.whole._password
    thief._last_zxid = client.last_zxid
    await thief.start()
    await thief.close()
    come_back()
