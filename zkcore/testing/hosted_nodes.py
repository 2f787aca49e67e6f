"""The nodes of an AppWorld: a real Host for each, on a virtual loop, in a process of its own.

This module must not know apps, nor what goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from zkcore.errors import BadArgumentsError
from zkcore.replica.host import Host
from zkcore.replica.replica import Replica
from zkcore.replica.rules import Rules
from zkcore.storage.storage import MemoryStorage
from zkcore.testing.node_links import NodeLinks
from zkcore.testing.processes import Process
from zkcore.testing.virtual_loop import VirtualLoop
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["HostedNode", "HostedNodes"]

_PATIENT = Limits(ping_ticks=100, sync_limit_ticks=400)
"""A leader that pings once in a second costs half as much of an idle hour. Who is silent is given up after four."""


@define(eq=False)
class HostedNode:
    """A node that is up. One that is started again is another."""

    process: Process
    host: Host

    def run(self, action: Callable[[], None]) -> None:
        """Call `action` as the node would."""
        self.process.context.copy().run(action)


class HostedNodes:
    """The nodes of `ensemble`, all down at first. `wall` is their clock, in seconds since 1970."""

    def __init__(
        self,
        loop: VirtualLoop,
        ensemble: EnsembleConfig,
        links: NodeLinks,
        *,
        wall: Callable[[], float],
        limits: Limits | None,
        rules: Rules | None,
    ) -> None:
        self.ensemble = ensemble
        self.links = links
        self.up: dict[PeerId, HostedNode] = {}
        self.processes: set[Process | None] = set()
        """Of all nodes there ever were."""
        self._loop = loop
        self._wall = wall
        self._limits = limits if limits is not None else _PATIENT
        self._rules = rules
        self._storages = {me: MemoryStorage() for me in ensemble.members}

    def get(self, me: PeerId) -> HostedNode:
        """A node that is up. Raises BadArgumentsError."""
        if me not in self.up:
            raise BadArgumentsError(f"node {me!r} is not up; up are {sorted(self.up)} of {self.ensemble.members}")
        return self.up[me]

    @property
    def leader(self) -> PeerId | None:
        """The node that leads with a quorum behind it, as far as it knows, or None."""
        leaders = [
            (node.host.replica.status().current_epoch, me)
            for me, node in self.up.items()
            if node.host.replica.serving and node.host.replica.leader == me
        ]
        return max(leaders)[1] if leaders else None

    def start(self, me: PeerId) -> None:
        """Start a node that is down, on what it had saved. Raises BadArgumentsError."""
        if me not in self._storages or me in self.up:
            raise BadArgumentsError(f"node {me!r} is not one of {self.ensemble.members} that is down")
        process = Process(f"node {me}", self._loop.next_number())
        replica = Replica(me, self.ensemble, self._storages[me], limits=self._limits, rules=self._rules)
        host = Host(replica, lambda inbox: self.links.attach(me, process, inbox), wall=self._wall)
        node = self.up[me] = HostedNode(process, host)
        self.processes.add(process)
        node.run(host.start)

    def kill(self, me: PeerId) -> None:
        """A crash. Raises BadArgumentsError."""
        node = self.get(me)
        del self.up[me]
        self.links.detach(me)
        node.run(node.host.stop)
        self._loop.crash(node.process)
