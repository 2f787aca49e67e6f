"""Whole ensembles in a plain loop: no delays, no faults but crashes, everything in the same order in every run.

The simulator (zkcore.testing) is the place for trouble. Here one sees the parts work together at all, and can set a
scene: nodes with certain logs, and nodes that are down.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from zkcore.storage.storage import MemoryStorage
from zkcore.zab.limits import Limits
from zkcore.zab.messages import Message, PeerId
from zkcore.zab.peer import Peer
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Delivered, Event, Restored, RoleChanged, Write

Item = tuple[str, PeerId, Message | None]


class Host:
    """One node: its storage outlives its Peer."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.storage = storage
        self.peer: Peer | None = None
        self.inbox: deque[Item] = deque()
        self.losses: Counter[PeerId] = Counter()  # queued and not yet fed: nothing is sent to these
        self.state: list[bytes] = []
        self.leaders: list[RoleChanged] = []


class Ensemble:
    """Hosts for `members`, all started and linked, with `storages` for those that have a past."""

    def __init__(
        self,
        members: Iterable[PeerId] | EnsembleConfig,
        storages: dict[PeerId, MemoryStorage] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.config = members if isinstance(members, EnsembleConfig) else EnsembleConfig(tuple(members))
        self.limits = limits
        self.hosts = {me: Host((storages or {}).get(me, MemoryStorage())) for me in self.config.members}
        for me in self.hosts:
            self.start(me)

    # --- nodes that come and go

    def start(self, me: PeerId) -> None:
        host = self.hosts[me]
        host.peer = Peer(me, self.config, host.storage.load(), host.storage, self.limits)
        host.state = []
        self.act(me)
        for other, there in self.hosts.items():
            if other != me and there.peer is not None:
                host.inbox.append(("linked", other, None))
                there.inbox.append(("linked", me, None))

    def crash(self, me: PeerId) -> None:
        host = self.hosts[me]
        host.peer = None
        host.inbox.clear()
        host.losses.clear()
        for other, there in self.hosts.items():
            if other != me and there.peer is not None:
                self._lose(there, me)

    # --- what happens

    def run(self, until: Callable[[], bool], *, steps: int = 4000) -> Ensemble:
        """Go on until it is true."""
        for _ in range(steps):
            if until():
                return self
            self.step()
        raise AssertionError([str(host.peer.status()) for host in self.hosts.values() if host.peer is not None])

    def step(self) -> None:
        """Feed everything that arrived; where nothing did, let time pass."""
        if self._feed():
            return
        ticks = min(host.peer.ticks_until_due for host in self.hosts.values() if host.peer is not None)
        for me, host in self.hosts.items():
            if host.peer is not None:
                host.peer.tick(ticks)
                self.act(me)

    def propose(self, *payloads: bytes) -> None:
        leader = self.leader
        assert leader is not None
        peer = self.peer(leader)
        assert peer.next_zxid is not None
        peer.propose(peer.next_zxid, payloads)
        self.act(leader)

    def _feed(self) -> bool:
        fed = False
        for me, host in self.hosts.items():
            while host.peer is not None and host.inbox:
                fed = True
                kind, other, message = host.inbox.popleft()
                if kind == "linked":
                    host.peer.report_linked(other)
                elif kind == "lost":
                    host.losses[other] -= 1
                    host.peer.report_lost(other)
                else:
                    host.peer.receive(other, message)  # type: ignore[arg-type]
                self.act(me)
        return fed

    def act(self, me: PeerId) -> None:
        """Drain, and do what is asked; to be called by whoever fed the Peer himself."""
        host = self.hosts[me]
        assert host.peer is not None
        while ready := host.peer.drain():
            for to, message in ready.early:
                self.sends(me, to, message)
            for event in ready.events:
                self.tells(me, event)
            self.saves(me, ready.writes)
            for to, message in ready.messages:
                self.sends(me, to, message)
            for other in ready.closes:
                if not host.losses[other]:
                    self.breaks(me, other)

    def sends(self, me: PeerId, to: PeerId, message: Message) -> None:
        if not self.hosts[me].losses[to] and self.hosts[to].peer is not None:
            self.hosts[to].inbox.append(("message", me, message))

    def tells(self, me: PeerId, event: Event) -> None:
        host = self.hosts[me]
        if isinstance(event, Delivered):
            host.state += event.payloads
        elif isinstance(event, Restored):
            host.state = host.storage.read_snapshot(event.snapshot, 0, 1 << 30).split()
        elif isinstance(event, RoleChanged) and event.established and event.leader == me:
            host.leaders.append(event)

    def saves(self, me: PeerId, writes: Sequence[Write]) -> None:
        self.hosts[me].storage.save(writes)

    def breaks(self, me: PeerId, other: PeerId) -> None:
        """The link between the two is lost, and another one comes up."""
        host, there = self.hosts[me], self.hosts[other]
        self._lose(host, other)
        self._lose(there, me)
        host.inbox.append(("linked", other, None))
        there.inbox.append(("linked", me, None))

    def _lose(self, host: Host, other: PeerId) -> None:
        host.inbox.append(("lost", other, None))
        host.losses[other] += 1

    # --- what came of it

    def peer(self, me: PeerId) -> Peer:
        peer = self.hosts[me].peer
        assert peer is not None
        return peer

    @property
    def leader(self) -> PeerId | None:
        """Who may propose; only one can in a quiet ensemble."""
        serving = [me for me, host in self.hosts.items() if host.peer is not None and host.peer.next_zxid is not None]
        assert len(serving) < 2
        return serving[0] if serving else None

    def all_serve(self) -> bool:
        """Whether all that are up are established with one leader."""
        live = [host.peer for host in self.hosts.values() if host.peer is not None]
        return self.leader is not None and all(peer.established and peer.leader == self.leader for peer in live)

    def all_have(self, state: list[bytes]) -> bool:
        return all(host.state == state for host in self.hosts.values() if host.peer is not None)
