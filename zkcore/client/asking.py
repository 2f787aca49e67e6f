"""How a coroutine over a Port asks: with patience, again where an answer was lost, and once where twice would be wrong.

This module must not know what is asked for, nor what kind of Port it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from zkcore.client.once import once
from zkcore.client.port import Port
from zkcore.errors import (
    BadArgumentsError,
    OutcomeForgottenError,
    OutcomeUnknownError,
    SessionError,
    ThrottledError,
)
from zkcore.replica.levels import Read, ReadLevel
from zkcore.tree.requests import Request

__all__ = ["FOR_EVER", "Patience", "ask", "ask_once", "back_off", "nonce", "pause", "settle"]

T = TypeVar("T")

_GRACE_SECONDS = 0.1
"""A request of a call with a timeout gets at least this long: not to wait is not the same as not to ask."""

_PAUSE_SECONDS = 0.1
"""About so long later what found no room is asked for again."""

_BACK_OFF_SECONDS, _LONGEST_BACK_OFF_SECONDS = 0.0005, 0.25


class Patience:
    """How long a call may take: `timeout` seconds from now; None for as long as it takes, 0 for not waiting.

    Raises BadArgumentsError for a timeout that is negative, or no number.
    """

    def __init__(self, port: Port, timeout: float | None) -> None:
        if timeout is not None and not timeout >= 0:
            raise BadArgumentsError(f"a timeout of {timeout} seconds; give None to wait for ever, or 0 not to wait")
        self._now = port.now
        self._deadline = None if timeout is None else port.now() + timeout

    @property
    def left_to_wait(self) -> float | None:
        """Seconds to wait for others; None for ever."""
        return None if self._deadline is None else max(self._deadline - self._now(), 0.0)

    @property
    def left(self) -> float | None:
        """Seconds that a request may take; None for ever."""
        return None if self._deadline is None else max(self._deadline - self._now(), _GRACE_SECONDS)

    @property
    def is_over(self) -> bool:
        return self._deadline is not None and self._now() >= self._deadline


class _Endless(Patience):
    """The patience of who cleans up, whatever his port."""

    def __init__(self) -> None:
        self._deadline = None


FOR_EVER: Patience = _Endless()
"""Ends only with the session."""


async def ask(
    port: Port,
    request: Request[T],
    patience: Patience,
    *,
    watch: Callable[[Any], None] | None = None,
    read: ReadLevel = Read.SESSION,
) -> T:
    """The answer to a request that does no harm when it is carried out twice, or too late: asked again where the answer
    was lost, and after a pause where there was no room.

    Raises what the request does; of OutcomeUnknownError and ThrottledError the last one when patience has run out.
    """
    while True:
        try:
            return await port.request(request, watch=watch, timeout=patience.left, read=read)
        except OutcomeForgottenError:
            raise
        except OutcomeUnknownError:
            if patience.is_over:
                raise
        except ThrottledError:
            if patience.is_over:
                raise
            await pause(port)


async def ask_once(port: Port, request: Request[T], patience: Patience) -> T:
    """As `ask`, for a request that must not be carried out twice.

    Raises OutcomeForgottenError where so many others were asked meanwhile that the ensemble does not remember.
    """
    answer: Any = await ask(port, once(port, request), patience)
    return answer  # type: ignore[no-any-return]


async def settle(port: Port, request: Request[T]) -> T:
    """As `ask_once`, for ever, for a caller who has to know whether it happened: where the session ends before that can
    be told, it raises not the SessionError, which says that it did not, but the OutcomeUnknownError before it."""
    wanted: Any = once(port, request)
    lost: OutcomeUnknownError | None = None
    while True:
        try:
            answer: T = await port.request(wanted)
            return answer
        except OutcomeForgottenError:
            raise
        except OutcomeUnknownError as error:
            lost = error
        except ThrottledError:
            await pause(port)
        except SessionError as error:
            if lost is None:
                raise
            raise lost from error


async def pause(port: Port) -> None:
    """A moment, so that what is refused at once is not asked for all the time."""
    await port.wait(timeout=_PAUSE_SECONDS * (0.5 + port.rng.random()))


async def back_off(port: Port, conflicts: int) -> None:
    """A moment for who has lost so many races in a row: by chance, the longer the more there were, and none after the
    first."""
    if conflicts > 1:
        longest = min(_BACK_OFF_SECONDS * 2 ** min(conflicts, 16), _LONGEST_BACK_OFF_SECONDS)
        await port.wait(timeout=longest * port.rng.random())


def nonce(port: Port) -> str:
    """A number of one's own, drawn by chance: by it one finds again what one has made."""
    return f"{port.rng.getrandbits(64):016x}"
