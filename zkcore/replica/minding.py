"""What a node tells of the members of its ensemble: who they are from now on, and, while it leads, how they are.

All nodes see the configurations go by, each as it is committed there. Only a leader hears of every other member: it
tells who has caught up with it, and of whom it has heard nothing for half of the time after which it would give up its
office if that were a quorum.

This module must not know what is done about a member that is suspected. Nothing is, unless somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable

from zkcore.events import kinds
from zkcore.events.kinds import NodeEvent
from zkcore.replica.answers import MembersChanged
from zkcore.zab.limits import Limits
from zkcore.zab.messages import PeerId, Role
from zkcore.zab.quorum import EnsembleConfig, Transition
from zkcore.zab.status import LearnerStatus, PeerStatus
from zkcore.zxid import Zxid

__all__ = ["Minding"]

_LOOK_SECONDS = 0.1
"""So often a leader looks at its learners."""

_IN_LINE = "ACTIVE"


class Minding:
    """What a node says of the members, to `tell`; its `status` is that of the beginning."""

    def __init__(self, tell: Callable[[NodeEvent], None], status: PeerStatus, limits: Limits) -> None:
        self._me = status.me
        self._tell = tell
        self._config, self._version = _made(status)
        self._limits = limits
        self._patience_ticks = max(limits.sync_limit_ticks // 2, 1)
        self._looked_at = float("-inf")
        self._heard: dict[PeerId, float] = {}  # when each was last known to be in line, or coming to it
        self._well: dict[PeerId, bool] = {}  # what was told last

    # --- who they are

    def on_members(self, event: MembersChanged) -> None:
        """The log says so: that a change has begun, or that it is made."""
        if event.replaced is not None:
            self._tell(
                kinds.ConfigurationChanging(
                    node=self._me, version=event.members.version, replaced=event.replaced.config,
                    config=event.members.config,
                )
            )  # fmt: skip
            return
        old, new, version = self._config, event.members.config, self._version
        self._config, self._version = new, event.members.version
        if version == event.members.version or (version is None and old == new):
            return  # they were before; or a change that was begun is not in the log any more
        for member in new.members:
            if member not in old.members:
                self._tell(kinds.MemberJoined(node=self._me, member=member, votes=member in new.voters))
        for member in old.members:
            if member not in new.members:
                self._tell(kinds.MemberLeft(node=self._me, member=member))
        self._tell(kinds.ConfigurationActivated(node=self._me, version=event.members.version, config=new))

    # --- how they are

    def look(self, now: float, status: Callable[[], PeerStatus], *, leads: bool) -> None:
        """Called in every turn, at `now`, seconds: now and then it asks for the `status` of a node that `leads`."""
        if not leads:
            if self._heard:
                self._heard.clear()
                self._well.clear()
            return
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        current = status()
        if current.role is not Role.LEADING or not current.established:
            return
        learners = {learner.peer: learner for learner in current.learners}
        members = [member for member in current.config.members if member != self._me]
        for gone in self._heard.keys() - members:
            del self._heard[gone]
            self._well.pop(gone, None)
        for member in members:
            self._look_at(member, learners.get(member), now)

    def _look_at(self, member: PeerId, learner: LearnerStatus | None, now: float) -> None:
        patience = self._patience_ticks * self._limits.tick_ms / 1000
        since = self._heard.setdefault(member, now)
        if learner is not None and learner.silence_ticks <= self._patience_ticks:
            self._heard[member] = now
            if learner.stage == _IN_LINE and not self._well.get(member, False):
                self._well[member] = True
                self._tell(kinds.MemberCaughtUp(node=self._me, member=member, zxid=learner.acked))
        elif self._well.get(member, True) and (learner is not None or now - since >= patience):
            self._well[member] = False
            why = "it does not follow" if learner is None else "its link is silent"
            self._tell(kinds.MemberSuspected(node=self._me, member=member, why=why, seconds=max(now - since, 0.0)))


def _made(status: PeerStatus) -> tuple[EnsembleConfig, Zxid | None]:
    """After the last change that has ended. While one is under way nobody knows the version that is replaced."""
    config = status.config
    return (config.old, None) if isinstance(config, Transition) else (config, status.version)
