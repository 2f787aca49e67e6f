"""A process with one member of an ensemble and clients on it that write down what they do; for the tests here.

    python member.py CONFIG LOG

CONFIG is JSON; to LOG are appended lines of JSON, each before or after what it tells, so that they outlive the process:

    {"leads": bool, "looks": bool, "at": t}          this member leads or not, and knows a leader or not
    {"full": bool}                                   its disk is full, or no longer
    {"call": n, "at": t, "key": k, "do": [...]}      a client makes a call ...
    {"returned": n, "at": t, "result": r}            ... and has its answer; without one nobody knows
    {"acked": path, "at": t}                         the znode was created
    {"quiet": true}                                  the clients have ended, and with them all that they asked for
    {"found": [path ...]}                            that is what there is below /acked at the end
    {"voters": [n ...], "members": w, "version": v, "at": t}  these vote from now on, as far as this member knows

Times are of the system's monotonic clock, the same in all processes of a machine. A line on the standard input ends the
load, and another asks for what is found: once all members are quiet; a byte above 0x80 asks for the removal of the
member whose number is in the rest of it. SIGTERM ends it all gracefully.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import random
import signal
import sys
import time
from typing import Any

import zkcore
from zkcore.events import ConfigurationActivated, NodeEvent, RoleChanged
from zkcore.zab.messages import Role

CLUSTER = "processes"

SLOT_SECONDS = 2
"""For so long all clients of all members use the same znode, and then the next."""

SESSION_SECONDS = 4.0

_CALLS = {"create": 1, "read": 4, "write": 3, "compare": 3}
"""What a client does, and how often."""


class Member:
    """The node, its log, and its load."""

    def __init__(self, settings: dict[str, Any], log: str) -> None:
        members = {int(me): address for me, address in settings["members"].items()}
        if "join" in settings:
            where: dict[str, Any] = {"join": settings["join"], "address": members[settings["me"]], "promote": True}
        else:
            where = {"members": members}
        data_dir, new = settings["data_dir"], settings["new"]
        self.storage: zkcore.FileStorage | None = None
        if settings["small"]:  # so that it needs room again soon
            self.storage = zkcore.FileStorage(
                data_dir, node=settings["me"], cluster=CLUSTER, ensemble=zkcore.EnsembleConfig(members), new=new,
                segment_bytes=1 << 14,
            )  # fmt: skip
        self.node = zkcore.start_node(
            zkcore.NodeConfig(
                me=settings["me"], **where, security=zkcore.SharedSecret(settings["secret"].encode()),
                cluster=CLUSTER, storage=self.storage, data_dir=None if self.storage else data_dir,
                new=new and not self.storage, snapshot_every=1000 if self.storage else 100_000,
            )
        )  # fmt: skip
        self.node.events.subscribe(self.on_event)
        self.pause: float = settings["pause"]
        self.log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self.name = f"{settings['me']}.{settings['life']}"
        self.numbers = itertools.count()
        self.rng = random.Random(f"{settings['seed']} {self.name}")

    def tell(self, **what: object) -> None:
        os.write(self.log, json.dumps(what).encode() + b"\n")

    def on_event(self, event: NodeEvent) -> None:
        if isinstance(event, ConfigurationActivated):
            config = event.config
            self.tell(voters=config.voters, members=str(config), version=event.version, at=time.monotonic_ns())
        if isinstance(event, RoleChanged):
            self.tell(
                leads=event.established and event.leader == event.node, looks=event.role is Role.LOOKING,
                at=time.monotonic_ns(),
            )  # fmt: skip

    # --- load

    async def load(self, work: Any) -> None:
        """Call `work(client)` again and again; with another client when the session has ended."""
        while True:
            try:
                async with self.node.client(timeout=SESSION_SECONDS) as zk:
                    while True:
                        try:
                            await work(zk)
                        except zkcore.OutcomeUnknownError:
                            pass
                        await asyncio.sleep(self.pause)
            except zkcore.SessionError:
                pass

    async def use_register(self, zk: zkcore.Client) -> None:
        key = f"/register-{int(time.monotonic() // SLOT_SECONDS)}"
        kind = self.rng.choices(list(_CALLS), list(_CALLS.values()))[0]
        value = f"{self.name}-{next(self.numbers)}"
        if kind == "create":
            await self.call(key, ["create", value], zk.create(key, value.encode()))
        elif kind == "read":
            await self.call(key, ["read"], zk.get(key, read=zkcore.Read.LINEARIZABLE))
        elif kind == "write":
            await self.call(key, ["write", value, None], zk.set(key, value.encode()))
        else:
            stat = await zk.exists(key)
            version = stat.version if stat is not None else 0
            await self.call(key, ["write", value, version], zk.set(key, value.encode(), version=version))

    async def call(self, key: str, do: list[Any], doing: Any) -> None:
        number = f"{self.name}-{next(self.numbers)}"
        self.tell(call=number, at=time.monotonic_ns(), key=key, do=do)
        try:
            answer = await doing
        except zkcore.NodeExistsError:
            result: Any = "EXISTS"
        except zkcore.NoNodeError:
            result = "MISSING"
        except zkcore.BadVersionError:
            result = "VERSION"
        except zkcore.SessionError:
            self.tell(returned=number, at=time.monotonic_ns(), result="NOT DONE")
            raise
        else:
            result = _plain(answer)
        self.tell(returned=number, at=time.monotonic_ns(), result=result)

    async def create(self, zk: zkcore.Client) -> None:
        path = f"/acked/{self.name}-{next(self.numbers)}"
        await zk.create(path, makepath=True)
        self.tell(acked=path, at=time.monotonic_ns())

    # --- life

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        ended, asked = asyncio.Event(), asyncio.Queue[bytes]()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        loop.add_reader(0, lambda: self.on_input(os.read(0, 1), asked))
        async with self.node:
            load = [asyncio.create_task(self.load(work)) for work in (self.use_register, self.create, self.create)]
            more = [asyncio.create_task(self.check(asked, load)), asyncio.create_task(self.watch_disk())]
            await ended.wait()
            for task in (*load, *more):
                task.cancel()
            await asyncio.gather(*load, *more, return_exceptions=True)
        if self.storage is not None:
            self.storage.close()

    def on_input(self, byte: bytes, asked: asyncio.Queue[bytes]) -> None:
        if byte >= b"\x80":
            self.removing = asyncio.create_task(self.node.remove(byte[0] - 0x80))
        else:
            asked.put_nowait(byte)

    async def watch_disk(self) -> None:
        full = False
        while True:
            await asyncio.sleep(0.05)
            if self.node.node.host.read_only != full:
                full = not full
                self.tell(full=full)

    async def check(self, asked: asyncio.Queue[bytes], load: list[asyncio.Task[None]]) -> None:
        await asked.get()
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
        self.tell(quiet=True)
        await asked.get()
        async with self.node.client() as zk:
            await zk.sync()
            found = await zk.get_children("/acked")
        self.tell(found=sorted(f"/acked/{name}" for name in found))


def _plain(answer: Any) -> Any:
    if isinstance(answer, str):
        return 0
    if isinstance(answer, zkcore.NodeData):
        return [answer.data.decode(), answer.stat.version]
    return answer.version


if __name__ == "__main__":
    logging.basicConfig(
        filename=f"{sys.argv[2]}.txt", level=logging.INFO, format="%(asctime)s.%(msecs)03d %(message)s"
    )
    asyncio.run(Member(json.loads(sys.argv[1]), sys.argv[2]).live())
