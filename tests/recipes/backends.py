"""Three servers that the recipes are tried on, of every kind that they run on, and whose leaders can be killed.

The same tests run on nodes in this process, on a client of ZooKeeper's protocol with servers of ours, and on one with
Apache ZooKeepers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import pytest
from live_ensemble import LiveEnsemble

import zkcore
from zkcore.client.client import Client
from zkcore.client.cluster import LocalCluster, local_cluster
from zkcore.client.timeouts import DEFAULT_SESSION_TIMEOUT
from zkcore.errors import OutcomeForgottenError, OutcomeUnknownError, UnsupportedError
from zkcore.replica.rules import Rules
from zkcore.testing.zookeeper import ZookeeperServer
from zkcore.zab.limits import Limits

__all__ = ["QUICK", "Backend", "Embedded", "Remote", "certainly", "disturb", "look_again", "until", "use"]

QUICK = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8, finalize_ticks=2)
"""A leader that has lost its followers gives up after 0.2 s."""

T = TypeVar("T")

_NUMBERS = count(1)


class Backend(Protocol):
    """Three servers, within its `async with`."""

    kills: int
    """How often a leader is killed where a test is disturbed: as often as is worth the time it takes."""
    is_complete: bool
    """Whether it has everything; an Apache ZooKeeper lacks some of it."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> Any:
        """A client, not started yet."""

    async def kill_leader(self) -> int:
        """Which one it was."""

    async def restart(self, node: int) -> None:
        """It comes again; there is a leader."""

    async def expire(self, client: Any) -> None:
        """End the session of `client` as if it had been silent for too long, and wait until it knows."""


class Embedded:
    """Nodes in this process, and clients on them."""

    kills = 4
    is_complete = True

    def __init__(self, *, rules: Rules | None = None) -> None:
        self._rules = rules

    async def __aenter__(self) -> Self:
        self._cluster: LocalCluster = await local_cluster(3, limits=QUICK, rules=self._rules).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cluster.close()

    def client(self, *, timeout: float = DEFAULT_SESSION_TIMEOUT) -> zkcore.EmbeddedClient:
        return self._cluster.client(timeout=timeout)

    async def kill_leader(self) -> int:
        leader = await self._cluster.wait_for_leader()
        self._cluster.kill(leader)
        return leader

    async def restart(self, node: int) -> None:
        await self._cluster.wait_for_leader()
        self._cluster.start_node(node)

    async def expire(self, client: Any) -> None:
        assert await self._cluster.kill_session(client.session_id)
        await client.port.wait(client.port.session.lost)


class Remote:
    """Servers behind a protocol, ours or Apache's, and clients of it that see a part of the tree that no other does."""

    def __init__(self, server: ZookeeperServer | LiveEnsemble, *, kills: int) -> None:
        self._server = server
        self._chroot = f"/test-{next(_NUMBERS)}"
        self.kills = kills
        self.is_complete = isinstance(server, ZookeeperServer)
        self._clients: list[zkcore.ZookeeperClient] = []

    async def __aenter__(self) -> Self:
        async with self.client() as client:
            await client.ensure_path("/")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.abandon()

    def client(self, *, timeout: float = 40) -> zkcore.ZookeeperClient:  # on a busy machine a JVM takes its time
        self._clients.append(zkcore.connect(f"zk://{self._server.hosts}{self._chroot}", timeout=timeout))
        return self._clients[-1]

    async def kill_leader(self) -> int:
        return await asyncio.to_thread(self._kill_leader)

    def _kill_leader(self) -> int:
        while (leader := self._server.leader) is None:
            pass
        self._server.kill(leader)
        return leader

    async def restart(self, node: int) -> None:
        await asyncio.to_thread(self._server.restart, node)

    async def expire(self, client: Any) -> None:
        lost = client.port.session.lost
        while not lost.is_set():
            if isinstance(self._server, ZookeeperServer):
                await asyncio.to_thread(self._server.expire_session, client.session_id)
            else:
                await asyncio.to_thread(self._server.end_session, client.session_id, client.whole._password)
            await client.port.wait(lost, timeout=1)


async def disturb(backend: Backend) -> None:
    """Kill the leader, again and again."""
    for _ in range(backend.kills):
        await asyncio.sleep(0.03)
        await backend.restart(await backend.kill_leader())


async def certainly(backend: Backend, action: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of what does no harm when it is done twice: an Apache ZooKeeper does not remember how a request ended
    whose answer was lost."""
    while True:
        try:
            return await action()
        except OutcomeForgottenError:
            assert not backend.is_complete


async def look_again(client: Client) -> None:
    """From now on `client` sees what everybody has done until now."""
    while True:
        try:
            await client.sync()
            return
        except OutcomeUnknownError:
            pass


def use(backend: Backend, test: Callable[[Backend], Coroutine[Any, Any, None]]) -> None:
    """Run `test` with it, within 60 seconds; where it lacks what the test needs, the test is skipped."""

    async def bounded() -> None:
        async with asyncio.timeout(60), backend:
            await test(backend)

    try:
        asyncio.run(bounded())
    except UnsupportedError as error:
        if backend.is_complete:
            raise
        pytest.skip(str(error))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)
