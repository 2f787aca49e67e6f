"""Nodes with a file storage: what was acknowledged is there in their next life, and trouble with the disk passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

import zkcore
from zkcore.replica import host
from zkcore.testing.sim_files import SimFiles

MEMBERS = (1, 2, 3)
PATIENCE_SECONDS = 30


@asynccontextmanager
async def ensemble(places: dict[int, Path | SimFiles], *, new: bool = False) -> AsyncIterator[dict[int, zkcore.Node]]:
    network, config = zkcore.LocalNetwork(), zkcore.EnsembleConfig(list(places))
    async with AsyncExitStack() as stack:
        nodes = {}
        for me, place in places.items():
            storage = zkcore.FileStorage(place, node=me, cluster="test", new=new, segment_bytes=1 << 16)
            stack.callback(storage.close)
            node = zkcore.Node(me, config, storage=storage, transport=partial(network.attach, me))
            nodes[me] = await stack.enter_async_context(node)
        yield nodes


def test_what_was_written_is_there_in_the_next_life(tmp_path: Path) -> None:
    places: dict[int, Path | SimFiles] = {me: tmp_path / str(me) for me in MEMBERS}

    async def write() -> None:
        async with ensemble(places, new=True) as nodes, nodes[1].client() as zk:
            for number in range(20):
                await zk.create(f"/{number}", b"%d" % number)

    async def read() -> None:
        async with ensemble(places) as nodes, nodes[2].client() as zk:
            for number in range(20):
                assert (await zk.get(f"/{number}")).data == b"%d" % number

    async def within(work: object) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await work  # type: ignore[misc]

    asyncio.run(within(write()))
    asyncio.run(within(read()))


async def _written(zk: zkcore.EmbeddedClient, path: str) -> None:
    """Until it is: a node that is down for a moment turns its clients away."""
    while True:
        try:
            await zk.create(path, bytes(30_000))
            return
        except zkcore.NodeExistsError:
            return
        except zkcore.ConnectionLostError:
            pass


def test_a_leader_with_a_full_disk_comes_back_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_REOPEN_SECONDS", 0.02)
    files = {me: SimFiles(str(me)) for me in MEMBERS}

    async def live() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), ensemble(dict(files), new=True) as nodes:
            async with nodes[1].client() as zk:
                await _written(zk, "/before")
            leader = next(me for me, node in nodes.items() if node.status().leader == me)
            other = next(me for me in MEMBERS if me != leader)
            files[leader].capacity_bytes = 1
            async with nodes[other].client() as zk:
                for number in range(5):
                    await _written(zk, f"/meanwhile-{number}")
                assert nodes[other].status().leader != leader
            files[leader].capacity_bytes = None
            async with nodes[leader].client() as zk:
                await _written(zk, "/after")
                assert len(await zk.get_children("/")) >= 7

    asyncio.run(live())


def test_a_node_whose_sync_failed_goes_on_with_what_is_durable() -> None:
    files = {me: SimFiles(str(me)) for me in MEMBERS}

    async def live() -> None:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            ensemble(dict(files), new=True) as nodes,
            nodes[1].client() as zk,
        ):
            await _written(zk, "/before")
            for me in MEMBERS:
                files[me].sync_fails = "once"
                await _written(zk, f"/while-{me}-fails")
            await zk.sync()
            assert {"before", *(f"while-{me}-fails" for me in MEMBERS)} <= set(await zk.get_children("/"))

    asyncio.run(live())
