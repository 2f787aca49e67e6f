"""The links of an ensemble that is wired by hand: what is under way between every two nodes until it is delivered.

They keep the law of a transport (transport/transport.py). Towards each end there is one queue, and the news of a link
are in it like its messages: that it came up, what was sent, that it broke. So an end that is slow to hear may still be
on a link that broke long ago, while the next is up already. What it sends then goes nowhere.

This module knows neither what messages mean nor who the nodes are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum, auto
from typing import TypeAlias

from zkcore.zab.messages import Message, PeerId

__all__ = ["Item", "Links", "News"]


class News(Enum):
    """What an end hears of its link itself."""

    LINKED = auto()
    LOST = auto()

    def __str__(self) -> str:
        return self.name.lower()


Item: TypeAlias = News | Message


class _Link:
    """One link, from coming up until it breaks."""

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = False


class Links:
    """All links of `members`; none at first."""

    def __init__(self, members: Iterable[PeerId]) -> None:
        members = tuple(members)
        pairs = [(sender, to) for sender in members for to in members if sender != to]
        self._queues: dict[tuple[PeerId, PeerId], deque[Item]] = {pair: deque() for pair in pairs}
        self._newest: dict[tuple[PeerId, PeerId], _Link | None] = dict.fromkeys(pairs)
        self._known: dict[tuple[PeerId, PeerId], _Link | None] = dict.fromkeys(pairs)  # (end, peer): what the end is on

    def is_up(self, one: PeerId, other: PeerId) -> bool:
        """Whether a link of the two is whole, whoever has heard of it."""
        link = self._newest[one, other]
        return link is not None and not link.broken

    def link(self, one: PeerId, other: PeerId) -> None:
        """A fresh link comes up between two nodes that have none."""
        link = _Link()
        for sender, to in ((one, other), (other, one)):
            self._newest[sender, to] = link
            self._queues[sender, to].append(News.LINKED)

    def break_(self, one: PeerId, other: PeerId) -> None:
        """The link breaks, if there is one. What is under way may still arrive, before the news of it."""
        link = self._newest[one, other]
        if link is None or link.broken:
            return
        link.broken = True
        for sender, to in ((one, other), (other, one)):
            queue = self._queues[sender, to]
            if self._known[to, sender] is link:
                queue.append(News.LOST)
            else:  # who has not heard that it is up never will
                while queue and queue.pop() is not News.LINKED:
                    pass

    def close(self, end: PeerId, peer: PeerId) -> None:
        """`end` breaks the link it is on."""
        if self._known[end, peer] is self._newest[end, peer]:
            self.break_(end, peer)

    def unplug(self, node: PeerId) -> None:
        """`node` is down: its links break, and it hears nothing more."""
        for (sender, to), queue in self._queues.items():
            if to == node:
                self.break_(sender, to)
                queue.clear()
                self._known[to, sender] = None

    def send(self, sender: PeerId, to: PeerId, message: Message) -> bool:
        """Put `message` on the link. False where there is none, as far as the sender knows, or where it is still on the
        one before: nobody ever gets that."""
        link = self._known[sender, to]
        if link is None or link is not self._newest[sender, to]:
            return False
        if not link.broken:
            self._queues[sender, to].append(message)
        return True

    def knows(self, end: PeerId, peer: PeerId) -> bool:
        """Whether `end` has heard of a link to `peer`, and of no loss of it."""
        return self._known[end, peer] is not None

    def under_way(self, sender: PeerId, to: PeerId) -> deque[Item]:
        """What will be delivered to `to`, in this order. Not to be changed."""
        return self._queues[sender, to]

    def take(self, sender: PeerId, to: PeerId) -> Item:
        """The next thing on its way arrives. Raises IndexError where there is nothing."""
        item = self._queues[sender, to].popleft()
        if item is News.LINKED:
            self._known[to, sender] = self._newest[sender, to]
        elif item is News.LOST:
            self._known[to, sender] = None
        return item

    def discard(self, sender: PeerId, to: PeerId) -> None:
        """The link breaks, and what is under way on it to `to` vanishes; the news of the loss is next."""
        queue = self._queues[sender, to]
        if News.LOST not in queue:
            self.break_(sender, to)
        while queue and not isinstance(queue[0], News):
            queue.popleft()
