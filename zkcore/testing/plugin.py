"""The pytest plugin: worlds on virtual time, clusters on real time, and clients of them, as fixtures.

================== =====================================================================================================
`zk_world`         an AppWorld (`zkcore.testing.app_world`); an `async def` test that asks for it runs wholly inside, on
                   virtual time, once for each seed
`zk_seed`          the seed of that world
`zk_cluster`       three nodes in memory on real time, for an `async def` test
`zk_client`        a client of such a cluster
`zk_sync_client`   the same for a plain `def` test (`zkcore.sync`)
`zk_server`        a server for kazoo and other clients of ZooKeeper (`zkcore.testing.zookeeper`), in milliseconds:
                   ``KazooClient(hosts=zk_server.hosts)``
================== =====================================================================================================

``@pytest.mark.zkcore(seeds=200, nodes=5, faults="crash,pause")`` says how many seeds, how many nodes, and which faults
the seeds may draw. ``--zkcore-seeds N`` runs so many instead, ``--zkcore-seed S`` that one alone: a test that fails
says the command.

Such a test is a plain function as far as pytest and other plugins see: an `async def` that asks for one of these
fixtures is replaced by one when it is collected, so no plugin for asyncio is needed, and one that is there does not
touch it. Other fixtures are made before, once for all seeds of a test, and their loops are not this one.

This module is imported whenever pytest starts, so it imports the rest of zkcore.testing only when a test asks for it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from zkcore.sync import Client
    from zkcore.testing.app_world import AppWorld
    from zkcore.testing.seeds import Seeds
    from zkcore.testing.zookeeper import ZookeeperServer

DEFAULT_SEEDS = 20

_VIRTUAL = "zk_world"
_REAL = {"zk_cluster", "zk_client"}
_OPTIONS = {"seeds", "nodes", "observers", "limits", "rules", "faults", "time_limit", "most_steps"}

_total: list[Seeds] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many seeds, or which."""
    group = parser.getgroup("zkcore")
    group.addoption("--zkcore-seeds", type=int, metavar="N", help="run each test with a zk_world for N seeds")
    group.addoption("--zkcore-seed", type=int, metavar="S", help="run each test with a zk_world for the seed S alone")


def pytest_configure(config: pytest.Config) -> None:
    """The marker; and numbers that cannot be meant."""
    config.addinivalue_line(
        "markers",
        "zkcore(seeds=20, nodes=3, observers=0, faults='', time_limit=86400, ...): in which worlds a test with a "
        "zk_world runs; see zkcore.testing.app_world.AppWorld",
    )
    seeds = config.getoption("--zkcore-seeds")
    if seeds is not None and seeds < 1:
        raise pytest.UsageError(f"--zkcore-seeds {seeds}: give a number of seeds, at least 1")


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> None:
    """An `async def` that wants one of our fixtures becomes a plain function, before anybody looks closer."""
    if not inspect.iscoroutinefunction(obj) or not collector.istestfunction(obj, name):  # type: ignore[attr-defined]
        return
    wanted = set(inspect.signature(obj).parameters)
    if _VIRTUAL in wanted:
        setattr(collector.obj, name, _in_worlds(obj))  # type: ignore[attr-defined]
    elif wanted & _REAL:
        setattr(collector.obj, name, _in_asyncio(obj))  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the worlds of this process came to."""
    if _total:
        seeds, seconds = sum(each.count for each in _total), sum(each.seconds for each in _total)
        faults = sum(sum(each.faults.values()) for each in _total)
        terminalreporter.write_line(
            f"zkcore: {len(_total):,} tests, {seeds:,} seeds, {faults:,} faults, {seconds / 3600:,.1f} virtual hours"
        )


# --- virtual time -----------------------------------------------------------------------------------------------------


class _Worlds:
    """Which worlds a test wants."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        options: dict[str, Any] = {}
        for marker in reversed(list(request.node.iter_markers("zkcore"))):
            if marker.args or not marker.kwargs.keys() <= _OPTIONS:
                raise pytest.UsageError(
                    f"@pytest.mark.zkcore of {request.node.nodeid} takes keywords only: {', '.join(sorted(_OPTIONS))}"
                )
            options.update(marker.kwargs)
        config = request.config
        count = options.pop("seeds", DEFAULT_SEEDS)
        if config.getoption("--zkcore-seeds") is not None:
            count = config.getoption("--zkcore-seeds")
        only = config.getoption("--zkcore-seed")
        self.seeds = range(count) if only is None else range(only, only + 1)
        self.options = options
        self.again = f"pytest '{request.node.nodeid}' --zkcore-seed {{seed}}"

    def make(self, seed: int) -> AppWorld:
        from zkcore.testing.app_world import AppWorld

        return AppWorld(seed, **self.options)


def _in_worlds(test: Callable[..., Coroutine[Any, Any, object]]) -> Callable[..., None]:
    wants_seed = "zk_seed" in inspect.signature(test).parameters

    @functools.wraps(test)
    def run(*args: Any, zk_world: _Worlds, **options: Any) -> None:
        from zkcore.testing.seeds import Seeds, run_seeds

        async def story(world: AppWorld) -> None:
            if wants_seed:
                options["zk_seed"] = world.seed
            await test(*args, zk_world=world, **options)

        total = Seeds()
        _total.append(total)
        run_seeds(story, zk_world.seeds, make_world=zk_world.make, again=zk_world.again, done=total)

    return run


@pytest.fixture
def zk_world(request: pytest.FixtureRequest) -> Any:
    """An AppWorld; see the module. A plain `def` test gets that of the first seed, and calls its `run` itself."""
    worlds = _Worlds(request)
    if inspect.iscoroutinefunction(inspect.unwrap(request.function)):
        return worlds
    return worlds.make(worlds.seeds[0])


@pytest.fixture
def zk_seed(request: pytest.FixtureRequest) -> int:
    """The seed of the test's world: for generators of your own."""
    return _Worlds(request).seeds[0]


# --- real time --------------------------------------------------------------------------------------------------------


def _in_asyncio(test: Callable[..., Coroutine[Any, Any, object]]) -> Callable[..., None]:
    wanted = set(inspect.signature(test).parameters)

    async def main(args: tuple[Any, ...], options: dict[str, Any], nodes: int) -> None:
        import zkcore

        async with zkcore.local_cluster(nodes) as cluster:
            if "zk_cluster" in wanted:
                options["zk_cluster"] = cluster
            if "zk_client" not in wanted:
                await test(*args, **options)
                return
            async with cluster.client() as client:
                await test(*args, **options | {"zk_client": client})

    @functools.wraps(test)
    def run(*args: Any, **options: Any) -> None:
        nodes = next(options[name] for name in sorted(_REAL) if name in options)
        asyncio.run(main(args, options, nodes))

    return run


def _nodes_for(request: pytest.FixtureRequest, name: str) -> int:
    if not inspect.iscoroutinefunction(inspect.unwrap(request.function)):
        raise pytest.UsageError(
            f"{name} is for `async def` tests, and {request.node.nodeid} is none; take zk_sync_client there"
        )
    nodes: int = _Worlds(request).options.get("nodes", 3)
    return nodes


@pytest.fixture
def zk_cluster(request: pytest.FixtureRequest) -> Any:
    """A LocalCluster of three nodes on real time, in the loop that runs the test."""
    return _nodes_for(request, "zk_cluster")


@pytest.fixture
def zk_client(request: pytest.FixtureRequest) -> Any:
    """A client of such a cluster; of the test's own `zk_cluster` where it wants that, too."""
    return _nodes_for(request, "zk_client")


@pytest.fixture
def zk_sync_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A blocking client of a cluster of its own (`zkcore.sync`)."""
    import zkcore.sync

    nodes = _Worlds(request).options.get("nodes", 3)
    with zkcore.sync.local_cluster(nodes) as cluster, cluster.client() as client:
        yield client


@pytest.fixture
def zk_server(request: pytest.FixtureRequest) -> Iterator[ZookeeperServer]:
    """A server of its own for kazoo and other clients of ZooKeeper, at `zk_server.hosts`: one node, or as many as the
    marker says."""
    from zkcore.testing.zookeeper import zookeeper_server

    options = _Worlds(request).options
    with zookeeper_server(
        options.get("nodes", 1), rules=options.get("rules"), limits=options.get("limits")
    ) as server:
        yield server
