"""From requests to transactions: what the leader does before it proposes.

A request says what somebody wants; a transaction says what will be. To turn the one into the other the leader needs the
state that the transaction will meet, which is the committed tree plus everything proposed and not yet applied
(`outstanding.py`). How each request is checked and becomes a transaction stands in `preparing.py` and, for those made
of others, in `preparing_more.py`.

A request that fails becomes a transaction too, one that says so: failures have their place in the order, and the
answer of a failing request cannot overtake the answers before it. What a client sent never raises here.

This module must not know who leads, nor when a transaction commits.
"""

from __future__ import annotations

from typing import Any, cast

from zkcore.errors import NoAuthError, UnimplementedError, ZkcoreError
from zkcore.jute.codec import codec_of
from zkcore.jute.records import ErrorTxn, Id, TxnHeader
from zkcore.tree.digest import pack_digest
from zkcore.tree.outstanding import MAX_DATA, Guard, Outstanding
from zkcore.tree.preparing import MAX_SEQUENCE
from zkcore.tree.preparing_more import PREPARE_ALL
from zkcore.tree.request import Request
from zkcore.tree.tree import Tree
from zkcore.zxid import Zxid

__all__ = ["MAX_DATA", "MAX_SEQUENCE", "Guard", "Preparer"]

_pack_header = codec_of(TxnHeader).pack
_pack_error = codec_of(ErrorTxn).pack


class Preparer:
    """Prepares transactions for the leader's `tree`, for as long as it leads.

    The tree must hold all the initial history of the epoch. What is prepared must be proposed, in order, with the zxid
    it was prepared for, and applied to the tree when committed; where that fails, the preparer is of no more use.
    `guard` limits the size of the tree.
    """

    def __init__(self, tree: Tree, *, guard: Guard = Guard()) -> None:  # noqa: B008 - a frozen value
        self._outstanding = Outstanding(tree, guard)

    @property
    def outstanding(self) -> int:
        """How many changes to znodes and sessions are remembered because the tree has not got there yet."""
        self._outstanding.forget_applied()
        return len(self._outstanding)

    def prepare(
        self, zxid: Zxid, now_ms: int, session: int, cxid: int, request: Request[Any], ids: tuple[Id, ...] = ()
    ) -> bytes:
        """The transaction for `request`, which `session` made as its number `cxid` (a signed 32-bit integer, echoed),
        known by `ids`.

        `zxid` is the one it will be proposed with; `now_ms` the leader's wall clock in milliseconds since 1970. A
        request that fails gives an error transaction, and the first check that fails decides the code, in ZooKeeper's
        order.
        """
        outstanding = self._outstanding
        outstanding.begin(zxid, now_ms, ids)
        try:
            prepare = PREPARE_ALL.get(type(request))
            if prepare is None:
                raise UnimplementedError
            kind, body = prepare(outstanding, session, request)
        except ZkcoreError as error:
            return _pack_header(session, cxid, zxid, now_ms, ErrorTxn.TYPE) + _pack_error(cast(int, error.code))
        return _pack_header(session, cxid, zxid, now_ms, kind) + body + pack_digest(outstanding.digest)

    def check_may(self, permission: int, path: str, ids: tuple[Id, ...]) -> None:
        """Raises NoNodeError, and NoAuthError unless the znode at `path` will give a client known by `ids` the
        `permission`, as the next transaction finds it."""
        outstanding = self._outstanding
        outstanding.forget_applied()
        acl = outstanding.existing(path)[0].acl
        if acl is not None and not outstanding.tree.access.allows(acl, permission, ids):
            raise NoAuthError(path=path)

    def is_live(self, session: int) -> bool:
        """Whether `session` exists and no outstanding transaction ends it."""
        return self._outstanding.is_live(session)

    def is_ending(self, session: int) -> bool:
        """Whether an outstanding transaction ends `session`."""
        return self._outstanding.is_ending(session)
