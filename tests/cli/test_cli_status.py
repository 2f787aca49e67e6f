"""`status`: one line for each server, whether they have a leader and a quorum, and an exit status that says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from ports import Ports

import zkcore
from zkcore.cli import status as status_module
from zkcore.cli.main import main
from zkcore.cli.status import ServerStatus, ask_all, judge, told_of_members
from zkcore.testing.zookeeper import zookeeper_server
from zkcore.transport.address import parse_address

WORDS = {"mntr", "isro", "srvr"}


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


def server(mode: str | None, name: str = "a:1", **more: Any) -> ServerStatus:
    return ServerStatus(address=name, mode=mode, **more)


DOWN = ServerStatus(address="down:1", trouble="unreachable: no answer within 5 s")


@pytest.mark.parametrize(
    ("servers", "status", "said"),
    [
        ([server("leader"), server("follower")], 0, "a:1 leads, with a quorum"),
        ([server("standalone")], 0, "a:1 stands alone"),
        ([server("leader"), server("observer"), DOWN], 3, "leads, with a quorum; not well: down:1"),
        ([server("leader"), server("follower", "b:1", read_only=True)], 3, "not well: b:1"),
        ([server("follower"), DOWN], 3, "under a leader that was not asked or not reached"),
        ([server("leader", zxid=0x100000002), server("leader", "b:1")], 1, "leader: a:1 (0x1_00000002), b:1; either"),
        ([DOWN, DOWN], 1, "no quorum: none of 2 serves"),
        ([server("read-only", read_only=True), DOWN], 1, "no quorum: none of 2 serves"),
    ],
)
def test_the_verdict_on_some_servers(servers: list[ServerStatus], status: int, said: str) -> None:
    found, why = judge(servers)
    assert found == status
    assert said in why


def test_the_members_are_shown_as_the_leader_knows_them_and_who_lags() -> None:
    old = server("follower", configuration="voters 1 2 3", configuration_version=0x100000003, changing=False)
    change = server(
        "leader", configuration="voters 1 2 3 -> voters 1 2 4", configuration_version=0x100000007, changing=True,
        lags={"2": 0, "3": 12, "4": 340},
    )  # fmt: skip
    assert told_of_members([old, change]) == [
        "members: voters 1 2 3 -> voters 1 2 4, version 100000007",
        "they are being changed, which takes quorums of both",
        "behind: node 3 by 12 records, node 4 by 340 records",
    ]
    assert told_of_members([old, DOWN]) == ["members: voters 1 2 3, version 100000003"]
    assert told_of_members([DOWN, server("leader")]) == []
    assert told_of_members([server("standalone", configuration="voters 1")]) == []


def test_an_ensemble_is_shown_line_by_line_and_without_its_leader() -> None:
    async def test() -> None:
        async with zkcore.local_cluster(3) as cluster, cluster.client() as zk:
            await zk.create("/a")
            listeners = {
                me: await zkcore.ClientListener(node.host, "127.0.0.1:0", words=WORDS).start()
                for me, node in cluster.nodes.items()
            }
            addresses = [parse_address(each.address, key="x") for each in listeners.values()]
            leader = await cluster.wait_for_leader()
            await zk.sync()
            while cluster.nodes[leader].status().last_committed > min(
                node.status().last_delivered for node in cluster.nodes.values()
            ):
                await asyncio.sleep(0.001)
            found = await ask_all(addresses, timeout=10)
            assert judge(found)[0] == 0
            by_address = {each.address: each for each in found}
            leading = by_address[listeners[leader].address]
            assert (leading.mode, leading.followers, leading.sessions, leading.read_only) == ("leader", 2, 1, False)
            assert leading.zxid == cluster.nodes[leader].replica.tree.last_zxid
            assert leading.epoch == 1
            assert "followers 2  sessions 1" in str(leading)
            assert (leading.configuration, leading.configuration_version) == ("voters 1 2 3", 0)
            assert leading.changing is False
            assert leading.lags is not None
            assert leading.lags.keys() == {str(me) for me in cluster.nodes if me != leader}
            assert told_of_members(found) == ["members: voters 1 2 3, version 0"]
            others = [each for each in found if each is not leading]
            assert [(each.mode, each.followers) for each in others] == [("follower", None)] * 2
            assert all(f"zkcore-{zkcore.__version__}" in str(each) for each in found)

            await listeners[leader].stop()
            status, why = judge(await ask_all(addresses, timeout=10))
            assert (status, why) == (3, "a quorum, under a leader that was not asked or not reached")

            left = [me for me in cluster.nodes if me != leader]
            for pair in ((leader, left[0]), (leader, left[1]), (left[0], left[1])):
                cluster.network.cut(*pair)
            while any(cluster.nodes[me].is_ready() for me in left):
                await asyncio.sleep(0.001)
            found = await ask_all(addresses, timeout=10)
            assert judge(found)[0] == 1
            assert sum("serves nobody" in str(each) for each in found) == 2
            assert sum("unreachable: " in str(each) for each in found) == 1
            for listener in listeners.values():
                await listener.stop()

    run(test)


def test_the_command_prints_and_ends_with_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    ports = Ports()
    nobody = ports.take()
    with zookeeper_server(1) as served:
        assert main(["status", served.hosts]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith(f"{served.hosts}  standalone")
        assert lines[1] == f"{served.hosts} stands alone"
        assert main(["status", "--json", f"{served.hosts},{nobody}"]) == 3
        told = json.loads(capsys.readouterr().out)
        assert told["status"] == 3
        assert [each["mode"] for each in told["servers"]] == ["standalone", None]
        assert told["servers"][1]["trouble"].startswith("unreachable: ")
    assert main(["status", nobody]) == 1
    assert "no quorum: none of 1 serves" in capsys.readouterr().out
    ports.close()


def test_a_word_that_is_forbidden_leaves_out_what_only_that_one_says() -> None:
    async def test() -> None:
        async with zkcore.local_cluster(1) as cluster:
            for words, trouble, sessions in ((["srvr"], False, None), (["ruok"], True, None)):
                async with zkcore.ClientListener(cluster.nodes[1].host, "127.0.0.1:0", words=words) as listener:
                    (found,) = await ask_all([parse_address(listener.address, key="x")], timeout=10)
                assert (found.trouble is not None) == trouble
                assert found.sessions is sessions
                assert "4lw.commands.whitelist" in str(found) or not trouble

    run(test)


@pytest.mark.parametrize("servers", [["nowhere"], ["a:99999999"], [""], ["a:1", "b"]])
def test_an_address_that_is_none_is_refused(servers: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", *servers]) == 2
    assert "give it as 'host:port'" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--watch", "0"], ["--timeout", "-1"], ["--timeout", "soon"], []])
def test_a_command_line_that_makes_no_sense_is_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["status", *option, *(["a:1"] if option else [])])
    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"", "it says nothing"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is no ZooKeeper"),
        (b"Mode: leader\x1b[31m\nZxid: 0xzz\nLatency min/avg/max: 1/..../2\n", "?"),
    ],
)
def test_whatever_answers_harms_nobody(said: bytes, shown: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write(said)
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as stranger:
            host, port = stranger.sockets[0].getsockname()
            (found,) = await ask_all([parse_address(f"{host}:{port}", key="x")], timeout=10)
        assert shown in str(found)
        assert "\x1b" not in str(found)

    run(test)


def test_an_answer_without_an_end_is_cut() -> None:
    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"\xff" * 100_000)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async def test() -> None:
        async with await asyncio.start_server(chatter, "127.0.0.1", 0) as stranger:
            host, port = stranger.sockets[0].getsockname()
            (found,) = await ask_all([parse_address(f"{host}:{port}", key="x")], timeout=10)
        assert found.trouble == "reached, but what answers there is no ZooKeeper"

    run(test)


def test_who_does_not_answer_in_time_is_unreachable() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(never, "127.0.0.1", 0) as stranger:
            host, port = stranger.sockets[0].getsockname()
            (found,) = await ask_all([parse_address(f"{host}:{port}", key="x")], timeout=0.05)
        assert found.trouble == "unreachable: no answer within 0.05 s"

    run(test)


def test_it_watches_until_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(status_module.time, "sleep", nap)
    ports = Ports()
    assert main(["status", ports.take(), "--watch", "7"]) == 1
    assert naps == [7, 7, 7]
    assert capsys.readouterr().out.count("no quorum") == 3
    ports.close()
