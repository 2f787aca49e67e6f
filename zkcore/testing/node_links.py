"""The network between the nodes of an AppWorld: it keeps the law of a transport, and takes its time.

Between every two nodes that are attached, and not cut off from each other, there is a link. What is sent travels in a
Channel, and so do the news that a link came up or broke; so each end hears of them at its own time, in order. What was
under way on a link that broke is lost. A link that broke for another reason than a cut is made again a little later.

This module must not look into messages. It knows no faults: it is told to cut, heal and reset.
"""

from __future__ import annotations

from attrs import Factory, define

from zkcore.testing.channels import Channel, Distances
from zkcore.testing.processes import Process
from zkcore.testing.trace import random_stream
from zkcore.testing.virtual_loop import VirtualLoop
from zkcore.transport.transport import Inbox
from zkcore.zab.messages import Message, PeerId

__all__ = ["NodeLinks"]

_NOTICE_SECONDS = 1.0
"""An end hears within this that a link has broken; peers that fall silent are noticed by ZAB itself."""

_RELINK_SECONDS = 0.1
"""A link that broke is made again within about this."""


@define(eq=False)
class _Link:
    """One link, from coming up until it breaks. `heard` holds the ends that know of it."""

    broken: bool = False
    heard: set[PeerId] = Factory(set)


@define(eq=False)
class _End:
    """One node that is attached, and its channels from the others."""

    me: PeerId
    inbox: Inbox
    process: Process
    network: NodeLinks
    links: dict[PeerId, _Link] = Factory(dict)
    ways: dict[PeerId, Channel] = Factory(dict)

    def send(self, to: PeerId, message: Message) -> None:
        """See Transport."""
        link = self.links.get(to)
        if link is not None and not link.broken and self.me in link.heard:
            self.network.send(self, to, link, message)

    def close(self, to: PeerId) -> None:
        """See Transport."""
        link = self.links.get(to)
        if link is not None and self.me in link.heard:
            self.network.reset(self.me, to)


class NodeLinks:
    """The links of all nodes."""

    def __init__(self, loop: VirtualLoop, seed: int, distances: Distances) -> None:
        self._loop = loop
        self._distances = distances
        self._times = random_stream(seed, "links")
        self._ends: dict[PeerId, _End] = {}
        self._cuts: set[tuple[PeerId, PeerId]] = set()

    def attach(self, me: PeerId, process: Process, inbox: Inbox) -> _End:
        """The transport of node `me`, which is linked with the others before long."""
        end = self._ends[me] = _End(me, inbox, process, self)
        for other in self._ends:
            if other != me:
                self._link_later(me, other)
        return end

    def detach(self, me: PeerId) -> None:
        """The node is down: its links break, and it hears nothing more."""
        for other in list(self._ends):
            self._break(me, other)
        self._ends.pop(me, None)

    def cut(self, a: PeerId, b: PeerId) -> None:
        """Nothing passes between `a` and `b` until `heal`."""
        self._cuts.add((min(a, b), max(a, b)))
        self._break(a, b)

    def heal(self, a: PeerId, b: PeerId) -> None:
        """Undo `cut`."""
        pair = (min(a, b), max(a, b))
        if pair in self._cuts:
            self._cuts.discard(pair)
            self._link_later(a, b)

    def reset(self, a: PeerId, b: PeerId) -> None:
        """Break the link, and make another."""
        if self._break(a, b):
            self._link_later(a, b)

    def send(self, sender: _End, to: PeerId, link: _Link, message: Message) -> None:
        """For ends: `message` begins its way on `link`."""
        receiver = self._ends[to]
        self._way(sender.me, receiver).post(_arrive, receiver, sender.me, link, message)

    # --- links come and go

    def _way(self, sender: PeerId, receiver: _End) -> Channel:
        way = receiver.ways.get(sender)
        if way is None:
            seconds = self._distances.between(f"node {sender}", f"node {receiver.me}")
            way = receiver.ways[sender] = Channel(self._loop, receiver.process.context, seconds)
        return way

    def _link_later(self, a: PeerId, b: PeerId) -> None:
        self._loop.call_later(self._times.random() * _RELINK_SECONDS, self._link, a, b)

    def _link(self, a: PeerId, b: PeerId) -> None:
        one, other = self._ends.get(a), self._ends.get(b)
        linked = one is not None and b in one.links and not one.links[b].broken
        if one is None or other is None or linked or (min(a, b), max(a, b)) in self._cuts:
            return
        link = one.links[b] = other.links[a] = _Link()
        for end, peer in ((one, b), (other, a)):
            self._way(peer, end).post(_hear_linked, end, peer, link)

    def _break(self, a: PeerId, b: PeerId) -> bool:
        one, other = self._ends.get(a), self._ends.get(b)
        link = one.links.get(b) if one is not None else None
        if one is None or other is None or link is None or link.broken:
            return False
        link.broken = True
        for end, peer in ((one, b), (other, a)):
            notice = _NOTICE_SECONDS * self._times.random() ** 3
            self._way(peer, end).post(_hear_lost, end, peer, link, extra=notice)
        return True


def _arrive(end: _End, sender: PeerId, link: _Link, message: Message) -> None:
    if not link.broken:
        end.inbox.receive(sender, message)


def _hear_linked(end: _End, peer: PeerId, link: _Link) -> None:
    if not link.broken:
        link.heard.add(end.me)
        end.inbox.report_linked(peer)


def _hear_lost(end: _End, peer: PeerId, link: _Link) -> None:
    if end.me in link.heard:
        link.heard.discard(end.me)
        end.inbox.report_lost(peer)
