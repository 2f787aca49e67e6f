"""Three replicas without an event loop, without threads and without a clock: a host in its shortest form.

`zkcore.Replica` neither waits nor looks outside. A host feeds it inputs (messages, links made and broken, ticks, the
requests of clients) and then does what each Ready says, field after field, until there is none: `turn` below. Copy the
class, put your transport where the queues are and your clock where `now` is counted up, and you have a host.

The program cuts the leader off and heals its links again. It prints::

    elected: the leader has accepted the first write
    cut off: the others elected a new leader, in a later epoch
    the new leader took the session up, and accepted the second write
    the old leader gave up, and still shows b'one'
    healed: all three show b'two'
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import TypeVar

import zkcore
from zkcore.replica.answers import Attached, Replied
from zkcore.tree.requests import Create, GetData, Request, SetData
from zkcore.zab.messages import Message

T = TypeVar("T")

TICK_MS = zkcore.Limits().tick_ms


class Host:
    """All three replicas, the queues between them, and the time."""

    def __init__(self) -> None:
        ensemble = zkcore.EnsembleConfig([1, 2, 3])
        self.now = 0  # milliseconds; with a clock, those since 1970
        self.replicas = {me: zkcore.Replica(me, ensemble, zkcore.MemoryStorage()) for me in ensemble.voters}
        # What happened to each replica and was not fed yet, in order. Everything that comes from outside goes through
        # here, because a replica takes no input while a Ready of its own is out.
        self.queues: dict[int, deque[Callable[[], None]]] = {me: deque() for me in ensemble.voters}
        # (1, 2) is here while replica 1 knows of an unbroken link to 2. What it says after the link broke, and before
        # it was told so, must not travel on the next link; so only what is said on a link that is here is sent.
        self.links: set[tuple[int, int]] = set()
        self.events: list[object] = []  # what the replicas told
        for a, b in combinations(ensemble.voters, 2):
            self.link(a, b)

    # --- the loop

    def step(self) -> None:
        """Let one tick pass, and everything happen that follows from it."""
        self.now += TICK_MS
        for me, replica in self.replicas.items():
            self.queues[me].append(partial(replica.tick, 1, self.now))
        while any(self.queues.values()):
            for me in self.replicas:
                self.turn(me)

    def turn(self, me: int) -> None:
        """The contract of a Replica: feed what has gathered, then act on each Ready in this order."""
        replica, queue = self.replicas[me], self.queues[me]
        while queue:
            queue.popleft()()
        while ready := replica.drain():
            for to, message in ready.early:
                self.send(me, to, message)
            self.events.extend(ready.events)
            if ready.writes:
                replica.storage.save(ready.writes)  # durable when this returns
            for to, message in ready.messages:
                self.send(me, to, message)
            for peer in ready.closes:
                if (me, peer) in self.links:  # else it is broken already, and the report is on its way
                    self.cut(me, peer)
                    self.link(me, peer)

    # --- the network: on each link first in, first out; a link that breaks is reported lost at both ends

    def send(self, me: int, to: int, message: Message) -> None:
        if (me, to) in self.links:
            self.queues[to].append(partial(self.receive, to, me, message))

    def receive(self, me: int, sender: int, message: Message) -> None:
        self.replicas[me].receive(sender, message, self.now)

    def link(self, a: int, b: int) -> None:
        self.queues[a].append(partial(self.on_linked, a, b))
        self.queues[b].append(partial(self.on_linked, b, a))

    def on_linked(self, me: int, peer: int) -> None:
        self.links.add((me, peer))
        self.replicas[me].report_linked(peer)

    def cut(self, a: int, b: int) -> None:
        self.links -= {(a, b), (b, a)}
        self.queues[a].append(partial(self.replicas[a].report_lost, b))
        self.queues[b].append(partial(self.replicas[b].report_lost, a))

    # --- for whoever uses it: plain calls, since time passes only here

    def run_until(self, condition: Callable[[], bool], *, steps: int = 2000) -> None:
        for _ in range(steps):
            if condition():
                return
            self.step()
        raise TimeoutError(f"not within {steps} ticks")

    def leader(self, *, among: set[int] | None = None) -> int:
        """Who leads with a quorum behind it, as soon as there is one."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [me for me in among or self.replicas if self.replicas[me].leader == me]
            return bool(found)

        self.run_until(look)
        return found[0]

    def ask(self, me: int, session: int, request: Request[T]) -> T:
        """The answer of replica `me` to a request of a session that it serves."""
        xid = self.replicas[me].submit(session, request, self.now)
        return self.answer(session, xid)  # type: ignore[return-value]  # the answer to this very request

    def answer(self, session: int, xid: int) -> object:
        reply: Replied | None = None

        def look() -> bool:
            nonlocal reply
            replies = (event for event in self.events if isinstance(event, Replied))
            reply = next((event for event in replies if (event.session, event.xid) == (session, xid)), None)
            return reply is not None

        self.run_until(look)
        assert reply is not None
        if reply.error is not None:
            raise reply.error
        return reply.result


def main() -> None:
    host = Host()
    old = host.leader()
    password = secrets.token_bytes(16)  # the client's proof that the session is its own
    session = host.replicas[old].open(10_000, host.now, password=password)
    host.answer(session, 0)  # the session exists
    host.ask(old, session, Create("/word", b"one"))
    print("elected: the leader has accepted the first write")

    others = set(host.replicas) - {old}
    seen, epoch = host.replicas[old].tree.last_zxid, host.replicas[old].status().current_epoch
    for other in others:
        host.cut(old, other)
    new = host.leader(among=others)
    assert host.replicas[new].status().current_epoch > epoch
    print("cut off: the others elected a new leader, in a later epoch")

    # The session outlives its replica. The client says what it has seen, so that it is never shown an older state.
    host.replicas[new].attach(session, password=password, last_zxid=seen, next_xid=2, now=host.now)
    host.run_until(lambda: Attached(session) in host.events)
    host.ask(new, session, SetData("/word", b"two", version=0))
    print("the new leader took the session up, and accepted the second write")
    # A leader that hears of no quorum gives up after a while (`Limits.sync_limit_ticks`). It could not commit anything
    # meanwhile, but it may show what is old: a read says what was true, only a write says what is.
    host.run_until(lambda: not host.replicas[old].serving)
    print("the old leader gave up, and still shows", host.replicas[old].tree.read(GetData("/word")).data)

    for other in others:
        host.link(old, other)
    host.run_until(lambda: len({replica.tree.last_zxid for replica in host.replicas.values()}) == 1)
    words = {replica.tree.read(GetData("/word")).data for replica in host.replicas.values()}
    print("healed: all three show", *words)


if __name__ == "__main__":
    main()
