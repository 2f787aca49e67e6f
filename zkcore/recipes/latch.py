"""The latch: it opens when it has been counted down to zero, and then stays open.

Its znode says what it was made for, and is set anew, with the same data, at each count: how often that has happened is
its version, which the ensemble counts. So those who count at once are not in each other's way. The transaction of the
last count also creates `<path>/open`, which is all that those who wait watch: they are woken once.
"""

from __future__ import annotations

from typing import Any

from zkcore.client.client import Client
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    BadVersionError,
    ConfigMismatchError,
    LatchCountError,
    MultiError,
    NoNodeError,
    OutcomeUnknownError,
)
from zkcore.recipes.waiting import FOR_EVER, Patience, ask_once, get_or_create, wait_until
from zkcore.tree.acl import DEFAULT_ACL
from zkcore.tree.paths import validate
from zkcore.tree.requests import CheckStat, Condition, Create, Exists, Multi, Relation, Request, SetData, StatField

__all__ = ["CountDownLatch"]

MAX_COUNT = 1_000_000_000


class CountDownLatch:
    """A latch at `path` that opens after `count` counts, with the manners of Java's.

    ::

        latch = zkcore.CountDownLatch(zk, "/ready", count=3)
        await latch.count_down()              # three times, by whomever
        await latch.wait()                    # until then

    Making one does no I/O. Whoever is first creates the znode; one made for another count is refused with
    ConfigMismatchError. It stays as it is when who counted is gone, and once open it stays open: for the next time take
    another path.
    """

    def __init__(self, client: Client, path: str, *, count: int) -> None:
        validate(path)
        if path == "/":
            raise BadArgumentsError("a latch needs a path of its own, not the root")
        if not 0 <= count <= MAX_COUNT:
            raise BadArgumentsError(f"a latch of {count}; it is for 0 to {MAX_COUNT} counts")
        self.path = path
        self._count = count
        self._client = client
        self._said = f"latch {count}".encode()
        self._open = f"{path}/open"

    def __repr__(self) -> str:
        return f"<CountDownLatch {self.path} of {self._count}>"

    async def count_down(self) -> None:
        """Count down by one; the last one opens the latch.

        Raises LatchCountError where it was at zero before, ConfigMismatchError, OutcomeForgottenError, and
        SessionExpiredError or SessionClosedError. Counted is once, however often the request must be sent; where it is
        cancelled, or the session ends meanwhile, it may have been counted.
        """
        port = self._client.port
        create = Create(self._open, acl=DEFAULT_ACL)
        while True:
            await self._agree(port, FOR_EVER)
            if await self._try(port, Relation.LESS) or await self._try(port, Relation.EQUAL, create):
                return
            if await self.count() == 0:
                raise LatchCountError(
                    f"the latch {self.path} was counted down {self._count} times before, for which it was made; "
                    "count once for each, or make it for more"
                )

    async def count(self) -> int:
        """How many counts are missing: as of the replica that serves this client, and a moment ago."""
        return max(self._count - await self._agree(self._client.port, FOR_EVER), 0)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open, True; False where it was not within `timeout` seconds. None waits for ever.

        Raises ConfigMismatchError, SessionExpiredError or SessionClosedError, and BadArgumentsError for a negative
        timeout.
        """
        port = self._client.port
        patience = Patience(port, timeout)
        try:
            await self._agree(port, patience)
        except OutcomeUnknownError:
            return False  # nobody answered in time
        if self._count == 0:
            return True
        return await wait_until(port, Exists(self._open, watch=True), lambda stat: stat is not None, patience)

    async def _agree(self, port: Port, patience: Patience) -> int:
        """How often it was counted. The znode is created where it is missing."""
        data, stat = await get_or_create(port, self.path, self._said, patience)
        if data != self._said:
            raise ConfigMismatchError(
                f"{self.path} holds {data[:40]!r}, so it is no latch of {self._count}; make all of them for the same "
                "count, or choose another path"
            )
        return stat.version

    async def _try(self, port: Port, relation: Relation, *more: Request[Any]) -> bool:
        """Count, if what was counted before compares so to the last count; False where it does not."""
        before = Condition(StatField.VERSION, relation, self._count - 1)
        count: Multi = Multi([CheckStat(self.path, [before]), SetData(self.path, self._said), *more])
        try:
            await ask_once(port, count, FOR_EVER)
        except MultiError as error:
            if not isinstance(error.error, BadVersionError | NoNodeError):
                raise error.error from None
            return False
        return True
