"""Members over TCP lose their quorum for good, and one of them begins a new ensemble, in which the old are nobody."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from ports import Ports

import zkcore
from zkcore.events import LinkRefused, NodeEvent
from zkcore.replica.recovery import EPOCHS_SKIPPED

SECRET = zkcore.SharedSecret(b"known to all members")
QUICK = zkcore.LinkLimits(redial_seconds=0.01, redial_most_seconds=0.05)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(bounded())


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes that nobody writes to need not be reserved here."""
    real = zkcore.FileStorage.__init__

    def small(self: zkcore.FileStorage, directory: Any, **options: Any) -> None:
        real(self, directory, **{"segment_bytes": 1 << 14, **options})

    monkeypatch.setattr(zkcore.FileStorage, "__init__", small)


def test_the_others_join_the_recovered_one_with_empty_directories(tmp_path: Path) -> None:
    ports = Ports()
    at = {me: ports.take() for me in (1, 2, 3)}

    def node(me: int, **other: Any) -> zkcore.TcpNode:
        values = {"security": SECRET, "data_dir": tmp_path / str(me), "links": QUICK, **other}
        return zkcore.start_node(zkcore.NodeConfig(me=me, **values))

    async def main() -> None:
        old = {"members": at, "cluster": "orders", "new": True}
        async with node(1, **old) as one, node(2, **old), node(3, **old), one.client() as zk:
            await zk.create("/kept", b"17")
            await zk.sync()
        for lost in ("2", "3"):
            shutil.rmtree(tmp_path / lost)
        await asyncio.to_thread(zkcore.recover, [tmp_path / "1"], cluster="orders-2", force=True, address=at[1])
        new = {"join": at[1], "cluster": "orders-2", "new": True, "promote": True}
        # What it is told of its members does not count any more: its log says that it is alone.
        async with (
            node(1, members=at, cluster="orders-2") as first,
            node(2, address=at[2], **new) as second,
            node(3, address=at[3], **new) as third,
        ):
            while third.members().config.voters != (1, 2, 3):
                await asyncio.sleep(0.005)
            assert dict(third.members().addresses) == at
            await first.stop()
            async with second.client() as zk:
                assert (await zk.get("/kept")).data == b"17"
                await zk.set("/kept", b"18")

    run(main)
    ports.close()


def test_a_survivor_serves_what_it_had_and_an_old_member_that_comes_back_is_refused(tmp_path: Path) -> None:
    ports = Ports()
    members = {me: ports.take() for me in (1, 2, 3)}

    def node(me: int, **other: Any) -> zkcore.TcpNode:
        values = {"members": members, "security": SECRET, "data_dir": tmp_path / str(me), "cluster": "orders", **other}
        return zkcore.start_node(zkcore.NodeConfig(me=me, **values))

    async def before() -> int:
        async with node(1, new=True) as one, node(2, new=True), node(3, new=True), one.client() as zk:
            await zk.create("/kept", b"17")
            await zk.sync()
            return (await zk.get("/kept")).stat.czxid

    async def after(token: int) -> None:
        told: list[NodeEvent] = []
        alone, old = node(1, members={1: members[1]}, cluster="orders-2"), node(2)
        alone.events.subscribe(told.append)
        async with alone, alone.client() as zk:
            assert (await zk.get("/kept")).data == b"17"
            assert (await zk.get(await zk.create("/new"))).stat.czxid > token + (EPOCHS_SKIPPED << 32)
            async with old:  # it has its disk, and believes that there is a quorum somewhere
                while not any(isinstance(event, LinkRefused) for event in told):
                    await asyncio.sleep(0.005)
                assert not old.is_ready()
            refused = next(event for event in told if isinstance(event, LinkRefused))
            assert "orders" in refused.why
            await zk.set("/kept", b"18")

    async def main() -> None:
        token = await before()
        shutil.rmtree(tmp_path / "3")
        await asyncio.to_thread(zkcore.recover, [tmp_path / "1"], cluster="orders-2", force=True, address=members[1])
        await after(token)
        with pytest.raises(zkcore.StorageError, match="is of another ensemble: voters 2 3 are new"):
            await node(1).start()

    run(main)
    ports.close()
