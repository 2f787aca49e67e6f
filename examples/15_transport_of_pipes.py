"""A transport of one's own: an ensemble of three processes whose links are the pipes of multiprocessing.

A Transport sends messages and breaks links; what arrives it tells an Inbox, by the law that stands in
`zkcore/transport/transport.py`. `zkcore.transport.wire` makes bytes of messages. What is left to do for pipes is
`PipeTransport` below: a thread that writes and one that reads for each peer, since a `send` must not block, and a way
to break a link and make the next one on a pipe that goes on. `tests/transport/test_pipes.py` proves it with the test
class `zkcore.testing.contracts.TransportContract`.

Each process adds one to a number, thirty times, under a lock. The program prints::

    process 1 has added 30
    process 2 has added 30
    process 3 has added 30
    together: 90
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Mapping
from itertools import combinations
from multiprocessing.connection import Connection
from queue import SimpleQueue

import zkcore
from zkcore.transport import wire
from zkcore.zab.messages import Message

ROUNDS = 30
BREAK = b"B"  # the link ends here; what follows belongs to the next one
DATA = b"D"
END = b"E"  # and so does the pipe


class PipeTransport:
    """The links of one replica: a pipe to each of the others. Begins at once; `stop` ends it."""

    def __init__(self, inbox: zkcore.Inbox, pipes: Mapping[int, Connection]) -> None:
        self._links = {peer: Link(peer, inbox, pipe) for peer, pipe in pipes.items()}

    def send(self, to: int, message: Message) -> None:
        if to in self._links:
            self._links[to].send(DATA + wire.encode(message))

    def close(self, to: int) -> None:
        if to in self._links:
            self._links[to].break_()

    def stop(self) -> None:
        for link in self._links.values():
            link.stop()


class Link:
    """One link after the other to one peer, all on one pipe.

    Whoever breaks a link writes BREAK, and sends nothing more until the other end has written it, too; who reads it
    first writes it in answer. So each end knows what of that which it reads belongs to the old link, and what to the
    new. The Inbox is told by the reading thread alone, and never while the lock is held: a host holds a lock of its own
    when it sends.
    """

    def __init__(self, peer: int, inbox: zkcore.Inbox, pipe: Connection) -> None:
        self._peer = peer
        self._inbox = inbox
        self._pipe = pipe
        self._up = False
        self._lock = threading.Lock()  # what is sent is in the order of `_up`
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()  # a host with too slow a peer would bound it
        self._writer = threading.Thread(target=self._write, name=f"pipe to {peer}", daemon=True)
        self._writer.start()
        threading.Thread(target=self._read, name=f"pipe from {peer}", daemon=True).start()

    def send(self, frame: bytes) -> None:
        with self._lock:
            if self._up:
                self._outgoing.put(frame)

    def break_(self) -> None:
        with self._lock:
            if self._up:
                self._up = False
                self._outgoing.put(BREAK)

    def stop(self) -> None:
        self._outgoing.put(None)

    def _write(self) -> None:
        try:
            while (frame := self._outgoing.get()) is not None:
                self._pipe.send_bytes(frame)
            self._pipe.send_bytes(END)
        except OSError:
            pass  # the other process has gone; who reads finds out, too

    def _read(self) -> None:
        self._begin()
        try:
            while (frame := self._pipe.recv_bytes(wire.MAX_FRAME_BYTES)) != END:
                if frame == BREAK:
                    self.break_()
                    self._inbox.report_lost(self._peer)
                    self._begin()
                else:
                    self._take(frame)
        except (EOFError, OSError):
            pass
        self.break_()
        self._inbox.report_lost(self._peer)
        self.stop()
        self._writer.join()
        self._pipe.close()

    def _begin(self) -> None:
        with self._lock:
            self._up = True  # before anybody hears of it, who could send at once
        self._inbox.report_linked(self._peer)

    def _take(self, frame: bytes) -> None:
        try:
            self._inbox.receive(self._peer, wire.decode(frame[len(DATA) :]))
        except zkcore.ProtocolError:
            self.break_()


# --- the program: a process for each replica, with a client of its own -----------------------------------------------


async def add(zk: zkcore.Client) -> None:
    """One more, which nobody else adds meanwhile."""
    async with zkcore.Lock(zk, "/locks/number"):
        data, stat = await zk.get("/number", read=zkcore.Read.LINEARIZABLE)
        await zk.set("/number", b"%d" % (int(data) + 1), version=stat.version)


async def run_replica(me: int, pipes: Mapping[int, Connection], totals: Connection) -> None:
    transports: list[PipeTransport] = []

    def connect(inbox: zkcore.Inbox) -> PipeTransport:
        transports.append(PipeTransport(inbox, pipes))
        return transports[-1]

    ensemble = zkcore.EnsembleConfig([1, 2, 3])
    node = zkcore.Node(me, ensemble, storage=zkcore.MemoryStorage(), transport=connect)
    node.start()
    zk = await node.client().start()
    await zk.create("/number", b"0", exist_ok=True)
    for _ in range(ROUNDS):
        await add(zk)
    await zkcore.Barrier(zk, "/done", parties=3).wait()
    total = (await zk.get("/number", read=zkcore.Read.LINEARIZABLE)).data
    totals.send_bytes(total)
    await asyncio.to_thread(totals.recv_bytes)  # a replica that has done its part stays until all have
    zk.abandon()
    node.host.stop()
    for transport in transports:
        transport.stop()


def run_process(me: int, pipes: Mapping[int, Connection], totals: Connection) -> None:
    asyncio.run(run_replica(me, pipes, totals))


def main() -> None:
    context = multiprocessing.get_context("spawn")
    pipes: dict[int, dict[int, Connection]] = {me: {} for me in (1, 2, 3)}
    for one, two in combinations(pipes, 2):
        pipes[one][two], pipes[two][one] = context.Pipe()
    totals = {me: context.Pipe() for me in pipes}
    processes = [context.Process(target=run_process, args=(me, pipes[me], totals[me][1])) for me in pipes]
    for process in processes:
        process.start()
    for end in (*(end for ends in pipes.values() for end in ends.values()), *(end for _, end in totals.values())):
        end.close()  # the processes have copies of their own: when one of them ends, the others hear of it
    together = set()
    for me, (ours, _) in totals.items():
        together.add(int(ours.recv_bytes()))
        print(f"process {me} has added {ROUNDS}")
    for ours, _ in totals.values():
        ours.send_bytes(b"over")
    for process in processes:
        process.join()
    print("together:", *together)


if __name__ == "__main__":
    main()
