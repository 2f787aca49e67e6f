"""Dead letters: items that were given out too often without anybody acknowledging them.

A dead letter is a znode below `<path>/dead`, called as its item was. Its data begins with a line that says how often
the item was given out and why it was given up last; the item follows.

This module must not know how an item gets here; see `Stock.burial`.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from zkcore.client.port import Port
from zkcore.errors import NoNodeError
from zkcore.recipes.codec import Codec, from_bytes
from zkcore.recipes.contender import made_at, remove_made
from zkcore.recipes.places import place_of
from zkcore.recipes.stock import Stock
from zkcore.recipes.waiting import FOR_EVER, Patience, ask
from zkcore.tree.requests import Delete, ListChildren
from zkcore.zxid import Zxid

__all__ = ["DeadLetter", "dead_letters", "discard", "requeue"]

T = TypeVar("T")


class DeadLetter(Generic[T]):
    """An item that was given out as often as it may be, and never acknowledged. A value."""

    def __init__(self, path: str, zxid: Zxid, data: bytes, codec: Codec[T]) -> None:
        head, _, self.data = data.partition(b"\n")
        deliveries, _, reason = head.decode(errors="replace").partition(" ")
        self._codec = codec
        self.path = path
        """Its znode."""
        self.zxid = zxid
        """The transaction that made it a dead letter: it was given up in that order."""
        self.deliveries = int(deliveries) if deliveries.isdigit() else 0
        """How often it was given out."""
        self.reason = reason
        """Why it was given up last: what the worker raised, shortened."""

    def __repr__(self) -> str:
        return f"<DeadLetter {self.path} deliveries={self.deliveries}>"

    @property
    def item(self) -> T:
        """What was put. Raises CodecError, which may be why it is here; `data` is the bytes."""
        return from_bytes(self._codec, self.data, where=self.path)


async def dead_letters(port: Port, stock: Stock, codec: Codec[T]) -> tuple[DeadLetter[T], ...]:
    """All there are, in the order in which they were given up."""
    await stock.ensure(port, FOR_EVER, check=False)
    found: list[DeadLetter[T]] = []
    after: str | None = ""
    while after is not None:
        page = await ask(port, ListChildren(stock.dead, after=after, with_stat=True, with_data=True), FOR_EVER)
        for name, stat, data in page.children:
            if stat is not None:
                found.append(DeadLetter(f"{stock.dead}/{name}", stat.czxid, data or b"", codec))
        after = page.after
    return tuple(sorted(found, key=lambda letter: letter.zxid))


async def requeue(port: Port, stock: Stock, letter: DeadLetter[T], timeout: float | None) -> None:
    """Put the item again, and remove the letter, in one transaction."""
    creation = stock.creation(port, place_of(letter.path.rpartition("/")[2]), letter.data)
    removal = [made_at(letter.path, letter.zxid), Delete(letter.path)]
    try:
        await stock.put(port, [creation], Patience(port, timeout), with_them=removal)
    except NoNodeError:
        raise NoNodeError(
            f"{letter.path} is no dead letter any more: somebody else has requeued or discarded it; look again",
            path=letter.path,
        ) from None


async def discard(port: Port, letter: DeadLetter[T]) -> None:
    """Delete the letter, if it is still there."""
    await remove_made(port, letter.path, letter.zxid)
