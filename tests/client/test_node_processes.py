"""A node and the process it is in: forked children are not the node, and where its loop ends nothing of it is left."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from ports import Ports

import zkcore
import zkcore.sync
from zkcore import MemoryStorage, NodeConfig, SharedSecret, forks
from zkcore.client import tcp_node

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

PATIENCE = 60
SECRET = SharedSecret(b"known to all members")


@pytest.fixture
def ports() -> Iterator[Ports]:
    ports = Ports()
    yield ports
    ports.close()


@pytest.fixture
def config(ports: Ports, tmp_path: Path) -> NodeConfig:
    """Of a member that is alone, and keeps its data."""
    return NodeConfig(me=1, members={1: ports.take()}, security=SECRET, data_dir=tmp_path / "1", new=True)


def is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as other:
        return other.connect_ex((host, int(port))) == 0


def in_child(*calls: Callable[[], object]) -> list[str]:
    """What each call does in a forked process: the error it raises, or what it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for call in calls:
                try:
                    told = str(call())
                except BaseException as error:
                    told = type(error).__name__
                os.write(writing, told.encode() + b"\0")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told_by_child = pipe.read()
    os.waitpid(child, 0)
    return told_by_child.decode().split("\0")[:-1]


# --- forks ------------------------------------------------------------------------------------------------------------


def drive(coroutine: Any) -> object:
    """As the loop would that the child has a copy of: what it returns, or what it waits for."""
    try:
        return coroutine.send(None)
    except StopIteration as done:
        return done.value
    finally:
        coroutine.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes can fork")
def test_a_forked_process_is_not_the_node(ports: Ports, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    members = {me: ports.take() for me in (1, 2, 3)}

    async def test() -> None:
        nodes = [
            zkcore.start_node(
                NodeConfig(me=me, members=members, security=SECRET, data_dir=tmp_path / str(me), new=True)
            )
            for me in members
        ]
        async with asyncio.timeout(PATIENCE), nodes[0], nodes[1], nodes[2], nodes[0].client() as zk:
            await zk.create("/before")
            while not all(node.is_ready() and len(node.status().linked) == 2 for node in nodes):
                await asyncio.sleep(0.01)
            leader = next(node for node in nodes if node.status().leader == node.me)
            told = in_child(
                leader.client, leader.status, leader.explain, lambda: drive(leader.transfer()),
                lambda: drive(leader.stop()),
            )  # fmt: skip
            assert told == ["ForkedError"] * 4 + ["None"]
            caplog.clear()
            await zk.create("/after")
            assert leader.status().leader == leader.me
            assert not caplog.records

    caplog.set_level("INFO", "zkcore")
    asyncio.run(test())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes can fork")
def test_a_forked_process_writes_nothing_to_the_files_and_links_of_its_parent(config: NodeConfig) -> None:
    """What it has of them stands for nothing."""

    async def test() -> None:
        async with asyncio.timeout(PATIENCE), zkcore.start_node(config) as node, node.client() as zk:
            await zk.create("/a")
            storage = node.node.replica.storage
            assert isinstance(storage, zkcore.FileStorage)
            files = storage._files
            told = in_child(files.names, lambda: files.open("strange", create=True), lambda: is_open(config))
            assert told == ["NotADirectoryError", "NotADirectoryError", "0"]
            assert "strange" not in files.names()

    asyncio.run(test())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes can fork")
def test_what_has_no_descriptor_does_not_keep_the_rest_from_being_let_go() -> None:
    """As a connection on virtual time, and a socket that was closed."""
    closed, kept = socket.socket(), socket.socket()
    closed.close()

    class Virtual(asyncio.Transport):
        pass

    parts = [Virtual(), closed, kept]
    for part in parts:
        forks.only_here(part)
    with kept:
        told = in_child(
            lambda: os.path.samestat(os.fstat(kept.fileno()), os.stat(os.devnull)), lambda: len(forks._only_here)
        )
        assert told == ["True", "0"]
        assert not os.path.samestat(os.fstat(kept.fileno()), os.stat(os.devnull))


def is_open(config: NodeConfig) -> int:
    """How many sockets this process has at the port of the member."""
    port, found = int(config.members[0][1].rpartition(":")[2]), 0
    for number in map(int, os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd")):
        try:
            with socket.socket(fileno=os.dup(number)) as shown:
                found += shown.getsockname()[1:2] == (port,) and shown.getsockopt(
                    socket.SOL_SOCKET, socket.SO_ACCEPTCONN
                )
        except OSError:
            pass  # no socket, or none with a port
    return found


def _be_an_observer(members: dict[int, str]) -> None:
    config = NodeConfig(me=2, members=members, observers=[2], security=SECRET, storage=MemoryStorage())
    with zkcore.sync.start_node(config) as node, node.client() as zk:
        zk.create("/from-the-child")


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="only where processes can fork")
def test_a_forked_process_may_be_another_member(ports: Ports) -> None:
    members = {me: ports.take() for me in (1, 2)}
    config = NodeConfig(me=1, members=members, observers=[2], security=SECRET, storage=MemoryStorage())
    with zkcore.sync.start_node(config) as node, node.client() as zk:
        child = multiprocessing.get_context("fork").Process(target=_be_an_observer, args=(members,))
        child.start()
        child.join(PATIENCE)
        assert child.exitcode == 0
        assert zk.exists("/from-the-child")


_PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
import zkcore

async def main(new):
    config = zkcore.NodeConfig(
        me=1, members={1: sys.argv[1]}, security=zkcore.SharedSecret(b"known to all members"),
        data_dir=sys.argv[2], new=new,
    )
    async with zkcore.start_node(config) as node, node.client() as zk:
        if new:
            await zk.create("/kept")
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, b".")
            sys.stdin.read()
            os._exit(0)
        os.read(reading, 1)  # the child has given up what is not its own
        os.kill(os.getpid(), signal.SIGKILL)

try:
    asyncio.run(main(True))
except KeyboardInterrupt:
    asyncio.run(main(False))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes can fork")
def test_the_place_of_a_process_that_ended_is_free_though_its_child_lives(config: NodeConfig) -> None:
    """It ends once by Ctrl-C, and once by kill -9."""
    address = dict(config.members)[1]
    assert config.data_dir is not None
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _PROGRAM, address, str(config.data_dir)],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert program.stdin is not None
    assert program.stderr is not None
    try:
        assert program.wait(PATIENCE) == -signal.SIGKILL
        assert not is_listening(address)

        async def test() -> None:
            node = zkcore.start_node(evolve(config, new=False))
            async with asyncio.timeout(PATIENCE), node, node.client() as zk:
                assert await zk.exists("/kept")

        asyncio.run(test())
    finally:
        program.kill()
        program.stdin.close()  # with which the child ends, too
        assert program.stderr.read() == b""
        program.stderr.close()


# --- the end of a loop ------------------------------------------------------------------------------------------------


def check_that_nothing_is_left(config: NodeConfig) -> None:
    assert not is_listening(dict(config.members)[1])
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("zkcore")] == []
    assert config.data_dir is not None
    with zkcore.FileStorage(config.data_dir, node=1, cluster=config.cluster):
        pass


def test_a_program_that_is_cancelled_closes_all(config: NodeConfig) -> None:
    async def program(started: asyncio.Event) -> None:
        async with zkcore.start_node(config) as node, node.client() as zk:
            await zk.create("/a")
            started.set()
            await asyncio.Event().wait()

    async def test() -> None:
        started = asyncio.Event()
        async with asyncio.timeout(PATIENCE):
            running = asyncio.create_task(program(started))
            await started.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(test())
    check_that_nothing_is_left(config)


def test_a_start_that_is_cancelled_leaves_nothing_behind(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the directory was being opened by a thread."""
    opening, cancelled = threading.Event(), threading.Event()
    really_open = tcp_node._open_storage

    def open_slowly(config: NodeConfig, members: zkcore.Members) -> tuple[zkcore.FileStorage, zkcore.Members]:
        opening.set()
        assert cancelled.wait(PATIENCE)
        return really_open(config, members)

    monkeypatch.setattr(tcp_node, "_open_storage", open_slowly)

    async def test() -> None:
        async with asyncio.timeout(PATIENCE):
            starting = asyncio.create_task(zkcore.start_node(config).start())
            await asyncio.to_thread(opening.wait, PATIENCE)
            starting.cancel()
            await asyncio.sleep(0)
            cancelled.set()
            with pytest.raises(asyncio.CancelledError):
                await starting

    asyncio.run(test())
    check_that_nothing_is_left(config)
