"""What every request is: a record in the layout of ZooKeeper's client protocol that knows the type of its answer.

`Request[T]` says what the answer is: `Request[Stat]` is answered with a Stat. Requests that write become transactions
on the leader (`prepare.py`); the others are answered by any replica from its own tree (`reading.py`).

A request carries its answer's type and its bytes, and checks only that its fields have the right Python types: whether
a path or a version will do is decided where the state is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

from zkcore.jute.records import ACL

__all__ = ["Request", "T", "check_types", "tuple_of"]

T = TypeVar("T", covariant=True)


class Request(Generic[T]):
    """One request whose answer is a `T`."""

    __slots__ = ()

    opcode: ClassVar[int]
    """ZooKeeper's number of the request; where it has none, ours: that of the nearest and 1000, or 1100."""
    writes: ClassVar[bool]
    """Whether it becomes a transaction."""


def check_types(path: object, data: object = None, *, number: object = 0) -> None:
    """Raise TypeError unless `path` is a str, `data` bytes or None, and `number` an int.

    Where client and leader share a process nothing else stands between a mistaken caller and the leader.
    """
    if type(path) is not str:
        raise TypeError(f"a path is a str, not {path!r}")
    if data is not None and type(data) is not bytes:
        raise TypeError(f"data is bytes, not {type(data).__name__}")
    if not isinstance(number, int):
        raise TypeError(f"a version, mode, type or timeout is an int, not {number!r}")


def tuple_of(acl: Iterable[ACL]) -> tuple[ACL, ...]:
    """`acl` as the tuple that a record holds. Raises TypeError for anything else in it."""
    entries = tuple(acl)
    for entry in entries:
        if not isinstance(entry, ACL):
            raise TypeError(f"an ACL has entries of type ACL, not {entry!r}")
    return entries
