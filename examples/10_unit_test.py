"""A unit test of a worker of your own, in 500 worlds on virtual time: in each something else goes wrong, by its seed.

The worker adds to an account while it holds a lock. In its world nodes and apps crash, or are paused for longer than
sessions live, links are cut, messages come late, sessions expire; and whatever happens, no update may be lost, and
after the faults the work must go on. Then the same test is given a worker that makes a mistake: it trusts the lock, and
shows the account no fencing token.

As a test it is run by ``pytest examples/10_unit_test.py``. As a script it does the same by itself, in 100 worlds, and
prints::

    100 seeds, ... virtual hours, ... faults: no update was lost
    the worker that shows no token: always 'no update is lost': no longer at ... s, found with seed ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import zkcore
from zkcore.testing.app_world import AppWorld
from zkcore.testing.fenced_resource import FencedResource
from zkcore.testing.promises import WorldFailure
from zkcore.testing.seeds import run_seeds

FAULTS = "crash,delay,expire,partition,pause,reset"

Connect = Callable[[], AbstractAsyncContextManager[zkcore.Client]]


# --- what you would have in your own application ----------------------------------------------------------------------


async def worker(connect: Connect, account: FencedResource) -> None:
    """Adds one to `account` twice a second while it holds the lock, and begins anew whatever happens to it."""
    while True:
        try:
            async with connect() as zk, zkcore.Lock(zk, "/locks/account") as lease:
                while not lease.is_lost():
                    balance = await account.read(token=lease.fencing_token)
                    await asyncio.sleep(0.5)  # it thinks, and may be paused here, for longer than its session lives
                    await account.write(balance + 1, token=lease.fencing_token)
        except (zkcore.SessionError, zkcore.OutcomeUnknownError, zkcore.LeaseLostError, zkcore.StaleTokenError):
            continue  # the session is over, the lock is lost, or the account has seen the token of a later holder


async def trusting_worker(connect: Connect, account: FencedResource) -> None:
    """The same, with a mistake: what holds the lock may write, it thinks."""
    while True:
        try:
            async with connect() as zk, zkcore.Lock(zk, "/locks/account") as lease:
                while not lease.is_lost():
                    balance = await account.read()
                    await asyncio.sleep(0.5)
                    await account.write(balance + 1)
        except (zkcore.SessionError, zkcore.OutcomeUnknownError, zkcore.LeaseLostError):
            continue


# --- its unit test ----------------------------------------------------------------------------------------------------


async def three_share_an_account(world: AppWorld, work: Callable[..., Coroutine[Any, Any, None]] = worker) -> None:
    """The test: three of them, and twelve seconds in which anything may happen."""
    account = world.fenced_resource("account", value=0)
    for name in ("one", "two", "three"):
        world.app(name).spawn(work, lambda: world.client(timeout=3), account)
    world.always("no update is lost", lambda: account.value == len(account.history))

    await world.sleep(12)
    world.calm()  # the faults end, and what they broke is mended
    balance = account.value
    await world.eventually("the work goes on", lambda: account.value > balance, within=60)


@pytest.mark.zkcore(seeds=500, faults=FAULTS)
async def test_no_update_is_lost(zk_world: AppWorld) -> None:
    await three_share_an_account(zk_world)


@pytest.mark.zkcore(seeds=500, faults=FAULTS)
@pytest.mark.xfail(raises=WorldFailure, reason="the planted mistake", strict=True)
async def test_the_mistake_is_found(zk_world: AppWorld) -> None:
    await three_share_an_account(zk_world, trusting_worker)


# --- and without pytest -----------------------------------------------------------------------------------------------


def make_world(seed: int) -> AppWorld:
    return AppWorld(seed, faults=FAULTS)


def main() -> None:
    done = run_seeds(three_share_an_account, range(100), make_world=make_world)
    hours, faults = done.seconds / 3600, sum(done.faults.values())
    print(f"{done.count} seeds, {hours:.1f} virtual hours, {faults:,} faults: no update was lost")

    for seed in range(100):
        world = make_world(seed)
        try:
            world.run(three_share_an_account, world, trusting_worker)
        except WorldFailure as failure:
            print(f"the worker that shows no token: {failure}, found with seed {seed}")
            break


if __name__ == "__main__":
    main()
