"""The rate limiter: a token bucket that a whole fleet takes from.

The bucket is one znode: how many tokens were in it at what time. To take is one transaction, refused where somebody
else has taken meanwhile. Who takes more than there is leaves a debt, and waits until the bucket has made up for it; so
those who wait are served in the order of their transactions, and nobody polls.

Time is that of the ensemble, whose leader stamps every transaction with it. A client knows from a stamp that it has
seen, and from how long ago that was on its own clock, that it is at least so late by now; and where that is not enough
to give it what it wants, it writes the bucket as it is, and sees the stamp of that. So the wall clocks of clients fill
no bucket, and who is paused or far away counts less time than has passed, never more.

This module must not know what is limited.
"""

from __future__ import annotations

from math import inf, isfinite
from typing import NamedTuple

from zkcore.client.client import Client
from zkcore.errors import BadArgumentsError, CodecError, ConfigMismatchError, NoNodeError
from zkcore.recipes.stored import Raw, Stored
from zkcore.recipes.waiting import Patience, ask, back_off
from zkcore.tree.requests import GetData

__all__ = ["RateLimiter"]


class _Level(NamedTuple):
    """So many tokens were in the bucket when the ensemble's clock showed that; less than none are a debt."""

    tokens: float
    at: float


class RateLimiter:
    """A bucket at `path`, which gets `rate` tokens a second and holds `burst` of them; what is above is created where
    it is missing, and the bucket is full at first.

    ::

        limiter = zkcore.RateLimiter(zk, "/limits/mails", rate=50, burst=100)
        await limiter.acquire()                              # waits for its turn
        if not await limiter.acquire(10, timeout=0.5):       # or not for longer than that
            raise Busy

    Making one does no I/O. All must have made it with the same rate and burst (ConfigMismatchError).

    Guaranteed: within any time all who take get at most the burst and the rate times that time, in the order of their
    transactions, as far as clocks run at rates that differ by less than one per cent, and the clocks of nodes that come
    to lead show the same time: by how much a later one is ahead, so much more is given, once. What is taken by a call
    that is cancelled, or whose process dies, is not given back.

    Cost: a read and a transaction for each call, and those who take at once are in each other's way; for thousands of
    calls a second take many tokens at once.
    """

    def __init__(self, client: Client, path: str, *, rate: float, burst: float) -> None:
        for what, number in (("rate", rate), ("burst", burst)):
            if not (isfinite(number) and number > 0):
                raise BadArgumentsError(f"a {what} of {number}; give a positive number")
        self._stored = Stored(client, path, what="a rate limiter")
        self.path = path
        self.rate = float(rate)
        self.burst = float(burst)
        self._client = client
        self._said = f"bucket {self.rate!r} {self.burst!r}"
        self._ahead = -inf  # by so much the ensemble's clock is ahead of ours, at least

    def __repr__(self) -> str:
        return f"<RateLimiter {self.path} rate={self.rate:g} burst={self.burst:g}>"

    async def acquire(self, tokens: float = 1, *, timeout: float | None = None) -> bool:
        """Take so many tokens, waiting for them; False where they would not be there within `timeout` seconds, and then
        nothing was taken.

        Raises BadArgumentsError for more than the burst, ConfigMismatchError, CodecError where something else stands at
        the path, OutcomeUnknownError where nobody answers, and SessionExpiredError or SessionClosedError. Where it ends
        so or is cancelled, the tokens may be taken.
        """
        if not 0 < tokens <= self.burst:
            raise BadArgumentsError(f"{tokens} tokens of a bucket that holds {self.burst:g}; take fewer, but some")
        port = self._client.port
        patience = Patience(port, timeout)
        conflicts, is_fresh = 0, False
        while True:
            raw = await self._read(patience)
            if raw is None:
                await self._stored.replace(None, self._encoded(_Level(self.burst, 0)))
                continue
            level = self._filled(self._decoded(raw.data))
            wait = max(tokens - level.tokens, 0.0) / self.rate
            left = patience.left_to_wait
            if wait and not is_fresh:
                is_fresh = await self._stored.replace(raw, raw.data) is not None
                continue
            if left is not None and wait > left:
                return False
            if await self._stored.replace(raw, self._encoded(_Level(level.tokens - tokens, level.at))) is not None:
                break
            conflicts += 1
            await back_off(port, conflicts)
        if wait:
            await port.wait(timeout=wait)
        return True

    async def available(self) -> float:
        """How many tokens there are, at least: as of the replica that serves this client, and a moment ago. Less than
        none where some wait for theirs."""
        raw = await self._read(Patience(self._client.port, None))
        return self.burst if raw is None else self._filled(self._decoded(raw.data)).tokens

    # --- within

    async def _read(self, patience: Patience) -> Raw | None:
        port = self._client.port
        try:
            data, stat = await ask(port, GetData(self.path), patience)
        except NoNodeError:
            return None
        self._ahead = max(self._ahead, stat.mtime / 1000 - port.now())
        return Raw(data, stat.version, stat.mzxid)

    def _filled(self, level: _Level) -> _Level:
        """The bucket as it is by now, as far as that is sure."""
        now = max(self._ahead + self._client.port.now(), level.at)
        return _Level(min(level.tokens + self.rate * (now - level.at), self.burst), now)

    def _encoded(self, level: _Level) -> bytes:
        return f"{self._said} {level.tokens!r} {level.at!r}".encode()

    def _decoded(self, data: bytes) -> _Level:
        try:
            said, tokens, at = data.decode().rsplit(" ", 2)
            level = _Level(float(tokens), float(at))
            if not said.startswith("bucket "):
                raise ValueError(said)
        except ValueError:
            raise CodecError(f"{self.path} holds {data[:40]!r}, so it is no bucket; choose another path") from None
        if said != self._said:
            raise ConfigMismatchError(f"{self.path} is a {said}, not a {self._said} (rate, burst); give all the same")
        return level
