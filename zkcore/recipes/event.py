"""The event: a flag that everybody can set, clear, and wait for. ZooKeeper calls this recipe a barrier.

The flag is a znode: while it is there the event is set. Setting and clearing are requests that are carried out once
however often they must be sent, so one whose answer was lost does not set again what somebody has cleared meanwhile.
"""

from __future__ import annotations

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, NodeExistsError, NoNodeError
from zkcore.recipes.waiting import FOR_EVER, Patience, ask, ask_once, wait_until
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.requests import CreateWithParents, Delete, Exists

__all__ = ["Event"]


class Event:
    """An event at `path`, with the manners of `asyncio.Event`. It begins cleared, and stays as it is when who set it is
    gone. What is above its path is created where it is missing. Making one does no I/O."""

    def __init__(self, client: Client, path: str) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("an event needs a path of its own, not the root")
        self.path = path
        self._client = client

    def __repr__(self) -> str:
        return f"<Event {self.path}>"

    async def set(self) -> None:
        """Set it: whoever waits is woken. Setting what is set does nothing."""
        try:
            await ask_once(self._client.port, CreateWithParents(self.path, acl=DEFAULT_ACL), FOR_EVER)
        except NodeExistsError:
            pass

    async def clear(self) -> None:
        """Clear it. Clearing what is clear does nothing."""
        try:
            await ask_once(self._client.port, Delete(self.path), FOR_EVER)
        except NoNodeError:
            pass

    async def is_set(self) -> bool:
        """Whether it is set: as of the replica that serves this client, and a moment ago."""
        return await ask(self._client.port, Exists(self.path), FOR_EVER) is not None

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, True; False where it was not within `timeout` seconds. None waits for ever.

        It may be cleared again by the time the waiter runs; of an event that is set and cleared at once a waiter may
        see nothing. Raises SessionExpiredError or SessionClosedError, and BadArgumentsError for a negative timeout.
        """
        port = self._client.port
        watched = Exists(self.path, watch=True)
        return await wait_until(port, watched, lambda stat: stat is not None, Patience(port, timeout))
