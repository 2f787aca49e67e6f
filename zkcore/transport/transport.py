"""What carries messages between replicas: the plug point, and the network that lives in one process.

The law of a transport: `report_linked` comes before a link's first message; messages arrive in the order in which they
were sent, or the link is reported lost; between two `report_linked` for one peer there is a `report_lost`; nothing sent
before a loss arrives after it; `send` without a link is dropped silently. The sender named to the Inbox is the one the
transport authenticated, never one that a message claims.

`LocalNetwork` links replicas of one process: a message is handed over, as the object it is, by a call of the receiver's
Inbox; how it keeps the law when the replicas live in several threads is told there. This module must not look into
messages.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, runtime_checkable

from attrs import Factory, define

from zkcore.zab.messages import Message, PeerId

__all__ = ["Inbox", "LocalNetwork", "Relinking", "Transport"]


class Transport(Protocol):
    """The sending half: fire and forget, first in first out on every link."""

    def send(self, to: PeerId, message: Message) -> None:
        """Put `message` on the link to `to`; without a link it is dropped. Never blocks, never raises."""

    def close(self, to: PeerId) -> None:
        """Break the link to `to`. Both ends report it lost, and later linked again."""


@runtime_checkable
class Relinking(Protocol):
    """What a Transport may have besides: it goes by the members as they are while it runs. One that has not links
    those it was made for, and no others."""

    def set_members(self, members: Mapping[PeerId, str], *, version: int, sure: bool) -> None:
        """From `version` on these are the members: to link with, if there is no link yet, and to be let in; where a
        newer version is known already, only `sure` is news. `members` says where each is, "" where that is not known
        here, or in one process. A new address is for the next dial, and a link that works is not cut. Nor is that with
        one who is no member any more, but there is not another one. This member itself may be missing.

        Two members hear of a change at different moments, so a refusal is never for good. Unless the host is `sure`
        that these are the members of now, since it has a leader, others may be members, too: who proves to be one by
        what all members know is let in, under any number but one that has left."""


class Inbox(Protocol):
    """The receiving half, which the host gives to its transport.

    Every method may be called from any thread, also from within a `send` or `close` of this very replica: a lock that
    the host holds around those must be reentrant. Every method only takes note of what it is told.
    """

    def receive(self, sender: PeerId, message: Message) -> None:
        """`message` arrived from `sender`."""

    def report_linked(self, peer: PeerId, where: str = "") -> None:
        """A fresh link to `peer` is up. `where` is its address, for people."""

    def report_lost(self, peer: PeerId, why: str = "") -> None:
        """The link to `peer` broke. `why` is for people."""


# --- the network in one process --------------------------------------------------------------------------------------


@define(eq=False)
class _Pipe:
    """One direction of a link, from its beginning to its loss. A later link has other pipes."""

    receive: Callable[[PeerId, Message], None]
    up: bool = True


class _Turns:
    """Has things happen one at a time, in one order, without anybody waiting for his turn.

    Who finds the lock `busy` free does what waits in `waiting`, then his own part; who finds it taken leaves his part
    in `waiting` to the one who holds it. Looking again after the release is what makes this sound: what was left while
    the lock was taken is seen then, or whoever left it finds the lock free.
    """

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.waiting: deque[Callable[[], None]] = deque()

    def do(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)
        self.do_waiting()

    def do_waiting(self) -> None:
        while self.waiting and self.busy.acquire(blocking=False):
            try:
                self.empty()
            finally:
                self.busy.release()

    def empty(self) -> None:
        """For the holder of `busy` only."""
        while self.waiting:
            self.waiting.popleft()()


class LocalNetwork:
    """Links every replica attached to it with every other; once they know who the members are, only those.

    Replicas may live in different threads. Whatever happens on the network (a message is handed over, a link made or
    broken) happens in its turn, see `_Turns`. So

    - a host may hold a lock of its own while it sends, and its Inbox may take that lock: no circle of waiting exists;
    - an Inbox may send: its messages wait until the call of that Inbox has returned;
    - nothing sent before a loss arrives after it: a message waits together with the pipe it was meant for, a pipe goes
      down before its loss is reported, and it never comes up again.

    In one thread every call has done its work when it returns, unless an Inbox made it. Every method may be called from
    any thread.
    """

    def __init__(self) -> None:
        self._turns = _Turns()
        # Who is attached, as callers see it. The lock keeps attaching and detaching in the order in which they were
        # asked for; nobody is called while it is held.
        self._claimed: dict[PeerId, _LocalTransport] = {}
        self._claiming = threading.Lock()
        # The rest belongs to the one whose turn it is.
        self._attached: dict[PeerId, _LocalTransport] = {}
        self._cuts: set[frozenset[PeerId]] = set()

    def attach(self, me: PeerId, inbox: Inbox) -> Transport:
        """The transport of replica `me`, linked at once with everyone attached; ValueError where `me` is attached."""
        transport = _LocalTransport(me, inbox, self._turns, self._renew, self._meet)
        with self._claiming:
            if me in self._claimed:
                raise ValueError(f"replica {me} is attached already; detach it first")
            self._claimed[me] = transport
            self._turns.waiting.append(partial(self._join, transport))
        self._turns.do_waiting()
        return transport

    def detach(self, me: PeerId) -> None:
        """Break every link of `me`, for good: what its transport sends is dropped. Unknown replicas are ignored."""
        with self._claiming:
            transport = self._claimed.pop(me, None)
            if transport is not None:
                self._turns.waiting.append(partial(self._leave, transport))
        self._turns.do_waiting()

    def cut(self, a: PeerId, b: PeerId) -> None:
        """Break the link between `a` and `b`, and make none until `heal`, whoever comes and goes meanwhile."""
        self._turns.do(partial(self._cut, frozenset((a, b))))

    def heal(self, a: PeerId, b: PeerId) -> None:
        """Undo `cut`: the two are linked again."""
        self._turns.do(partial(self._heal, frozenset((a, b))))

    # --- what happens in its turn ---

    def _join(self, joining: _LocalTransport) -> None:
        others = list(self._attached.values())
        self._attached[joining.me] = joining
        for other in others:
            self._link(joining, other)

    def _leave(self, leaving: _LocalTransport) -> None:
        del self._attached[leaving.me]
        for peer in list(leaving.pipes):
            self._break(leaving, self._attached[peer])

    def _cut(self, pair: frozenset[PeerId]) -> None:
        self._cuts.add(pair)
        ends = [self._attached[peer] for peer in sorted(pair) if peer in self._attached]
        if len(ends) == 2 and ends[0].me in ends[1].pipes:
            self._break(*ends)

    def _heal(self, pair: frozenset[PeerId]) -> None:
        self._cuts.discard(pair)
        ends = [self._attached[peer] for peer in sorted(pair) if peer in self._attached]
        if len(ends) == 2 and ends[0].me not in ends[1].pipes:
            self._link(*ends)

    def _renew(self, closing: _LocalTransport, to: PeerId, pipe: _Pipe) -> None:
        if pipe.up:
            other = self._attached[to]
            self._break(closing, other)
            self._link(closing, other)

    def _meet(self, knowing: _LocalTransport) -> None:
        """It knows other members."""
        if self._attached.get(knowing.me) is knowing:
            for other in list(self._attached.values()):
                if other is not knowing and other.me not in knowing.pipes:
                    self._link(knowing, other)

    def _link(self, a: _LocalTransport, b: _LocalTransport) -> None:
        if frozenset((a.me, b.me)) in self._cuts or not (a.takes(b.me) and b.takes(a.me)):
            return
        # The pipes come first, so that whoever hears of the link can use it; what is sent before the other end has
        # heard of it waits for its turn.
        a.pipes[b.me] = _Pipe(b.inbox.receive)
        b.pipes[a.me] = _Pipe(a.inbox.receive)
        a.inbox.report_linked(b.me)
        b.inbox.report_linked(a.me)

    def _break(self, a: _LocalTransport, b: _LocalTransport) -> None:
        a.pipes.pop(b.me).up = False
        b.pipes.pop(a.me).up = False
        a.inbox.report_lost(b.me)
        b.inbox.report_lost(a.me)


@define(eq=False)
class _LocalTransport:
    """What `LocalNetwork.attach` returns: the `Transport` of one replica."""

    me: PeerId
    inbox: Inbox
    turns: _Turns
    renew: Callable[[_LocalTransport, PeerId, _Pipe], None]
    meet: Callable[[_LocalTransport], None]
    pipes: dict[PeerId, _Pipe] = Factory(dict)
    members: frozenset[PeerId] = frozenset()
    left: frozenset[PeerId] = frozenset()
    sure: bool = False

    def send(self, to: PeerId, message: Message) -> None:
        """Hand `message` to the Inbox of `to`; without a link it is dropped."""
        pipe = self.pipes.get(to)
        if pipe is None:
            return
        turns = self.turns
        if turns.busy.acquire(False):
            try:
                if turns.waiting:
                    turns.empty()  # an earlier message of ours may be in there
                if pipe.up:
                    pipe.receive(self.me, message)
            finally:
                turns.busy.release()
            if turns.waiting:
                turns.do_waiting()
        else:
            turns.do(partial(self._deliver, pipe, message))

    def close(self, to: PeerId) -> None:
        """Break the link to `to`, which is made again at once. Without a link there is nothing to do."""
        pipe = self.pipes.get(to)
        if pipe is not None:
            self.turns.do(partial(self.renew, self, to, pipe))

    def set_members(self, members: Mapping[PeerId, str], *, version: int, sure: bool) -> None:
        """See `Relinking`."""
        self.turns.do(partial(self._know, frozenset(members), sure))

    def _know(self, members: frozenset[PeerId], sure: bool) -> None:
        self.left = (self.left | self.members) - members
        self.members, self.sure = members, sure
        self.meet(self)

    def takes(self, peer: PeerId) -> bool:
        """Whether a link with `peer` may begin."""
        return peer in self.members or (not self.sure and peer not in self.left)

    def _deliver(self, pipe: _Pipe, message: Message) -> None:
        if pipe.up:
            pipe.receive(self.me, message)
