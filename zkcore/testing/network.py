"""The simulated network: links between every two nodes, that delay, keep their order, break and come back.

It keeps the law of a transport (transport/transport.py) and nothing more: `report_linked` before a link's first
message, messages in order or the link is lost, a `report_lost` between two `report_linked`, nothing sent before a loss
arriving after it. Within that law it is as nasty as a seed makes it: the two ends learn of a loss at different times,
or of a new link; what was under way at a loss may still arrive or not; a link may swallow what is sent in one
direction for a while before anybody finds out; a direction may be slow, or deliver nothing for a while and then all at
once; and single messages may be late, and hold up those behind them.

Each pair of nodes draws from a generator of its own, so that trouble in one corner does not shift the delays in
another. The network knows neither what the messages mean nor who the nodes are: a node is an Inbox.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Protocol

from zkcore.testing.trace import random_stream
from zkcore.transport.transport import Inbox
from zkcore.zab.messages import Message, PeerId

__all__ = ["Clock", "Network", "Pace"]

MICROSECOND = 1_000
MILLISECOND = 1_000_000


class Clock(Protocol):
    """What the network asks of its world."""

    now: int

    def at(self, time: int, action: Callable[..., None], *arguments: object) -> None:
        """Call `action(*arguments)` at the virtual `time`, in nanoseconds."""


class Pace(Protocol):
    """How fast this network is; all in nanoseconds."""

    @property
    def delay_ns(self) -> int:
        """From one node to another, at least; two given nodes may be up to twice as far apart."""

    @property
    def jitter_ns(self) -> int:
        """How much longer a message may take."""

    @property
    def spike_share(self) -> float:
        """The share of messages that take much longer than that ..."""

    @property
    def spike_ns(self) -> int:
        """... by up to this much. What is sent behind such a message on its link waits for it."""

    @property
    def notice_ns(self) -> int:
        """How long an end may take to find out that a link broke."""

    @property
    def relink_ns(self) -> int:
        """How long a link may take to come up again."""


class _Link:
    """One link, from coming up until both ends know that it broke. Ends are numbered 0 and 1."""

    __slots__ = ("broken", "due", "muted", "pair", "pending", "up")

    def __init__(self, pair: _Pair) -> None:
        self.pair = pair
        self.up = [False, False]  # reported linked, and not yet reported lost
        self.pending = [True, True]  # not yet reported linked
        self.due = [0, 0]  # nothing may arrive at this end before: the order on the link
        self.muted = [False, False]  # what this end sends vanishes
        self.broken = False

    @property
    def gone(self) -> bool:
        return not (self.up[0] or self.up[1] or self.pending[0] or self.pending[1])


class _Pair:
    """Two nodes, and the link they have at the moment, if any. What is counted for each end concerns what it sends."""

    __slots__ = ("blocks", "clogged_until", "delay", "ends", "extra", "link", "rng", "rough")

    def __init__(self, ends: tuple[PeerId, PeerId], delay: int, rng: Random) -> None:
        self.ends = ends
        self.delay = delay + rng.randrange(delay + 1)
        self.rng = rng
        self.blocks = 0  # how many partitions separate the two
        self.clogged_until = [0, 0]
        self.extra = [0, 0]  # nanoseconds of delay beside the usual
        self.rough = False  # whether one of these two matters
        self.link: _Link | None = None


class Network:
    """Links all of `nodes`; each is plugged in by `plug` and out by `unplug` (a crash)."""

    def __init__(self, clock: Clock, nodes: tuple[PeerId, ...], pace: Pace, seed: int) -> None:
        self._clock = clock
        self._pace = pace
        self._jitter_ns = pace.jitter_ns
        self._spike_share = pace.spike_share
        self._inboxes: dict[PeerId, Inbox] = {}
        self._pairs: dict[tuple[PeerId, PeerId], _Pair] = {}
        self.message_faults: Counter[str] = Counter()
        """How many messages were `lost` with a link, `swallowed` by a mute one, or late: held up by a `clog`, on a
        `slow` link, or by a `spike` of their own."""
        self.on_link: Callable[[PeerId, PeerId], None] = lambda one, other: None
        """Called when a fresh link of two nodes begins, before either hears of it."""
        for one in nodes:
            for other in nodes:
                if one < other:
                    pair = _Pair((one, other), pace.delay_ns, random_stream(seed, f"network/{one}-{other}"))
                    self._pairs[one, other] = self._pairs[other, one] = pair

    # --- nodes come and go

    def plug(self, node: PeerId, inbox: Inbox) -> None:
        """`node` is up: links to it will come up."""
        self._inboxes[node] = inbox
        for pair in self._pairs_of(node):
            self._relink_soon(pair)

    def unplug(self, node: PeerId) -> None:
        """`node` is down: it hears nothing more, the others hear of the loss. What it sent may still arrive first."""
        del self._inboxes[node]
        for pair in self._pairs_of(node):
            link = pair.link
            if link is not None:
                side = pair.ends.index(node)
                link.up[side] = link.pending[side] = False
                self._break(link)
                self._forget_if_gone(link)

    # --- traffic

    def send(self, sender: PeerId, to: PeerId, message: Message) -> bool:
        """Put `message` on the link. False where there is none, as far as the sender knows: it did not leave."""
        pair = self._pairs[sender, to]
        link = pair.link
        side = 0 if sender < to else 1
        if link is None or not link.up[side]:
            return False
        if link.broken or link.muted[side]:
            self.message_faults["lost" if link.broken else "swallowed"] += 1
            return True
        arrival = self._clock.now + pair.delay
        if self._jitter_ns:
            arrival += int(pair.rng.random() * self._jitter_ns)
        if pair.rough:
            arrival = self._hold_up(pair, side, arrival)
        if self._spike_share and pair.rng.random() < self._spike_share:
            arrival += int(pair.rng.random() * self._pace.spike_ns)
            self.message_faults["spike"] += 1
        due = link.due
        if arrival < due[1 - side]:
            arrival = due[1 - side]
        due[1 - side] = arrival
        self._clock.at(arrival, self._arrive, link, 1 - side, message)
        return True

    def _arrive(self, link: _Link, side: int, message: Message) -> None:
        if link.up[side]:
            ends = link.pair.ends
            self._inboxes[ends[side]].receive(ends[1 - side], message)
        else:
            self.message_faults["lost"] += 1

    # --- links are late

    def clog(self, sender: PeerId, to: PeerId, until: int) -> None:
        """Nothing that `sender` sends to `to` from now on arrives before the time `until`; then all of it does."""
        pair, side = self._pairs[sender, to], 0 if sender < to else 1
        pair.clogged_until[side] = max(pair.clogged_until[side], until)
        pair.rough = True

    def slow_down(self, sender: PeerId, to: PeerId, extra_ns: int) -> None:
        """What `sender` sends to `to` takes `extra_ns` longer than before; less, where that is negative."""
        pair, side = self._pairs[sender, to], 0 if sender < to else 1
        pair.extra[side] += extra_ns
        pair.rough = True

    def end_spikes(self) -> None:
        """No single messages are late any more."""
        self._spike_share = 0.0

    def _hold_up(self, pair: _Pair, side: int, arrival: int) -> int:
        """When a message arrives that would arrive at `arrival` if the link was at its best."""
        if pair.extra[side]:
            arrival += pair.extra[side]
            self.message_faults["slow"] += 1
        if arrival < pair.clogged_until[side]:
            arrival = pair.clogged_until[side]
            self.message_faults["clog"] += 1
        pair.rough = any(pair.extra) or max(pair.clogged_until) > self._clock.now
        return arrival

    # --- links break

    def close(self, node: PeerId, peer: PeerId) -> None:
        """The host of `node` breaks its link."""
        self.reset(node, peer)

    def reset(self, one: PeerId, other: PeerId) -> bool:
        """Break the link of two nodes; both hear of it, and it comes up again later. False where there is none."""
        link = self._pairs[one, other].link
        if link is None or link.broken:
            return False
        self._break(link)
        return True

    def block(self, one: PeerId, other: PeerId, *, mute: tuple[PeerId, ...] = (), notice_ns: int = 0) -> None:
        """Separate two nodes until `unblock`. What the nodes in `mute` send vanishes at once, and only after
        `notice_ns` does the link break; without `mute` it breaks at once."""
        pair = self._pairs[one, other]
        pair.blocks += 1
        link = pair.link
        if link is None:
            return
        if not mute:
            self._break(link)
            return
        for node in mute:
            link.muted[pair.ends.index(node)] = True
        self._clock.at(self._clock.now + notice_ns, self._break, link)

    def unblock(self, one: PeerId, other: PeerId) -> None:
        """End one `block`. A link that swallowed messages breaks: it must not go on with a gap."""
        pair = self._pairs[one, other]
        pair.blocks -= 1
        if pair.link is not None and any(pair.link.muted):
            self._break(pair.link)
        self._relink_soon(pair)

    def _break(self, link: _Link) -> None:
        if link.broken:
            return
        link.broken = True
        rng, now = link.pair.rng, self._clock.now
        polite = rng.random() < 0.5  # a closed connection empties its buffers first, a reset one does not
        for side in (0, 1):
            if link.pending[side]:
                link.pending[side] = False
            if link.up[side]:
                noticed = now + 1 + rng.randrange(self._pace.notice_ns + 1)
                self._clock.at(max(noticed, link.due[side]) if polite else noticed, self._lose, link, side)
        self._forget_if_gone(link)

    def _lose(self, link: _Link, side: int) -> None:
        if link.up[side]:
            link.up[side] = False
            ends = link.pair.ends
            self._inboxes[ends[side]].report_lost(ends[1 - side])
            self._forget_if_gone(link)

    # --- links come up

    def _forget_if_gone(self, link: _Link) -> None:
        pair = link.pair
        if link.gone and pair.link is link:
            pair.link = None
            self._relink_soon(pair)

    def _relink_soon(self, pair: _Pair) -> None:
        delay = 1 + pair.rng.randrange(self._pace.relink_ns + 1)
        self._clock.at(self._clock.now + delay, self._relink, pair)

    def _relink(self, pair: _Pair) -> None:
        ends = pair.ends
        if pair.link is not None or pair.blocks or ends[0] not in self._inboxes or ends[1] not in self._inboxes:
            return
        pair.link = link = _Link(pair)
        self.on_link(*ends)
        for side in (0, 1):
            up = self._clock.now + 1 + pair.rng.randrange(pair.delay + 1)
            link.due[side] = up
            self._clock.at(up, self._come_up, link, side)

    def _come_up(self, link: _Link, side: int) -> None:
        if link.pending[side]:
            link.pending[side] = False
            link.up[side] = True
            ends = link.pair.ends
            self._inboxes[ends[side]].report_linked(ends[1 - side])

    def linked(self, one: PeerId, other: PeerId) -> bool:
        """Whether the two can talk: both know of the link, and it swallows nothing."""
        link = self._pairs[one, other].link
        return link is not None and not link.broken and all(link.up) and not any(link.muted)

    def _pairs_of(self, node: PeerId) -> list[_Pair]:
        return [pair for (one, other), pair in self._pairs.items() if one < other and node in (one, other)]
