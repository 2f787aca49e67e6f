"""Bugs of the read-write lock."""

from __future__ import annotations

from planting import plant

from zkcore.client.port import Port
from zkcore.recipes import rwlock
from zkcore.recipes.contender import Attempt
from zkcore.recipes.holding import Turn
from zkcore.recipes.lease import Lease
from zkcore.recipes.rwlock import _READ, _WRITE, _is_downgraded, _Side
from zkcore.recipes.waiting import FOR_EVER, Patience, pause
from zkcore.testing.mutants.mutant import Real

TOGETHER = "readers_and_writers_are_never_together_and_all_get_on"
TOKENS = "what_readers_and_writers_show_their_tokens_to_never_goes_back"


def _readers_wait_for_nobody(real: Real) -> Real:
    def turn(self: _Side, name: str) -> Turn:
        if self._mark == _WRITE:
            return real(self, name)  # type: ignore[no-any-return]
        return Attempt(self.path, _READ, name, self._identifier, waits_for=("-nobody-",))

    return turn


def _writers_wait_for_writers(real: Real) -> Real:
    def turn(self: _Side, name: str) -> Turn:
        if self._mark == _READ:
            return real(self, name)  # type: ignore[no-any-return]
        return Attempt(self.path, _WRITE, name, self._identifier, waits_for=(_WRITE,))

    return turn


class _Polite(Attempt):
    """A writer that leaves the line again where it is not its turn at once."""

    async def take(self, port: Port, patience: Patience) -> bool:
        while True:
            await self.enter(port, patience)
            if await self._predecessor(port, patience) is None:
                return True
            await self.leave(port)
            self._name = ""
            if patience.is_over:
                return False
            await pause(port)


def _writers_do_not_stand_in_line(real: Real) -> Real:
    def turn(self: _Side, name: str) -> Turn:
        if self._mark == _READ:
            return real(self, name)  # type: ignore[no-any-return]
        return _Polite(self.path, _WRITE, name, self._identifier, waits_for=(_READ, _WRITE))

    return turn


def _writers_pass_a_downgraded_one(real: Real) -> Real:
    def turn(self: _Side, name: str) -> Turn:
        if self._mark == _READ:
            return real(self, name)  # type: ignore[no-any-return]
        return Attempt(
            self.path, _WRITE, name, self._identifier, waits_for=(_READ, _WRITE), passes=_is_downgraded
        )

    return turn


def _downgrade_leaves_and_comes_again(_: Real) -> Real:
    async def downgrade(self: _Side, port: Port, lease: Lease) -> None:
        attempt = self.other.turn(f"{port.rng.getrandbits(64):016x}")
        await self._held[lease].turn.leave(port)
        await attempt.take(port, FOR_EVER)
        self._held[lease] = self._held[lease]._replace(turn=attempt)
        self.hand_to(self.other, lease)

    return downgrade


def _any_writer_counts_as_downgraded(_: Real) -> Real:
    def is_downgraded(stat: object) -> bool:
        return True

    return is_downgraded


plant(
    "reader-with-writer",
    "a reader waits for nobody",
    (_Side, "turn", _readers_wait_for_nobody),
    play=TOGETHER,
    seed=0,
)
plant(
    "writer-with-readers",
    "a writer waits for writers only, and writes while others read",
    (_Side, "turn", _writers_wait_for_writers),
    play=TOGETHER,
    seed=0,
)
plant(
    "writer-starved",
    "a writer comes again and again to see whether it is free, and readers keep it from being so",
    (_Side, "turn", _writers_do_not_stand_in_line),
    play=TOGETHER,
    seed=0,
)
plant(
    "downgrade-lets-writer-in",
    "a writer takes a downgraded one for one that is gone",
    (_Side, "turn", _writers_pass_a_downgraded_one),
    play=TOGETHER,
    seed=0,
)
plant(
    "downgrade-behind-the-line",
    "a writer that becomes a reader lets go, comes again behind those who wait, and goes on with its old token",
    (_Side, "downgrade", _downgrade_leaves_and_comes_again),
    play=TOKENS,
    seed=0,
)
plant(
    "writer-taken-for-reader",
    "every writer is taken for one that was downgraded",
    (rwlock, "_is_downgraded", _any_writer_counts_as_downgraded),
    play=TOGETHER,
    seed=0,
)
