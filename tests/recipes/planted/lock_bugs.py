"""Bugs of standing in line, of holding, and of leases: they show in whatever has holders."""

from __future__ import annotations

from planting import plant

from zkcore.client.port import Port
from zkcore.errors import NoNodeError, OutcomeUnknownError, SessionError
from zkcore.recipes import contender as contender_module
from zkcore.recipes.contender import Attempt
from zkcore.recipes.holding import Line
from zkcore.recipes.lease import Lease
from zkcore.recipes.waiting import Patience, Watch
from zkcore.testing.mutants.mutant import Real
from zkcore.tree.requests import Delete, Exists

HOLDS = "one_holds_a_lock_and_everybody_gets_it"
FENCED = "a_fenced_resource_loses_no_update"


# --- standing in line -------------------------------------------------------------------------------------------------


def _never_finds_itself(_: Real) -> Real:
    async def find(self: Attempt, port: Port, patience: Patience) -> bool:
        return False

    return find


def _waits_for_who_has_gone(_: Real) -> Real:
    async def wait_for_turn(self: Attempt, port: Port, patience: Patience) -> bool:
        watch = Watch(port)
        while (before := await self._predecessor(port, patience)) is not None:
            await watch.ask(Exists(f"{self._line}/{before}", watch=True), patience)  # whatever the answer is
            if not await watch.changed(patience):
                return False
        return True

    return wait_for_turn


def _never_leaves(_: Real) -> Real:
    async def leave(self: Attempt, port: Port) -> None:
        pass

    return leave


def _any_end_makes_it_our_turn(_: Real) -> Real:
    async def wait_for_turn(self: Attempt, port: Port, patience: Patience) -> bool:
        watch = Watch(port)
        before = await self._predecessor(port, patience)
        if before is None or await watch.ask(Exists(f"{self._line}/{before}", watch=True), patience) is None:
            return True
        return await watch.changed(patience)

    return wait_for_turn


plant(
    "orphan-contender",
    "a contender whose creation was not answered creates another, and forgets the first (kazoo #732)",
    (Attempt, "find", _never_finds_itself),
    play=HOLDS,
    seed=0,
)
plant(
    "wakeup-lost",
    "a contender whose predecessor has gone before it could be watched waits for its end",
    (Attempt, "wait_for_turn", _waits_for_who_has_gone),
    play=FENCED,
    seed=0,
)
plant(
    "turn-after-any-end",
    "the end of the predecessor is taken for one's turn, also where it had waited itself",
    (Attempt, "wait_for_turn", _any_end_makes_it_our_turn),
    play=HOLDS,
    seed=0,
)


# --- holding ----------------------------------------------------------------------------------------------------------


def _lost_only_when_told(_: Real) -> Real:
    def is_lost(self: Lease) -> bool:
        return not self._ended and self._port.session.lost.is_set()

    return is_lost


def _token_is_the_sequence(real: Real) -> Real:
    async def acquire(self: Line, timeout: float | None) -> Lease | None:
        lease: Lease | None = await real(self, timeout)
        if lease is not None:
            lease.fencing_token = 1 + int(lease.path[-10:])
        return lease

    return acquire


def _removed_without_an_answer(_: Real) -> Real:
    async def remove(port: Port, path: str) -> None:
        try:
            await port.request(Delete(path))
        except (NoNodeError, OutcomeUnknownError, SessionError):
            pass

    return remove


def _never_removed(_: Real) -> Real:
    async def release(self: Line, lease: Lease) -> None:
        lease.end()
        del self._held[lease]

    return release


plant(
    "lost-when-told",
    "a lease is lost when somebody says so, and not by the holder's own clock",
    (Lease, "is_lost", _lost_only_when_told),
    play=HOLDS,
    seed=61,
)
plant(
    "release-untold",
    "a holder that releases leaves its contender to the end of the session",
    (Line, "_release", _never_removed),
    play=HOLDS,
    seed=0,
)
plant(
    "release-unconfirmed",
    "a release is asked for once, and an answer that was lost is taken for a good one",
    (contender_module, "remove", _removed_without_an_answer),
    play=HOLDS,
    seed=2,
)
plant(
    "token-is-the-sequence",
    "the token is the sequence number of the contender, which begins anew with its line",
    (Line, "acquire", _token_is_the_sequence),
    play=FENCED,
    seed=0,
)
plant(
    "cancelled-contender-kept",
    "a contender whose wait was cancelled stays in line",
    (Attempt, "leave", _never_leaves),
    play=FENCED,
    seed=0,
)
