"""`ensemble`: who the members are and how that is changed, and a new ensemble from what is left of one."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Authority
from ports import Ports

import zkcore
from zkcore.cli import ensemble as ensemble_module
from zkcore.cli.main import main
from zkcore.cli.status import ServerStatus
from zkcore.server.listener import ClientListener
from zkcore.storage import FileStorage
from zkcore.sync.port import LoopThread
from zkcore.transport.address import Address
from zkcore.tree.acl import digest_id
from zkcore.zab.quorum import EnsembleConfig
from zkcore.zab.ready import Append, SaveEpochs
from zkcore.zxid import make_zxid

Run = Callable[..., tuple[int, str]]

SUPER = zkcore.DigestScheme(superuser=digest_id("super", "pw"))
AUTH = ("--auth", "digest:super:pw")
"""Who the members are only a superuser may change, unless the ACL of `/zookeeper/config` says otherwise."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_main(*words: object) -> tuple[int, str]:
        status = main(["ensemble", *(str(word) for word in words)])
        told = capsys.readouterr()
        return status, told.out + told.err

    return run_main


# --- recover


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The directory of member 2 of three."""
    path = tmp_path / "data"
    with FileStorage(
        path, node=2, cluster="orders", ensemble=EnsembleConfig([1, 2, 3]), new=True, segment_bytes=4096
    ) as storage:
        storage.save([SaveEpochs(1, 1), Append(make_zxid(1, 1), (b"one", b"two"))])
    return path


def test_it_says_what_may_be_lost_and_does_it_only_by_force(data: Path, run: Run) -> None:
    before = {each.name: each.read_bytes() for each in data.iterdir()}
    status, told = run("recover", data, "--cluster", "again")
    assert status == 0
    assert "perhaps lost: what comes after 0x1_00000002" in told
    assert told.endswith("nothing was changed yet: this takes force\n")
    assert {each.name: each.read_bytes() for each in data.iterdir()} == before
    status, told = run("recover", data, "--cluster", "again", "--force", "--address", "host:1")
    assert (status, told.splitlines()[-1]) == (0, "done")
    with FileStorage(data, node=2, cluster="again", ensemble=EnsembleConfig([2])) as storage:
        assert storage.load().last > make_zxid(1000, 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cluster", "orders"], "is of 'orders' already"),
        (["--cluster", ""], "'' is no name for a cluster"),
        (["--cluster", "again", "--address", "nowhere"], "addresses[2] is 'nowhere'"),
    ],
)
def test_what_cannot_be_is_said(data: Path, run: Run, options: list[str], says: str) -> None:
    status, told = run("recover", data, "--force", *options)
    assert status == 2
    assert says in told
    assert run("recover", data.parent, "--cluster", "again")[0] == 2


# --- transfer


class Ensemble:
    """Three members in this process, whose listeners allow `words`; on a thread of their own."""

    def __init__(self, *words: str, reconfig: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self.rules = zkcore.Rules(access=zkcore.Access([SUPER]), reconfig=reconfig)
        self.thread = LoopThread("ensemble")
        self.words = words
        self.tls = tls
        self.listeners: dict[int, ClientListener] = {}

    def __enter__(self) -> Ensemble:
        self.thread.call(self._start())
        return self

    async def _start(self) -> None:
        self.cluster = zkcore.local_cluster(3, rules=self.rules)
        await self.cluster.start()
        for me, node in self.cluster.nodes.items():
            self.listeners[me] = await ClientListener(node.host, "127.0.0.1:0", words=self.words, tls=self.tls).start()
        self.leader = await self.cluster.wait_for_leader()

    def __exit__(self, *_: object) -> None:
        self.thread.call(self._stop())
        self.thread.stop()

    async def _stop(self) -> None:
        for listener in self.listeners.values():
            await listener.stop()
        await self.cluster.close()

    @property
    def servers(self) -> str:
        return ",".join(listener.address for listener in self.listeners.values())


def test_the_leadership_is_transferred_to_who_is_named(run: Run) -> None:
    with Ensemble("srvr", "lead") as ensemble:
        target = next(me for me in ensemble.listeners if me != ensemble.leader)
        status, told = run("transfer", target, "--server", ensemble.servers)
        before, after = (ensemble.listeners[me].address for me in (ensemble.leader, target))
        assert (status, told) == (0, f"{after} leads, and {before} does not any more\n")
        follower = ensemble.listeners[ensemble.leader].address
        status, told = run("transfer", "--server", follower)
        assert (status, "none of these servers leads" in told) == (3, True)
        status, told = run("transfer", 9, "--server", ensemble.servers)
        assert status == 1
        assert f"node 9 cannot take over: voters in line with node {target} are" in told


def test_it_is_over_when_another_one_is_seen_to_lead(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [["leader", "follower"], ["leader", "follower"], ["leader", "leader"], [None, "follower"], [None, "leader"]]
    said: list[bytes] = []

    async def look(addresses: list[Address], *, timeout: float, tls: None) -> list[ServerStatus]:
        modes = seen.pop(0) if seen else [None, None]
        return [ServerStatus(address=str(each), mode=mode) for each, mode in zip(addresses, modes, strict=True)]

    async def say(address: Address, word: bytes, *, tls: None) -> str:
        said.append(word)
        return f"node of {address} hands over\n"

    monkeypatch.setattr(ensemble_module, "ask_all", look)
    monkeypatch.setattr(ensemble_module, "say", say)
    monkeypatch.setattr(ensemble_module, "_LOOK_SECONDS", 0)
    assert run("transfer", 2, "--server", "a:1,b:1") == (0, "b:1 leads, and a:1 does not any more\n")
    assert (seen, said) == ([], [b"lead\2"])
    seen[:] = [["leader", "follower"]]
    status, told = run("transfer", "--server", "a:1,b:1", "--timeout", "0.05")
    assert (status, "no other of these servers was seen to lead; ask for the status" in told) == (3, True)


def test_it_takes_a_word_that_is_allowed_by_name(run: Run) -> None:
    with Ensemble("*") as ensemble:
        status, told = run("transfer", "--server", ensemble.servers)
        assert status == 1
        assert "allow it with 4lw.commands.whitelist=lead" in told
        assert ensemble.cluster.leader == ensemble.leader
        other = next(me for me in ensemble.listeners if me != ensemble.leader)
        listener = ensemble.listeners[other]
        said = ensemble.thread.do(lambda: listener.hand_over(0))
        assert said == f"node {other} does not lead; ask node {ensemble.leader}\n"


def test_a_word_that_does_not_say_to_whom_does_nothing(run: Run) -> None:
    with Ensemble("lead") as ensemble:
        host, _, port = ensemble.listeners[ensemble.leader].address.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"lead")
            assert connection.recv(100) == b""
        assert ensemble.cluster.leader == ensemble.leader
        assert run("transfer", "--server", "nowhere")[0] == 2


# --- add, promote, remove, status


def test_members_are_added_promoted_and_removed_by_their_numbers(run: Run) -> None:
    with Ensemble("srvr") as ensemble:
        status, told = run("add", "4=127.0.0.1:1:1:observer", "--server", ensemble.servers, *AUTH)
        assert (status, told.splitlines()[:4]) == (0, [
            "server.1=0.0.0.0:0:0:participant", "server.2=0.0.0.0:0:0:participant", "server.3=0.0.0.0:0:0:participant",
            "server.4=127.0.0.1:1:1:observer",
        ])  # fmt: skip
        status, told = run("promote", 4, "--server", ensemble.servers, *AUTH)
        assert (status, told.splitlines()[3]) == (0, "server.4=127.0.0.1:1:1:participant")
        gone = next(me for me in ensemble.listeners if me != ensemble.leader)
        status, told = run("remove", 4, gone, "--server", ensemble.listeners[ensemble.leader].address, *AUTH)
        assert status == 0
        assert [int(line[7]) for line in told.splitlines()[:-1]] == [me for me in (1, 2, 3) if me != gone]
        assert told.splitlines()[-1].startswith("version=1")


def test_a_leader_that_is_removed_is_gone_when_the_command_ends(run: Run) -> None:
    with Ensemble() as ensemble:
        status, told = run("remove", ensemble.leader, "--server", ensemble.servers, *AUTH)
        assert status == 0, told
        assert [int(line[7]) for line in told.splitlines()[:-1]] == [me for me in (1, 2, 3) if me != ensemble.leader]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["remove", 9], "server 9 cannot leave: the members are 1, 2, 3"),
        (["remove", 1, 2, 3], "without server 1, 2, 3 there is no voter left"),
        (["promote", 1], "server 1 votes already: the observers are none"),
        (["promote", 7], "server 7 is no member"),
        (["add", "4=nowhere"], "server.4=nowhere"),
        (["add", "4=a:1:1:observer", "5=a:1:1:observer"], "servers 4 and 5 have the same address, a:1"),
        (["add", "4=a:1:1", "5=b:1:1", "6=c:1:1"], "of voters 1 2 3 4 5 6 no quorum follows the leader now"),
    ],
)
def test_what_cannot_be_is_refused_with_the_member_and_the_rule(run: Run, words: list[object], says: str) -> None:
    with Ensemble() as ensemble:
        status, told = run(*words, "--server", ensemble.servers, *AUTH)
        assert (status, says in told) == (1, True), told
        assert ensemble.thread.do(lambda: ensemble.cluster.nodes[1].status().version) == 0


def test_who_may_change_the_members_is_decided_by_the_ensemble(run: Run) -> None:
    with Ensemble(reconfig=False) as ensemble:
        status, told = run("remove", 3, "--server", ensemble.servers, *AUTH)
        assert (status, "ReconfigDisabled" in told) == (1, True)
    with Ensemble() as ensemble:
        status, told = run("remove", 3, "--server", ensemble.servers)
        assert (status, "NoAuth" in told) == (1, True)


def test_the_status_has_a_line_for_each_member(run: Run) -> None:
    with Ensemble("srvr", "mntr", "isro") as ensemble:
        leader = ensemble.leader
        _, port = ensemble.listeners[leader].address.split(":")
        status, told = run("status", "--server", ensemble.servers)
        lines = told.splitlines()
        assert lines[:3] == [f"server.{me}  votes     nowhere  not asked" for me in (1, 2, 3)]
        assert lines[2 + leader].startswith(f"{ensemble.listeners[leader].address}  leader")
        assert (status, lines[-1]) == (0, f"{ensemble.listeners[leader].address} leads, with a quorum")
        line = f"{leader}=127.0.0.1:2888:2888:participant;{port}"
        assert run("add", line, "--server", ensemble.servers, *AUTH)[0] == 0
        status, told = run("status", "--server", ensemble.servers, *AUTH)
        lines = told.splitlines()
        assert lines[leader - 1].startswith(f"server.{leader}  votes     127.0.0.1:2888  127.0.0.1:{port}  leader")
        assert lines[leader % 3] == f"server.{leader % 3 + 1}  votes     nowhere  not asked"
        assert lines[3].startswith("members: voters 1 2 3, version 1")
        assert f"127.0.0.1:{port} leads, with a quorum; not asked, since it is not known where" in lines[-1]
        assert status == 0
        status, told = run("status", "--json", "--server", ensemble.servers, *AUTH)
        found = json.loads(told)
        assert (found["status"], [each["member"] for each in found["members"]]) == (0, [1, 2, 3])
        assert found["members"][leader - 1]["server"]["mode"] == "leader"


def test_servers_that_speak_tls_are_asked_with_it(tmp_path: Path, run: Run) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    known, unknown = ("--tls", authority.path), ("--tls", Authority(tmp_path, name="another").path)
    with Ensemble("srvr", "mntr", "isro", "lead", tls=tls) as ensemble:
        assert run("status", "--server", ensemble.servers, *known)[0] == 0
        status, told = run("transfer", "--server", ensemble.servers, *unknown)
        assert (status, "none of these servers leads" in told) == (3, True)
        status, told = run("transfer", "--server", ensemble.servers, *known)
        assert (status, "does not any more" in told) == (0, True)
        assert main(["status", ensemble.servers, *map(str, known)]) == 0
        assert main(["status", ensemble.servers, *map(str, unknown)]) == 1
    assert main(["status", "127.0.0.1:1", "--tls", "/nowhere.pem"]) == 2
    status, told = run("transfer", "--server", "127.0.0.1:1", "--tls", "/nowhere.pem")
    assert (status, "No such file" in told) == (2, True)


def test_where_no_server_can_be_reached_that_is_said(run: Run) -> None:
    ports = Ports()
    status, told = run("status", "--server", ports.take(), "--timeout", "0.2")
    ports.close()
    assert (status, "no server could be reached within 0.2 s" in told) == (3, True)
    assert run("remove", 1, "--server", "host:1/path")[0] == 2
