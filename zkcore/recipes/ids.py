"""Ids that nobody gets twice: numbers that count up, a block of them reserved at a time.

The znode holds the next number that is not reserved, as decimal text. A block is reserved by one transaction; who has
it gives its numbers out without asking anybody, however long he is paused. What he does not give out nobody does:
there are gaps, and never the same id twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, IdsExhaustedError
from zkcore.recipes.atomic_value import AtomicValue
from zkcore.recipes.counter import HIGHEST, Decimal, check_number

__all__ = ["IdGenerator"]


class IdGenerator:
    """Ids from `start` to `last`, of which each is given out once, by whomever, at `path`; what is above is created
    where it is missing.

    ::

        ids = zkcore.IdGenerator(zk, "/ids/orders", block=1000)
        order = await ids.next()                  # asks the ensemble once in a thousand times
        numbers = await ids.next_block(50)        # a range of fifty

    Making one does no I/O. `block` is how many ids `next` reserves at a time: more of them ask less often, and leave
    larger gaps. All who share a path must be given the same `start` and `last`. Several tasks may use one.

    Guaranteed: no id is given out twice, in this session or any other. Of one generator, `next` gives ids that grow
    while nobody else asks it at the same time; those of different ones are in no order. For ids that are ordered by
    time see `TimeIdGenerator`.
    """

    def __init__(
        self, client: Client, path: str, *, block: int = 1000, start: int = 0, last: int = HIGHEST - 1
    ) -> None:
        for number, what in ((block, "a block"), (start, "a start"), (last, "a last id")):
            check_number(number, what)
        if block < 1:
            raise BadArgumentsError(f"a block of {block} ids; reserve at least one at a time")
        if not 0 <= start <= last < HIGHEST:
            raise BadArgumentsError(f"ids from {start} to {last}; they go from 0 to {HIGHEST - 1}")
        self.path = path
        self._block = block
        self._last = last
        self._next_free = AtomicValue(client, path, initial=start, codec=Decimal(start))
        self._ids: Iterator[int] = iter(())

    def __repr__(self) -> str:
        return f"<IdGenerator {self.path}>"

    async def next(self) -> int:
        """An id. Raises IdsExhaustedError, CodecError where something else is stored there, OutcomeUnknownError, and
        SessionExpiredError or SessionClosedError."""
        # An iterator gives each number to one thread only; of two blocks reserved at once the first may be lost.
        while (found := next(self._ids, None)) is None:
            self._ids = iter(await self._reserve(1, self._block))
        return found

    async def next_block(self, count: int) -> range:
        """So many ids, one behind the other. Raises what `next` does, and BadArgumentsError for less than one."""
        check_number(count, "a block")
        if count < 1:
            raise BadArgumentsError(f"a block of {count} ids; ask for at least one")
        return await self._reserve(count, count)

    async def _reserve(self, least: int, most: int) -> range:
        first = 0

        def reserved(free: int) -> int:
            nonlocal first
            first = free
            left = self._last + 1 - free
            if left < least:
                raise IdsExhaustedError(
                    f"{self.path}: {max(left, 0)} ids are left up to {self._last}, and {least} are wanted; begin "
                    "another range at another path"
                )
            return free + min(most, left)

        behind = await self._next_free.update(reserved)
        return range(first, behind)
