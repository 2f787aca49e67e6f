"""Bugs of the rate limiter."""

from __future__ import annotations

from typing import Any

from planting import plant

from zkcore.recipes import rate_limiter as module
from zkcore.recipes.rate_limiter import RateLimiter
from zkcore.recipes.stored import Raw, Stored
from zkcore.recipes.waiting import FOR_EVER, ask
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import SetData

GIVES = "nobody_gets_more_than_the_bucket_gives"


def _never_full(_: Real) -> Real:
    def _filled(self: RateLimiter, level: Any) -> Any:
        now = max(self._ahead + self._client.port.now(), level.at)
        return module._Level(level.tokens + self.rate * (now - (level.at or now)), now)

    return _filled


def _written_over(real: Real) -> Real:
    async def replace(self: Stored, old: Raw | None, data: bytes, **options: Any) -> Raw | None:
        if old is None:
            made: Raw | None = await real(self, old, data, **options)
            return made
        stat = await ask(self._client.port, SetData(self.path, data), FOR_EVER)
        return Raw(data, stat.version, stat.mzxid)

    return replace


plant(
    "bucket-without-a-rim",
    "a bucket that nobody takes from gets fuller than it is",
    (RateLimiter, "_filled", _never_full),
    play=GIVES,
    seed=0,
)
plant(
    "taken-at-once",
    "of two who take at once only one is counted",
    (Stored, "replace", _written_over),
    play=GIVES,
    seed=0,
)
