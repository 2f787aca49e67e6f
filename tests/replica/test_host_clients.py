"""What a host tells a client, and that it tells one that has gone nothing more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from zkcore.errors import ZkcoreError
from zkcore.replica.host import Host
from zkcore.replica.replica import Replica
from zkcore.storage.storage import MemoryStorage
from zkcore.transport.transport import LocalNetwork
from zkcore.tree.requests import Create, Exists
from zkcore.tree.watch_requests import Missed
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Write
from zkcore.zxid import Zxid

PASSWORD = bytes(16)


class GatedStorage(MemoryStorage):
    """Saves, while the gate is closed, do not return."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.saving = threading.Event()

    def save(self, writes: Sequence[Write]) -> None:
        self.saving.set()
        assert self.gate.wait(10)
        super().save(writes)


class Client:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.session = 0
        self.told: list[object] = []

    def on_opened(self, session: int) -> None:
        self.session = session

    def on_replied(self, result: object, error: ZkcoreError | None, zxid: Zxid) -> None:
        self.told.append(result if error is None else error)

    def on_watch(self, event: Missed) -> None:
        self.told.append(event)

    def on_touched(self, token: int, alive: bool) -> None:
        self.told.append(alive)

    def on_attached(self) -> None:
        self.told.append("attached")

    def on_detached(self, why: str) -> None:
        self.told.append(why)

    def on_ended(self) -> None:
        self.told.append("ended")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_who_has_left_while_a_save_lasts_is_told_nothing_more() -> None:
    async def main() -> None:
        storage, network, client, later = GatedStorage(), LocalNetwork(), Client(), Client()
        replica = Replica(1, EnsembleConfig([1]), storage)
        host = Host(replica, lambda inbox: network.attach(1, inbox), save_on_thread=True)
        host.start()
        await until(lambda: replica.serving)
        host.open(client, 10_000, password=PASSWORD)
        await until(lambda: client.told)
        host.submit(client.session, Exists("/a", watch=True))
        await until(lambda: len(client.told) == 2)
        storage.saving.clear()
        storage.gate.clear()
        host.submit(client.session, Create("/a"))
        await asyncio.to_thread(storage.saving.wait, 10)
        host.detach(client.session)
        host.attach(later, client.session, password=PASSWORD, last_zxid=0, next_xid=9)
        storage.gate.set()
        await until(lambda: "attached" in later.told)
        assert client.told == [None, None]
        assert later.told == ["attached"]
        host.stop()
        await host.wait_saved()

    asyncio.run(main())


def test_who_shows_a_wrong_password_is_turned_away_and_the_client_that_is_there_stays() -> None:
    async def main() -> None:
        network, client, thief = LocalNetwork(), Client(), Client()
        replica = Replica(1, EnsembleConfig([1]), MemoryStorage())
        host = Host(replica, lambda inbox: network.attach(1, inbox))
        host.start()
        await until(lambda: replica.serving)
        host.open(client, 10_000, password=PASSWORD)
        await until(lambda: client.told)
        host.attach(thief, client.session, password=b"0" * 16, last_zxid=0, next_xid=9)
        await until(lambda: thief.told)
        assert thief.told == [f"the password is not that of session {client.session:#x}"]
        host.submit(client.session, Create("/a"))
        await until(lambda: len(client.told) == 2)
        host.stop()

    asyncio.run(main())
