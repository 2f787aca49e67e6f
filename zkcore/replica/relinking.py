"""Which members the transport of a host is told of, and when.

While a change is under way the members of both configurations are linked. A replica that has no leader cannot know
whether it has missed a change, and the transport is told that, too.

This module must not know how links are made.
"""

from __future__ import annotations

from zkcore.replica.answers import MembersChanged
from zkcore.replica.replica import Replica
from zkcore.transport.transport import Relinking, Transport
from zkcore.zab.messages import PeerId
from zkcore.zab.ready import RoleChanged

__all__ = ["Relinks"]


class Relinks:
    """Those of one `replica`."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._members = MembersChanged(replica.members, None)

    def on_event(self, event: object, transport: Transport | None) -> None:
        """The replica tells this: pass on to `transport` what is in it for that."""
        if isinstance(event, MembersChanged):
            self._members = event
        elif not isinstance(event, RoleChanged):
            return
        self.tell(transport)

    def tell(self, transport: Transport | None) -> None:
        """Tell `transport` what is known."""
        if isinstance(transport, Relinking):
            members, replaced = self._members
            places: dict[PeerId, str] = {}
            for each in (members,) if replaced is None else (replaced, members):
                places.update(dict.fromkeys(each.config.members, "") | places | dict(each.addresses))
            transport.set_members(places, version=members.version, sure=self._replica.serving)
