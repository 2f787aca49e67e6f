"""A process with one member of an ensemble and clients on it that write down what they do; for the tests here.

    python member.py CONFIG LOG

CONFIG is JSON; to LOG are appended lines of JSON, each before or after what it tells, so that they outlive the process:

    {"leads": bool}                                  this member leads, or does no longer
    {"call": n, "at": t, "key": k, "do": [...]}      a client makes a call ...
    {"returned": n, "at": t, "result": r}            ... and has its answer; without one nobody knows
    {"acked": path}                                  the znode was created
    {"found": [path ...]}                            that is what there is below /acked at the end

Times are of the system's monotonic clock, the same in all processes of a machine. A line on the standard input ends the
load, and asks for what is found. SIGTERM ends it all gracefully.
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
from zkcore.replica.host import Host
from zkcore.zab.ready import Event, RoleChanged

SLOT_SECONDS = 2
"""For so long all clients of all members use the same znode, and then the next."""

SESSION_SECONDS = 4.0

_CALLS = {"create": 1, "read": 4, "write": 3, "compare": 3}
"""What a client does, and how often."""


class Member:
    """The node, its log, and its load."""

    def __init__(self, settings: dict[str, Any], log: str) -> None:
        members = {int(me): address for me, address in settings["members"].items()}
        self.node = zkcore.start_node(
            zkcore.NodeConfig(
                me=settings["me"], members=members, security=zkcore.SharedSecret(settings["secret"].encode()),
                data_dir=settings["data_dir"], new=settings["new"], cluster="processes",
            )
        )  # fmt: skip
        self.node.add_listener(self.on_event)
        self.log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self.name = f"{settings['me']}.{settings['life']}"
        self.numbers = itertools.count()
        self.rng = random.Random(f"{settings['seed']} {self.name}")

    def tell(self, **what: object) -> None:
        os.write(self.log, json.dumps(what).encode() + b"\n")

    def on_event(self, host: Host, event: Event) -> None:
        if isinstance(event, RoleChanged):
            self.tell(leads=event.established and event.leader == host.replica.me)

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
        self.tell(acked=path)

    # --- life

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        asked, ended = asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        loop.add_reader(0, lambda: os.read(0, 100) and asked.set())
        async with self.node:
            load = [asyncio.create_task(self.load(work)) for work in (self.use_register, self.create, self.create)]
            checks = asyncio.create_task(self.check(asked, load))
            await ended.wait()
            for task in (*load, checks):
                task.cancel()
            await asyncio.gather(*load, checks, return_exceptions=True)

    async def check(self, asked: asyncio.Event, load: list[asyncio.Task[None]]) -> None:
        await asked.wait()
        for task in load:
            task.cancel()
        await asyncio.gather(*load, return_exceptions=True)
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
