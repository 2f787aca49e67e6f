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
    InvalidScheduleError,
    ItemTooLargeError,
    LatchCountError,
    LockNotHeldError,
    MessagesMissedError,
    NodeExistsError,
    NoInstancesError,
    NoMembersError,
    NoOwnerError,
    NothingToCacheError,
    NotLeaderError,
    NotMemberError,
    NotStartedError,
    SessionClosedError,
    UnknownActionError,
    UnplaceableError,
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


def an_unknown_action(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Membership(zk, "/fleet/members", name="host-1", data=b'["reload"]').join()  # as one who serves that
    yield z.Everywhere(zk, "/fleet").run("restart", b"")


def an_argument_too_large(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Membership(zk, "/fleet/members", name="host-1", data=b'["reload"]').join()
    yield z.Everywhere(zk, "/fleet").run("reload", b"x" * (1 << 20))


def an_undecodable_message(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Mailbox(zk, "/mail", "one").send("two", b"{")
    yield entered(z.Mailbox(zk, "/mail", "two", codec=zkcore.json_codec).receive())


def an_undecodable_publication(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Topic(zk, "/topic").publish(b"{")
    yield from first_of_topic(z, zk, codec=zkcore.json_codec)


def a_gap(z: Any, zk: Any) -> Iterator[Any]:
    for _ in range(3):
        yield z.Topic(zk, "/topic", history=1).publish(b"x")
    yield from first_of_topic(z, zk, history=1)


def first_of_topic(z: Any, zk: Any, **options: Any) -> Iterator[Any]:
    if z is zkcore:

        async def read() -> None:
            await anext(await z.Topic(zk, "/topic", **options).subscribe(since=0))

        yield read()
    else:
        yield next(z.Topic(zk, "/topic", **options).subscribe(since=0))


def another_history(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Topic(zk, "/topic", history=10).publish(b"x")
    yield z.Topic(zk, "/topic", history=20).publish(b"x")


def no_instances(z: Any, zk: Any) -> Iterator[Any]:
    web = z.Discovery(zk, "/services/web")
    yield web.start()
    web.choose()


def a_sticky_choice_of_nothing(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Registration(zk, "/services/web", address="here").start()
    web = z.Discovery(zk, "/services/web", by=zkcore.Choice.STICKY)
    yield web.start()
    yield web.wait_for()
    web.choose()


def a_registration_of_that_name(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Registration(zk, "/services/web", name="one", address="here").start()
    yield z.Registration(zk, "/services/web", name="one", address="there").start()


def too_few_racks(z: Any, zk: Any) -> Iterator[Any]:
    shards = z.Sharding(zk, "/shards", name="one", partitions=4, rack="r1", replicas=2)
    yield shards.start()
    yield shards.wait_until_owned()
    shards.map.standbys("key")


def other_partitions(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Sharding(zk, "/shards", name="one", partitions=4).start()
    yield z.Sharding(zk, "/shards", name="two", partitions=8).start()


def no_owners(z: Any, zk: Any) -> Iterator[Any]:
    shards = z.ShardMap(zk, "/shards")
    yield shards.start()
    shards.route("key")


def no_record(z: Any, zk: Any) -> Iterator[Any]:
    yield z.Config(zk, "/job").set(b"{")
    yield z.SingletonJob(zk, "/job", print, schedule=zkcore.Every(1)).record()


def other_steps(z: Any, zk: Any) -> Iterator[Any]:
    class Done:
        def __await__(self) -> Iterator[None]:
            return iter(())

    yield z.Migrations(zk, "/migrations", {"a": lambda step: Done()}).migrate()
    yield z.Migrations(zk, "/migrations", {"b": lambda step: Done()}).migrate()


def another_rate(z: Any, zk: Any) -> Iterator[Any]:
    yield z.RateLimiter(zk, "/limit", rate=1, burst=1).acquire()
    yield z.RateLimiter(zk, "/limit", rate=2, burst=1).acquire()


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

MISUSES |= {
    "a message that cannot be decoded": Misuse(an_undecodable_message, CodecError, "give that one"),
    "a message that is too large": Misuse(
        only(lambda z, zk: z.Mailbox(zk, "/mail", "one").send("two", b"x" * (1 << 20))), ItemTooLargeError, "elsewhere"
    ),
    "a mailbox of no name": Misuse(
        only(lambda z, zk: z.Mailbox(zk, "/mail", "one").send("a/b", b"")), BadArgumentsError, "choose one without"
    ),
    "a publication that cannot be decoded": Misuse(an_undecodable_publication, CodecError, "give that one"),
    "a publication that is too large": Misuse(
        only(lambda z, zk: z.Topic(zk, "/topic").publish(b"x" * (1 << 20))), ItemTooLargeError, "publish its address"
    ),
    "a topic with another history": Misuse(another_history, ConfigMismatchError, "give all who use it the same"),
    "what a topic keeps no longer": Misuse(a_gap, MessagesMissedError, "longer history"),
    "an action that nobody has registered": Misuse(an_unknown_action, UnknownActionError, "register it there"),
    "an action without a function": Misuse(
        only(lambda z, zk: z.Everywhere(zk, "/fleet", actions={"reload": 7})),
        BadArgumentsError,
        "give names and functions",
    ),
    "an action for nobody": Misuse(
        only(lambda z, zk: z.Everywhere(zk, "/fleet").run("reload", b"")), NoMembersError, "have one `serve`"
    ),
    "an argument that is too large": Misuse(an_argument_too_large, ItemTooLargeError, "give its address"),
    "an argument that cannot be encoded": Misuse(
        only(lambda z, zk: z.Everywhere(zk, "/fleet", codec=zkcore.json_codec).run("reload", {1})),
        CodecError,
        "or another codec",
    ),
    "a choice from no instances": Misuse(no_instances, NoInstancesError, r"wait_for\(\) waits"),
    "a choice before it was started": Misuse(
        only(lambda z, zk: z.Discovery(zk, "/services/web").choose()), NotStartedError, "or start it"
    ),
    "a sticky choice without a key": Misuse(a_sticky_choice_of_nothing, BadArgumentsError, "give one"),
    "an instance whose name is taken": Misuse(a_registration_of_that_name, NodeExistsError, "take another name"),
    "partitions that no rack rule can place": Misuse(
        too_few_racks, UnplaceableError, "join in other racks, or ask for"
    ),
    "other partitions than the others have": Misuse(
        other_partitions, ConfigMismatchError, "give those, or another path"
    ),
    "a key that nobody owns": Misuse(no_owners, NoOwnerError, "nobody has joined"),
    "a line that is no schedule": Misuse(only(lambda z, zk: zkcore.Cron("61 * * * *")), InvalidScheduleError, "give"),
    "a date that never comes": Misuse(only(lambda z, zk: zkcore.Cron("0 0 31 2 *")), InvalidScheduleError, "never"),
    "a job without a schedule": Misuse(
        only(lambda z, zk: z.SingletonJob(zk, "/job", print, schedule="daily")), InvalidScheduleError, "give a Cron"
    ),
    "a job without a function": Misuse(
        only(lambda z, zk: z.SingletonJob(zk, "/job", "print", schedule=zkcore.Every(1))),
        BadArgumentsError,
        "give a function",
    ),
    "a job where something else stands": Misuse(no_record, CodecError, "choose another path"),
    "steps that are not those that were run": Misuse(other_steps, ConfigMismatchError, "at the end"),
    "steps that are no functions": Misuse(
        only(lambda z, zk: z.Migrations(zk, "/migrations", {"a": 7})), BadArgumentsError, "functions to call"
    ),
    "more tokens than a bucket holds": Misuse(
        only(lambda z, zk: z.RateLimiter(zk, "/limit", rate=1, burst=5).acquire(6)), BadArgumentsError, "take fewer"
    ),
    "another rate than the others have": Misuse(another_rate, ConfigMismatchError, "give all the same"),
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
    "send": lambda z, zk: z.Mailbox(zk, "/mail", "one").send("two", b"", timeout=MINUS),
    "receive": lambda z, zk: entered(z.Mailbox(zk, "/mail", "one").receive(timeout=MINUS)),
    "publish": lambda z, zk: z.Topic(zk, "/topic").publish(b"", timeout=MINUS),
    "run": lambda z, zk: z.Everywhere(zk, "/fleet").run("reload", b"", timeout=MINUS),
    "migrate": lambda z, zk: z.Migrations(zk, "/migrations", {}).migrate(timeout=MINUS),
    "limit": lambda z, zk: z.RateLimiter(zk, "/limit", rate=1, burst=1).acquire(timeout=MINUS),
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
    "mailbox": lambda z, zk: z.Mailbox(zk, "/mail", "one").send("two", b""),
    "topic": lambda z, zk: z.Topic(zk, "/topic").publish(b""),
    "everywhere": lambda z, zk: z.Everywhere(zk, "/fleet").run("reload", b""),
    "registration": lambda z, zk: z.Registration(zk, "/services/web", address="here").start(),
    "discovery": lambda z, zk: z.Discovery(zk, "/services/web").start(),
    "sharding": lambda z, zk: z.Sharding(zk, "/shards", name="one", partitions=4).start(),
    "shard map": lambda z, zk: z.ShardMap(zk, "/shards").start(),
    "job": lambda z, zk: z.SingletonJob(zk, "/job", print, schedule=zkcore.Every(1)).record(),
    "migrations": lambda z, zk: z.Migrations(zk, "/migrations", {}).migrate(),
    "rate limiter": lambda z, zk: z.RateLimiter(zk, "/limit", rate=1, burst=1).acquire(),
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
