"""The transaction id: an epoch and a counter in one integer.

A zxid orders everything that was ever committed. Its high 32 bits are the epoch of the leader that proposed the
transaction, its low 32 bits count that leader's proposals from 1. As plain integers zxids compare in the order in
which transactions are delivered, so the hot paths keep them as ``int`` and nothing else.

This module knows nothing of zkcore.
"""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["MAX_COUNTER", "MAX_EPOCH", "Zxid", "counter_of", "epoch_of", "follows", "format_zxid", "make_zxid"]

Zxid: TypeAlias = int

MAX_EPOCH = 0xFFFFFFFF
MAX_COUNTER = 0xFFFFFFFF


def make_zxid(epoch: int, counter: int) -> Zxid:
    """The zxid of `counter` in `epoch`; both are unsigned 32-bit numbers.

    >>> format_zxid(make_zxid(3, 10))
    '0x3_0000000a'
    """
    if not (0 <= epoch <= MAX_EPOCH and 0 <= counter <= MAX_COUNTER):
        raise ValueError(f"epoch {epoch} and counter {counter} must both be unsigned 32-bit numbers")
    return epoch << 32 | counter


def epoch_of(zxid: Zxid) -> int:
    """The epoch in which `zxid` was proposed."""
    return zxid >> 32


def counter_of(zxid: Zxid) -> int:
    """The position of `zxid` among the proposals of its epoch, counted from 1; 0 where there is none."""
    return zxid & MAX_COUNTER


def follows(zxid: Zxid, previous: Zxid) -> bool:
    """Whether a log may hold `zxid` right after `previous`: the next counter of the same epoch, or the first of a
    later one (protocol.md 2, N3).

    >>> follows(make_zxid(2, 1), make_zxid(1, 7)), follows(make_zxid(1, 9), make_zxid(1, 7))
    (True, False)
    """
    return zxid == previous + 1 if zxid >> 32 == previous >> 32 else zxid > previous and zxid & MAX_COUNTER == 1


def format_zxid(zxid: Zxid) -> str:
    """`zxid` as people read it in logs and transcripts."""
    return f"0x{zxid >> 32:x}_{zxid & MAX_COUNTER:08x}"
