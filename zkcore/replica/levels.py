"""How fresh the answer to a read must be: the levels a read may have, and the barrier `Sync`.

A replica answers reads from its own tree, which may be a little behind what others have committed. How little is good
enough only the caller knows, so every read says it. From the cheapest to the dearest::

    LOCAL           at once, whatever else the session has under way
    SESSION         after what the session asked before; no message is sent
    at_least(zxid)  and this replica has applied zxid
    LINEARIZABLE    and it has applied all that anybody had an answer to: the leader is asked, and a quorum behind it

This module must not know how any of it is done; see `reading.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, TypeAlias

from attrs import Attribute, field, frozen

from zkcore.errors import BadArgumentsError
from zkcore.tree.requests import Request
from zkcore.zxid import Zxid

__all__ = ["AtLeast", "Read", "ReadLevel", "Sync", "check_level"]


class Read(StrEnum):
    """How fresh the answer to a read must be. Whatever its level, it shows the tree as it was after one transaction
    and before the next, and never an older one than the session has seen before."""

    LOCAL = "LOCAL"
    """What the replica has applied by now, at once. It waits for nothing, not even for requests of this session that
    are still under way; those that were answered it shows. Only while the session is suspended does it wait like any
    other."""
    SESSION = "SESSION"
    """After everything that the session asked for before: it sees its own writes, also those not yet answered. What
    others wrote it sees when this replica has applied it. That is what ZooKeeper gives."""
    LINEARIZABLE = "LINEARIZABLE"
    """As SESSION, and it shows every write of anybody that was answered before the read was asked for. It costs a
    question to the leader and a round of messages to a quorum, shared by all the reads that wait at this replica."""

    @staticmethod
    def at_least(zxid: Zxid) -> AtLeast:
        """As SESSION, and it shows the transaction `zxid`, and all before it: what another client has seen, who told
        its `Client.last_zxid` or the `mzxid` of a Stat. Where the replica has applied it already that costs nothing.

        A zxid of which the leader knows nothing is answered with BadArgumentsError, and not waited for."""
        return AtLeast(zxid)


def _is_zxid(_: object, __: Attribute[Zxid], value: Zxid) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadArgumentsError(f"{value!r} is no zxid; give Client.last_zxid, or the czxid or mzxid of a Stat")


@frozen
class AtLeast:
    """See `Read.at_least`. Raises BadArgumentsError for what is no zxid."""

    zxid: Zxid = field(validator=_is_zxid)


ReadLevel: TypeAlias = Read | AtLeast


def check_level(read: object) -> None:
    """Raises BadArgumentsError for what is no level: taken for one it could pass for a weaker than was meant."""
    if not isinstance(read, Read | AtLeast):
        raise BadArgumentsError(
            f"{read!r} is no level of reading; give Read.LOCAL, SESSION or LINEARIZABLE, or Read.at_least(zxid)"
        )


@frozen
class Sync(Request[Zxid]):
    """Answered with the newest zxid applied here, once that is everything that was proposed before this was asked, by
    a leader that a quorum still followed then. It is asked with Read.LINEARIZABLE, and reads nothing."""

    opcode: ClassVar[int] = 9
    writes: ClassVar[bool] = False
