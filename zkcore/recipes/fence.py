"""Fencing: what a resource does with the tokens it is shown.

No lease can stop a holder that is paused between its last check and its write. The resource can: it remembers the
highest token it has seen and refuses every lower one, and then no holder of the past changes anything after a later
holder has. A `FenceGuard` is that memory, in one of three places:

- in this process, for what lives here: `FenceGuard()`;
- in an SQLite database, in the same transaction as the write: `FenceGuard(SqliteTokens(connection, "accounts"))`;
- in the tree itself, where nothing need be remembered: `FenceGuard.transaction(lease, ...)` happens only while the
  contender's znode is there.

Where several may hold together, the lower of two tokens need not be of the past. A guard is told which are those of
readers (`shared`). The holders of a semaphore are fenced by a transaction alone.

This module must not know who holds what, nor why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from zkcore.errors import BadArgumentsError, ConfigurationError, StaleTokenError
from zkcore.recipes.contender import made_at
from zkcore.recipes.lease import Lease
from zkcore.tree.requests import Multi, Request
from zkcore.zxid import Zxid

__all__ = ["FenceGuard", "SqliteTokens", "Tokens"]

T = TypeVar("T")


class Tokens(Protocol):
    """Where the highest token that was seen is kept."""

    def raise_to(self, token: Zxid) -> Zxid:
        """Remember `token` where none higher is remembered; the highest one seen, it included."""


class MemoryTokens:
    """In this process."""

    def __init__(self) -> None:
        self._highest: Zxid = 0

    def raise_to(self, token: Zxid) -> Zxid:
        """See Tokens."""
        self._highest = max(self._highest, token)
        return self._highest


class SqliteConnection(Protocol):
    """What is needed of an `sqlite3.Connection`."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...


class SqliteTokens:
    """In the table `zkcore_fence` of an SQLite database, one row for each `resource`.

    The row is written in the transaction that the connection has open, so it is kept or undone together with what the
    holder writes: commit after both. A connection that commits by itself after every statement is refused with
    ConfigurationError, since its next statement would be fenced by nothing.
    """

    def __init__(self, connection: SqliteConnection, resource: str) -> None:
        self._connection = connection
        self._resource = resource
        connection.execute(
            "CREATE TABLE IF NOT EXISTS zkcore_fence (resource TEXT PRIMARY KEY, token INTEGER NOT NULL)"
        )

    def raise_to(self, token: Zxid) -> Zxid:
        """See Tokens."""
        execute = self._connection.execute
        execute(
            "INSERT INTO zkcore_fence VALUES (?, ?) "
            "ON CONFLICT (resource) DO UPDATE SET token = max(token, excluded.token)",
            (self._resource, token),
        )
        if not self._connection.in_transaction:
            raise ConfigurationError(
                "this connection commits after every statement, so the check would not cover the write; "
                'begin a transaction first: connection.execute("BEGIN IMMEDIATE")'
            )
        highest: Zxid = execute("SELECT token FROM zkcore_fence WHERE resource = ?", (self._resource,)).fetchone()[0]
        return highest


class FenceGuard:
    """Refuses holders of the past, by the `fencing_token` of their lease. See the module. `tokens` and, for those who
    read while others do, `readers` say where the highest token is kept: without `tokens` both are in this process."""

    def __init__(self, tokens: Tokens | None = None, *, readers: Tokens | None = None) -> None:
        self._tokens = MemoryTokens() if tokens is None else tokens
        self._readers = MemoryTokens() if readers is None and tokens is None else readers

    def check(self, token: Zxid, *, shared: bool = False) -> None:
        """Raises StaleTokenError where a higher token was seen before. What is guarded must follow with nothing between
        the two: no `await`, and where threads share the guard, no other thread (`write` sees to that).

        The same token may come as often as it likes: it is one hold's. `shared` is the token of one who reads while
        others do: only a later writer makes it stale, and it makes earlier writers so. ConfigurationError where the
        guard was not told where to keep such.
        """
        if token <= 0:
            raise BadArgumentsError(f"{token} is no fencing token; take `lease.fencing_token`")
        if shared and self._readers is None:
            raise ConfigurationError(
                "this guard has no place for the tokens of readers; make it with one: "
                'FenceGuard(SqliteTokens(connection, "x"), readers=SqliteTokens(connection, "x readers"))'
            )
        readers = 0 if self._readers is None else self._readers.raise_to(token if shared else 0)
        writers = self._tokens.raise_to(0 if shared else token)
        highest = writers if shared else max(readers, writers)
        if token < highest:
            raise StaleTokenError(
                f"the token {token:#x} comes from a hold of the past: {highest:#x} was seen since. "
                "Stop; whoever holds it now has begun to write"
            )

    def write(self, token: Zxid, action: Callable[[], T]) -> T:
        """What `action` returns, called only where no higher token was seen. Raises StaleTokenError."""
        self.check(token)
        return action()

    @staticmethod
    def transaction(lease: Lease, operations: Iterable[Request[Any]]) -> Multi:
        """The `operations` as one transaction that happens only while `lease` is held: its first operation is refused
        when the contender's znode is gone, and nothing is applied (MultiError of index 0)."""
        return Multi([made_at(lease.path, lease.fencing_token), *operations])
