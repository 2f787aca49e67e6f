"""Three members, each with a directory of its own; one of them is damaged while they sleep.

The damaged member says what it has lost, does not vote, and is made whole by the others.

prints::

    50 znodes in the first life
    member 1 has lost records after 0x1_000000...
    member 1 is whole again, and has 50 znodes
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import zkcore
from zkcore.zxid import format_zxid

MEMBERS = (1, 2, 3)


@asynccontextmanager
async def ensemble(folder: Path, *, new: bool = False) -> AsyncIterator[dict[int, zkcore.Node]]:
    network, config = zkcore.LocalNetwork(), zkcore.EnsembleConfig(list(MEMBERS))
    async with AsyncExitStack() as stack:
        nodes = {}
        for me in MEMBERS:
            storage = zkcore.FileStorage(folder / str(me), node=me, cluster="example", new=new)
            stack.callback(storage.close)
            for harm in storage.harms:
                print(f"member {me} has lost records after {format_zxid(harm.after)}")
            node = zkcore.Node(me, config, storage=storage, transport=partial(network.attach, me))
            nodes[me] = await stack.enter_async_context(node)
        yield nodes


async def first_life(folder: Path) -> None:
    async with ensemble(folder, new=True) as nodes, nodes[1].client() as zk:
        await asyncio.gather(*(zk.create(f"/{number}") for number in range(50)))
        print(len(await zk.get_children("/")) - 1, "znodes in the first life")


def damage(folder: Path) -> None:
    """Turn a bit over in the middle of what the member has in its log."""
    segment = next(folder.glob("log-*"))
    content = bytearray(segment.read_bytes())
    content[len(content.rstrip(b"\0")) // 2] ^= 1
    segment.write_bytes(content)


async def second_life(folder: Path) -> None:
    async with ensemble(folder) as nodes:
        while nodes[1].status().damage is not None:
            await asyncio.sleep(0.05)
        async with nodes[1].client() as zk:
            await zk.sync()
            print("member 1 is whole again, and has", len(await zk.get_children("/")) - 1, "znodes")


with tempfile.TemporaryDirectory() as name:
    asyncio.run(first_life(Path(name)))
    damage(Path(name) / "1")
    asyncio.run(second_life(Path(name)))
