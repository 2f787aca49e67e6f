"""Hosts of the real kind on asyncio's loop, for tests of what they do beside each other and beside their storages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from zkcore.client.client import Client
from zkcore.client.embedded import EmbeddedPort
from zkcore.replica.host import Host
from zkcore.replica.pump import Pump
from zkcore.replica.replica import Replica
from zkcore.storage.storage import MemoryStorage, Storage
from zkcore.transport.transport import Inbox, LocalNetwork, Transport
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Message, PeerId
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Write

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, which must come within 20 seconds."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


class GatedStorage(MemoryStorage):
    """Saves, while the gate is closed, do not return."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.saving = threading.Event()
        self.saves = 0

    def save(self, writes: Sequence[Write]) -> None:
        self.saves += 1
        self.saving.set()
        assert self.gate.wait(10)
        super().save(writes)


class Recorder:
    """A transport that keeps what was sent."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.sent: list[tuple[PeerId, Message]] = []

    def send(self, to: PeerId, message: Message) -> None:
        self.sent.append((to, message))
        self.inner.send(to, message)

    def close(self, to: PeerId) -> None:
        self.inner.close(to)


class Hosts:
    """Hosts on one loop and one network, `storages` in the order of their numbers; those of `on_thread` save there, and
    those of `apart` have a pump of their own, as in another process."""

    def __init__(
        self,
        *storages: Storage,
        on_thread: Sequence[PeerId] = (),
        apart: Sequence[PeerId] = (),
        snapshot_every: int = 1000,
        limits: Limits | None = None,
    ) -> None:
        self.config = EnsembleConfig(range(1, len(storages) + 1))
        self.network = LocalNetwork()
        self.pump = Pump()
        self.recorders: dict[PeerId, Recorder] = {}
        self.hosts: dict[PeerId, Host] = {}
        for me, storage in enumerate(storages, 1):
            self.hosts[me] = Host(
                Replica(me, self.config, storage, limits=limits if limits is not None else Limits(deliver_bytes=300)),
                self._connector(me),
                pump=Pump() if me in apart else self.pump,
                save_on_thread=me in on_thread,
                snapshot_every=snapshot_every,
            )
        self.ports: list[EmbeddedPort] = []

    def _connector(self, me: PeerId) -> Callable[[Inbox], Transport]:
        def connect(inbox: Inbox) -> Transport:
            self.recorders[me] = Recorder(self.network.attach(me, inbox))
            return self.recorders[me]

        return connect

    def serving(self) -> bool:
        return all(host.running and host.replica.serving for host in self.hosts.values())

    @property
    def leader(self) -> PeerId:
        return next(me for me, host in self.hosts.items() if host.replica.leader == me)

    async def client(self, *at: PeerId, timeout: float = 5.0) -> Client:
        port = EmbeddedPort(lambda: [self.hosts[me] for me in at or self.hosts], timeout=timeout)
        self.ports.append(port)
        await port.start()
        return Client(port)

    def stop(self, me: PeerId) -> None:
        self.network.detach(me)
        self.hosts[me].stop()

    async def __aenter__(self) -> Hosts:
        for host in self.hosts.values():
            host.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for port in self.ports:
            port.abandon()
        for me in self.hosts:
            self.stop(me)
