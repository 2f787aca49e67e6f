"""Members of an ensemble, each in a process of its own, with the load inside: zkcore's nodes with clients on them, and
PySyncObj's objects.

A member is told what to do over a pipe, and answers there when it is done. What both have is `role` and the loads
`pipelined`, `awaited`, `reads` and `write_on`; what is measured are operations and seconds, and who asks adds the CPU
of all processes.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Self

from inprocess import Divergences, Result, free_ports
from servers import cpu_seconds

import zkcore

__all__ = ["Members", "pysyncobj_member", "zkcore_member"]

_PATIENCE_SECONDS = 60.0
_READS_AT_ONCE = 200
PATH = "/bench"

MemberMain = Callable[..., None]
"""What the process of a member runs: given the pipe, its number, the addresses of all, a directory of its own, whether
this is its first life, and options."""


class Members:
    """Three members, as a context manager; inside it there is a leader, and all serve."""

    def __init__(self, main: MemberMain, **options: Any) -> None:
        self._main = main
        self._options = options
        self._processes: dict[int, SpawnProcess] = {}
        self._pipes: dict[int, Connection] = {}

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="zkcore-bench-", ignore_cleanup_errors=True)
        self._addresses = {me: f"127.0.0.1:{port}" for me, port in enumerate(free_ports(3), 1)}
        try:
            for me in self._addresses:
                self.start(me, new=True)
            self.wait_until_all_serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for me in list(self._processes):
            self.kill(me)
        self._directory.cleanup()

    def start(self, me: int, *, new: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes[me], theirs = context.Pipe()
        folder = str(Path(self._directory.name) / str(me))
        self._processes[me] = context.Process(
            target=self._main, args=(theirs, me, self._addresses, folder, new, self._options), daemon=True
        )
        self._processes[me].start()
        theirs.close()

    def kill(self, me: int) -> None:
        """At once, as by kill -9."""
        process = self._processes.pop(me)
        process.kill()
        process.join()
        self._pipes.pop(me).close()

    def wait_until_all_serve(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not all(roles := self._roles()) or "leader" not in roles:
            if time.monotonic() > deadline:
                raise TimeoutError("the members found no leader")
            time.sleep(0.05)

    def _roles(self) -> list[str]:
        return [self.ask(me, "role") for me in self._processes]

    @property
    def leader(self) -> int:
        return list(self._processes)[self._roles().index("leader")]

    @property
    def followers(self) -> list[int]:
        leader = self.leader
        return [me for me in self._processes if me != leader]

    # --- what they do

    def ask(self, me: int, what: str, *arguments: Any) -> Any:
        self.tell(me, what, *arguments)
        return self.hear(me)

    def tell(self, me: int, what: str, *arguments: Any) -> None:
        self._pipes[me].send((what, *arguments))

    def hear(self, me: int) -> Any:
        """What it says next. Raises EOFError where it has ended."""
        return self._pipes[me].recv()

    def measure(self, what: str, *arguments: Any) -> Result:
        """What the leader is to do, with the CPU of all."""
        self.wait_until_all_serve()
        leader = self.leader
        cpu = self._cpu()
        operations, seconds, latencies = self.ask(leader, what, *arguments)
        return Result(operations, seconds, self._cpu() - cpu, latencies)

    def _cpu(self) -> float:
        return cpu_seconds(process.pid for process in self._processes.values() if process.pid is not None)


Measured = tuple[int, float, tuple[float, ...]]
"""Operations, seconds, and how long each took where that was measured."""


# --- zkcore ----------------------------------------------------------------------------------------------------------


def zkcore_member(
    pipe: Connection, me: int, addresses: dict[int, str], folder: str, new: bool, options: dict[str, Any]
) -> None:
    """A durable node that is linked over TCP; every save is synced before anything is said of it."""
    logging.getLogger("zkcore").setLevel(logging.ERROR)  # that one of them is killed is no news
    config = zkcore.NodeConfig(
        me=me, members=addresses, security=zkcore.Plaintext(), data_dir=folder, new=new, cluster="benchmark", **options
    )
    asyncio.run(_ZkcoreMember(pipe).run(config))


class _ZkcoreMember:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def run(self, config: zkcore.NodeConfig) -> None:
        self._node = zkcore.start_node(config)
        async with self._node, self._node.client() as self._client:
            await self._client.create(PATH, exist_ok=True)
            while True:
                try:
                    what, *arguments = await asyncio.to_thread(self._pipe.recv)
                except EOFError:
                    os._exit(0)  # whoever started it has gone
                self._pipe.send(await getattr(self, what)(*arguments))

    async def role(self) -> str:
        """"leader", "follower", or "" as long as it serves nobody."""
        status = self._node.status()
        if not status.established:
            return ""
        return "leader" if status.leader == status.me else "follower"

    async def pipelined(self, window: int, size: int, seconds: float) -> Measured:
        """So many tasks, each awaiting one set after the other."""
        client, data, clock = self._client, b"x" * size, time.perf_counter
        count = 0

        async def write() -> None:
            nonlocal count
            while clock() < end:
                try:
                    await client.set(PATH, data)
                except zkcore.OutcomeUnknownError:
                    continue  # on a machine that is busy enough a leader may lose its quorum for a moment
                count += 1

        begin = clock()
        end = begin + seconds
        await asyncio.gather(*(write() for _ in range(window)))
        return count, clock() - begin, ()

    async def awaited(self, size: int, seconds: float) -> Measured:
        client, data, clock = self._client, b"x" * size, time.perf_counter
        latencies: list[float] = []
        now = begin = clock()
        while now < begin + seconds:
            await client.set(PATH, data)
            then, now = now, clock()
            latencies.append(now - then)
        return len(latencies), now - begin, tuple(latencies)

    async def reads(self, seconds: float) -> Measured:
        client, clock = self._client, time.perf_counter
        count, begin = 0, clock()
        while clock() < begin + seconds:
            for _ in range(_READS_AT_ONCE):
                await client.get(PATH)
            count += _READS_AT_ONCE
            await asyncio.sleep(0)  # such a read never lets the event loop run
        return count, clock() - begin, ()

    async def write_on(self) -> None:
        """Write until told anything, and tell when each write was done."""
        data = b"x" * 100
        while not self._pipe.poll():
            try:
                await self._client.set(PATH, data)
            except zkcore.ZkcoreError:
                await asyncio.sleep(0.002)
            else:
                self._pipe.send(time.monotonic())
        self._pipe.recv()


# --- PySyncObj -------------------------------------------------------------------------------------------------------


def pysyncobj_member(
    pipe: Connection, me: int, addresses: dict[int, str], folder: str, new: bool, options: dict[str, Any]
) -> None:
    """A replicated dictionary, in memory."""
    member = _PySyncObjMember(pipe, me, addresses, options)
    while True:
        try:
            what, *arguments = pipe.recv()
        except EOFError:
            os._exit(0)
        pipe.send(getattr(member, what)(*arguments))


class _PySyncObjMember:
    def __init__(self, pipe: Connection, me: int, addresses: dict[int, str], options: dict[str, Any]) -> None:
        from pysyncobj import SyncObj, SyncObjConf
        from pysyncobj.batteries import ReplDict

        logging.getLogger().addHandler(Divergences())  # else they come to the terminal
        self._pipe = pipe
        self._address = addresses[me]
        self._dict = ReplDict()
        others = [address for other, address in addresses.items() if other != me]
        self._node = SyncObj(self._address, others, SyncObjConf(**options), consumers=[self._dict])

    def role(self) -> str:
        """As above."""
        leader = self._node._getLeader()
        if leader is None or not self._node.isReady():
            return ""
        return "leader" if str(leader) == self._address else "follower"

    def pipelined(self, window: int, size: int, seconds: float) -> Measured:
        slots = threading.Semaphore(window)
        data, count = b"x" * size, 0

        def on_answer(_: object, error: object) -> None:
            nonlocal count
            count += error == 0
            slots.release()

        begin = time.perf_counter()
        while time.perf_counter() < begin + seconds:
            if not slots.acquire(timeout=10):
                break  # it answers no more
            self._dict.set("key", data, callback=on_answer)
        for _ in range(window):
            if not slots.acquire(timeout=10):
                break
        return count, time.perf_counter() - begin, ()

    def awaited(self, size: int, seconds: float) -> Measured:
        data = b"x" * size
        latencies: list[float] = []
        now = begin = time.perf_counter()
        while now < begin + seconds:
            self._dict.set("key", data, sync=True, timeout=10)
            then, now = now, time.perf_counter()
            latencies.append(now - then)
        return len(latencies), now - begin, tuple(latencies)

    def reads(self, seconds: float) -> Measured:
        count, begin = 0, time.perf_counter()
        while time.perf_counter() < begin + seconds:
            for _ in range(_READS_AT_ONCE):
                self._dict.get("key")
            count += _READS_AT_ONCE
        return count, time.perf_counter() - begin, ()

    def write_on(self) -> None:
        """As above. A write that was under way when the leader died is answered by nobody: half a second is given to
        each."""
        data = b"x" * 100
        while not self._pipe.poll():
            try:
                self._dict.set("key", data, sync=True, timeout=0.5)
            except Exception:
                time.sleep(0.002)
            else:
                self._pipe.send(time.monotonic())
        self._pipe.recv()
