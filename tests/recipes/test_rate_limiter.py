"""The rate limiter, step by step: what the bucket gives, who waits for how long, and what is refused."""

from __future__ import annotations

import pytest
from scripted import World

import zkcore.sync
from zkcore.errors import BadArgumentsError, CodecError, ConfigMismatchError
from zkcore.recipes.rate_limiter import RateLimiter

PATH = "/limit"


def limiter(world: World, rate: float = 2, burst: float = 4) -> RateLimiter:
    return RateLimiter(world.client(), PATH, rate=rate, burst=burst)


def test_a_bucket_is_full_at_first_and_gives_no_more_than_it_holds() -> None:
    world = World()
    one, two = limiter(world), limiter(world)
    assert world.run(one.available()) == 4
    assert [world.run(each.acquire(timeout=0)) for each in (one, two, one, two, one, two)] == [True] * 4 + [False] * 2
    world.sleep(1)
    assert [world.run(one.acquire(timeout=0)) for _ in range(3)] == [True, True, False]
    world.sleep(60)
    assert world.run(two.acquire(4, timeout=0))
    assert not world.run(limiter(world).acquire(timeout=0))


def test_who_waits_gets_it_in_order_and_who_will_not_wait_so_long_takes_nothing() -> None:
    world = World()
    assert world.run(limiter(world).acquire(4))
    first = world.start(limiter(world).acquire(2))
    world.settle()
    second = world.start(limiter(world).acquire(1, timeout=2))
    world.settle()
    assert world.run(limiter(world).acquire(1, timeout=1.9)) is False
    world.sleep(0.9)
    assert not first.is_over
    world.sleep(0.1)
    assert first.outcome() is True
    assert not second.is_over
    world.sleep(0.5)
    assert second.outcome() is True


def test_bad_use_is_refused() -> None:
    world = World()
    for rate, burst in ((0, 1), (1, -1), (float("nan"), 1), (1, float("inf"))):
        with pytest.raises(BadArgumentsError, match="positive"):
            limiter(world, rate, burst)
    for tokens in (0, 5, float("nan")):
        with pytest.raises(BadArgumentsError, match="holds 4"):
            world.run(limiter(world).acquire(tokens))
    world.run(limiter(world).acquire())
    with pytest.raises(ConfigMismatchError, match="all the same"):
        world.run(limiter(world, rate=3).acquire())
    world.run(zkcore.Config(world.client(), "/other").set(b"{}"))
    with pytest.raises(CodecError, match="another path"):
        world.run(RateLimiter(world.client(), "/other", rate=1, burst=1).acquire())


def test_in_blocking_code() -> None:
    with zkcore.sync.local_cluster(1) as cluster, cluster.client() as zk:
        made = zkcore.sync.RateLimiter(zk, PATH, rate=1e-3, burst=2)
        assert (made.acquire(2), made.acquire(timeout=0)) == (True, False)
        assert made.available() < 1
        assert (made.path, made.rate, made.burst) == (PATH, 1e-3, 2)
        assert repr(made) == "<RateLimiter /limit rate=0.001 burst=2>"
