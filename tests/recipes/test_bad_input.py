"""What is used wrongly is refused, in both faces alike: with an error of its own that says what to do next."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import zkcore
import zkcore.sync
from zkcore.errors import (
    BadArgumentsError,
    CodecError,
    ConfigMismatchError,
    IdsExhaustedError,
    ItemTooLargeError,
    LatchCountError,
    LockNotHeldError,
    NothingToCacheError,
    NotLeaderError,
    NotMemberError,
    SessionClosedError,
    ZkcoreError,
)

Steps = Callable[[Any, Any], Iterator[Any]]
"""What is done with a face and a client of it, step by step. The last one is the wrong one."""

MINUS = -0.5
"""Seconds to wait. (In blocking code -1 waits for ever, as in the standard library.)"""


class Misuse(NamedTuple):
    """Something wrong, the error it ends in, and what that tells the user to do."""

    steps: Steps
    error: type[ZkcoreError]
    advice: str


def another_size(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Semaphore(zk, "/s", value=2).acquire()
    yield z.Semaphore(zk, "/s", value=3).acquire()


def other_parties(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Barrier(zk, "/b", parties=2).reset()
    yield z.Barrier(zk, "/b", parties=3).wait()


def one_count_too_many(z: Any, zk: Any) -> Iterator[Any]:
    latch = z.CountDownLatch(zk, "/latch", count=1)
    yield latch.count_down()
    yield latch.count_down()


def undecodable(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Queue(zk, "/q").put(b"{")
    yield z.Queue(zk, "/q", codec=zkcore.json_codec).get()


def undecodable_config(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Config(zk, "/c").set(b"{")
    yield z.Config(zk, "/c", codec=zkcore.json_codec).get()


def only(step: Callable[[Any, Any], Any]) -> Steps:
    def steps(z: Any, zk: Any) -> Iterator[Any]:
        yield step(z, zk)

    return steps


MISUSES = {
    "a lock that is not held": Misuse(
        only(lambda z, zk: z.Lock(zk, "/l").release()), LockNotHeldError, "acquire it first"
    ),
    "a reentrant lock that is not held": Misuse(
        only(lambda z, zk: z.RLock(zk, "/l").release()), LockNotHeldError, "acquire it first"
    ),
    "several locks that are not held": Misuse(
        only(lambda z, zk: z.MultiLock(zk, ["/l", "/m"]).release()), LockNotHeldError, "acquire it first"
    ),
    "a read lock that is not held": Misuse(
        only(lambda z, zk: z.ReadWriteLock(zk, "/l").reader.release()), LockNotHeldError, "acquire it first"
    ),
    "a bounded semaphore that is not held": Misuse(
        only(lambda z, zk: z.BoundedSemaphore(zk, "/s", value=2).release()), LockNotHeldError, "acquire"
    ),
    "a term that is not led": Misuse(
        only(lambda z, zk: z.Election(zk, "/e").resign()), NotLeaderError, r"enter `lead\(\)` first"
    ),
    "a group that was not joined": Misuse(
        only(lambda z, zk: z.Membership(zk, "/g").leave()), NotMemberError, "join first"
    ),
    "a barrier for other parties": Misuse(other_parties, ConfigMismatchError, "make all of them for the same number"),
    "a semaphore of another size": Misuse(another_size, ConfigMismatchError, "give all who use it the same"),
    "a downgrade without the write lock": Misuse(
        only(lambda z, zk: z.ReadWriteLock(zk, "/l").writer.downgrade()), LockNotHeldError, "acquire it first"
    ),
    "a latch counted below zero": Misuse(one_count_too_many, LatchCountError, "count once for each, or make"),
    "a cache of nothing": Misuse(
        only(lambda z, zk: z.Cache(zk, "/nothing").start()), NothingToCacheError, "create it first, or give missing_ok"
    ),
    "ids beyond their range": Misuse(
        only(lambda z, zk: z.IdGenerator(zk, "/i", last=1).next_block(3)), IdsExhaustedError, "begin another range"
    ),
    "an item that cannot be encoded": Misuse(
        only(lambda z, zk: z.Queue(zk, "/q", codec=zkcore.json_codec).put({1})), CodecError, "or another codec"
    ),
    "an item that cannot be decoded": Misuse(undecodable, CodecError, "give that one"),
    "a value that cannot be decoded": Misuse(undecodable_config, CodecError, "give that one"),
    "an item that is too large": Misuse(
        only(lambda z, zk: z.Queue(zk, "/q").put(b"x" * (1 << 20))), ItemTooLargeError, "put fewer at once"
    ),
    "several items that are too large": Misuse(
        only(lambda z, zk: z.Queue(zk, "/q").put_many([b"x" * 600_000] * 2)), ItemTooLargeError, "put fewer at once"
    ),
    "a value that is too large": Misuse(
        only(lambda z, zk: z.Config(zk, "/c").set(b"x" * (1 << 20))), ItemTooLargeError, "store the data elsewhere"
    ),
}

WAITS: dict[str, Callable[[Any, Any], Any]] = {
    "lock": lambda z, zk: z.Lock(zk, "/l").acquire(timeout=MINUS),
    "hold": lambda z, zk: entered(z.Lock(zk, "/l").hold(timeout=MINUS)),
    "reader": lambda z, zk: z.ReadWriteLock(zk, "/l").reader.acquire(timeout=MINUS),
    "semaphore": lambda z, zk: z.Semaphore(zk, "/s", value=2).acquire(timeout=MINUS),
    "several locks": lambda z, zk: z.MultiLock(zk, ["/l", "/m"]).acquire(timeout=MINUS),
    "election": lambda z, zk: entered(z.Election(zk, "/e").lead(timeout=MINUS)),
    "barrier": lambda z, zk: z.Barrier(zk, "/b", parties=2).wait(MINUS),
    "event": lambda z, zk: z.Event(zk, "/v").wait(MINUS),
    "latch": lambda z, zk: z.CountDownLatch(zk, "/latch", count=1).wait(MINUS),
    "put": lambda z, zk: z.Queue(zk, "/q", maxsize=1).put(b"x", timeout=MINUS),
    "get": lambda z, zk: z.Queue(zk, "/q").get(timeout=MINUS),
    "claim": lambda z, zk: entered(z.Queue(zk, "/q").claim(timeout=MINUS)),
    "config": lambda z, zk: z.Config(zk, "/c").wait_for(lambda value: True, timeout=MINUS),
}
MISUSES |= {
    f"a negative timeout, {name}": Misuse(only(wait), BadArgumentsError, "None to wait for ever")
    for name, wait in WAITS.items()
}

CLOSED: dict[str, Callable[[Any, Any], Any]] = {
    "lock": lambda z, zk: z.Lock(zk, "/l").acquire(),
    "semaphore": lambda z, zk: z.Semaphore(zk, "/s", value=2).acquire(),
    "several locks": lambda z, zk: z.MultiLock(zk, ["/l", "/m"]).acquire(),
    "writer": lambda z, zk: z.ReadWriteLock(zk, "/l").writer.acquire(),
    "election": lambda z, zk: entered(z.Election(zk, "/e").lead()),
    "membership": lambda z, zk: z.Membership(zk, "/g").join(),
    "barrier": lambda z, zk: z.Barrier(zk, "/b", parties=2).wait(),
    "event": lambda z, zk: z.Event(zk, "/v").set(),
    "latch": lambda z, zk: z.CountDownLatch(zk, "/latch", count=1).count_down(),
    "put": lambda z, zk: z.Queue(zk, "/q").put(b"x"),
    "claim": lambda z, zk: entered(z.Queue(zk, "/q").claim()),
    "config": lambda z, zk: z.Config(zk, "/c").set(b"x"),
    "counter": lambda z, zk: z.Counter(zk, "/n").add(1),
    "ids": lambda z, zk: z.IdGenerator(zk, "/i").next(),
    "cache": lambda z, zk: z.Cache(zk, "/").start(),
}


def entered(context: Any) -> Any:
    """A context manager of either face is entered."""
    return context.__enter__() if hasattr(context, "__enter__") else context.__aenter__()


def blocking(steps: Steps, *, closed: bool = False) -> None:
    with zkcore.sync.local_cluster(1) as cluster, cluster.client() as zk:
        if closed:
            zk.close()
        for _ in steps(zkcore.sync, zk):
            pass


def awaited(steps: Steps, *, closed: bool = False) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), zkcore.local_cluster(1) as cluster, cluster.client() as zk:
            if closed:
                await zk.close()
            for step in steps(zkcore, zk):
                assert inspect.isawaitable(step)
                await step

    asyncio.run(main())


FACES = pytest.mark.parametrize("face", [awaited, blocking])


@FACES
@pytest.mark.parametrize("what", MISUSES)
def test_every_misuse_has_an_error_that_says_what_to_do(what: str, face: Callable[..., None]) -> None:
    misuse = MISUSES[what]
    with pytest.raises(misuse.error, match=misuse.advice) as refused:
        face(misuse.steps)
    assert refused.type is misuse.error


@FACES
@pytest.mark.parametrize("what", CLOSED)
def test_after_the_client_was_closed_every_recipe_says_to_open_a_new_one(what: str, face: Callable[..., None]) -> None:
    with pytest.raises(SessionClosedError, match="open a new one"):
        face(only(CLOSED[what]), closed=True)
