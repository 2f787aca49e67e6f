"""Three processes of one small web application, each with a member of one ensemble in it, and no server.

Any of them takes orders over HTTP and puts them into a queue that they share, and each of them works on it. They share
a price, too: who is told a new one tells the others. One of them is elected to be the scheduler; every hour, which is
short here, it puts a bill into the queue. The scheduler is killed with kill -9. Another goes on where it stopped, no
hour and no order is left out, and what was killed comes back with the data it has on disk. Here all of them are on one
machine. On three, each has an address of its own, and certificates (`zkcore.Tls`) tell the members apart. It prints::

    all three answer
    process 1 was told a price of 12, and all three know it
    one of three is the scheduler
    it is killed with kill -9
    another is the scheduler, and its token is higher: True
    the ten orders were done, and no hour is without a bill
    the one that was killed is back, and knows the price of 12
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import zkcore

HOUR_SECONDS = 0.02
SESSION_SECONDS = 2.0
"""For so long a process may be silent before the others go on without it."""


# --- the application, in each of the processes ------------------------------------------------------------------------


async def application(me: int, members: dict[int, str], web: str, folder: str, *, new: bool) -> None:
    config = zkcore.NodeConfig(
        me=me,
        members=members,  # the same for all, as all that follows
        cluster="shop",
        security=zkcore.SharedSecret(b"in production: secrets.token_hex()"),
        data_dir=f"{folder}/{me}",
        new=new,  # only at the very first start
    )
    async with zkcore.start_node(config) as node:
        while True:
            try:
                async with node.client(timeout=SESSION_SECONDS) as zk:
                    await Shop(me, zk).run(web)
            except* (zkcore.SessionError, zkcore.OutcomeUnknownError, zkcore.LeaseLostError):
                pass  # a process that gets no time for so long is as good as dead to the others; it begins anew


class Shop:
    """What one process does, as long as its session lasts."""

    def __init__(self, me: int, zk: zkcore.Client) -> None:
        self.me = me
        self.zk = zk
        self.jobs = zkcore.Queue(zk, "/jobs", codec=zkcore.json_codec)
        self.price = zkcore.Config(zk, "/price", codec=zkcore.json_codec)
        self.hour = zkcore.Config(zk, "/hour", codec=zkcore.json_codec)
        self.election = zkcore.Election(zk, "/scheduler", identifier=str(me))
        self.token = 0

    async def run(self, web: str) -> None:
        await self.zk.ensure_path("/done")
        await self.zk.sync()
        host, _, port = web.rpartition(":")
        async with await asyncio.start_server(self.answer, host, int(port)), asyncio.TaskGroup() as tasks:
            tasks.create_task(self.schedule())
            tasks.create_task(self.work())

    async def schedule(self) -> None:
        """Be the scheduler, once it is this one's turn."""
        async with self.election.lead() as term:
            self.token = term.fencing_token
            while True:
                hour = await value_of(self.hour)
                await self.jobs.put(f"bill-{hour}")
                await self.hour.set(hour + 1)  # killed before this, it bills the hour again, which does no harm
                await asyncio.sleep(HOUR_SECONDS)
                term.check()

    async def work(self) -> None:
        while True:
            async with self.jobs.claim() as claim:  # killed in the middle, it leaves the job to the others
                await self.zk.create(f"/done/{claim.item}", exist_ok=True)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request over HTTP."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.decode().split(" ", 2)
            status, said = "200 OK", await self.do(method, *path.strip("/").split("/"))
        except (zkcore.ZkcoreError, asyncio.IncompleteReadError, ValueError) as error:
            status, said = "503 Service Unavailable", {"error": str(error)}
        body = json.dumps(said).encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async def do(self, method: str, what: str, name: str = "") -> Any:
        match method, what:
            case "POST", "orders":
                await self.jobs.put(f"order-{name}")
            case "PUT", "price":
                await self.price.set(int(name))
            case "GET", "done":
                return await self.zk.get_children("/done")
        price, hour = await value_of(self.price), await value_of(self.hour)
        return {"process": self.me, "price": price, "hour": hour, "token": self.token}


async def value_of(config: zkcore.Config[int]) -> int:
    try:
        return (await config.get()).value
    except zkcore.NoNodeError:
        return 0  # nothing was said yet


# --- whoever starts, asks and kills them ------------------------------------------------------------------------------


class Processes:
    """Three processes, and what they say."""

    def __init__(self, stack: ExitStack) -> None:
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.members = {me: free_address(stack) for me in (1, 2, 3)}
        self.web = {me: free_address(stack) for me in (1, 2, 3)}
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        stack.callback(lambda: [self.kill(me) for me in list(self.running)])

    def start(self, me: int, *, new: bool) -> None:
        settings = {"me": me, "members": self.members, "web": self.web[me], "folder": self.folder, "new": new}
        self.running[me] = subprocess.Popen([sys.executable, __file__, json.dumps(settings)])

    def kill(self, me: int) -> None:
        process = self.running.pop(me)
        process.kill()  # as kill -9
        process.wait()

    def ask(self, me: int, method: str = "GET", path: str = "/") -> Any:
        """What process `me` answers, as soon as it does."""
        while True:
            connection = http.client.HTTPConnection(self.web[me])
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                said = json.load(answer)
                if answer.status == 200:
                    return said
            except (OSError, http.client.HTTPException):
                pass  # it is not there, yet
            finally:
                connection.close()
            time.sleep(0.02)

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first answer of anybody of which `condition` holds."""
        while True:
            for me in list(self.running):
                said: dict[str, Any] = self.ask(me)
                if condition(said):
                    return said
            time.sleep(0.02)


def free_address(stack: ExitStack) -> str:
    """An address that is kept for whoever asks to share it, as members do."""
    kept = stack.enter_context(socket.socket())
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{kept.getsockname()[1]}"


def main() -> None:
    with ExitStack() as stack:
        shop = Processes(stack)
        for me in shop.members:
            shop.start(me, new=True)
        if sorted(shop.ask(me)["process"] for me in shop.members) == [1, 2, 3]:
            print("all three answer")
        shop.ask(1, "PUT", "/price/12")
        for me in shop.members:
            while shop.ask(me)["price"] != 12:
                time.sleep(0.02)
        print("process 1 was told a price of 12, and all three know it")

        for order in range(5):
            shop.ask(order % 3 + 1, "POST", f"/orders/{order}")
        first = shop.wait_for(lambda said: said["token"] > 0 and said["hour"] > 5)
        print("one of three is the scheduler")
        shop.kill(first["process"])
        print("it is killed with kill -9")
        left = list(shop.running)
        for order in range(5, 10):
            shop.ask(left[order % 2], "POST", f"/orders/{order}")
        second = shop.wait_for(lambda said: said["token"] > 0 and said["hour"] > first["hour"])
        print("another is the scheduler, and its token is higher:", second["token"] > first["token"])

        orders, hours = {f"order-{order}" for order in range(10)}, range(second["hour"])
        jobs = orders | {f"bill-{hour}" for hour in hours}
        while not jobs <= set(shop.ask(left[0], path="/done")):
            time.sleep(0.02)  # the one that was killed had claimed some, which another has to take over
        print("the ten orders were done, and no hour is without a bill")

        shop.start(first["process"], new=False)
        print("the one that was killed is back, and knows the price of", shop.ask(first["process"])["price"])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        settings: dict[str, Any] = json.loads(sys.argv[1])
        settings["members"] = {int(me): address for me, address in settings["members"].items()}
        logging.getLogger("zkcore").setLevel(logging.ERROR)  # that others are down is a warning, and here no surprise
        asyncio.run(application(**settings))
    else:
        main()
