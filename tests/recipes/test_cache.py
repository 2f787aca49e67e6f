"""The cache: one state of the tree, never an older one than before, and read again only where something has changed."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from faults import ACTIONS
from scripted import Asking, Interrupted, Point, Run, World

from zkcore.client.client import Client
from zkcore.errors import (
    BadArgumentsError,
    NoNodeError,
    NothingToCacheError,
    NotStartedError,
    SessionClosedError,
    SessionExpiredError,
)
from zkcore.recipes.cache import Cache, CacheChange, CacheView
from zkcore.tree.requests import (
    Create,
    Delete,
    GetChildren,
    GetData,
    ListChildren,
    Multi,
    MultiRead,
    NodeData,
    SetData,
)
from zkcore.tree.watch_requests import Resync

PATH = "/app"


class Tree:
    """What somebody else does, and how the tree was at every zxid."""

    def __init__(self, *paths: str) -> None:
        self.world = World()
        self.session = self.world.client().session_id
        self.states: dict[int, dict[str, NodeData]] = {}
        for path in (PATH, *paths):
            self.do(Create(path, b"first"))

    def do(self, *operations: Any) -> None:
        self.world.do(self.session, operations[0] if len(operations) == 1 else Multi(operations))
        self.states[self.world.tree.last_zxid] = self.now()

    def now(self) -> dict[str, NodeData]:
        found: dict[str, NodeData] = {}

        def look(path: str) -> None:
            try:
                found[path] = self.world.tree.read(GetData(path))
            except NoNodeError:
                return
            for name in self.world.tree.read(GetChildren(path)):
                look(f"{path}/{name}")

        look(PATH)
        return found

    def at(self, zxid: int) -> dict[str, NodeData]:
        """How the tree was behind that transaction."""
        return self.states[max(known for known in self.states if known <= zxid)]

    def check(self, view: CacheView) -> None:
        """A view is what the tree was at its zxid."""
        assert view == CacheView(self.at(view.zxid), view.zxid)

    def cache(self, client: Client | None = None, **options: Any) -> Cache:
        return Cache(client or self.world.client(), PATH, **options)

    def started(self, client: Client | None = None, **options: Any) -> Cache:
        cache = self.cache(client, **options)
        self.world.run(cache.start())
        self.check(cache.view)
        return cache

    def settle(self) -> None:
        self.world.settle()


def asked(world: World) -> list[type]:
    return [type(op) for _, op in world.asked]


# --- what it shows


def test_a_cache_is_a_mapping_of_all_there_is_at_and_below_its_path() -> None:
    tree = Tree("/app/a", "/app/a/b", "/app/c")
    tree.world.do(tree.session, Create("/other"))
    cache = tree.started()
    assert sorted(cache) == ["/app", "/app/a", "/app/a/b", "/app/c"]
    data, stat = cache["/app/a"]
    assert (data, stat.num_children) == (b"first", 1)
    assert "/other" not in cache
    assert cache.get("/app/x") is None
    assert len(cache) == 4
    assert dict(cache.items()) == tree.now()
    with pytest.raises(KeyError):
        cache["/app/x"]


def test_what_has_changed_is_read_again_and_nothing_else() -> None:
    tree = Tree("/app/a", "/app/a/b", "/app/c")
    cache = tree.started()
    before = cache.view
    tree.world.asked.clear()
    tree.do(SetData("/app/a/b", b"second"))
    tree.settle()
    assert cache["/app/a/b"].data == b"second"
    assert [op for _, op in tree.world.asked] == [MultiRead([GetData("/app/a/b")])]
    assert before["/app/a/b"].data == b"first"
    assert cache.zxid == tree.world.tree.last_zxid
    tree.world.asked.clear()
    tree.do(Create("/app/c/d"), Delete("/app/a/b"))
    tree.settle()
    assert dict(cache) == tree.now()
    assert asked(tree.world) == [MultiRead]


def test_a_cache_of_many_znodes_is_filled_page_by_page_and_without_reading_one_by_one() -> None:
    tree = Tree()
    for number in range(1500):
        tree.world.do(tree.session, Create(f"/app/{number:04d}"))
    cache = tree.cache()
    tree.world.run(cache.start())
    assert len(cache) == 1501
    assert len(tree.world.asked) < 6


def test_a_view_is_one_state_and_goes_on_being_it() -> None:
    tree = Tree("/app/a")
    cache = tree.started()
    view = cache.view
    for path in view:
        tree.do(SetData(path, b"later"))
        tree.settle()
    assert {node.data for node in view.values()} == {b"first"}
    assert {node.data for node in cache.values()} == {b"later"}
    assert "2 znodes" in repr(view)
    assert "live" in repr(cache)


def test_a_change_of_two_is_never_seen_by_half() -> None:
    tree = Tree("/app/a", "/app/b")
    cache = tree.started()
    seen: list[tuple[bytes, bytes]] = []

    def script(run: Run, point: Point) -> str | None:
        seen.append((cache["/app/a"].data, cache["/app/b"].data))
        if isinstance(point, Asking) and isinstance(point.op, MultiRead) and len(tree.states) < 40:
            number = b"%d" % len(tree.states)
            tree.do(SetData("/app/b", number), SetData("/app/a", number))  # while it reads what has changed before
        return None

    tree.world.script = script
    tree.do(SetData("/app/a", b"x"), SetData("/app/b", b"x"))
    tree.settle()
    assert all(one == other for one, other in seen)
    assert dict(cache) == tree.now()


def test_the_znode_may_go_and_come_again() -> None:
    tree = Tree("/app/a")
    cache = tree.started()
    tree.do(Delete("/app/a"))
    tree.do(Delete("/app"))
    tree.settle()
    assert dict(cache) == {}
    tree.do(Create("/app", b"again"))
    tree.settle()
    assert cache["/app"].data == b"again"


# --- waiting


def test_who_waits_is_told_when_it_is_so_or_that_it_was_not_in_time() -> None:
    tree = Tree()
    cache = tree.started()
    waiting = tree.world.start(cache.wait_for(lambda nodes: "/app/b" in nodes))
    hasty = tree.world.start(cache.wait_for(lambda nodes: "/app/b" in nodes, timeout=1))
    tree.do(Create("/app/a"))
    tree.world.sleep(1)
    assert hasty.outcome() is False
    assert not waiting.is_over
    tree.do(Create("/app/b"))
    tree.settle()
    assert waiting.outcome() is True
    assert tree.world.run(cache.wait_for(lambda nodes: True, timeout=0)) is True


def test_sync_waits_until_it_shows_what_was_written_before() -> None:
    tree = Tree("/app/a")
    client = tree.world.client()
    cache = tree.started(client)
    tree.world.script = lambda run, point: (
        "stuck after" if isinstance(point, Asking) and isinstance(point.op, MultiRead) else None
    )
    tree.do(SetData("/app/a", b"second"))
    syncing = tree.world.start(cache.sync())
    tree.settle()
    assert not syncing.is_over
    assert cache["/app/a"].data == b"first"
    tree.world.script = lambda run, point: None
    for run in tree.world.runs:
        if isinstance(run.at, Asking):
            run.at.is_stuck = False
    tree.settle()
    assert syncing.outcome() == tree.world.tree.last_zxid
    assert cache["/app/a"].data == b"second"
    assert tree.world.run(cache.sync()) == tree.world.tree.last_zxid


def test_changes_tell_what_is_there_and_then_what_differs_several_as_one() -> None:
    tree = Tree("/app/a", "/app/b")
    client = tree.world.client()
    cache = tree.started(client)
    told: list[CacheChange] = []
    changes = cache.changes()

    async def look(count: int) -> None:
        for _ in range(count):
            told.append(await anext(changes))

    tree.world.run(look(1))
    assert told[0].created == {"/app", "/app/a", "/app/b"}
    tree.do(SetData("/app/a", b"x"))
    tree.settle()
    tree.do(Delete("/app/b"))
    tree.do(Create("/app/c"))
    tree.settle()
    tree.world.run(look(1))
    assert (told[1].created, told[1].changed, told[1].deleted) == ({"/app/c"}, {"/app", "/app/a"}, {"/app/b"})
    assert told[1].view == cache.view
    looking = tree.world.start(look(1))
    tree.settle()
    assert not looking.is_over, "it differs in nothing"
    tree.world.expire(client)
    tree.settle()
    with pytest.raises(SessionExpiredError, match="Open a new client"):
        looking.outcome()


# --- beginning and end


@pytest.mark.parametrize("path", ["", "app", "/app/"])
def test_a_cache_is_of_a_path(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        Cache(World().client(), path)


def test_a_cache_of_nothing_says_so_or_waits_for_it() -> None:
    world = World()
    cache = Cache(world.client(), PATH)
    with pytest.raises(NothingToCacheError, match="create it first, or give missing_ok=True"):
        world.run(cache.start())
    for look in (lambda: len(cache), lambda: cache["/app"], lambda: cache.zxid):
        with pytest.raises(NotStartedError):
            look()
    assert "not started" in repr(cache)
    patient = Cache(world.client(), PATH, missing_ok=True)
    world.run(patient.start())
    assert dict(patient) == {}
    session = world.client().session_id
    world.do(session, Create(PATH, b"now"))
    world.do(session, Create(f"{PATH}/a", b"too"))
    world.settle()
    assert [node.data for node in patient.values()] == [b"now", b"too"]


def test_a_cache_is_started_once_and_may_be_again_when_it_was_closed() -> None:
    tree = Tree()
    cache = tree.started()
    with pytest.raises(NotStartedError, match="started before"):
        tree.world.run(cache.start())
    tree.world.run(cache.close())
    tree.world.run(cache.close())
    tree.do(SetData(PATH, b"unseen"))
    tree.settle()
    assert cache[PATH].data == b"first"
    assert not cache.is_live
    for what in (cache.sync(), cache.wait_for(lambda nodes: True), anext(cache.changes())):
        with pytest.raises(SessionClosedError, match="was closed; it shows what was at"):
            tree.world.run(shown(what))
    tree.world.run(cache.start())
    assert cache[PATH].data == b"unseen"


async def shown(what: Any) -> Any:
    return await what


def test_a_cache_whose_session_ends_shows_what_it_knew_and_for_how_long_it_knows_no_more() -> None:
    tree = Tree()
    client = tree.world.client()
    session: Any = client.port.session
    session.alive_until = tree.world.time + session.timeout
    cache = tree.started(client)
    assert (cache.is_live, cache.age) == (True, 0)
    waiting = tree.world.start(cache.wait_for(lambda nodes: False))
    tree.world.expire(client)
    tree.settle()
    tree.do(SetData(PATH, b"unseen"))
    tree.world.sleep(7)
    assert cache[PATH].data == b"first"
    assert not cache.is_live
    assert cache.age == 7
    assert "7.0 s old" in repr(cache)
    with pytest.raises(SessionExpiredError):
        waiting.outcome()
    with pytest.raises(SessionExpiredError):
        tree.world.run(tree.cache(client).start())


# --- gaps


def resync(tree: Tree, client: Client) -> None:
    port: Any = client.port
    port.watchers.fire(Resync(PATH, 0, tree.world.tree.last_zxid))


def test_after_a_gap_only_what_has_another_transaction_is_read_again() -> None:
    tree = Tree("/app/a", "/app/b", "/app/b/c", "/app/d")
    client = tree.world.client()
    cache = tree.started(client)
    port: Any = client.port
    table, port.watchers = port.watchers, type(port.watchers)()  # nobody tells it anything
    tree.do(SetData("/app/a", b"second"))
    tree.do(Delete("/app/d"))
    tree.do(Create("/app/b/e"))
    tree.settle()
    assert cache["/app/a"].data == b"first"
    port.watchers = table
    tree.world.asked.clear()
    resync(tree, client)
    tree.settle()
    assert dict(cache) == tree.now()
    assert asked(tree.world) == [ListChildren, ListChildren, MultiRead]
    *_, (_, read) = tree.world.asked
    assert isinstance(read, MultiRead)
    assert {each.path for each in read.operations} == {"/app", "/app/a", "/app/b/e"}


def test_a_gap_while_it_is_filled_is_made_good() -> None:
    tree = Tree("/app/a", "/app/b")
    client = tree.world.client()
    cache = tree.cache(client)
    gaps = [2]

    def script(run: Run, point: Point) -> str | None:
        if isinstance(point, Asking) and isinstance(point.op, MultiRead) and gaps[0]:
            gaps[0] -= 1
            port: Any = client.port
            table, port.watchers = port.watchers, type(port.watchers)()
            tree.do(SetData("/app/a", b"%d" % gaps[0]))
            port.watchers = table
            resync(tree, client)
        return None

    tree.world.script = script
    tree.world.run(cache.start())
    tree.check(cache.view)
    assert dict(cache) == tree.now()


# --- everything at every await, and at once


@pytest.mark.parametrize("action", [*ACTIONS, "throttled"])
def test_a_fault_at_any_await_of_the_start_or_behind_it_loses_nothing(action: str) -> None:
    for at in range(30):
        tree = Tree("/app/a", "/app/b")
        client = tree.world.client()
        cache = tree.cache(client)
        count = [0]

        started: list[Run] = []

        def script(run: Run, point: Point, at: int = at, count: list[int] = count, it: list[Run] = started) -> Any:
            if action.startswith("interrupted") and it and run is not it[0]:
                return None  # only who waits is cancelled
            count[0] += 1
            return action if count[0] - 1 == at else None

        tree.world.script = script
        started.append(run := tree.world.start(cache.start()))
        tree.settle()
        if run.error is None:
            tree.do(SetData("/app/a", b"second"), Create("/app/b/c"))
        tree.world.sleep(1)
        tree.world.script = lambda run, point: None
        tree.world.sleep(1)
        assert run.is_over, f"{action} at {at}: {run.at}"
        assert run.error is None or isinstance(run.error, (Interrupted, SessionExpiredError))
        if run.error is None and cache.is_live:
            assert dict(cache) == tree.now(), f"{action} at {at}"
        elif run.error is not None:
            with pytest.raises(NotStartedError):
                len(cache)
        if count[0] <= at:
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("seed", range(60))
def test_every_view_is_a_state_of_the_tree_and_none_is_older_than_the_one_before(seed: int) -> None:
    rng = Random(seed)
    paths = [PATH, "/app/a", "/app/a/b", "/app/a/c", "/app/d"]
    tree = Tree()
    client = tree.world.client()
    cache = tree.cache(client, missing_ok=True)
    views: list[CacheView] = []

    def change() -> None:
        path = rng.choice(paths)
        there = tree.now()
        if path not in there:
            if path == PATH or path.rpartition("/")[0] in there:
                tree.do(Create(path, rng.randbytes(2)))
        elif there[path].stat.num_children or rng.random() < 0.6:
            tree.do(SetData(path, rng.randbytes(2)))
        else:
            tree.do(Delete(path))

    def script(run: Run, point: Point) -> str | None:
        if isinstance(point, Asking) and rng.random() < 0.1:
            return rng.choice(("lost before", "lost after", "throttled"))
        return None

    async def watch() -> None:
        async for told in cache.changes():
            views.append(told.view)

    tree.world.script = script
    starting = tree.world.start(cache.start())
    for step in range(400):
        if rng.random() < 0.15:
            change()
        if rng.random() < 0.02:
            resync(tree, client)
        if not tree.world.step_any(rng):
            tree.world.time += 0.05
        if step == 40:
            tree.settle()
            tree.world.sleep(1)
            assert starting.outcome() is cache
            tree.world.start(watch())
        if step > 40:
            tree.check(cache.view)
    tree.world.script = lambda run, point: None
    tree.world.sleep(1)
    assert dict(cache) == tree.now()
    assert [view.zxid for view in views] == sorted(view.zxid for view in views)
    for view in views:
        tree.check(view)
