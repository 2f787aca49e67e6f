"""The counter: a whole number that everybody can add to, and nothing is added twice.

It is an atomic value (`atomic_value.py`), stored as decimal text, as kazoo does.
"""

from __future__ import annotations

import re

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, CounterOverflowError
from zkcore.recipes.atomic_value import AtomicValue

__all__ = ["HIGHEST", "LOWEST", "Counter", "Decimal", "check_number"]

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
"""What a counter can count to: what fits 64 bits with a sign, so that others can read it."""

_DECIMAL = re.compile(rb"-?[0-9]{1,19}")


class Decimal:
    """The codec of whole numbers as decimal text. A znode without data, as kazoo makes them, holds `empty`."""

    def __init__(self, empty: int) -> None:
        self._empty = empty

    def __repr__(self) -> str:
        return "decimal text"

    def encode(self, value: int, /) -> bytes:
        return str(value).encode()

    def decode(self, data: bytes, /) -> int:
        if not data:
            return self._empty
        number = int(data) if _DECIMAL.fullmatch(data) else HIGHEST + 1
        if not LOWEST <= number <= HIGHEST:
            raise ValueError(f"{data[:40]!r} is no whole number of 64 bits")
        return number


def check_number(number: object, what: str) -> None:
    """Raises BadArgumentsError for what is no whole number."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise BadArgumentsError(f"{what} of {number!r}; give a whole number")


class Counter:
    """A counter at `path`, which is `start` until somebody adds to it; what is above is created where it is missing.

    ::

        visits = zkcore.Counter(zk, "/visits")
        print(await visits.add(5))            # 5
        print(await visits.next())            # 5: the number, and on to the next, as `next(itertools.count())`
        print(await visits.get())             # 6

    Making one does no I/O. There is no `+=`: what asks the ensemble is a call.

    Guaranteed: what is added is added once. Where `add` ends in OutcomeUnknownError, or is cancelled, it was added once
    or not at all. The number fits 64 bits with a sign; what would lead beyond is refused with CounterOverflowError.
    """

    def __init__(self, client: Client, path: str, *, start: int = 0) -> None:
        check_number(start, "a start")
        if not LOWEST <= start <= HIGHEST:
            raise BadArgumentsError(f"a start of {start}; a counter counts from {LOWEST} to {HIGHEST}")
        self.path = path
        self._value = AtomicValue(client, path, initial=start, codec=Decimal(start))

    def __repr__(self) -> str:
        return f"<Counter {self.path}>"

    async def get(self) -> int:
        """The number: as of the replica that serves this client, and a moment ago. Raises CodecError where something
        else is stored there."""
        return await self._value.get()

    async def add(self, amount: int = 1) -> int:
        """Add `amount`, which may be negative; what the number came to be.

        Raises CounterOverflowError, CodecError, BadArgumentsError for what is no whole number, OutcomeUnknownError, and
        SessionExpiredError or SessionClosedError.
        """
        check_number(amount, "an amount")

        def added(now: int) -> int:
            if not LOWEST <= now + amount <= HIGHEST:
                raise CounterOverflowError(
                    f"{self.path} stands at {now}, and {amount} more does not fit 64 bits; count something else, or "
                    "begin another counter"
                )
            return now + amount

        return await self._value.update(added)

    async def next(self) -> int:
        """The number, and add one: of several who ask, each gets another. Raises what `add` does."""
        return await self.add(1) - 1
