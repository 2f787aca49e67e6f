"""Holders that nothing can reach in time, since they block or are paused: each resource stops them by their token."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from ports import Ports

import zkcore
import zkcore.sync
from zkcore.errors import LeaseLostError, MultiError, StaleTokenError
from zkcore.sync.port import run as run_blocking
from zkcore.testing.app_world import AppWorld
from zkcore.tree.requests import SetData


class Account:
    """What a lock protects: an amount in this process, in a database and in the tree, each with a guard of its own."""

    def __init__(self, folder: Path) -> None:
        self._guard = zkcore.sync.FenceGuard()
        self._file = folder / "account.db"
        self._here = 0
        with closing(sqlite3.connect(self._file)) as database, database:
            database.execute("CREATE TABLE account (amount INTEGER)")
            database.execute("INSERT INTO account VALUES (0)")

    def set_here(self, token: int, amount: int) -> None:
        self._guard.write(token, lambda: setattr(self, "_here", amount))

    def set_in_database(self, token: int, amount: int) -> None:
        with closing(sqlite3.connect(self._file)) as database, database:
            zkcore.FenceGuard(zkcore.SqliteTokens(database, "account")).check(token)
            database.execute("UPDATE account SET amount = ?", (amount,))

    async def set_in_tree(self, port: zkcore.Port, lease: zkcore.Lease, amount: int) -> None:
        await port.request(zkcore.FenceGuard.transaction(lease, [SetData("/account", b"%d" % amount)]))

    async def set_everywhere(self, port: zkcore.Port, lease: zkcore.Lease, amount: int) -> None:
        self.set_here(lease.fencing_token, amount)
        self.set_in_database(lease.fencing_token, amount)
        await self.set_in_tree(port, lease, amount)

    def check_refuses(self, token: int) -> None:
        """Of a holder of the past, whatever it does not have to ask the ensemble for."""
        for write in (self.set_here, self.set_in_database):
            with pytest.raises(StaleTokenError, match="of the past"):
                write(token, 666)

    async def amounts(self, port: zkcore.Port) -> list[int]:
        with closing(sqlite3.connect(self._file)) as database:
            ((stored,),) = database.execute("SELECT amount FROM account").fetchall()
        return [self._here, stored, int((await port.request(zkcore.tree.requests.GetData("/account"))).data)]


def test_a_body_that_never_yields_while_its_lease_passes_is_refused_by_every_resource(tmp_path: Path) -> None:
    """It blocks the event loop of its member, whose heartbeats stop with it; the others give the lock to the next."""
    ports = Ports()
    members = {me: ports.take() for me in (1, 2, 3)}
    account = Account(tmp_path)
    taken = threading.Event()
    leases: list[zkcore.Lease] = []

    def config(me: int) -> zkcore.NodeConfig:
        secret = zkcore.SharedSecret(b"known to all members")
        return zkcore.NodeConfig(me=me, members=members, security=secret, storage=zkcore.MemoryStorage())

    async def block(take: Callable[[], None]) -> None:
        async with zkcore.start_node(config(1)) as node, node.client(timeout=0.5) as zk:
            await zk.create("/account")
            async with zkcore.Lock(zk, "/lock") as lease:
                await account.set_everywhere(zk.port, lease, 1)
                leases.append(lease)
                threading.Thread(target=take, daemon=True).start()
                assert taken.wait(30), "nobody else got the lock"
                account.check_refuses(lease.fencing_token)

    with ExitStack() as stack:
        stack.callback(ports.close)
        others = [stack.enter_context(zkcore.sync.start_node(config(me))) for me in (2, 3)]

        def take() -> None:
            with others[0].client() as zk, zkcore.sync.Lock(zk, "/lock") as lease:
                run_blocking(account.set_everywhere(zk.unblocked.port, lease.unblocked, 2))
                taken.set()

        with pytest.raises(LeaseLostError):
            asyncio.run(block(take))
        with others[0].client() as zk:
            port = zk.unblocked.port
            with pytest.raises(MultiError) as refused:
                run_blocking(account.set_in_tree(port, leases[0], 666))
            assert refused.value.index == 0
            assert run_blocking(account.amounts(port)) == [2, 2, 2]


def test_a_holder_that_was_paused_while_its_lease_passed_is_refused_by_every_resource(tmp_path: Path) -> None:
    account = Account(tmp_path)
    begun: list[zkcore.Lease] = []
    refused: list[str] = []

    async def story(world: AppWorld) -> None:
        async def sleepy() -> None:
            heedless = zkcore.OnLost.NOTHING
            async with (
                world.client(timeout=30) as lasting,  # its writes travel by a session that outlives the pause
                world.client(timeout=2) as zk,
                zkcore.Lock(zk, "/lock").hold(on_lost=heedless) as lease,
            ):
                await lasting.create("/account")
                await account.set_everywhere(lasting.port, lease, 1)
                begun.append(lease)
                await asyncio.sleep(1)  # and here it is paused
                account.check_refuses(lease.fencing_token)
                with pytest.raises(MultiError):
                    await account.set_in_tree(lasting.port, lease, 666)
                refused.append(f"lost: {lease.is_lost()}")

        async with world.client() as zk:
            world.app("sleepy").spawn(sleepy)
            await world.eventually("it has written", lambda: begun, within=5)
            world.pause("sleepy")
            async with zkcore.Lock(zk, "/lock") as lease:
                await account.set_everywhere(zk.port, lease, 2)
            world.resume("sleepy")
            await world.sleep(10)
            assert await account.amounts(zk.port) == [2, 2, 2]

    world = AppWorld(1)
    world.run(story, world)
    assert refused == ["lost: True"]
