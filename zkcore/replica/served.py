"""A client as the host of its replica sees it.

This module must not know what the client is: a Port in this process, or a connection from another.
"""

from __future__ import annotations

from typing import Protocol

from zkcore.errors import ZkcoreError
from zkcore.tree.watch_requests import Missed
from zkcore.zxid import Zxid

__all__ = ["NOBODY", "Served"]


class Served(Protocol):
    """A client as its host sees it. Called on the host's event loop; must return at once and never raise."""

    def on_opened(self, session: int) -> None:
        """The session has this id; the next `on_replied` says whether it exists."""

    def on_replied(self, result: object, error: ZkcoreError | None, zxid: Zxid) -> None:
        """The answer to the oldest request that has none yet; see `zkcore.replica.answers.Replied`."""

    def on_watch(self, event: Missed) -> None:
        """A watch went off, or missed what it should have told."""

    def on_touched(self, token: int, alive: bool) -> None:
        """The leader's answer to `touch`."""

    def on_attached(self) -> None:
        """The session is served here now."""

    def on_detached(self, why: str) -> None:
        """The session is not served here (any more)."""

    def on_ended(self) -> None:
        """The session is over."""


class _Nobody:
    """Stands for a client that has gone."""

    def on_opened(self, session: int) -> None: ...
    def on_replied(self, result: object, error: ZkcoreError | None, zxid: Zxid) -> None: ...
    def on_watch(self, event: Missed) -> None: ...
    def on_touched(self, token: int, alive: bool) -> None: ...
    def on_attached(self) -> None: ...
    def on_detached(self, why: str) -> None: ...
    def on_ended(self) -> None: ...


NOBODY: Served = _Nobody()
