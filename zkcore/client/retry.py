"""Retries: a Port that asks again where that can help and can do no harm.

What an error says decides (`zkcore.errors`). Where nothing was applied and the same call can succeed later, it is asked
again. Where the answer was lost, a read is asked again; a write may have been applied, and what then is for the caller
to say, once and for all that is asked through this Port (`WriteRetry`). Every other error is the answer.

Between two attempts there is a pause, drawn by chance up to a bound that grows: clients that were refused together do
not come back together.

This module must not know what kind of Port is below.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from attrs import Attribute, field, frozen

from zkcore.client.once import numbers_of
from zkcore.client.port import Port, Watcher
from zkcore.client.wrapped import WrappedPort
from zkcore.errors import BadArgumentsError, ZkcoreError
from zkcore.replica.levels import Read, ReadLevel
from zkcore.tree.requests import Once, Reconfigure, Request

__all__ = ["Retry", "RetryPort", "WriteRetry"]

T = TypeVar("T")


class WriteRetry(StrEnum):
    """What becomes of a write whose answer was lost."""

    ONCE = "ONCE"
    """It is asked again, and carried out once all the same: the ensemble remembers the outcome of a session's last
    requests of this kind. That takes room in the tree; so only a few of a session are under way at a time, and the
    others wait."""
    AGAIN = "AGAIN"
    """It is asked again as it is: you say that your writes do no harm when they are carried out twice. A delete may
    then find nothing, and a create find its own znode."""
    NEVER = "NEVER"
    """It ends with the error that says so. Asked again is only what was not applied."""


def _is_positive(owner: object, attribute: Attribute[Any], value: float | None) -> None:
    if value is not None and not value > 0:
        raise BadArgumentsError(f"a Retry with {attribute.name}={value!r}; give a number above 0")


def _is_at_least_one(owner: object, attribute: Attribute[Any], value: float | None) -> None:
    if value is not None and not value >= 1:
        raise BadArgumentsError(f"a Retry with {attribute.name}={value!r}; give 1 or more")


@frozen(kw_only=True)
class Retry:
    """How requests are asked again: for `deadline` seconds each, all attempts and pauses together, and at most
    `max_tries` times; None for without an end. The pauses are drawn between 0 and a bound that is `delay` seconds at
    first, grows by the factor `backoff` each time, and ends at `max_delay`.

    Raises BadArgumentsError for a number that makes no sense.
    """

    deadline: float | None = field(default=30.0, validator=_is_positive)
    max_tries: int | None = field(default=None, validator=_is_at_least_one)
    delay: float = field(default=0.1, validator=_is_positive)
    backoff: float = field(default=2.0, validator=_is_at_least_one)
    max_delay: float = field(default=5.0, validator=_is_positive)
    writes: WriteRetry = field(default=WriteRetry.ONCE, converter=WriteRetry)


class RetryPort(WrappedPort):
    """The Port `inner`, with requests asked again as `retry` says. One that is asked again has lost its place in the
    order of requests: wait for an answer before you ask for what rests on it."""

    def __init__(self, inner: Port, retry: Retry) -> None:
        super().__init__(inner, lambda port: RetryPort(port, retry))
        self._retry = retry

    async def request(
        self,
        op: Request[T],
        *,
        watch: Watcher | None = None,
        timeout: float | None = None,
        read: ReadLevel = Read.SESSION,
    ) -> T:
        """See `zkcore.client.port.Port.request`; of what is asked again, the last error is raised."""
        limits = [limit for limit in (timeout, self._retry.deadline) if limit is not None]
        ends = self._inner.now() + min(limits) if limits else None
        if not op.writes or isinstance(op, Once | Reconfigure) or self._retry.writes is not WriteRetry.ONCE:
            return await self._ask(op, ends, watch=watch, read=read)
        numbers = numbers_of(self._inner)
        begun = await numbers.begin(self._inner, op, ends=ends)
        try:
            answer: Any = await self._ask(begun, ends)
            return answer  # type: ignore[no-any-return]
        finally:
            numbers.end(begun)

    async def _ask(
        self, op: Request[T], ends: float | None, *, watch: Watcher | None = None, read: ReadLevel = Read.SESSION
    ) -> T:
        inner, retry = self._inner, self._retry
        may_be_repeated = not op.writes or isinstance(op, Once) or retry.writes is WriteRetry.AGAIN
        bound = retry.delay
        tries = 0
        while True:
            tries += 1
            left = None if ends is None else max(ends - inner.now(), 0.0)
            try:
                return await inner.request(op, watch=watch, timeout=left, read=read)
            except ZkcoreError as error:
                if not error.retryable or (error.applied == "unknown" and not may_be_repeated):
                    raise
                pause = inner.rng.uniform(0.0, bound)
                if tries == retry.max_tries or (ends is not None and inner.now() + pause >= ends):
                    raise
            await inner.wait(inner.session.lost, timeout=pause)
            bound = min(bound * retry.backoff, retry.max_delay)
