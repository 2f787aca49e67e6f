"""All kinds of locks, step by step in every order that a seed can think of: who comes, gives up, expires, downgrades.

Unlike the plays these worlds have no time and no ensemble: every await of every contender is a step, and the seed says
whose is next. After each, those who hold are compared with what may be held together; in the end nobody is left waiting
whose turn it is, and no znode is left of those who are gone.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from scripted import Asking, Interrupted, Point, Run, World

from zkcore.client.client import Client
from zkcore.errors import LeaseLostError, LockTimeoutError, SessionExpiredError
from zkcore.recipes.holding import Holdable
from zkcore.recipes.lease import Lease
from zkcore.recipes.lock import Lock
from zkcore.recipes.multilock import MultiLock
from zkcore.recipes.rlock import RLock
from zkcore.recipes.rwlock import ReadWriteLock, WriteLock
from zkcore.recipes.semaphore import BoundedSemaphore

A, B, C = "/a", "/b", "/c"
PERMITS = 2


class Races(World):
    """A world that loses answers, or does not."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = Random(seed)
        self.loss = self.rng.choice((0.0, 0.0, 0.1))
        self.script = self._fault

    def _fault(self, run: Run, point: Point) -> str | None:
        if isinstance(point, Asking) and self.rng.random() < self.loss:
            return self.rng.choice(("lost before", "lost after"))
        return None


class Contender:
    """One who wants to hold something, for as long as nobody tells it to let go. `claims` is what nobody else may hold
    meanwhile, and `shares` what only those may who share it as well."""

    def __init__(self, world: Races, make: Callable[[Races, Client], tuple[Any, set[str], set[str]]]) -> None:
        self.world = world
        self.client = world.client()
        self.what, self.claims, self.shares = make(world, self.client)
        self.let_go = self.client.port.signal()
        self.downgrade = self.client.port.signal()
        self.lease: Lease | None = None
        self.timeout = world.rng.choice((None, None, None, 0))
        self.run = world.start(self._go())

    @property
    def holds(self) -> bool:
        return self.lease is not None and not (self.lease.released or self.lease.is_lost())

    async def _go(self) -> None:
        port = self.client.port
        try:
            async with self.what.hold(timeout=self.timeout) as self.lease:
                if isinstance(self.what, RLock):
                    async with self.what:
                        await port.wait(self.let_go)
                elif await port.wait(self.let_go, self.downgrade) is self.downgrade:
                    if isinstance(self.what, WriteLock):
                        self.claims, self.shares = set(), {A}
                        await self.what.downgrade()
                    await port.wait(self.let_go)
        except (LockTimeoutError, SessionExpiredError, LeaseLostError, Interrupted):
            pass


def one_lock(world: Races, client: Client) -> tuple[Holdable, set[str], set[str]]:
    """Locks at three paths, alone or several at once, reentrant or not."""
    paths = world.rng.choice(([A], [A], [B], [A, B], [B, A], [B, C], [C, A, B]))
    if len(paths) > 1:
        return MultiLock(client, paths), set(paths), set()
    kind = world.rng.choice((Lock, RLock))
    return kind(client, paths[0]), set(paths), set()


def a_side(world: Races, client: Client) -> tuple[Holdable, set[str], set[str]]:
    """Readers and writers."""
    lock = ReadWriteLock(client, A)
    return (lock.reader, set(), {A}) if world.rng.random() < 0.6 else (lock.writer, {A}, set())


def a_permit(world: Races, client: Client) -> tuple[Holdable, set[str], set[str]]:
    """Permits of a semaphore, of which several may be held."""
    return BoundedSemaphore(client, A, value=PERMITS), set(), set()


def check(contenders: list[Contender], most: int) -> None:
    holding = [each for each in contenders if each.holds]
    assert len(holding) <= most, "too many hold it"
    for each in holding:
        for other in holding:
            assert each is other or not each.claims & (other.claims | other.shares), "they hold it together"


def act(world: Races, contenders: list[Contender], make: Any) -> None:
    rng = world.rng
    word = rng.choice(("arrive", "arrive", "arrive", "expire", "cancel", "let go", "let go", "downgrade"))
    inside = [each for each in contenders if not each.run.is_over]
    if word == "arrive" or not inside:
        contenders.append(Contender(world, make))
        return
    someone = rng.choice(inside)
    if word == "let go":
        someone.let_go.set()
    elif word == "downgrade":
        someone.downgrade.set()
    elif word == "expire":
        someone.let_go.set()  # nothing cancels its body here
        if not someone.client.port.session.lost.is_set():
            world.expire(someone.client)
    else:
        someone.run.throw(Interrupted())


@pytest.mark.parametrize(("make", "most"), [(one_lock, 3), (a_side, 100), (a_permit, PERMITS)])
@pytest.mark.parametrize("seed", range(150))
def test_nobody_holds_what_another_does_and_everybody_gets_on(seed: int, make: Any, most: int) -> None:
    world = Races(seed)
    contenders: list[Contender] = []
    for _ in range(world.rng.randint(5, 30)):
        act(world, contenders, make)
        for _ in range(world.rng.randint(0, 12)):
            world.step_any(world.rng)
            check(contenders, most)
    world.script = lambda run, point: None
    world.settle()
    check(contenders, most)
    tokens: list[int] = []
    while waiting := [each for each in contenders if not each.run.is_over]:
        ready = [each for each in waiting if each.holds]
        assert ready, "they wait, and nobody will wake them"
        for each in ready:
            assert each.lease is not None
            tokens.append(each.lease.fencing_token)
            each.let_go.set()
        world.settle()
        check(contenders, most)
    if make is a_side:
        assert tokens == sorted(tokens), "a later one has a lower token"
    for each in contenders:
        assert not world.tree.ephemerals(each.client.session_id), "an orphan is left"
