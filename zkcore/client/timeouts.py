"""What can be a timeout, in seconds, and what cannot."""

from __future__ import annotations

from zkcore.errors import BadArgumentsError
from zkcore.replica.rules import MAX_TIMEOUT_MS

__all__ = ["DEFAULT_SESSION_TIMEOUT", "check_timeout", "check_wait"]

DEFAULT_SESSION_TIMEOUT = 10.0
"""Seconds, as kazoo's."""


def check_timeout(timeout: float) -> None:
    """Raises BadArgumentsError for what cannot be the timeout of a session."""
    if not 1 <= timeout * 1000 <= MAX_TIMEOUT_MS:
        raise BadArgumentsError(
            f"a session timeout of {timeout} seconds; it must be between 0.001 and {MAX_TIMEOUT_MS // 1000}"
        )


def check_wait(timeout: float) -> None:
    """Raises BadArgumentsError for what cannot be the timeout of a wait, or of a request."""
    if not timeout >= 0:
        raise BadArgumentsError(f"a timeout of {timeout} seconds; give None to wait for ever, or 0 not to wait")
