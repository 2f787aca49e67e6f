"""What is looked at before a session is opened or taken up at a replica, and before anybody else hears of it.

This module must not know how a session is served.
"""

from __future__ import annotations

from zkcore.errors import AuthFailedError, BadArgumentsError, ConnectionLostError
from zkcore.replica.rules import MAX_TIMEOUT_MS
from zkcore.replica.serving import MAX_XID
from zkcore.tree.sessions import PASSWORD_SIZE, opens
from zkcore.tree.tree import Tree
from zkcore.zxid import Zxid, format_zxid

__all__ = ["check_attaching", "check_opening"]


def check_opening(timeout_ms: int, password: bytes) -> None:
    """Raises BadArgumentsError for what cannot be the timeout, or the password, of a session."""
    if not 0 < timeout_ms <= MAX_TIMEOUT_MS:
        raise BadArgumentsError(f"a session timeout of {timeout_ms} ms; it must be between 1 and {MAX_TIMEOUT_MS}")
    if len(password) != PASSWORD_SIZE:
        raise BadArgumentsError(f"a password of {len(password)} bytes; give a session {PASSWORD_SIZE} random ones")


def check_attaching(tree: Tree, session: int, *, password: bytes, last_zxid: Zxid, next_xid: int) -> None:
    """Raises BadArgumentsError for a `next_xid` that is none, ConnectionLostError where `tree` is older than what the
    session has seen, and AuthFailedError for a password that is not its own, as far as `tree` can tell."""
    if not 0 < next_xid <= MAX_XID:
        raise BadArgumentsError(f"the number of a request is between 1 and {MAX_XID}, not {next_xid}")
    if tree.last_zxid < last_zxid:
        raise ConnectionLostError(
            f"this replica has applied {format_zxid(tree.last_zxid)} and the session has seen "
            f"{format_zxid(last_zxid)}; try another replica, or this one a little later"
        )
    known = session in tree.sessions
    if len(password) != PASSWORD_SIZE or (known and not opens(tree.session_keys.get(session, b""), session, password)):
        raise AuthFailedError(f"the password is not that of session {session:#x}")
