"""Who waits for a leadership to move: from the moment it is asked for until somebody else leads, or that has failed."""

from __future__ import annotations

import asyncio

from zkcore.errors import BadArgumentsError, NotLeadingError, TransferFailedError
from zkcore.replica.replica import Replica
from zkcore.zab.messages import PeerId
from zkcore.zab.ready import Event, RoleChanged, TransferFailed

__all__ = ["Transfers"]


class Transfers:
    """Those of one host."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[PeerId]] = []

    def begin(self, replica: Replica, target: PeerId | None, moved: asyncio.Future[PeerId]) -> None:
        """Have `replica` hand over to `target`; `moved` is told who leads then."""
        try:
            replica.transfer(target)
            self._waiting.append(moved)
        except (NotLeadingError, BadArgumentsError) as error:
            if not moved.done():
                moved.set_exception(error)

    def on_event(self, me: PeerId, event: Event) -> None:
        """The leadership has moved when this node, `me`, follows a leader that is established, whoever it is."""
        if not self._waiting:
            return
        if isinstance(event, TransferFailed):
            self.fail(str(event))
        elif isinstance(event, RoleChanged):
            if event.leader is None or event.leader == me:
                self.fail(f"the leadership ended, and nobody has taken over: {event.why}")
            elif event.established:
                for moved in self._waiting:
                    if not moved.done():
                        moved.set_result(event.leader)
                self._waiting.clear()

    def fail(self, why: str) -> None:
        """It does not move, or nobody will know."""
        for moved in self._waiting:
            if not moved.done():
                moved.set_exception(TransferFailedError(why))
        self._waiting.clear()
