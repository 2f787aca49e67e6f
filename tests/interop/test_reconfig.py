"""Members changed through ZooKeeper's protocol: by kazoo and by our client, of an ensemble of ours and of another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ensembles import run
from kazoo.client import KazooClient
from kazoo.exceptions import BadArgumentsError, BadVersionError, NoAuthError
from live import MISSING, Server
from live_ensemble import LiveEnsemble

import zkcore
from zkcore import Access, DigestScheme, Members, Rules, digest_id
from zkcore.cli.main import main
from zkcore.testing.zookeeper import ZookeeperServer, zookeeper_server

CONFIG = "/zookeeper/config"
PATIENCE = 30


@pytest.fixture
def servers() -> Iterator[ZookeeperServer]:
    access = Access([DigestScheme(superuser=digest_id("super", "pw"))])
    with zookeeper_server(3, rules=Rules(access=access)) as running:
        yield running


def _bystander(servers: ZookeeperServer) -> int:
    return next(me for me in (1, 2, 3) if me != servers.leader)


def test_kazoo_changes_the_members(servers: ZookeeperServer) -> None:
    gone = _bystander(servers)
    here = next(me for me in (1, 2, 3) if me != gone)
    zk = KazooClient(hosts=servers.hosts.split(",")[here - 1], auth_data=[("digest", "super:pw")])
    anybody = KazooClient(hosts=servers.hosts.split(",")[here - 1])
    try:
        zk.start(PATIENCE)
        anybody.start(PATIENCE)
        before, stat = anybody.get(CONFIG)
        assert (Members.parse(before.decode()).config.voters, stat.version, stat.mzxid) == ((1, 2, 3), -1, 0)
        with pytest.raises(NoAuthError):
            anybody.reconfig(joining=None, leaving=str(gone), new_members=None)
        with pytest.raises(BadArgumentsError):
            zk.reconfig(joining=None, leaving="9", new_members=None)
        with pytest.raises(BadVersionError):
            zk.reconfig(joining=None, leaving=str(gone), new_members=None, from_config=77)
        data, stat = zk.reconfig(joining=None, leaving=str(gone), new_members=None, from_config=0)
        assert zk.get(CONFIG) == (data, stat)
        members = Members.parse(data.decode())
        assert (members.version, gone in members.config.members) == (stat.mzxid, False)
        data, _ = zk.reconfig(
            joining=f"server.{gone}=127.0.0.1:2888:3888:observer;127.0.0.1:2181", leaving=None, new_members=None
        )
        assert f"server.{gone}=127.0.0.1:2888:2888:observer;127.0.0.1:2181" in data.decode().split("\n")
    finally:
        for client in (zk, anybody):
            client.stop()
            client.close()


def test_our_client_changes_them_over_the_protocol(servers: ZookeeperServer) -> None:
    async def main() -> None:
        gone = _bystander(servers)
        here = servers.hosts.split(",")[next(me for me in (1, 2, 3) if me != gone) - 1]
        async with zkcore.connect(f"zk://{here}/app") as zk:
            with pytest.raises(zkcore.NoAuthError):
                await zk.reconfig(leaving=[gone])
            await zk.add_auth("digest", "super:pw")
            data, stat = await zk.reconfig(leaving=[gone], from_config=(await zk.members()).version)
            assert (await zk.get_config()) == (data, stat)
            members = await zk.members()
            assert (members.version, gone in members.config.members) == (stat.mzxid, False)

    run(main())


@pytest.mark.zookeeper
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_our_client_changes_the_members_of_an_apache_zookeeper(tmp_path: Path) -> None:
    with LiveEnsemble(tmp_path, lines=("reconfigEnabled=true", "4lw.commands.whitelist=srvr")) as live:
        gone = next(me for me in (1, 2, 3) if me != live.leader)

        async def main() -> None:
            async with zkcore.connect(f"zk://{live.hosts_but(gone)}/app") as zk:
                began = await zk.members()
                assert began.config.voters == (1, 2, 3)
                with pytest.raises(zkcore.NoAuthError):
                    await zk.reconfig(leaving=[gone])
                await zk.add_auth("digest", "super:pw")
                with pytest.raises(zkcore.BadVersionError):
                    await zk.reconfig(leaving=[gone], from_config=77)
                data, stat = await zk.reconfig(leaving=[gone], from_config=began.version)
                members = await zk.members()
                assert (members.version, stat.version) == (stat.mzxid, -1)
                assert Members.parse(data.decode()) == members
                assert gone not in members.config.members
                assert (await zk.get_config()).stat == stat

        run(main())


@pytest.mark.zookeeper
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_the_command_changes_the_members_of_an_apache_zookeeper(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ensemble(*words: str) -> tuple[int, str]:
        status = main(["ensemble", *words])
        told = capsys.readouterr()
        return status, told.out + told.err

    with LiveEnsemble(tmp_path, lines=("reconfigEnabled=true", "4lw.commands.whitelist=srvr,mntr,isro")) as live:
        gone = next(me for me in (1, 2, 3) if me != live.leader)
        client = live.hosts.split(",")[gone - 1]
        asked = ("--server", live.hosts_but(gone), "--auth", "digest:super:pw")
        status, told = ensemble("status", *asked)
        assert (status, "members: voters 1 2 3, version 1" in told, told.count("not asked\n")) == (0, True, 3)
        assert ensemble("remove", str(gone), *asked[:2]) == (
            1, "NoAuth: the ACL does not allow it; authenticate as somebody it names, or have it changed\n"
        )  # fmt: skip
        status, told = ensemble("remove", str(gone), *asked)
        assert (status, f"server.{gone}=" in told, told.count("participant")) == (0, False, 2)
        line = f"server.{gone}=127.0.0.1:12345:12346:observer"
        status, told = ensemble("add", line, *asked)
        assert (status, f"add it as {line};PORT" in told) == (1, True)
        status, told = ensemble("add", f"{line};{client}", *asked)
        assert (status, f"{line};{client}\n" in told) == (0, True)
        status, told = ensemble("promote", str(gone), *asked)
        assert (status, f"server.{gone}=127.0.0.1:12345:12346:participant;{client}\n" in told) == (0, True)
        live.kill(gone)  # whose place is the only one that is known; else it comes back, sooner or later
        status, told = ensemble("status", *asked)
        assert (status, "leads, with a quorum; not well" in told) == (3, True)
        status, told = ensemble("transfer", *asked[:2])
        assert (status, "only a server of zkcore's knows how to hand over" in told) == (1, True)


@pytest.mark.zookeeper
def test_a_zookeeper_that_stands_alone_has_no_members(apache: Server) -> None:
    async def main() -> None:
        async with zkcore.connect(f"zk://127.0.0.1:{apache.port}") as zk:
            assert (await zk.get_config()).data == b""
            with pytest.raises(zkcore.ConfigurationError, match="at least one voter"):
                await zk.members()
            await zk.add_auth("digest", "super:pw")
            with pytest.raises(zkcore.ReconfigDisabledError):
                await zk.reconfig(leaving="1")

    run(main())
