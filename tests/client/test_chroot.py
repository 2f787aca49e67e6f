"""A client for a part of the tree: it sees what a client of the whole sees of a tree of its own, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import zkcore
import zkcore.sync as blocking
from zkcore import EmbeddedClient, WatcherType
from zkcore.client.chroot import ChrootPort
from zkcore.client.client import Client
from zkcore.client.cluster import local_cluster
from zkcore.errors import BadArgumentsError, MultiError, NoNodeError, QuotaExceededError, RequestError, ZkcoreError
from zkcore.tree import requests, watch_requests
from zkcore.tree.applied import WatchEvent
from zkcore.tree.requests import Create, GetEphemerals, Once, PlainCreate, Request
from zkcore.tree.watch_requests import Resync
from zkcore.zab.limits import Limits


def with_client(use: Callable[[EmbeddedClient], Coroutine[Any, Any, None]]) -> None:
    """Run `use` with a client of one node, within 30 seconds."""

    async def main() -> None:
        async with asyncio.timeout(30), local_cluster(1) as cluster, cluster.client() as client:
            await use(client)

    asyncio.run(main())


# --- the same as a tree of its own -----------------------------------------------------------------------------------


def t_of(zk: Client, *steps: Callable[[Any], None]) -> Coroutine[Any, Any, object]:
    t = zk.transaction()
    for step in steps:
        step(t)
    return t.commit()


def r_of(zk: Client, *steps: Callable[[Any], None]) -> Coroutine[Any, Any, object]:
    r = zk.multi_read()
    for step in steps:
        step(r)
    return r.fetch()


STORY: list[Callable[[Client], Coroutine[Any, Any, object]]] = [
    lambda zk: zk.create("/a", b"one"),
    lambda zk: zk.create("/a"),
    lambda zk: zk.create("/missing/a"),
    lambda zk: zk.create("/a/b", b"two", include_data=True),
    lambda zk: zk.create("/p/q/r", makepath=True),
    lambda zk: zk.create("/p/q/r", exist_ok=True, include_data=True),
    lambda zk: zk.create("/p/q/r", exist_ok=True, makepath=True, include_data=True),
    lambda zk: zk.create("/a/n-", sequence=True),
    lambda zk: zk.create("/a/", sequence=True),
    lambda zk: zk.create("/", sequence=True),
    lambda zk: zk.create("/c", container=True),
    lambda zk: zk.create("/t-", ttl=60, sequence=True),
    lambda zk: zk.create("/e", ephemeral=True),
    lambda zk: zk.create("/e/f"),
    lambda zk: zk.create("/a/e", ephemeral=True),
    lambda zk: zk.get("/a"),
    lambda zk: zk.get("/missing"),
    lambda zk: zk.get("missing"),
    lambda zk: zk.get("/a/"),
    lambda zk: zk.get("/a/../a"),
    lambda zk: zk.get(""),
    lambda zk: zk.set("/a", b"x", version=7),
    lambda zk: zk.set("/a", b"x"),
    lambda zk: zk.exists("/"),
    lambda zk: zk.exists("/missing"),
    lambda zk: zk.get_children("/a"),
    lambda zk: zk.get_children("/a", include_data=True),
    lambda zk: zk.get_children("/missing"),
    lambda zk: zk.list_children("/a", prefix="n", with_data=True),
    lambda zk: zk.get_all_children_number("/a"),
    lambda zk: zk.get_ephemerals("/a"),
    lambda zk: zk.get_ephemerals(),
    lambda zk: zk.get_acls("/a"),
    lambda zk: zk.set_acls("/a", [], version=0),
    lambda zk: zk.who_am_i(),
    lambda zk: zk.ensure_path("/"),
    lambda zk: zk.ensure_path("/x/y"),
    lambda zk: t_of(zk, lambda t: t.create("/y-", sequence=True), lambda t: t.create("/z"), lambda t: t.delete("/z")),
    lambda zk: t_of(zk, lambda t: t.check("/a"), lambda t: t.delete("/missing")),
    lambda zk: t_of(zk, lambda t: t.check_absent("/missing"), lambda t: t.check_absent("/a")),
    lambda zk: r_of(zk, lambda r: r.get("/a/b"), lambda r: r.get("/missing"), lambda r: r.get_children("/a")),
    lambda zk: zk.port.request(PlainCreate("/plain")),
    lambda zk: zk.port.request(Once(zk.session_id, 1, Create("/once-", mode=2))),
    lambda zk: zk.has_watch("/a"),
    lambda zk: zk.delete("/a"),
    lambda zk: zk.delete("/a", recursive=True),
    lambda zk: zk.delete("/a", recursive=True),
    lambda zk: zk.delete("/missing", missing_ok=True),
    lambda zk: zk.sync(),
]  # fmt: skip


def without_numbers(value: object) -> object:
    """What does not depend on what else there is in the tree: a Stat does, and so does a zxid."""
    if isinstance(value, tuple) and not isinstance(value, WatchEvent | Resync):
        return tuple(without_numbers(each) for each in value)
    if isinstance(value, WatchEvent):
        return value.type, value.path
    if isinstance(value, RequestError):
        return type(value), value.path, str(value)
    return "a Stat" if isinstance(value, zkcore.Stat) else "a number" if isinstance(value, int) else value


async def tell(zk: Client) -> list[object]:
    """What comes of the story, answer by answer, and what watches tell of it."""
    told: list[object] = []
    await zk.add_watch("/", told.append, recursive=True)
    await zk.add_watch("/a", told.append)
    await zk.exists("/a", told.append)
    outcome: list[object] = []
    for call in STORY:
        try:
            outcome.append(without_numbers(await call(zk)))
        except ZkcoreError as error:
            outcome.append(without_numbers(error))
            if isinstance(error, MultiError):
                outcome.append((error.index, without_numbers(error.error), error.codes))
    return [*outcome, *map(without_numbers, told)]


@pytest.mark.parametrize("root", ["/app", "/deep/er", "/a"])
def test_a_part_of_the_tree_is_like_a_tree_of_its_own(root: str) -> None:
    expected: list[object] = []

    async def whole(zk: EmbeddedClient) -> None:
        expected.extend(await tell(zk))

    async def part(zk: EmbeddedClient) -> None:
        await zk.create(root, makepath=True)
        assert await tell(zk.chroot(root)) == expected

    with_client(whole)
    assert len(expected) > len(STORY) + 10
    with_client(part)


def test_every_request_that_names_a_path_names_it_below_the_root() -> None:
    async def use(zk: EmbeddedClient) -> None:
        port = ChrootPort(zk.port, "/app")
        kinds: list[type[Request[Any]]] = [*requests._RECORDS, watch_requests.AddWatch, watch_requests.CheckWatches]
        kinds.append(watch_requests.RemoveWatches)
        named = 0
        for kind in kinds:
            if kind is GetEphemerals or not hasattr(kind, "path"):
                continue
            named += 1
            required = {"data": b"", "acl": (), "ttl_ms": 1, "conditions": ()}
            given = {name: value for name, value in required.items() if hasattr(kind, name)}
            assert port._absolute_op(kind(path="/x", **given)).path == "/app/x", kind  # type: ignore[call-arg, attr-defined]
        assert named > 20

    with_client(use)


# --- what is its own -------------------------------------------------------------------------------------------------


def test_the_root_need_not_exist_and_can_be_made() -> None:
    async def use(zk: EmbeddedClient) -> None:
        app = zk.chroot("/org/app")
        assert await app.exists("/") is None
        with pytest.raises(NoNodeError) as raised:
            await app.get_children("/")
        assert (raised.value.path, str(raised.value)) == ("/", "/: no such znode")
        with pytest.raises(NoNodeError):
            await app.create("/a")
        await app.ensure_path("/")
        assert await zk.exists("/org/app") is not None
        await zk.chroot("/other").create("/b", makepath=True)
        assert await zk.exists("/other/b") is not None
        within = zk.chroot("/org").chroot("/app")
        await within.create("/a", b"x")
        assert (await app.get("/a")).data == b"x"
        assert await zk.chroot("/").get_children("/") == ["org", "other", "zookeeper"]
        assert app.session_id == zk.session_id
        for bad in ("app", "/app/", ""):
            with pytest.raises(BadArgumentsError):
                zk.chroot(bad)

    with_client(use)


def test_what_is_further_up_is_called_by_its_whole_name() -> None:
    async def use(zk: EmbeddedClient) -> None:
        await zk.create("/org/app", makepath=True)
        await zk.create("/zookeeper/quota/org/zookeeper_limits", b"countHardLimit=3", makepath=True)
        await zk.create("/zookeeper/quota/org/zookeeper_stats")
        app = zk.chroot("/org/app")
        await app.create("/a")
        with pytest.raises(QuotaExceededError) as raised:
            await app.create("/b")
        assert raised.value.path == "/b"

    with_client(use)


def test_a_text_that_only_looks_like_the_root_stays_as_it_is() -> None:
    async def use(zk: EmbeddedClient) -> None:
        port = ChrootPort(zk.port, "/app")
        for text, expected in (
            ("/app/a: no such znode", "/a: no such znode"),
            ("'/app' has children", "'/' has children"),
            ("/app", "/"),
            ("/apple, /x/app/a and /app.d/e", "/apple, /x/app/a and /app.d/e"),
        ):
            assert port._in_text(text) == expected

    with_client(use)


def test_watches_are_removed_by_whom_they_were_given_to() -> None:
    async def use(zk: EmbeddedClient) -> None:
        await zk.create("/app")
        told: list[WatchEvent] = []

        class Owner:
            def on_event(self, event: Any) -> None:
                told.append(event)

        owner = Owner()
        app = zk.chroot("/app")
        await app.add_watch("/a", owner.on_event)
        await app.exists("/a", owner.on_event)
        await app.remove_watch("/a", owner.on_event)
        assert not await app.has_watch("/a", watcher_type=WatcherType.PERSISTENT)
        await app.create("/a")
        await app.add_watch("/a", owner.on_event)
        await app.remove_all_watches("/a")
        await app.set("/a", b"")
        assert told == []

    with_client(use)


def test_watches_and_gaps_go_along_to_another_replica() -> None:
    async def main() -> None:
        quick = Limits(sync_limit_ticks=20, ping_ticks=5, vote_resend_ticks=2, vote_resend_max_ticks=8)
        rules = zkcore.Rules(watch_history=2)
        async with (
            asyncio.timeout(30),
            local_cluster(3, limits=quick, rules=rules) as cluster,
            cluster.client() as zk,
            cluster.client() as other,
        ):
            app = zk.chroot("/app")
            await app.ensure_path("/")
            told: list[object] = []
            arrived = asyncio.Event()

            def on_event(event: object) -> None:
                told.append(event)
                arrived.set()

            await app.add_watch("/", on_event, recursive=True)
            leader = await cluster.wait_for_leader()
            host = cluster.nodes[leader].host
            host.replica.pause(zk.session_id)
            for number in range(10):
                await other.create(f"/app/{number}")
            host.replica.resume(zk.session_id)
            await app.set("/0", b"x")
            await arrived.wait()
            assert isinstance(told[0], Resync)
            assert told[0].path == "/"

    asyncio.run(main())


# --- recipes and blocking code ---------------------------------------------------------------------------------------


def test_recipes_work_below_the_root_and_touch_nothing_else() -> None:
    async def use(zk: EmbeddedClient) -> None:
        app = zk.chroot("/app")
        async with zkcore.Lock(app, "/lock") as lease:
            assert lease.path.startswith("/lock/")
            assert len(await zkcore.Lock(app, "/lock").contenders()) == 1
            await app.port.request(zkcore.FenceGuard.transaction(lease, [Create("/guarded")]))
        queue = zkcore.Queue(app, "/queue")
        await queue.put(b"item")
        async with queue.claim() as claim:
            assert claim.item == b"item"
        config: zkcore.Config[bytes] = zkcore.Config(app, "/config")
        await config.set(b"one")
        await config.set(b"two")
        assert (await config.history())[-1].value in (b"one", b"two")
        async with zkcore.Membership(app, "/members", data=b"me"):
            assert [member.data for member in await zkcore.Membership(app, "/members").members()] == [b"me"]
        event = zkcore.Event(app, "/event")
        waiting = asyncio.create_task(event.wait())
        await event.set()
        assert await waiting
        barrier = zkcore.Barrier(app, "/barrier", parties=1)
        assert await barrier.wait() == 0
        async with zkcore.Election(app, "/election").lead():
            assert await zkcore.Election(app, "/election").leader() is not None
        assert await zk.get_children("/") == ["app", "zookeeper"]

    with_client(use)


def test_cleanups_and_work_in_the_background_stay_below_the_root() -> None:
    async def use(zk: EmbeddedClient) -> None:
        port = zk.chroot("/app").port

        async def make(port: zkcore.Port) -> None:
            await Client(port).create("/a/n-", sequence=True, makepath=True)

        await port.shield(make)
        await port.tidy_up(make)
        await port.wait(port.spawn(make, name="make").ended)
        assert await zk.get_all_children_number("/app/a") == 3
        await port.authenticate("digest", b"ada:pw")
        assert [each.id for each in await zk.who_am_i()] == ["ada"]

    with_client(use)


def test_blocking_code_has_it_too() -> None:
    with blocking.local_cluster(1) as cluster, cluster.client() as zk:
        app = zk.chroot("/app")
        app.create("/a/b", b"x", makepath=True)
        assert zk.get("/app/a/b").data == app.get("/a/b").data == b"x"
        with pytest.raises(NoNodeError, match=r"^/c: no such znode"):
            app.get("/c")
        with blocking.Lock(app, "/lock") as lease:
            assert lease.path.startswith("/lock/")
        assert zk.get_children("/") == ["app", "zookeeper"]
        assert repr(app) == repr(zk)
