"""An ensemble of bare Peers in which nothing happens by itself: every delivery, save and tick is asked for.

The simulator draws what happens from a seed; here a person says it, step by step, or a script does (scenario.py). Each
node is a host as the contract of Peer wants it: it feeds, drains, and while a save lasts it is silent and what arrives
waits. The checkers of the simulator look at every step, and a broken invariant raises Violation out of it.

What is under way on a link (links.py) waits until it is delivered or the link is dropped. A save is over at once unless
saves of that node are held.

Steps of many at once, as an undisturbed ensemble takes them, are in undisturbed.py.

Every step says what came of it in `lines`, one line for each message, event, write and link, as they print themselves.
A step that cannot be taken as things stand raises RefusedError, and changes nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

from attrs import evolve

from zkcore.errors import ZkcoreError
from zkcore.storage.storage import MemoryStorage, prefix_of
from zkcore.testing.checkers import Oracle, Violation, chain
from zkcore.testing.disk import held_in
from zkcore.testing.links import Item, Links, News
from zkcore.zab.limits import Limits
from zkcore.zab.membership import Membership
from zkcore.zab.messages import Message, PeerId
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Delivered, Event, ReadDropped, ReadReady, Ready, Restored, SnapshotRef, Write
from zkcore.zxid import Zxid, format_zxid

__all__ = ["HandWired", "RefusedError"]

STATE = Struct(">QI")
"""The state of a node as a snapshot holds it: the zxid it has applied, and the digest of everything up to there."""


class RefusedError(Exception):
    """The step makes no sense as things stand; the message says why."""


class _Node:
    """One host. Its storage outlives its Peer."""

    def __init__(self, me: PeerId) -> None:
        self.me = me
        self.storage = MemoryStorage()
        self.peer: Peer | None = None
        self.holds = False  # saves last until they are asked to end
        self.fails: tuple[int, int] | None = None  # of the next save so many writes and records are kept
        self.begin()

    def begin(self) -> None:
        """Forget everything that a crash takes."""
        self.peer = None
        self.saving: Ready[Event] | None = None
        self.paused = False
        self.waiting: deque[Callable[[], None]] = deque()
        self.missed = 0  # ticks that passed while the node was silent
        self.losses: Counter[PeerId] = Counter()  # that wait to be fed: nothing is sent to these peers
        self.state: tuple[Zxid, int] = (0, 0)

    @property
    def busy(self) -> bool:
        return self.saving is not None or self.paused


class HandWired:
    """`config` says who the members are, and `spares` who may come in. Snapshots have `filler` bytes more than they
    need, so that they may be sent in pieces. `without` names invariants that are not to be checked."""

    def __init__(
        self,
        config: EnsembleConfig,
        limits: Limits | None = None,
        *,
        filler: int = 0,
        spares: tuple[PeerId, ...] = (),
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.config = config
        self._spares = spares
        self._filler = bytes(filler)
        self.limits = limits if limits is not None else Limits()
        self.lines: list[str] = []
        self.oracle = Oracle(config, spares=spares, window_bytes=self.limits.window_bytes, without=without)
        self._nodes = {me: _Node(me) for me in self.members}
        self.links = Links(self.members)
        self._cut: set[tuple[PeerId, PeerId]] = set()  # pairs that are kept apart until they are linked by name
        self._questions: list[Zxid] = []  # what was committed when each read was asked

    # --- who is there

    @property
    def members(self) -> tuple[PeerId, ...]:
        """All that there are, members or not."""
        return (*self.config.members, *self._spares)

    @property
    def up(self) -> list[PeerId]:
        return [me for me, node in self._nodes.items() if node.peer is not None]

    def peer(self, me: PeerId) -> Peer:
        """The Peer of a node that is up."""
        peer = self._node(me).peer
        if peer is None:
            raise RefusedError(f"node {me} is down")
        return peer

    def storage(self, me: PeerId) -> MemoryStorage:
        """What outlives crashes of `me`."""
        return self._node(me).storage

    def _node(self, me: PeerId) -> _Node:
        if me not in self._nodes:
            raise RefusedError(f"there is no node {me}; there are {', '.join(map(str, self._nodes))}")
        return self._nodes[me]

    def is_busy(self, me: PeerId) -> bool:
        """Whether `me` is in a save, or stands still: what arrives there waits."""
        return self._node(me).busy

    def are_kept_apart(self, one: PeerId, other: PeerId) -> bool:
        """Whether nothing but `link` with their names shall link the two."""
        return (min(one, other), max(one, other)) in self._cut

    def _say(self, line: str) -> None:
        self.lines.append(line)

    # --- nodes come and go

    def start(self, me: PeerId) -> None:
        """A new incarnation begins from what the storage holds."""
        node = self._node(me)
        if node.peer is not None:
            raise RefusedError(f"node {me} is up already")
        node.storage.reopen()
        saved = node.storage.load()
        self.oracle.started(me, saved)
        version, config = self.oracle.configs.at(saved.snapshot)
        begun = Membership(version, config) if version else self._seed_config(me)
        node.peer = Peer(me, begun, saved, node.storage, self.limits)
        damage = f" lost its {saved.damage}" if saved.damage is not None else ""
        self._say(
            f"{me} starts: accepted={saved.accepted_epoch} current={saved.current_epoch} "
            f"snapshot={format_zxid(saved.snapshot)} last={format_zxid(saved.last)}{damage}"
        )
        self._drain(node)

    def crash(self, me: PeerId, *, keep: int = 0, records: int = 0) -> None:
        """Everything that is not saved is gone. Of a save under way `keep` writes are on the disk, and `records` of the
        next one. What it has sent is still under way; the others have yet to hear of the loss."""
        node = self._node(me)
        if node.peer is None:
            raise RefusedError(f"node {me} is down already")
        ready = node.saving
        if keep + records and (ready is None or keep > len(ready.writes)):
            raise RefusedError(f"node {me} is not saving {keep} writes or more")
        if ready is not None:
            self._save(node, prefix_of(ready.writes, keep, records_kept=records))
        self._go_down(node)

    def _go_down(self, node: _Node) -> None:
        self._say(f"{node.me} is down")
        node.begin()
        self.links.unplug(node.me)

    def pause(self, me: PeerId) -> None:
        """The node stands still; what arrives waits."""
        self.peer(me)
        self._node(me).paused = True

    def resume(self, me: PeerId) -> None:
        """It goes on, with everything that arrived meanwhile as one batch."""
        node = self._node(me)
        if not node.paused:
            raise RefusedError(f"node {me} does not stand still")
        node.paused = False
        self._feed_waiting(node)

    # --- inputs

    def _feed(self, node: _Node, action: Callable[[], None]) -> None:
        """One input, at once or when the node is no longer busy."""
        if node.busy:
            node.waiting.append(action)
        else:
            action()
            self._drain(node)

    def _feed_waiting(self, node: _Node) -> None:
        """After a silence: first what arrived, then at most half the sync limit of the time that passed."""
        if node.busy or not (node.waiting or node.missed):
            return
        while node.waiting:
            node.waiting.popleft()()
        ticks, node.missed = min(node.missed, self.limits.sync_limit_ticks // 2), 0
        if ticks and node.peer is not None:
            node.peer.tick(ticks)
        self._drain(node)

    def tick(self, me: PeerId, ticks: int) -> None:
        """Time passes at one node: no more at once than until something is due."""
        node, peer = self._node(me), self.peer(me)
        while ticks > 0 and node.peer is peer:  # a storage that fails ends it
            if node.busy:
                node.missed += ticks
                return
            step = min(ticks, peer.ticks_until_due)
            ticks -= step
            peer.tick(step)
            self._drain(node)

    def propose(self, me: PeerId, payloads: Sequence[bytes]) -> None:
        """The application of `me` proposes. A refusal is told, not raised: it is part of what is tested."""
        peer = self.peer(me)

        def feed() -> None:
            first = peer.next_zxid
            if first is None:
                self._say(f"{me} cannot propose, it is no established leader")
                return
            try:
                peer.propose(first, payloads)
            except ZkcoreError as error:
                self._say(f"{me} refuses: {type(error).__name__}")

        self._feed(self._node(me), feed)

    def read(self, me: PeerId) -> None:
        """The application of `me` asks for the read index; the answer is checked when it comes."""
        peer, committed = self.peer(me), self.oracle.committed

        def feed() -> None:
            self._questions.append(committed[-1] if committed else 0)
            peer.read_index(len(self._questions) - 1)

        self._feed(self._node(me), feed)

    def snapshot(self, me: PeerId) -> None:
        """Save the state of `me` as it is now, and let the log before it go."""
        node, peer = self._node(me), self.peer(me)
        ref = SnapshotRef(node.state[0])
        if not ref.zxid:
            raise RefusedError(f"node {me} has applied nothing yet")
        node.storage.save_snapshot(ref, [STATE.pack(*node.state), self._filler])
        self._say(f"{me} took {ref}")
        self._feed(node, lambda: peer.compact(ref))

    def transfer(self, me: PeerId, target: PeerId | None = None) -> None:
        """The application of `me` wants to hand over. A refusal is told."""
        peer = self.peer(me)

        def feed() -> None:
            try:
                peer.transfer(target)
            except ZkcoreError as error:
                self._say(f"{me} refuses: {type(error).__name__}: {error}")

        self._feed(self._node(me), feed)

    def reconfigure(self, me: PeerId, config: EnsembleConfig) -> None:
        """The application of `me` wants other members. A refusal is told."""
        peer = self.peer(me)

        def feed() -> None:
            first = peer.next_zxid
            if first is None:
                self._say(f"{me} cannot change the members, it is no established leader")
                return
            try:
                peer.reconfigure(first, config)
            except ZkcoreError as error:
                self._say(f"{me} refuses: {type(error).__name__}")
            else:
                self.oracle.configs.asked(me, peer.epoch, config)

        self._feed(self._node(me), feed)

    def _seed_config(self, me: PeerId) -> EnsembleConfig:
        """What `me` is started with: a spare has been told of the members, and that it will be an observer."""
        if me not in self._spares:
            return self.config
        return evolve(self.config, observers=(*self.config.observers, me))

    # --- draining and saving

    def _drain(self, node: _Node) -> None:
        peer = node.peer
        while peer is not None and (ready := peer.drain()):
            for to, message in ready.early:
                self._send(node, to, message)
            for event in ready.events:
                self._tell(node, event)
            if ready.writes:
                if node.fails is not None:
                    self._fail(node, ready)
                    return
                if node.holds:
                    node.saving = ready
                    self._say(f"{node.me} begins to save {'; '.join(map(str, ready.writes))}")
                    return
                self._save(node, ready.writes)
                self.oracle.save_ended(node.me)
            self._finish(node, ready)

    def _save(self, node: _Node, writes: Sequence[Write]) -> None:
        for write in writes:
            self._say(f"{node.me} saved {write}")
            self.oracle.wrote(node.me, write)  # first: a broken rule is named by the checkers, not by the storage
        node.storage.save(writes)

    def _finish(self, node: _Node, ready: Ready[Event]) -> None:
        for to, message in ready.messages:
            self._send(node, to, message)
        for peer in ready.closes:
            if not node.losses[peer] and self.links.knows(node.me, peer):
                self._say(f"{node.me} closes its link to {peer}")
                self.links.close(node.me, peer)

    def hold_saves(self, me: PeerId, *, hold: bool = True) -> None:
        """From now on a save of `me` lasts until `save`; or no longer."""
        node = self._node(me)
        node.holds = hold
        if not hold and node.saving is not None:
            self.save(me)

    def save(self, me: PeerId) -> None:
        """The save under way at `me` is over, and what waited for it is fed as one batch."""
        node = self._node(me)
        ready = node.saving
        if ready is None:
            raise RefusedError(f"node {me} is not saving anything")
        node.saving = None
        self._save(node, ready.writes)
        self.oracle.save_ended(me)
        self._finish(node, ready)
        self._drain(node)
        self._feed_waiting(node)

    def fail_disk(self, me: PeerId, *, keep: int = 0, records: int = 0) -> None:
        """The next save of `me` keeps so much and fails; its host throws the Peer away."""
        self._node(me).fails = keep, records

    def _fail(self, node: _Node, ready: Ready[Event]) -> None:
        assert node.fails is not None
        (keep, records), node.fails = node.fails, None
        self._save(node, prefix_of(ready.writes, keep, records_kept=records))
        self._say(f"{node.me} storage failed")
        self._go_down(node)

    def wipe(self, me: PeerId) -> None:
        """The disk of `me`, which is down, is replaced by an empty one."""
        self._down(me).storage.wipe()
        self.oracle.damaged(me, self._node(me).storage.load(), held_in(self._node(me).storage))

    def lose(self, me: PeerId, after: Zxid) -> None:
        """The disk of `me`, which is down, cannot be read beyond `after`."""
        self._down(me).storage.lose(after)
        self.oracle.damaged(me, self._node(me).storage.load(), held_in(self._node(me).storage))

    def _down(self, me: PeerId) -> _Node:
        node = self._node(me)
        if node.peer is not None:
            raise RefusedError(f"node {me} is up; crash it first")
        node.storage.reopen()
        return node

    # --- links

    def link(self, one: PeerId, other: PeerId, *, heard: bool = True) -> None:
        """A fresh link comes up. Both ends hear of it at once, `one` first, and lose what is left of the one before; or
        each hears of it when it is delivered."""
        self.peer(one), self.peer(other)
        if one == other or self.links.is_up(one, other):
            raise RefusedError(f"nodes {one} and {other} have a link")
        self._cut.discard((min(one, other), max(one, other)))
        self.links.link(one, other)
        self.oracle.linked(min(one, other), max(one, other))
        if heard:
            for sender, to in ((other, one), (one, other)):
                while News.LINKED in self.links.under_way(sender, to):
                    if self.links.knows(to, sender):
                        self.links.discard(sender, to)
                    self._deliver_next(sender, to)

    def unlink(self, one: PeerId, other: PeerId) -> None:
        """Break the link, with all that is under way, tell both ends that are up, and keep the two apart."""
        self._node(one), self._node(other)
        self._cut.add((min(one, other), max(one, other)))
        self.links.break_(one, other)
        for sender, to in ((one, other), (other, one)):
            if self.links.knows(to, sender):
                self.drop(sender, to)

    def drop(self, sender: PeerId, to: PeerId) -> None:
        """What is under way from `sender` to `to` vanishes, and `to` hears that the link broke. What is under way in
        the other direction may still arrive, before `sender` hears of it, too."""
        self._node(sender), self._node(to)
        if not self.links.knows(to, sender):
            raise RefusedError(f"node {to} has no link to {sender}")
        self.links.discard(sender, to)
        self._deliver_next(sender, to)

    def _send(self, node: _Node, to: PeerId, message: Message) -> None:
        if not node.losses[to] and self.links.send(node.me, to, message):
            self._say(f"{node.me} -> {to}  {message}")
            self.oracle.sent(node.me, to, message)

    def under_way(self, sender: PeerId, to: PeerId) -> Sequence[Item]:
        """What will be delivered to `to`, in this order."""
        self._node(sender), self._node(to)
        return () if sender == to else self.links.under_way(sender, to)

    def deliver(self, sender: PeerId, to: PeerId) -> None:
        """The next thing on the link: that it is up, a message, or that it broke."""
        self.peer(to)
        if not self.under_way(sender, to):
            raise RefusedError(f"nothing is under way from {sender} to {to}")
        self._deliver_next(sender, to)

    def _deliver_next(self, sender: PeerId, to: PeerId) -> None:
        node, peer = self._node(to), self.peer(to)
        item = self.links.take(sender, to)
        if item is News.LOST:
            node.losses[sender] += 1
        self._feed(node, lambda: self._feed_item(node, peer, sender, item))

    def _feed_item(self, node: _Node, peer: Peer, sender: PeerId, item: Any) -> None:
        self._say(f"{node.me} {'--' if isinstance(item, News) else '<-'} {sender}  {item}")
        if item is News.LINKED:
            peer.report_linked(sender)
        elif item is News.LOST:
            node.losses[sender] -= 1
            peer.report_lost(sender)
        else:
            peer.receive(sender, item)

    # --- what the application is told

    def _tell(self, node: _Node, event: Event) -> None:
        self._say(f"{node.me} {event}")
        self.oracle.told(node.me, event)
        if isinstance(event, ReadReady | ReadDropped):
            asked = self._questions[event.token]
            if isinstance(event, ReadReady) and event.zxid < asked:
                why = f"{format_zxid(asked)} was committed when it was asked"
                self.oracle.fail("X17", f"node {node.me} {event}, and {why}")
        elif isinstance(event, Delivered):
            digest = node.state[1]
            for zxid, payload in enumerate(event.payloads, event.first):
                digest = chain(digest, zxid, payload)
            node.state = event.last, digest
            self.oracle.check_state(node.me, *node.state)
        elif isinstance(event, Restored):
            zxid, digest = STATE.unpack(node.storage.read_snapshot(event.snapshot, 0, STATE.size))
            node.state = zxid, digest
            self.oracle.check_state(node.me, event.snapshot.zxid, digest)

    def check_storages(self) -> None:
        """Raise Violation where a storage does not hold what it was given."""
        for me, node in self._nodes.items():
            durable = self.oracle.durable[me]
            held = [(entry.zxid, entry.payload) for entry in node.storage.entries(durable.base, 1 << 40)]
            if held != [(zxid, self.oracle.born[zxid]) for zxid in durable.zxids]:
                raise Violation("storage", f"node {me} does not hold the records that it saved")
