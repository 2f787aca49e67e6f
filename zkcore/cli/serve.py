"""`serve`: one member of an ensemble, or a server that stands alone, as ZooKeeper's configuration file says.

It runs until it is told to stop (SIGTERM, Ctrl-C), and then hands over what it leads. Exit statuses: 0 it was stopped;
2 the configuration cannot be used; 3 the data directory cannot; 1 anything else went wrong. What cannot be used is
found before anything is made.

The data is kept in `zkcore` below dataDir. As everywhere, an empty directory is taken for a loss: the first start of a
server says so, with `--new` or by a file `initialize` in dataDir, as ZooKeeper has it, which is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from zkcore.cli.zoo_cfg import ZooCfg, read_zoo_cfg
from zkcore.client.node import Node
from zkcore.client.tcp_node import NodeConfig, start_node
from zkcore.errors import ConfigurationError, StorageError
from zkcore.replica.host import Host
from zkcore.server.listener import ClientListener
from zkcore.transport.address import parse_address
from zkcore.transport.tcp import close_all, listen_at
from zkcore.transport.threads import made
from zkcore.transport.transport import LocalNetwork
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["add_to", "serve"]

_log = logging.getLogger("zkcore.serve")

CONFIGURATION, DATA, OTHER = 2, 3, 1
"""Exit statuses of what goes wrong."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="run a server as ZooKeeper's zoo.cfg says")
    parser.add_argument("configuration", metavar="zoo.cfg")
    parser.add_argument("--new", action="store_true", help="this is the first start of this server: make its data")
    parser.add_argument("--check", action="store_true", help="read the configuration, say what is wrong, and end")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        cfg = read_zoo_cfg(chosen.configuration)
        for warning in cfg.warnings:
            _log.warning("%s", warning)
        if chosen.check:
            return 0
        asyncio.run(_until_stopped(cfg, new=chosen.new))
    except ConfigurationError as error:
        return _failed(error, CONFIGURATION)
    except StorageError as error:
        return _failed(error, DATA)
    return 0


def _failed(error: Exception, status: int) -> int:
    _log.error("%s", error)
    return status


async def _until_stopped(cfg: ZooCfg, *, new: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with serve(cfg, new=new) as served:
        failed = asyncio.create_task(_until_failed(served.node.host))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait([failed, waiting], return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        waiting.cancel()
        if not stopped.is_set():
            raise StorageError(f"server {cfg.me} cannot go on: {served.node.host.failure}")
        _log.info("server %s stops", cfg.me)


async def _until_failed(host: Host) -> None:
    """A node that will not come back by itself is better restarted, by whoever looks after it, than kept."""
    while not host.failed:
        await asyncio.sleep(1)


class Served:
    """A server that runs."""

    def __init__(self, node: Node, listener: ClientListener | None) -> None:
        self.node = node
        self.listener = listener
        """Where clients are served; None where the configuration names no port."""


@asynccontextmanager
async def serve(cfg: ZooCfg, *, new: bool = False) -> AsyncIterator[Served]:
    """Run the server that `cfg` describes; at the end it has stopped. Raises ConfigurationError and StorageError, and
    then nothing is running."""
    await _check_ports(cfg)
    initialize = cfg.data_dir / "initialize"
    new = new or initialize.exists()
    if new:
        _make(cfg.data_dir)
    async with AsyncExitStack() as parts:
        if cfg.members:
            node = (await parts.enter_async_context(start_node(_node_config(cfg, new=new)))).node
        else:
            node = await asyncio.to_thread(_alone, cfg, new=new)
            await parts.enter_async_context(node)
        initialize.unlink(missing_ok=True)
        listener = None
        if cfg.client is not None:
            listener = ClientListener(
                node.host, str(cfg.client), limits=cfg.listener, words=cfg.words, settings=cfg.settings
            )
            await parts.enter_async_context(listener)
        yield Served(node, listener)


async def _check_ports(cfg: ZooCfg) -> None:
    """Whether they can be had, before anything is made. They are given back: who listens there needs a node first."""
    wanted = []
    if cfg.members:
        address = cfg.members[cfg.me].address if cfg.bind is None else parse_address(cfg.bind, key="bind")
        wanted.append((address, f"server.{cfg.me}", "quorumListenOnAllIPs"))
    if cfg.client is not None:
        wanted.append((cfg.client, "clientPort", "clientPortAddress"))
    for address, key, elsewhere in wanted:
        taking = partial(listen_at, address, f"{cfg.path}: {key}", elsewhere=elsewhere)
        close_all(await made(taking, undo=close_all))


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageError(f"dataDir cannot be made: {error}") from error


def _alone(cfg: ZooCfg, *, new: bool) -> Node:
    network = LocalNetwork()
    return Node(
        cfg.me, EnsembleConfig([cfg.me]), transport=lambda inbox: network.attach(cfg.me, inbox),
        cluster=cfg.cluster, data_dir=cfg.data_dir / "zkcore", new=new, fsync=cfg.fsync, limits=cfg.limits,
        rules=cfg.rules, save_on_thread=False, snapshot_every=cfg.snapshot_every,
    )  # fmt: skip


def _node_config(cfg: ZooCfg, *, new: bool) -> NodeConfig:
    assert cfg.security is not None
    return NodeConfig(
        me=cfg.me,
        cluster=cfg.cluster,
        members={number: str(member.address) for number, member in cfg.members.items()},
        observers=[number for number, member in cfg.members.items() if member.observes],
        groups=cfg.groups,
        weights=cfg.weights,
        security=cfg.security,
        bind=cfg.bind,
        data_dir=cfg.data_dir / "zkcore",
        new=new,
        fsync=cfg.fsync,
        limits=cfg.limits,
        rules=cfg.rules,
        snapshot_every=cfg.snapshot_every,
    )
