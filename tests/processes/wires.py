"""What lies between the members of an ensemble, and how it is cut: one direction at a time, and nobody is told.

`Namespaces` gives every member a network stack of its own, on one bridge; a cut sends the frames of one to another to a
machine that is not there. The system must permit it. `Proxies` lets each member dial the others through a process in
between, which keeps what comes from one to another as long as that is cut: it takes no rights. What was cut is held up
rather than lost, as TCP has it, and arrives when the cut is healed, if anybody is still there to take it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Coroutine
from contextlib import ExitStack
from itertools import permutations
from typing import Any, Protocol

from ports import Ports

__all__ = ["Namespaces", "Proxies", "Wires"]


class Wires(Protocol):
    """How the members reach each other."""

    def addresses(self, me: int) -> dict[int, str]:
        """What member `me` is told of all the others, and of itself."""

    def command(self, me: int) -> list[str]:
        """What a command must begin with, so that it runs where member `me` is."""

    def cut(self, sender: int, receiver: int) -> None:
        """From now on nothing that `sender` says reaches `receiver`."""

    def heal(self) -> None:
        """Everybody reaches everybody again."""

    def close(self) -> None:
        """Nothing is left behind."""


class Proxies:
    """See the module. They run on a thread."""

    def __init__(self, count: int) -> None:
        self._ports = Ports()
        members = range(1, count + 1)
        self._members = {me: self._ports.take() for me in members}
        # Of two members the one with the larger number dials.
        self._doors = {(caller, called): self._ports.take() for caller in members for called in range(1, caller)}
        self._open = {pair: asyncio.Event() for pair in permutations(members, 2)}
        self._servers = ExitStack()
        self._calls: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        self._do(self._begin())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def addresses(self, me: int) -> dict[int, str]:
        """See `Wires`."""
        return {other: self._doors.get((me, other), address) for other, address in self._members.items()}

    def command(self, me: int) -> list[str]:
        """See `Wires`."""
        return []

    def cut(self, sender: int, receiver: int) -> None:
        """See `Wires`."""
        self._do(self._set(False, (sender, receiver)))

    def heal(self) -> None:
        """See `Wires`."""
        self._do(self._set(True, *self._open))

    def close(self) -> None:
        """See `Wires`."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._ports.close()

    # --- on the thread

    async def _begin(self) -> None:
        await self._set(True, *self._open)
        for (caller, called), door in self._doors.items():
            host, _, port = door.rpartition(":")
            server = await asyncio.start_server(
                lambda reader, writer, caller=caller, called=called: self._on_call(reader, writer, caller, called),
                host, int(port), reuse_address=True,
            )  # fmt: skip
            self._servers.callback(server.close)

    async def _end(self) -> None:
        self._servers.close()
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _set(self, is_open: bool, *pairs: tuple[int, int]) -> None:
        for pair in pairs:
            (self._open[pair].set if is_open else self._open[pair].clear)()

    def _on_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: int, called: int) -> None:
        task = self._loop.create_task(self._connect(reader, writer, caller, called))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: int, called: int
    ) -> None:
        there, back = self._open[caller, called], self._open[called, caller]
        writers, carriers = [writer], []
        try:
            await there.wait()
            await back.wait()
            host, _, port = self._members[called].rpartition(":")
            other_reader, other_writer = await asyncio.open_connection(host, int(port))
            writers.append(other_writer)
            carriers += [
                self._loop.create_task(_carry(reader, other_writer, there)),
                self._loop.create_task(_carry(other_reader, writer, back)),
            ]
            await asyncio.wait(carriers, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # whom it calls is not there, and the caller will see it
        finally:
            for carrier in carriers:
                carrier.cancel()
            for each in writers:
                each.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_open: asyncio.Event) -> None:
    """All that arrives, until nothing more does; while it is cut not even that is noticed at the other end."""
    data = b"-"
    while data:
        try:
            data = await reader.read(1 << 16)
        except OSError:
            data = b""
        await is_open.wait()
        if writer.is_closing():
            continue  # whoever is gone will be missed by its own silence
        try:
            writer.write(data)
            await writer.drain()
        except OSError:
            pass


class Namespaces:
    """See the module. Raises OSError where the system does not permit it."""

    def __init__(self, count: int) -> None:
        self._name = f"zk{os.getpid()}"
        self._members = range(1, count + 1)
        self._parts = ExitStack()
        try:
            self._begin()
        except OSError:
            self.close()
            raise

    def _begin(self) -> None:
        self._make(f"link add {self._name} type bridge", f"link del {self._name}")
        _ip(f"link set {self._name} up")
        for me in self._members:
            space, plug = self._space(me), f"{self._name}v{me}"
            self._make(f"netns add {space}", f"netns del {space}")
            _ip(f"link add {plug} type veth peer name eth0 netns {space}")
            _ip(f"link set {plug} master {self._name} up")
            _ip(f"-n {space} addr add {_host(me)}/24 dev eth0")
            for device in ("eth0", "lo"):
                _ip(f"-n {space} link set {device} up")

    def _make(self, make: str, remove: str) -> None:
        _ip(make)
        self._parts.callback(_ip, remove)

    def _space(self, me: int) -> str:
        return f"{self._name}-{me}"

    def addresses(self, me: int) -> dict[int, str]:
        """See `Wires`."""
        return {other: f"{_host(other)}:2888" for other in self._members}

    def command(self, me: int) -> list[str]:
        """See `Wires`."""
        return ["ip", "netns", "exec", self._space(me)]

    def cut(self, sender: int, receiver: int) -> None:
        """See `Wires`."""
        nobody = "lladdr 02:00:00:00:00:00 nud permanent"
        _ip(f"-n {self._space(sender)} neigh replace {_host(receiver)} {nobody} dev eth0")

    def heal(self) -> None:
        """See `Wires`."""
        for me in self._members:
            _ip(f"-n {self._space(me)} neigh flush nud permanent dev eth0")

    def close(self) -> None:
        """See `Wires`."""
        self._parts.close()


def _host(me: int) -> str:
    return f"10.213.7.{me}"


def _ip(arguments: str) -> None:
    """Raises OSError."""
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {arguments}: {done.stderr.strip()}")
